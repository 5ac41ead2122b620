"""`avgate evaluate`: scores on held-out clips as the field reports them, raw and after post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from avgate.core.errors import FeatureError
from avgate.core.files import make_folder, write_json
from avgate.core.places import Place
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Example, load_examples
from avgate.evaluation.scoring import label_traces, score, unvarying
from avgate.evaluation.sureness import score_intervals
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.intervals import persons_needed

FEW_CLIPS = 5
"""With fewer clips than this, a bootstrap over clips draws from too few to mean much."""


def evaluate(
    estimator: Estimator, corpus: Corpus, store: FeatureStore, split: str = "test", name: str = ""
) -> dict[str, Any]:
    """Score a trained model on one split of a corpus.

    Args:
        estimator: what to score.
        corpus: labelled clips.
        store: their features.
        split: which of the clips.
        name: what to call it beside others; its fusion unless given.

    Returns:
        Model, split and number of clips; under "doubts" what must be known of scores on them, in words; under "raw" and
        "smoothed" what scoring.score returns; under "intervals" what
        sureness.score_intervals does.

    Raises:
        FeatureError: the stored features or the corpus' targets aren't those of the checkpoint.
    """
    recipe, checkpoint = estimator.recipe, estimator.checkpoint
    examples, specs = load_examples(corpus, store, recipe, split)
    estimator.check(specs, where=store.root)
    missing = set(estimator.targets) - set(examples[0].labels.targets)
    if missing:
        raise FeatureError(f"the corpus has no labels for {', '.join(sorted(missing))}", where=corpus.name)
    width = checkpoint.smooth_steps
    traces = label_traces(estimator, examples, [width])[width]
    return {
        "name": name or recipe.fusion,
        "fusion": recipe.fusion,
        "recipe": recipe.name,
        "corpus": corpus.name,
        "seed": recipe.train.seed,
        "split": split,
        "clips": len(examples),
        "doubts": doubts(examples, estimator.targets, split),
        "smooth_s": estimator.smooth_s,
        "note": " ".join(checkpoint.caveats),
        "avgate": checkpoint.avgate,
        "raw": score(traces, examples, estimator.targets, raw=True),
        "smoothed": score(traces, examples, estimator.targets),
        "intervals": score_intervals(estimator, traces, examples, corpus),
    }


def doubts(examples: Sequence[Example], targets: Sequence[str], split: str) -> list[str]:
    """What must be known of scores on these clips, in words: that they are few, or that their labels don't vary."""
    found = unvarying(examples, targets, split)
    if len(examples) == 1:
        return ["The scores rest on 1 clip, so there is no interval over clips.", *found]
    if len(examples) < FEW_CLIPS:
        what = f"{len(examples)} clips: below {FEW_CLIPS}, the interval over clips means little."
        return [f"The scores rest on {what}", *found]
    return found


def _number(value: float, decimals: int = 3) -> str:
    """A score, or – where it can't be measured."""
    return "–" if value != value else f"{value:.{decimals}f}"


def scores_table(results: Sequence[dict[str, Any]]) -> Table:
    """CCC per target with its interval, PCC and RMSE: one row per model, raw and smoothed; – can't be measured."""
    targets = list(results[0]["raw"]["interval"])
    shown = Table(title="{corpus}, {split} split, {clips} clips, pooled over all frames".format_map(results[0]))
    shown.add_column("model")
    shown.add_column("estimate")
    for target in targets:
        shown.add_column(f"{target}\nCCC [95 %]", justify="right")
    for name in ("mean\nCCC", "mean\nPCC", "mean\nRMSE"):
        shown.add_column(name, justify="right")
    for result in results:
        for kind in ("raw", "smoothed"):
            found = result[kind]
            cells = [
                f"{_number(found['pooled'][t]['ccc'])} [{', '.join(_number(end, 2) for end in found['interval'][t])}]"
                for t in targets
            ]
            label = kind if kind == "raw" else f"mean filter {result['smooth_s']:.1f} s"
            means = [_number(found["pooled"]["mean"][m]) for m in ("ccc", "pcc", "rmse")]
            shown.add_row(result["name"], label, *cells, *means)
    shown.caption = " ".join(dict.fromkeys(doubt for result in results for doubt in result["doubts"])) or None
    return shown


def intervals_table(results: Sequence[dict[str, Any]]) -> Table | None:
    """How good the intervals are, beside constant width; None if no model has any.

    `held` is the share of the persons whose coverage is at most 0.1 below the level, `rank` the rank correlation of
    width and absolute error.
    """
    rated = [result for result in results if result["intervals"]]
    if not rated:
        return None
    level = rated[0]["intervals"]["level"]
    shown = Table(title=f"{100 * level:g} % intervals, and intervals of constant width about the same estimates")
    for head in ("model", "target", ""):
        shown.add_column(head)
    for head in ("coverage", "held", "width", "Winkler", "rank"):
        shown.add_column(head, justify="right")
    notes = [f"{result['name']} has no intervals." for result in results if not result["intervals"]]
    for result in rated:
        name, persons = result["name"], result["intervals"]["persons"]
        if persons < persons_needed(level):
            notes.append(f"{name} was calibrated on {persons} persons; {persons_needed(level)} or more are needed.")
        for target, found in result["intervals"]["targets"].items():
            for kind, scores in (("own", found), ("constant", found["constant"])):
                cells = [_number(scores[score]) for score in ("coverage", "persons_held", "width", "winkler")]
                shown.add_row(name, target, kind, *cells, _number(found["rank"], 2) if kind == "own" else "")
            if "raters" in found:
                notes.append(
                    f"{name}, {target}: {found['raters']:.1f} times as wide as the interval of the raters' own mean."
                )
    shown.caption = " ".join(notes) or None
    return shown


def write_scores(results: Sequence[dict[str, Any]], path: Place) -> Place:
    """Write the scores, per clip too, as JSON; what can't be measured is null.

    OutputError where it can't be written.
    """
    make_folder(path.parent)
    write_json(path, list(results))
    return path
