"""The page docs/real-people.md: what the estimates of people left out are worth. Used by tools/real_people.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from avgate.compare.markdown import markdown_table
from avgate.core.metrics import auroc, bootstrap_groups
from avgate.corpora.emodb import SPEAKERS
from avgate.labels.categories import SOURCE
from avgate.models.recipe import Recipe
from tools.people import word
from tools.perturb import PICTURE, SOUND

TARGETS = ("valence", "arousal")
COMMAND = "make real-people"
YAW = 15.0
"""Degrees from which on a head counts as turned to the side."""


class Estimates(TypedDict):
    """Rows of people's recordings, and target -> CCC on the rendered clips that were left out."""

    people: list[dict[str, Any]]
    rendered: dict[str, float]


@dataclass(frozen=True)
class Contrast:
    """Two groups of emotions that an estimate should rank.

    Attributes:
        source: "still" or "voice".
        target: which estimate.
        above: emotions that it should place higher.
        below: than these.
        needed: area under the curve that was aimed for.
        name: of the row.
    """

    source: str
    target: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    needed: float
    name: str


_NEGATIVE = ("sadness", "anger", "fear", "disgust")
CONTRASTS = (
    Contrast("still", "valence", ("happiness",), _NEGATIVE, 0.91, "face: happy above sad, angry, fearful, disgusted"),
    Contrast(
        "still",
        "arousal",
        ("surprise", "fear", "anger", "happiness"),
        ("neutral", "sadness"),
        0.81,
        "face: surprised, fearful, angry, happy above neutral, sad",
    ),
    Contrast("voice", "valence", ("happiness",), _NEGATIVE, 0.72, "voice: happy above sad, angry, fearful, disgusted"),
    Contrast(
        "voice",
        "arousal",
        ("fear", "anger", "happiness"),
        ("neutral", "sadness"),
        0.97,
        "voice: fearful, angry, happy above neutral, sad",
    ),
)


@dataclass(frozen=True)
class Measured:
    """One figure with its interval, and what was needed.

    Attributes:
        what: what was measured.
        measured: the figure.
        low: lower end of its 95 % interval over persons; NaN where there is none.
        high: upper end.
        needed: what was set beforehand; None where nothing was.
        holds: whether it is met; None where nothing was needed.
        command: what measures it again.
    """

    what: str
    measured: float
    low: float
    high: float
    needed: float | None = None
    holds: bool | None = None
    command: str = COMMAND


Rows = list[dict[str, Any]]


def chosen(rows: Rows, source: str, copy: str = "") -> Rows:
    """Recordings of one source and kind of copy for which there is an estimate."""
    return [r for r in rows if r["source"] == source and r["copy"] == copy and r["valence"] is not None]


def auc(rows: Rows, contrast: Contrast, across: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """From numbers of rows to the area under the curve, float [1].

    Args:
        rows: estimates.
        contrast: which of them should be above which.
        across: compares also people who were left out of different models, whose estimates aren't on one scale.
    """
    value = np.array([row[contrast.target] for row in rows], float)
    fold = np.array([0 if across else row["fold"] for row in rows])
    above, below = (
        np.array([row["emotion"] in words for row in rows], bool) for words in (contrast.above, contrast.below)
    )

    def of(numbers: np.ndarray) -> np.ndarray:
        n = numbers[(above | below)[numbers]]
        parts = [n[fold[n] == k] for k in np.unique(fold[n])]
        pairs = np.array([above[part].sum() * below[part].sum() for part in parts])
        areas = np.array([auroc(value[part], above[part]) for part in parts])
        return np.array([np.average(areas[pairs > 0], weights=pairs[pairs > 0]) if pairs.any() else np.nan])

    return of


DRAWS = 1000
"""Draws of persons for one interval."""


def with_interval(rows: Rows, statistic: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """The statistic of all rows, and its 95 % interval over persons."""
    low, high = bootstrap_groups(statistic, [row["group"] for row in rows], DRAWS)
    return [float(statistic(np.arange(len(rows)))[0]), float(low[0]), float(high[0])]


def within_speakers(rows: Rows, contrast: Contrast) -> float:
    """Mean over persons of the area under the curve among a person's own recordings."""
    people = sorted({row["group"] for row in rows})
    own = [[row for row in rows if row["group"] == person] for person in people]
    return float(np.nanmean([auc(part, contrast)(np.arange(len(part)))[0] for part in own]))


def figures(ours: Estimates, beside: Mapping[str, Estimates | None]) -> list[Measured]:
    """Everything that was needed of the default weights, measured."""
    found = []
    for contrast in CONTRASTS:
        value, low, high = with_interval(rows := chosen(ours["people"], contrast.source), auc(rows, contrast))
        found.append(Measured(_area(contrast), value, low, high, contrast.needed, value >= contrast.needed))
    for source, name in (("still", "face"), ("voice", "voice")):
        rows = [row for row in chosen(ours["people"], source) if row["emotion"] == "neutral"]
        for target in TARGETS:
            values = np.array([row[target] for row in rows])
            value, low, high = with_interval(rows, lambda n, values=values: np.array([values[n].mean()]))
            met = abs(value) <= 0.2 if target == "valence" else value < 0.2
            found.append(Measured(f"neutral {name}, mean {target}", value, low, high, 0.2, met))
    for kind in SOUND:
        value, low, high = _shift(ours["people"], "voice", kind, "arousal")
        found.append(Measured(f"voice, {kind}: mean arousal moves by", value, low, high, 0.1, abs(value) < 0.1))
    old = beside.get("weights of 0.1.0")
    for target in TARGETS:
        value = ours["rendered"][target]
        least = None if old is None else old["rendered"][target] - 0.05
        met = None if least is None else value >= least
        found.append(Measured(f"rendered clips, CCC of {target}", value, np.nan, np.nan, least, met))
    return found


def _area(contrast: Contrast) -> str:
    return f"{contrast.name} ({contrast.target}, AUC)"


def _shift(rows: Rows, source: str, kind: str, target: str) -> list[float]:
    """By how much copies of a kind move the mean estimate, with an interval over persons."""
    plain = {row["clip"]: row for row in chosen(rows, source)}
    pairs = [
        (row, plain[name]) for row in chosen(rows, source, kind) for name in [_original(row, kind)] if name in plain
    ]
    moved = np.array([row[target] - before[target] for row, before in pairs])
    return with_interval([row for row, _ in pairs], lambda n: np.array([moved[n].mean()]))


def _original(row: Mapping[str, Any], kind: str) -> str:
    return str(row["clip"]).removesuffix(f"-{word(kind)}")


def note(measured: Sequence[Measured], widths: Mapping[str, float]) -> str:
    """What users of the default weights must know, from what was measured.

    Args:
        measured: of `figures`.
        widths: of `widths`.
    """
    of = {m.what: round(100 * m.measured) for m in measured}
    face, face_arousal, voice, voice_arousal = (of[_area(contrast)] for contrast in CONTRASTS)
    wide = " and ".join(f"{width:.1f} for a {name}" for name, width in widths.items())
    return (
        "Default weights: of a happy and a sad, angry, fearful or disgusted person whom they never saw, weights made "
        f"like them place the happy one higher in valence in {face} of 100 pairs of faces and {voice} of 100 pairs of "
        f"voices (50 is guessing); by arousal, {face_arousal} and {voice_arousal} of 100 pairs are ranked right. A "
        f"single valence is uncertain: on a scale of 2, the 90 % interval is on average {wide} wide. They were trained "
        "on rendered clips, photographs and acted speech, and not on spontaneous behaviour. They are not for decisions "
        "about a person."
    )


def widths(ours: Estimates) -> dict[str, float]:
    """Face and voice -> mean width of the 90 % interval of valence."""
    rows = {name: chosen(ours["people"], source) for source, name in (("still", "face"), ("voice", "voice"))}
    return {name: float(np.mean([row["valence_width"] for row in part])) for name, part in rows.items()}


def page(ours: Estimates, beside: Mapping[str, Estimates | None], measured: Sequence[Measured], recipe: Recipe) -> str:
    """The whole page.

    Args:
        ours: what the models that left them out say of the people.
        beside: name -> what others say; None where their features weren't there.
        measured: of `figures`.
        recipe: of the models.
    """
    people = ours["people"]
    others = {name: estimates for name, estimates in beside.items() if estimates}
    missing = ", ".join(name for name in beside if name not in others)
    speakers = len({row["group"] for row in chosen(people, "voice")})
    persons = len({row["group"] for row in chosen(people, "still")})
    lost = sum(row["source"] == "still" and row["copy"] == "" and row["valence"] is None for row in people)
    return "\n".join(
        [
            "# What the default weights are worth on real people",
            "",
            f"Made by `{COMMAND}` after `make weights`. Five models of the recipe `{recipe.name}` were trained, each "
            "without a fifth of the people. Every person is estimated by the model that never saw them: "
            f"{len(chosen(people, 'still'))} photographs of {persons} persons, and {len(chosen(people, 'voice'))} "
            f"recordings of {speakers} speakers (EmoDB). No face was found in {lost} further photographs. The emotions "
            f"are those that people named or acted; as places in the plane: {SOURCE}. Intervals hold 95 % of draws of "
            "persons. Copies that a model is tested on are changed in ways that training saw too, at random. AUC is "
            "the area under the curve: how often the estimate ranks a pair right; .5 is chance.",
            "",
            "The recipe was chosen on these same people, by variants tried on some of the folds, and by small networks "
            "on the means of clips: the figures may flatter it.",
            "",
            markdown_table(
                "## What was needed\n\nAreas and CCCs must reach the figure; means and shifts must stay within it, to "
                "either side. The measured value is judged, and not its interval.",
                "",
                ["needed", "measured", "95 % interval", ""],
                _needed(measured),
            ),
            markdown_table(
                "## Beside others\n\nAreas under the curve. Pairs are of people who were left out of the same model; "
                "the second row has all pairs, though estimates of two models aren't on one scale. "
                "Ridge regressions were cross-validated on the same people; the weights of 0.1.0 knew neither these "
                "people nor any other, and read features of this version. The rule on blendshapes isn't fitted; it is "
                "the best of three that were tried on these photographs.",
                "",
                [contrast.name + f" ({contrast.target})" for contrast in CONTRASTS],
                {"**default weights**": _areas(ours), "default weights, all pairs": _areas(ours, across=True)}
                | {name: _areas(e) for name, e in others.items()},
            ),
            *([f"Not measured, since their features weren't extracted: {missing}.", ""] if missing else []),
            markdown_table(
                "Within a speaker (mean over speakers of the area among their own recordings):",
                "",
                [c.target for c in CONTRASTS if c.source == "voice"],
                {"default weights": [f"{within_speakers(chosen(people, 'voice'), c):.3f}" for c in CONTRASTS[2:]]},
            ),
            markdown_table(
                "## Through other microphones and lines",
                "voice",
                ["valence AUC", "arousal AUC", "valence moves by", "arousal moves by"],
                {"as recorded": [*_pair(people, "voice", ""), "", ""]} | {k: _copy(people, "voice", k) for k in SOUND},
            ),
            markdown_table(
                "## Through other cameras",
                "face",
                ["valence AUC", "arousal AUC", "valence moves by", "arousal moves by"],
                {"as photographed": [*_pair(people, "still", ""), "", ""]}
                | {k: _copy(people, "still", k) for k in PICTURE}
                | _by_yaw(people),
            ),
            "## Groups",
            "",
            *_by_sex(people),
            "The photographs' labels name no group, so faces couldn't be compared.",
            "",
            *_intervals(people),
        ]
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "?"


def _needed(measured: Sequence[Measured]) -> dict[str, list[str]]:
    word = {True: "holds", False: "**doesn't hold**", None: ""}
    rows = {}
    for m in measured:
        ends = f"{_number(m.low)} to {_number(m.high)}" if np.isfinite(m.low) else ""
        rows[m.what] = ["" if m.needed is None else f"{m.needed:.3g}", _number(m.measured), ends, word[m.holds]]
    return rows


def _areas(estimates: Estimates, across: bool = False) -> list[str]:
    cells = []
    for contrast in CONTRASTS:
        rows = chosen(estimates["people"], contrast.source)
        cells.append(_number(float(auc(rows, contrast, across)(np.arange(len(rows)))[0])) if rows else "")
    return cells


def _pair(rows: Rows, source: str, kind: str) -> list[str]:
    part = chosen(rows, source, kind)
    return [_number(float(auc(part, c)(np.arange(len(part)))[0])) for c in CONTRASTS if c.source == source]


def _copy(rows: Rows, source: str, kind: str) -> list[str]:
    return [*_pair(rows, source, kind), *(f"{_shift(rows, source, kind, target)[0]:+.3f}" for target in TARGETS)]


def _by_yaw(rows: Rows) -> dict[str, list[str]]:
    faces = chosen(rows, "still")
    turned = [row for row in faces if row["yaw"] is not None and row["yaw"] > YAW]
    ahead = [row for row in faces if row["yaw"] is not None and row["yaw"] <= YAW]
    named = ((f"turned by more than {YAW:g} degrees ({len(turned)})", turned), (f"by less ({len(ahead)})", ahead))
    return {name: [*_pair(part, "still", ""), "", ""] for name, part in named}


def _by_sex(rows: Rows) -> list[str]:
    """A table by sex of the speakers, and in words whether they differ by more than chance."""
    voices = chosen(rows, "voice")
    sex = np.array([SPEAKERS[str(row["group"]).removeprefix("emodb")] for row in voices])
    cells: dict[str, list[str]] = {}
    sentences = []
    for name in ("female", "male"):
        part = [row for row, s in zip(voices, sex, strict=True) if s == name]
        neutral = [row for row in part if row["emotion"] == "neutral"]
        means = [f"{np.mean([row[t] for row in neutral]):+.2f}" for t in TARGETS]
        cells[f"{name} ({len({row['group'] for row in part})} speakers)"] = [*_pair(part, "voice", ""), *means]
    for contrast in CONTRASTS[2:]:
        of = auc(voices, contrast)
        value, low, high = with_interval(voices, lambda n, of=of: of(n[sex[n] == "female"]) - of(n[sex[n] == "male"]))
        differ = "differ" if low > 0 or high < 0 else "don't differ by more than chance"
        sentences.append(
            f"By {contrast.target}, voices of women and men {differ}: women's area is larger by {value:+.3f} "
            f"({low:+.3f} to {high:+.3f})."
        )
    head = "Of EmoDB's speakers the sex is known."
    columns = ["valence AUC", "arousal AUC", "neutral: valence", "neutral: arousal"]
    return [markdown_table(head, "voice", columns, cells), *sentences, ""]


def _intervals(rows: Rows) -> list[str]:
    """Coverage and width of the 90 % intervals."""
    if not (known := [row for row in rows if row.get("valence_width") is not None]):
        return []
    cells = {}
    for source, name in (("still", "face"), ("voice", "voice")):
        part = chosen(known, source)
        own = Counter(row["group"] for row in part)
        weights = np.array([1 / own[row["group"]] for row in part])
        for persons, share in ((True, weights), (False, np.ones(len(part)))):
            keys = (f"{t}_{what}" for t in TARGETS for what in ("held", "width"))
            means = [f"{np.average([row[key] for row in part], weights=share):.2f}" for key in keys]
            cells[f"{name}, every {'person' if persons else 'recording'} counts the same"] = means
    columns = ["valence: held", "width", "arousal: held", "width"]
    head = "Share of places in the plane that the 90 % intervals hold, and mean width. They are calibrated on persons"
    return [markdown_table(f"## Intervals\n\n{head}; a few are in many photographs.", "", columns, cells)]
