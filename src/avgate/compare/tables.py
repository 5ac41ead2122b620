"""The tables of a comparison, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgate.compare.curves import draw_curves
from avgate.compare.intervals import intervals_table, stressed_intervals_table, summarise_intervals
from avgate.compare.markdown import markdown_table, numbers
from avgate.compare.outcome import Outcome
from avgate.compare.statistics import holm, paired_bootstrap
from avgate.compare.stress import HALF, SHARES, Condition, area
from avgate.core.files import atomic_write, json_values, write_json
from avgate.core.metrics import ccc_of
from avgate.features.corruption import CORRUPTIONS

LOST = ("absent", "noise")
"""The kinds of corruption that leave nothing of a modality, and don't put a misleading one in its place."""


def summarise(by_variant: Mapping[str, Sequence[Outcome]], reference: str) -> dict[str, Any]:
    """Scores of every variant, and its difference from the reference, as JSON can hold them.

    Args:
        by_variant: variant -> its outcome on all folds, once per seed.
        reference: the variant that the others are compared with.
    """
    targets = by_variant[reference][0].targets
    rows: dict[str, Any] = {}
    for name, outcomes in by_variant.items():
        scores = np.stack([ccc_of(o.clean.sum(0)) for o in outcomes])
        rows[name] = {
            "ccc": {t: scores[:, k] for k, t in enumerate(targets)},
            "validation": [o.validation for o in outcomes],
            "seconds": sum(o.seconds for o in outcomes),
            "against": {},
            "intervals": summarise_intervals(outcomes, targets),
        }
    others = [name for name in by_variant if name != reference]
    for k, target in enumerate(targets):
        cleans = {name: np.stack([o.clean[:, k] for o in outcomes]) for name, outcomes in by_variant.items()}
        found = [paired_bootstrap(cleans[name], cleans[reference]) for name in others]
        for name, difference, p in zip(others, found, holm([d.p for d in found]), strict=True):
            rows[name]["against"][target] = vars(difference) | {"p_holm": p}
    results = {
        "reference": reference,
        "targets": targets,
        "clips": len(by_variant[reference][0].clips),
        "fusions": rows,
    }
    modalities = list(dict.fromkeys(name.split()[0] for o in by_variant.values() for name in o[0].stressed))
    if modalities:
        results |= {"shares": (0.0, *SHARES), "corrupted": modalities}
        for name, outcomes in by_variant.items():
            rows[name] |= _stress(outcomes, modalities, targets)
            rows[name]["against_alone"] = _against_alone(outcomes, by_variant, modalities, targets)
    return json_values(results)


def _stress(outcomes: Sequence[Outcome], modalities: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Per "MODALITY KIND" and target: curve [seeds shares], area [seeds], drop [seeds]; and the gates' AUROC."""
    found: dict[str, Any] = {}
    half = 1 + SHARES.index(HALF)
    for modality in modalities:
        for kind in CORRUPTIONS:
            curves = np.stack([o.curve(modality, kind) for o in outcomes])  # [seeds shares k]
            areas = np.stack([area(c) for c in curves])
            found[f"{modality} {kind}"] = {
                t: {
                    "curve": curves[:, :, k],
                    "area": areas[:, k],
                    "drop": curves[:, 0, k] - curves[:, half, k],
                }
                for k, t in enumerate(targets)
            }
    auroc = {
        what: {gate: [o.auroc[what][gate] for o in outcomes] for gate in gates}
        for what, gates in outcomes[0].auroc.items()
    }
    return {"stress": found, "auroc": auroc}


def _against_alone(
    outcomes: Sequence[Outcome],
    by_variant: Mapping[str, Sequence[Outcome]],
    modalities: Sequence[str],
    targets: Sequence[str],
) -> dict[str, Any]:
    """Scores of a model that has lost a modality, against those of a model that never had it.

    Args:
        outcomes: the model's, per seed; they tell which modalities it reads.
        by_variant: those of every variant.
        modalities: what was corrupted.
        targets: names.

    Returns:
        "MODALITY KIND" of LOST -> target -> the difference, and the `model` that it is taken from: of the variants
        that read only what the model has left, the one with the best mean validation score.
    """
    found: dict[str, Any] = {}
    reads = set(outcomes[0].modalities)
    for lost in modalities:
        left = reads - {lost}
        without = [name for name, others in by_variant.items() if set(others[0].modalities) <= left]
        if lost not in reads or not without:
            continue
        best = max(without, key=lambda name: np.nan_to_num(np.mean([o.validation for o in by_variant[name]]), nan=-1.0))
        alone = np.stack([o.clean for o in by_variant[best]])
        for kind in LOST:
            condition = Condition(lost, kind, 1.0).name
            mine = np.stack([o.stressed[condition] for o in outcomes])
            found[f"{lost} {kind}"] = {
                t: vars(paired_bootstrap(mine[:, :, k], alone[:, :, k])) | {"model": best}
                for k, t in enumerate(targets)
            }
    return found


def write_tables(results: Mapping[str, Any], out: Path) -> None:
    """Write results.json, results.md, and curves.png where models were measured on corrupted clips."""
    write_json(out / "results.json", results)
    with atomic_write(out / "results.md") as temporary:
        temporary.write_text(all_tables(results))
    if "corrupted" in results:
        draw_curves(results, out / "curves.png")


def all_tables(results: Mapping[str, Any]) -> str:
    """All tables, and which model to use."""
    parts = [scores_table(results)]
    for modality in results.get("corrupted", ()):
        parts += stress_tables(results, modality)
    if "corrupted" in results:
        parts += [alone_table(results), gates_table(results)]
    parts += [intervals_table(results)]
    parts += [stressed_intervals_table(results, modality) for modality in results.get("corrupted", ())]
    if "best" in results:
        parts.append(best_text(results["best"]))
    return "\n".join(filter(None, parts))


def scores_table(results: Mapping[str, Any]) -> str:
    """CCC per target, mean and deviation over seeds, and the difference from the reference."""
    targets, reference = results["targets"], results["reference"]
    protocol = f"{results['folds']}-fold cross-validation by person" if results["folds"] else "the corpus' own splits"
    head = (
        f"{results['corpus']}, {protocol}, {results['clips']} clips, seeds {', '.join(map(str, results['seeds']))}: "
        "CCC pooled over all held-out steps, mean and standard deviation over seeds; difference from "
        f"{reference} with its 95 % interval (paired bootstrap over clips; it doesn't cover other seeds) and "
        "Holm-corrected p; processor time of training and measuring."
    )
    columns = [column for t in targets for column in (t, f"{t}, less {reference}", "p")] + ["minutes"]
    rows = {}
    for name, row in results["fusions"].items():
        cells = []
        for t in targets:
            scores = numbers(row["ccc"][t])
            cells.append(f"{scores.mean():.3f}" + (f" ± {scores.std():.3f}" if len(scores) > 1 else ""))
            difference = row["against"].get(t)
            cells += [difference_text(difference), f"{difference['p_holm']:.3f}"] if difference else ["", ""]
        rows[name] = [*cells, f"{row['seconds'] / 60:.1f}" if row["seconds"] is not None else "unknown"]
    return markdown_table(head, "fusion", columns, rows)


def stress_tables(results: Mapping[str, Any], modality: str) -> list[str]:
    """CCC when a modality is corrupted: area under the curve, half of the steps, all of them."""
    targets, shares = results["targets"], results["shares"]
    half = shares.index(HALF)
    wanted: dict[str, Callable[[Mapping[str, Any]], Sequence[float]]] = {
        f"**{modality} corrupted, area** under the curve of CCC over the corrupted share": lambda s: s["area"],
        f"**{modality} corrupted in half of the steps**, CCC; in brackets, how much less than clean": (
            lambda s: [curve[half] for curve in s["curve"]]
        ),
        f"**{modality} corrupted in all steps**, CCC": lambda s: [curve[-1] for curve in s["curve"]],
    }
    tables = []
    for i, (head, by_seed) in enumerate(wanted.items()):
        rows = {}
        for name, row in results["fusions"].items():
            found = [[row["stress"][f"{modality} {kind}"][t] for t in targets] for kind in CORRUPTIONS]
            by_kind = [[numbers(by_seed(s)).mean() for s in of_kind] for of_kind in found]
            drops = [[numbers(s["drop"]).mean() for s in of_kind] for of_kind in found]
            cells = [" / ".join(f"{x:.3f}" for x in values) for values in [*by_kind, np.mean(by_kind, 0)]]
            if i == 1:
                below = [" / ".join(f"{x:.3f}" for x in values) for values in [*drops, np.mean(drops, 0)]]
                cells = [f"{cell} ({drop})" for cell, drop in zip(cells, below, strict=True)]
            rows[name] = cells
        tables.append(markdown_table(f"{head}: {' / '.join(targets)}.", "fusion", [*CORRUPTIONS, "mean"], rows))
    return tables


def alone_table(results: Mapping[str, Any]) -> str:
    """Scores with a modality lost against a model that never had it; "" where there is no such model."""
    targets = results["targets"]
    against = {name: row["against_alone"] for name, row in results["fusions"].items() if row["against_alone"]}
    columns = list(dict.fromkeys(what for found in against.values() for what in found))
    if not columns:
        return ""
    head = (
        "**A modality lost in all steps**, CCC less that of a model that never had it (named in brackets) on clean "
        f"clips: {' / '.join(targets)}, with 95 % intervals (paired bootstrap over clips)."
    )

    def cell(by_target: Mapping[str, Any]) -> str:
        model = by_target[targets[0]]["model"]
        return f"{' / '.join(difference_text(by_target[t]) for t in targets)} ({model})"

    rows = {name: [cell(found[what]) if what in found else "" for what in columns] for name, found in against.items()}
    return markdown_table(head, "model", columns, rows)


def best_text(best: Mapping[str, Any]) -> str:
    """Which model to use, and how to train it anew."""
    lines = [
        f"**Best on validation clips**, which alone decide here: {best['fusion']}, mean CCC {best['validation']:.3f} "
        f"over all seeds and folds. Its best model is `{best['checkpoint']}` in the folder of these tables.",
        "",
    ]
    if best["command"]:
        lines += ["To train it with the setting that most folds chose:", "", f"    {best['command']}", ""]
    return "\n".join(lines)


def difference_text(difference: Mapping[str, Any]) -> str:
    """A difference with its 95 % interval."""
    effect, low, high = numbers([difference[name] for name in ("effect", "low", "high")])
    return f"{effect:+.3f} [{low:+.3f}, {high:+.3f}]"


def gates_table(results: Mapping[str, Any]) -> str:
    """How well each gate tells corrupted steps from others; nothing of modalities that a model doesn't read."""
    columns = [f"{modality} {kind}" for modality in results["corrupted"] for kind in CORRUPTIONS]
    rows: dict[str, list[str]] = {}
    for name, row in results["fusions"].items():
        gates = dict.fromkeys(gate for areas in row["auroc"].values() for gate in areas)
        for gate in gates:
            by_seed = [row["auroc"].get(what, {}).get(gate) for what in columns]
            rows[f"{name}: {gate}"] = [f"{numbers(areas).mean():.2f}" if areas else "" for areas in by_seed]
    head = (
        "**Does the gate see it?** AUROC of each gate against the steps that were corrupted (half of all): 1 is "
        "always, 0.5 is chance. Whether a gate opens or closes there is decided on validation clips."
    )
    return markdown_table(head, "gate", columns, rows) if rows else ""
