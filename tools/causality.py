"""Make docs/causality.md: what a model loses by seeing no later step, part by part. Needs ../shared; hours, resumable.

WORK/rendered/     clips and their features
WORK/full/         each training's scores and model, see compare/kept.py; the next call takes them up
WORK/quick/        the same with --quick
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avgate.apps.demo import render_with_progress
from avgate.compare.comparison import train_and_measure
from avgate.compare.data import Data, load_data
from avgate.compare.kept import Kept
from avgate.compare.markdown import markdown_table
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Run
from avgate.compare.statistics import paired_bootstrap
from avgate.core.console import console, quiet
from avgate.core.files import atomic_write, make_folder
from avgate.core.metrics import ccc_of
from avgate.core.timeline import read_cell, read_off
from avgate.core.types import Trace
from avgate.corpora.rendered import RenderConfig, Rendered
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import choose_smoothing, label_moments
from avgate.features.extract import extract
from avgate.inference.estimator import Estimator
from avgate.inference.smoothing import finish
from avgate.models.overrides import override
from avgate.models.recipe import Recipe
from avgate.models.recipes import recipe_named
from tools.commit import git_commit

DOCS = Path(__file__).resolve().parents[1] / "docs"
HAZUMI = DOCS.parents[1] / "shared" / "data" / "hazumi"
ALLOWED = 0.03
"""How much CCC a causal model may lose."""

PUBLISHED, ENCODERS, MIXING, BOTH = "as published", "causal encoders", "decay mixing", "both"
_ENCODERS = ("model.encoders.audio.causal=True", "model.encoders.video.causal=True")
_MIXING = ("model.fusion.time_mixing=decay",)
MODELS: dict[str, tuple[str, ...]] = {
    PUBLISHED: (),
    BOTH: (*_ENCODERS, *_MIXING),
    ENCODERS: _ENCODERS,
    MIXING: _MIXING,
}
"""What is trained, the most important first -> what it changes in the recipe."""


@dataclass(frozen=True)
class Reading:
    """How estimates come about.

    Attributes:
        model: one of MODELS.
        one_sided: whether its estimates are smoothed and read one-sided.
        later: how many steps after the label's time they are read.
    """

    model: str
    one_sided: bool = False
    later: int = 0


ROWS = {
    "as published": Reading(PUBLISHED),
    "one-sided smoothing alone": Reading(PUBLISHED, one_sided=True),
    "causal encoders alone": Reading(ENCODERS),
    "`decay` mixing alone": Reading(MIXING),
    "causal encoders and `decay` mixing": Reading(BOTH),
    "all three: the causal model, as it is used live": Reading(BOTH, one_sided=True),
}
"""Rows of every table."""

FIRST, _, ENCODERS_ROW, _, UNSMOOTHED, LIVE = ROWS


@dataclass(frozen=True)
class Study:
    """One corpus.

    Attributes:
        corpus: kind of corpus.
        recipe: name of its recipe.
        folds: cross-validation by person with so many folds; 0 takes the corpus' own splits.
        quick: changes of the recipe, for all models alike, that make training take a third of the time or less.
        window_tries: settings that are tried with `window` mixing.
        decay_tries: as many that are tried with `decay` mixing.
        later: how many steps later the causal model's estimates are also read.
    """

    corpus: str
    recipe: str
    folds: int
    quick: tuple[str, ...]
    window_tries: tuple[str, ...]
    decay_tries: tuple[str, ...]
    later: tuple[int, ...] = ()

    @property
    def rows(self) -> dict[str, Reading]:
        """All rows of its table."""
        rate = recipe_named(self.recipe).label_rate
        return ROWS | {f"the same, read {n / rate:g} s later": Reading(BOTH, True, n) for n in self.later}

    def tries(self, model: str) -> tuple[str, ...]:
        """The settings that are tried of a model."""
        return self.decay_tries if _MIXING[0] in MODELS[model] else self.window_tries


_STEPS = "model.fusion.scale=sqrt_d_and_steps"
STUDIES = (
    Study(
        "rendered",
        "demo",
        0,
        ("train.epochs=15",),
        ("train.lr=2e-3", "train.lr=1e-3", "train.lr=4e-3", "train.lr=3e-3"),
        (
            "train.lr=2e-3",
            f"train.lr=2e-3 {_STEPS}",
            "train.lr=1e-3",
            f"train.lr=1e-3 {_STEPS} model.fusion.reach=20",
        ),
        later=(5, 10),
    ),
    Study(
        "hazumi",
        "hazumi",
        5,
        ("model.encoders.audio.dim=48", "model.encoders.video.dim=48"),
        ("train.lr=3e-3", "train.weight_decay=0.3", "train.lr=1.5e-3", "train.lr=6e-3"),
        (
            "train.lr=3e-3",
            f"train.lr=3e-3 {_STEPS}",
            f"train.lr=3e-3 {_STEPS} model.fusion.reach=10",
            f"train.weight_decay=0.3 {_STEPS}",
        ),
    ),
)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        moments: of every seed, clip and target (see metrics.moments), float64 [seeds clips k 6].
        thirds: the same of the first, second and last third of every clip, float64 [3 seeds clips k 6].
        widths: chosen widths of the mean filter in seconds, of every seed and fold.
    """

    moments: np.ndarray
    thirds: np.ndarray
    widths: tuple[float, ...]

    @property
    def scores(self) -> np.ndarray:
        """CCC of every seed, of each target and their mean: float64 [seeds k + 1]."""
        by_target = ccc_of(self.moments.sum(1))
        return np.column_stack([by_target, by_target.mean(1)])

    @property
    def scores_of_thirds(self) -> np.ndarray:
        """Mean CCC of the targets in each third of the clips, mean over seeds: float64 [3]."""
        return ccc_of(self.thirds.sum(2)).mean((1, 2))


@dataclass(frozen=True)
class Found:
    """What has been measured on one corpus so far.

    Attributes:
        study: the corpus.
        seeds: how many.
        tested: how many of its folds, or 1.
        quick: whether its recipe is the quick one.
        recipe: its recipe.
        targets: names.
        tries: model -> setting -> validation CCC with the first seed, of every fold.
        rows: row of the table -> what it says.
    """

    study: Study
    seeds: int
    tested: int
    quick: bool
    recipe: Recipe
    targets: tuple[str, ...]
    tries: Mapping[str, Mapping[str, Sequence[float]]]
    rows: Mapping[str, Row]


class Trainer:
    """Trains what isn't kept yet.

    Args:
        protocol: the corpus, its features and its folds.
        recipe: its recipe, as published.
        work: folder for all trainings.
    """

    def __init__(self, protocol: Protocol, recipe: Recipe, work: Path):
        self.protocol, self.recipe, self.kept = protocol, recipe, Kept(work)
        self.kept.make_folders()
        self.data: Data = load_data(protocol, recipe)

    def trained(self, model: str, setting: str, number: int, fold: int, seed: int) -> tuple[Outcome, Estimator]:
        """A training's scores and model; `number` tells the settings apart in the names of files."""
        name = f"{self.protocol.corpus}-{model.replace(' ', '-')}-{number}"
        run = Run(name, override(self.recipe, *MODELS[model]), fold, seed, (setting,))
        identity = self.data.identity(run, self.protocol)
        outcome = self.kept.load(run, identity, stress=False)
        if outcome is None:
            console.say(f"Training {run.name}: {setting}")
            with quiet():
                outcome, checkpoint = train_and_measure(self.protocol, self.data, run)
            self.kept.save(run, identity, outcome, checkpoint)
            console.say(f"{outcome.seconds:.0f} s; validation CCC {outcome.validation:.3f}")
        return outcome, Estimator(self.kept.checkpoint(run))

    def rows(
        self, model: str, tries: Sequence[str], readings: Mapping[str, Reading], seeds: int, tested: int
    ) -> tuple[dict[str, list[float]], dict[str, Row]]:
        """Tune a model on every fold with the first seed, train it with all; see Found's tries and rows."""
        validation: dict[str, list[float]] = {setting: [] for setting in tries}
        names = [name for name, reading in readings.items() if reading.model == model]
        found: dict[str, list[list[tuple[np.ndarray, np.ndarray, float]]]] = {name: [] for name in names}
        for fold in range(tested):
            tried = [self.trained(model, setting, k, fold, 0)[0].validation for k, setting in enumerate(tries)]
            for setting, value in zip(tries, tried, strict=True):
                validation[setting].append(value)
            best = int(np.argmax(np.nan_to_num(tried, nan=-1.0)))
            models = [self.trained(model, tries[best], best, fold, seed)[1] for seed in range(seeds)]
            for name in names:
                found[name].append([self.measured(one, fold, readings[name]) for one in models])
        return validation, {
            name: Row(
                np.stack([np.concatenate([fold[seed][0] for fold in of]) for seed in range(seeds)]),
                np.stack([np.concatenate([fold[seed][1] for fold in of], axis=1) for seed in range(seeds)], axis=1),
                tuple(width for fold in of for *_, width in fold),
            )
            for name, of in found.items()
        }

    def measured(self, estimator: Estimator, fold: int, reading: Reading) -> tuple[np.ndarray, np.ndarray, float]:
        """Moments on a fold's test clips, float64 [clips k 6], of their thirds [3 clips k 6], and the width in seconds.

        The width of the mean filter is chosen on the fold's validation clips.
        """
        parts = self.data.folds[fold]
        training, validation, test = (self.data.part(g) for g in (parts.train, parts.validation, parts.test))
        grid = self.recipe.grid
        widths = sorted({2 * (grid.seconds_to_steps(s) // 2) + 1 for s in self.recipe.smooth_s})
        width = choose_smoothing(read(estimator, validation, widths, reading), validation, estimator.targets)
        prior = np.nanmean(np.concatenate([e.steps for e in training]), axis=0)
        traces = read(estimator, test, [width], reading)[width]
        whole, *thirds = (
            label_moments(traces, [within(e, *part) for e in test], estimator.targets, prior)
            for part in ((0, 1), (0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1))
        )
        return whole, np.stack(thirds), (width if width > 1 else 0) / grid.rate


def within(example: Example, first: float, last: float) -> Example:
    """The example with labels from one share of the clip's labels to another alone."""
    share = (np.arange(len(example.labels.time_s)) + 0.5) / len(example.labels.time_s)
    inside = (share >= first) & (share < last)
    values = np.where(inside[:, None], example.labels.values, np.nan)
    return replace(example, labels=replace(example.labels, values=values))


def read(
    estimator: Estimator, examples: Sequence[Example], widths: Sequence[int], reading: Reading
) -> dict[int, list[Trace]]:
    """scoring.label_traces with smoothing of either kind, whether or not the model is causal.

    Centred smoothing goes with interpolated steps, one-sided smoothing with each time's own step, as Estimator.read has
    it for ordinary and for causal models. Read later, the end of a clip has the last label's estimate.
    """
    found: dict[int, list[Trace]] = {width: [] for width in widths}
    at = read_cell if reading.one_sided else read_off
    for example in examples:
        estimate, times = estimator.estimate(example.features), example.labels.time_s
        trace = estimator.read(example.features, estimate, times, 1)
        for width, traces in found.items():
            smooth = finish(estimate.raw, width, len(estimator.targets), reading.one_sided)
            columns = at(smooth, estimate.grid, np.minimum(times + reading.later / estimate.grid.rate, times[-1])).T
            traces.append(replace(trace, targets=dict(zip(estimator.targets, columns, strict=True))))
    return found


def run(
    hazumi: Path, work: Path, only: Sequence[str], *, seeds: int, tested: int, tried: int, quick: bool
) -> Iterator[list[Found]]:
    """Train model after model on both corpora; gives all that is known after each."""
    trainers, found = {}, {}
    for study in STUDIES:
        if study.corpus not in only:
            continue
        # The spread head changes no target, and takes a fifth of the time.
        recipe = override(recipe_named(study.recipe), *(study.quick if quick else ()), "model.spread=False")
        folder = hazumi if study.corpus == "hazumi" else _rendered(work, recipe)
        protocol = Protocol(study.corpus, folder, folder / "features", study.folds, accelerator="cpu")
        trainers[study] = Trainer(protocol, recipe, work / ("quick" if quick else "full"))
        count, targets = min(tested, protocol.splits), trainers[study].data.corpus.targets
        found[study] = Found(study, seeds, count, quick, recipe, targets, {}, {})
    for model in MODELS:
        for study, trainer in trainers.items():
            before = found[study]
            tries, rows = trainer.rows(model, study.tries(model)[:tried], study.rows, seeds, before.tested)
            found[study] = replace(before, tries={**before.tries, model: tries}, rows={**before.rows, **rows})
            yield [*found.values()]


def _rendered(work: Path, recipe: Recipe) -> Path:
    """The demonstration corpus as docs/results.md has it, with features."""
    clips = make_folder(work / "rendered")
    render_with_progress(clips, RenderConfig(identities=24, clips_per_identity=2, seconds=28.0))
    extract(Rendered(clips).clips(), clips / "features", recipe.backbones, recipe.label_rate)
    return clips


def page(found: Sequence[Found], command: str) -> str:
    """The whole page; every number comes from what was found."""
    parts = [
        "# What it costs to see nothing of what comes later",
        "",
        f"Made by `{command}` at {git_commit()}; every number comes from that command.",
        "",
        *_conclusion(found),
        "A model for live use sees no later step. Three parts of hgrjca [as published](fusions.md) do: encoders that "
        "are centred (or run in both directions), `window` mixing, whose correlations are over a whole window, and "
        "smoothing by a centred mean. Each has a causal form: encoders with `causal=True`, `time_mixing=decay`, and a "
        "mean of a step and those before it. Here each is changed alone, and then all together.",
        "",
        "A model that isn't causal throughout runs in overlapping windows, a causal one through the whole clip. "
        "Smoothing changes no model: it is put on the same trained model's estimates. With the one-sided mean, each "
        "time has its own step's estimate; with the centred one, it is interpolated to the next step. Features are the "
        "ordinary ones in all rows; how far those for live use are from them says [features for live "
        "use](causal-features.md).",
        "",
    ]
    for one in found:
        parts += [f"## {one.study.corpus}", "", *_about(one), _table(one), *_said(one), "", _tuned(one)]
    return "\n".join(parts)


def _conclusion(found: Sequence[Found]) -> list[str]:
    """What to conclude, as soon as both models are trained."""
    lost = [_lost(one.rows[LIVE], one.rows[FIRST]) for one in found if FIRST in one.rows and LIVE in one.rows]
    if not lost:
        return []
    much = min(float(x.min()) for x in lost) < -ALLOWED
    expect = "a smaller CCC live, in some targets clearly so" if much else "about the same CCC live"
    return [
        f"Expect {expect}, and measure it on recordings of your own: this is about hgrjca on ordinary features, and "
        "the weights for live use are rhgrjca on causal ones.",
        "",
    ]


def _about(one: Found) -> list[str]:
    splits = f"{one.tested} of {one.study.folds} folds by person" if one.study.folds else "the corpus' own splits"
    clips = next(iter(one.rows.values())).moments.shape[1] if one.rows else 0
    changes = " ".join(one.study.quick)
    quick = f" Of all models alike, less is trained than the recipe says (--quick): `{changes}`." if one.quick else ""
    smooth = "" if max(one.recipe.smooth_s) else " Its estimates aren't smoothed, so smoothing costs nothing here."
    return [
        f"Recipe `{one.study.recipe}`, {splits}, {clips} test clips, seeds 0 to {one.seeds - 1}. A window has "
        f"{one.recipe.window} steps. No model has a spread head, which changes no target.{quick}{smooth}",
        "",
    ]


def _table(one: Found) -> str:
    reference, k = one.rows.get(FIRST), len(one.targets)
    cells = {}
    for name in one.study.rows:
        row = one.rows.get(name)
        if row is None:
            continue
        scores = [f"{m:.3f} ± {s:.3f}" for m, s in zip(row.scores.mean(0), row.scores.std(0), strict=True)]
        less = [""] * (k + 1)
        if reference is not None and name != FIRST:
            less = [f"{_lost(row, reference)[t]:+.3f}{_interval(row, reference, t)}" for t in range(k + 1)]
        cells[name] = [*scores, *less, ", ".join(f"{w:g}" for w in sorted(set(row.widths)))]
    names = (*one.targets, "mean")
    return markdown_table(
        "CCC on test clips, mean and standard deviation over seeds; difference to the first row, for single targets "
        "with the 95 % interval over test clips; widths of the mean filter in seconds that were chosen.",
        "changed",
        [*names, *(f"{name}, difference" for name in names), "smoothing"],
        cells,
    )


def _lost(row: Row, other: Row) -> np.ndarray:
    """Difference of the CCC, mean over seeds, of each target and their mean."""
    return (row.scores - other.scores).mean(0)


def _interval(row: Row, other: Row, target: int) -> str:
    if target == row.moments.shape[2]:
        return ""
    found = paired_bootstrap(row.moments[:, :, target], other.moments[:, :, target])
    return f" [{found.low:+.3f}, {found.high:+.3f}]"


def _said(one: Found) -> list[str]:
    """One sentence per finding."""
    if FIRST not in one.rows or LIVE not in one.rows:
        return ["Not all models are trained yet."]
    reference, live = one.rows[FIRST], one.rows[LIVE]
    lost = _lost(live, reference)
    inside = [x >= -ALLOWED for x in lost[:-1]]
    each = ", ".join(f"{x:+.3f} in {t}" for t, x in zip(one.targets, lost[:-1], strict=True))
    if all(inside):
        verdict = f"It loses no more than {ALLOWED:g} in any target"
    else:
        beyond = " and ".join(t for t, ok in zip(one.targets, inside, strict=True) if not ok)
        mean = "more" if lost[-1] < -ALLOWED else "less"
        verdict = f"**It loses more than {ALLOWED:g} in {beyond}**, and {mean} than that in the mean"
    parts = {
        name: _lost(one.rows[name], reference)[-1]
        for name in ROWS
        if name in one.rows and name not in (FIRST, LIVE, UNSMOOTHED)
    }
    alone = "; ".join(f"{name} {x:+.3f}" for name, x in parts.items()) or "not trained yet"
    after = _lost(live, one.rows[UNSMOOTHED])[-1]
    said = [
        f"- The causal model, as it is used live, against the published one: {each}, {lost[-1]:+.3f} in the mean. "
        f"{verdict}.{_doubt(one)}",
        f"- By part, mean of the targets: {alone}.",
        f"- In the causal model, one-sided smoothing changes {after:+.3f}; what comes before it, "
        f"{_lost(one.rows[UNSMOOTHED], reference)[-1]:+.3f}.",
    ]
    if ENCODERS_ROW in one.rows:
        mixing = _lost(one.rows[UNSMOOTHED], one.rows[ENCODERS_ROW])[-1]
        said.append(
            f"- With causal encoders in both, `decay` mixing in place of `window` mixing changes {mixing:+.3f}."
        )
    thirds = " / ".join(f"{x:+.3f}" for x in live.scores_of_thirds - reference.scores_of_thirds)
    said.append(f"- The causal model against the published one in the first, second and last third of clips: {thirds}.")
    worst = min(parts, key=lambda name: parts[name], default="")
    if len(parts) > 1 and parts[worst] < 0:
        dearest = worst.removesuffix(" alone")
        said.append(f"- Of the parts changed alone, the dearest is {dearest} ({parts[worst]:+.3f}).")
    late = [name for name in one.rows if name not in ROWS]
    if late:
        each = "; ".join(f"{name} {_lost(one.rows[name], reference)[-1]:+.3f}" for name in late)
        said.append(
            f"- How much of the loss is delay, by the causal model's estimates of a later time: {each}. Live, this "
            "would be a result that comes so much later."
        )
    return said


def _doubt(one: Found) -> str:
    """How little a verdict is supported, where trainings were spared."""
    few = [f"{one.seeds} seeds"]
    if one.tested < one.study.folds:
        few.append("one fold" if one.tested == 1 else f"{one.tested} of {one.study.folds} folds")
    if one.quick:
        few.append("shortened training")
    return f" That rests on little: {', '.join(few)}." if len(few) > 1 else ""


def _tuned(one: Found) -> str:
    """The settings that were tried, and their validation scores."""
    cells = {}
    for model, tries in one.tries.items():
        taken = [max(tries, key=lambda setting: tries[setting][fold]) for fold in range(one.tested)]
        for setting, values in tries.items():
            mark = f"in {taken.count(setting)} of {one.tested}" if setting in taken else ""
            cells[f"{model}: `{setting}`"] = [f"{np.mean(values):.3f}", mark]
    return markdown_table(
        "Tried with the first seed: CCC on validation clips, mean over folds, and in how many folds it was the best "
        "and was taken for all seeds. Test clips have no part in it. Every model has the same number of tries.",
        "model and setting",
        ["validation CCC", "taken"],
        cells,
    )


def main() -> None:
    """Train what isn't trained yet, and write the page anew after each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hazumi", type=Path, default=HAZUMI, help="folder that holds clones of Hazumi's repositories")
    parser.add_argument("--work", type=Path, default=DOCS.parent / "work" / "causality", help="folder for trainings")
    parser.add_argument("--out", type=Path, default=DOCS / "causality.md", help="the page")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model on each fold")
    parser.add_argument("--folds", type=int, default=5, help="how many of hazumi's folds are tested, the first ones")
    parser.add_argument(
        "--tries", type=int, default=4, help="how many settings are tried of each model, the first ones"
    )
    parser.add_argument("--quick", action="store_true", help="smaller models, or fewer epochs, for all alike")
    names = [study.corpus for study in STUDIES]
    parser.add_argument("--corpora", nargs="+", choices=names, default=names, help="which corpora")
    given = parser.parse_args()
    if "hazumi" in given.corpora and not given.hazumi.is_dir():
        raise SystemExit(f"there is no {given.hazumi}: give the folder of clones of Hazumi's repositories, --hazumi")
    command = shlex.join(["python", "-m", "tools.causality", *sys.argv[1:]])
    size = {"seeds": given.seeds, "tested": given.folds, "tried": given.tries, "quick": given.quick}
    for found in run(given.hazumi, given.work, given.corpora, **size):
        with atomic_write(given.out) as temporary:
            temporary.write_text(page(found, command))
        console.say(f"Wrote {given.out}")


if __name__ == "__main__":
    main()
