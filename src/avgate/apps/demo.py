"""`avgate demo`: the whole way on rendered clips, in minutes: render, extract, train four fusions, compare, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avgate.apps.predict.one import Summary, predict_one
from avgate.core.console import console, progress
from avgate.corpora.rendered import RenderConfig, Rendered, render
from avgate.evaluation.evaluate import evaluate, intervals_table, scores_table, write_scores
from avgate.features.extract import extract
from avgate.features.store import FeatureStore
from avgate.inference.predictor import Predictor
from avgate.models.recipes import recipe_named
from avgate.report.writers import WRITERS
from avgate.training.batches import load_splits
from avgate.training.train import train

FUSIONS = ("audio", "video", "concat", "hgrjca")


def demo(out: Path, *, fusions: Sequence[str] = FUSIONS, workers: int | None = None) -> list[dict[str, Any]]:
    """Run the whole way and print what each fusion is worth on identities that no model has seen.

    Everything under `out` is kept and taken up again when the command runs a second time.

    Args:
        out: folder for clips, features, runs, scores.json and report.html.
        fusions: what to compare; the last one's report is written.
        workers: processes for rendering and extraction; None is one per core.

    Returns:
        What `evaluate` gives for each fusion.
    """
    recipe = recipe_named("demo")
    data = out / "clips"
    render_with_progress(data, RenderConfig(), workers)
    corpus = Rendered(data)
    extract(corpus.clips(), out / "features", recipe.backbones, recipe.label_rate, workers=workers)
    store = FeatureStore(out / "features")
    prepared = load_splits(corpus, store, recipe)
    results = []
    for fusion in fusions:
        run = out / "runs" / fusion
        estimator = train(corpus, store, recipe.with_fusion(fusion), run, prepared=prepared)
        results.append(evaluate(estimator, corpus, store))
    write_scores(results, out / "scores.json")
    console.print(scores_table(results))
    sure = intervals_table(results)
    if sure is not None:
        console.print(sure)
    clip = next(c for c in corpus.clips() if c.split == "test")
    trace = predict_one(Predictor(estimator), clip.video, out, "report", WRITERS, report=True)
    Summary.of(trace).say(out / "report")
    return results


def render_with_progress(root: Path, config: RenderConfig, workers: int | None = None) -> Path:
    """Render the embedded corpus with a progress bar."""
    with progress() as bar:
        task = bar.add_task("Rendering clips", total=config.identities * config.clips_per_identity)
        return render(root, config, workers=workers, on_clip=lambda *_: bar.advance(task))
