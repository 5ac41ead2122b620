"""The claims on docs/results.md: what each needs, what was measured, and whether it holds; as a table and in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avgate.compare.tables import LOST, difference_text
from avgate.features.corruption import CORRUPTIONS

Results = Mapping[str, Mapping[str, Any]]
"""Name of a plan (see results.py) -> what its results.json holds."""


@dataclass(frozen=True)
class Claim:
    """A claim: what it says, how much it needs, what was measured, and whether it holds."""

    what: str
    needed: str
    measured: str
    holds: bool


def claims(results: Results) -> list[Claim]:
    """All claims about these results. What they need was set by the single modalities and a first look."""
    found = []
    clean = results.get("hazumi-all", results.get("hazumi-clean"))
    if clean:
        found += [*_clean_claims(clean, "hgrjca"), *_clean_claims(clean, "rhgrjca")]
    if "hazumi-absence" in results:
        found += _absence_claims(results["hazumi-absence"])
    for corpus, needed in (("rendered", 0.90), ("hazumi", 0.75)):
        if f"{corpus}-absence" in results:
            auroc = results[f"{corpus}-absence"]["fusions"]["rhgrjca"]["auroc"]
            for modality, gate in (("audio", "voice_reliability"), ("video", "face_reliability")):
                for kind in LOST:
                    area = float(np.mean(auroc[f"{modality} {kind}"][gate]))
                    what = f"rhgrjca on {corpus}: AUROC of {gate} for {modality} {kind}"
                    found.append(Claim(what, f"{needed:.2f}", f"{area:.3f}", area >= needed))
    return found


def _clean_claims(clean: Mapping[str, Any], name: str) -> list[Claim]:
    """Claims about a fusion trained on clean clips, as published or as the variant that is the default elsewhere."""
    who = f"{name}, trained on clean clips"
    found = [
        _at_least(f"{who}, clean", (0.785, 0.670), _means(clean, name)),
        _at_least(f"{who}, against voice alone", _means(clean, "audio"), _means(clean, name)),
    ]
    for target in clean["targets"]:
        scores = {other: np.array(row["ccc"][target]) for other, row in clean["fusions"].items()}
        own = scores.pop(name)
        best = max(scores, key=lambda other: scores[other].mean())
        spread = max(scores[best].std(), own.std())
        behind = scores[best].mean() - own.mean()
        what = f"{who}, {target}: behind the best other fusion ({best}) by at most one standard deviation"
        found.append(Claim(what, f"{spread:.3f}", f"{behind:.3f}", bool(behind <= spread)))
    return found


def _absence_claims(absence: Mapping[str, Any]) -> list[Claim]:
    found = []
    for other in ("rjca", "concat"):
        needed = [1.05 * area for area in _area(absence, other, "audio")]
        what = f"hgrjca, trained for absence, area under the curves of corrupted audio: 5 % above {other}'s"
        found.append(_at_least(what, needed, _area(absence, "hgrjca", "audio")))
    found.append(_at_least("rhgrjca, trained for absence, clean", (0.785, 0.670), _means(absence, "rhgrjca")))
    for kind in LOST:
        half, whole = (_at(absence, "rhgrjca", f"audio {kind}", share) for share in (0.5, 1.0))
        blind = _at(absence, "rhgrjca", f"video {kind}", 1.0)
        found += [
            _at_least(f"rhgrjca, half of the audio {kind}", (0.66, 0.53), half),
            _at_least(f"rhgrjca, all of the audio {kind}", (0.545, 0.449), whole),
            _not_below_alone(absence, "audio", kind, "face", _means(absence, "video"), whole),
            _not_below_alone(absence, "video", kind, "voice", _means(absence, "audio"), blind),
        ]
    return found


def _not_below_alone(
    absence: Mapping[str, Any], lost: str, kind: str, other: str, needed: Sequence[float], measured: Sequence[float]
) -> Claim:
    """A claim about a modality lost in all steps, with the intervals of what it costs."""
    differences = absence["fusions"]["rhgrjca"]["against_alone"].get(f"{lost} {kind}", {}).values()
    text = " / ".join(difference_text(d) for d in differences)
    return _at_least(f"rhgrjca, all of the {lost} {kind}, against {other} alone ({text})", needed, measured)


def _means(results: Mapping[str, Any], name: str) -> list[float]:
    """CCC of each target, mean over seeds."""
    return [float(np.mean(results["fusions"][name]["ccc"][t])) for t in results["targets"]]


def _at(results: Mapping[str, Any], name: str, what: str, share: float) -> list[float]:
    """CCC of each target under a corruption of that share of the steps, mean over seeds."""
    place = results["shares"].index(share)
    stressed = results["fusions"][name]["stress"][what]
    return [float(np.mean(np.array(stressed[t]["curve"])[:, place])) for t in results["targets"]]


def _area(results: Mapping[str, Any], name: str, modality: str) -> list[float]:
    """Area under the curve of each target, mean over kinds of corruption and seeds."""
    stressed = results["fusions"][name]["stress"]
    return [float(np.mean([stressed[f"{modality} {k}"][t]["area"] for k in CORRUPTIONS])) for t in results["targets"]]


def _at_least(what: str, needed: Sequence[float], measured: Sequence[float]) -> Claim:
    """A claim about both targets."""
    return Claim(what, _pair(needed), _pair(measured), holds=all(m >= n for m, n in zip(measured, needed, strict=True)))


def in_words(found: Sequence[Claim], results: Results) -> str:
    """What holds and what doesn't, as a list; a pair of numbers is one per target, in the tables' order."""
    said = [f"Of {len(found)} claims, {sum(c.holds for c in found)} hold; the table has them all."]
    if "hazumi-clean" in results:
        clean = results["hazumi-clean"]
        others = ", ".join(f"{name} {_pair(_means(clean, name))}" for name in ("audio", "concat", "rjca", "rhgrjca"))
        said.append(
            f"On clean clips of real people, hgrjca as published reaches a CCC of {_pair(_means(clean, 'hgrjca'))} "
            f"({others}): {_beyond_chance(clean, ('audio', 'concat', 'rjca', 'rhgrjca'))}"
        )
    if "hazumi-absence" in results:
        said += _absence_in_words(results["hazumi-absence"])
    if "ablations" in results:
        said.append(f"Parts of hgrjca, one changed at a time: {_beyond_chance(results['ablations'])}")
    return "\n".join(f"- {sentence}" for sentence in said)


def _absence_in_words(absence: Mapping[str, Any]) -> list[str]:
    areas = {name: _area(absence, name, "audio") for name in ("hgrjca", "rjca", "concat", "rhgrjca")}
    helps = all(_above(areas["hgrjca"], areas[other]) for other in ("rjca", "concat"))
    half, whole = ([_at(absence, name, "audio noise", s) for name in ("rhgrjca", "hgrjca")] for s in (0.5, 1.0))
    blind = _at(absence, "rhgrjca", "video noise", 1.0)
    swapped = [_at(absence, name, "audio swapped", 0.5) for name in ("rhgrjca", "concat")]
    seen, unseen = (_reliabilities(absence, kinds) for kinds in (LOST, set(CORRUPTIONS) - set(LOST)))
    return [
        f"Trained for absence, its area under the curves of corrupted audio is {_pair(areas.pop('hgrjca'))} "
        f"({', '.join(f'{name} {_pair(area)}' for name, area in areas.items())}), so the published gates by "
        f"themselves {'help' if helps else 'do not help'} against a voice that misleads in any of the five ways. (Each "
        f"chooses between X and X + H W_h: X itself passes, whatever it chooses.)",
        f"Judging each modality's reliability and falling back on the other "
        f"{'helps' if _above(*whole) else 'does not help'} where the voice is lost: when all of it is noise, rhgrjca "
        f"keeps {_pair(whole[0])}, hgrjca {_pair(whole[1])}, and the face alone has {_pair(_means(absence, 'video'))}; "
        f"when half of it is, {_pair(half[0])} and {_pair(half[1])}; when all of the face is, rhgrjca keeps "
        f"{_pair(blind)}, and the voice alone has {_pair(_means(absence, 'audio'))}.",
        f"Its reliabilities tell absence and noise, which they were trained on, by an AUROC of at least "
        f"{min(seen):.2f}, and swapped, frozen or shifted features by at most {max(unseen):.2f}; with half of the "
        f"voice swapped, rhgrjca has {_pair(swapped[0])}, concat {_pair(swapped[1])}.",
    ]


def _above(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a > b for a, b in zip(one, other, strict=True))


def _pair(values: Sequence[float]) -> str:
    return " / ".join(f"{x:.3f}" for x in values)


def _beyond_chance(results: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """Which variants differ from the reference by more than chance."""
    rows = results["fusions"]
    found = [
        f"{name} {d['effect']:+.3f} in {target} (p = {d['p_holm']:.3f})"
        for name in names or rows
        for target, d in rows[name]["against"].items()
        if d["p_holm"] < 0.05
    ]
    return f"{', '.join(found)}; all other differences may be chance." if found else "no difference is beyond chance."


def _reliabilities(results: Mapping[str, Any], kinds: Collection[str]) -> list[float]:
    """AUROC of each modality's reliability under these kinds of its corruption, mean over seeds."""
    auroc = results["fusions"]["rhgrjca"]["auroc"]
    gates = {"audio": "voice_reliability", "video": "face_reliability"}
    return [float(np.mean(auroc[f"{m} {kind}"][gate])) for m, gate in gates.items() for kind in kinds]
