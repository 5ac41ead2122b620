"""`avgate reproduce affwild2`: extract, train and evaluate as the papers do, and the result beside what they report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from rich.table import Table

from avgate.apps.affwild2.published import AFFWILD2, COLUMNS
from avgate.apps.affwild2.submission import read_sample, submit
from avgate.core.console import console
from avgate.core.errors import UsageError
from avgate.core.files import make_folder, write_json
from avgate.core.places import Place
from avgate.corpora.affwild2 import FOLDS, AffWild2
from avgate.evaluation.evaluate import evaluate
from avgate.features.extract import extract
from avgate.features.store import FeatureStore, features_beside
from avgate.inference.estimator import Estimator
from avgate.models.recipe import Recipe
from avgate.training.train import train


def reproduce(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    folds: int = FOLDS,
    store: Place | None = None,
    sample: Path | None = None,
    face_model: str | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
) -> dict[str, Any]:
    """Run the whole, or go on where an earlier call stopped.

    Fold 0 is the official split, and its validation CCC is what papers report. The other folds mix training and
    validation anew; all are joined by CCC centring for the submission.

    Args:
        data: the release's folder.
        out: folder for runs, reproduction.json and, with a sample, submission.csv.
        recipe: what is trained.
        folds: how many, from the official split on.
        store: folder of the features; DATA/features unless given.
        sample: the challenge's sample file.
        face_model: face_landmarker.task, or None for the default one.
        workers: processes for the extraction; None is one per core.
        accelerator: auto, cpu, cuda, ...
        precision: numeric precision.

    Returns:
        What reproduction.json holds: per fold the scores of its own validation videos.
    """
    if not 1 <= folds <= FOLDS:
        raise UsageError(f"there are 1 to {FOLDS} folds, not {folds}", where="--folds")
    if sample:
        read_sample(sample)  # hours before it is needed
    root, corpus = store or features_beside(data), AffWild2(data)
    extract(corpus.clips(), root, recipe.backbones, recipe.label_rate, face_model=face_model, workers=workers)
    features, estimators, scores = FeatureStore(root), [], []
    for fold in range(folds):
        console.say((f"fold {fold}", "bold"), " (the official split)" if fold == 0 else "")
        split = AffWild2(data, fold)
        run = make_folder(out / f"fold{fold}")
        estimator = train(split, features, recipe, run, accelerator=accelerator, precision=precision)
        estimators.append(estimator)
        scores.append(evaluate(estimator, split, features, "validation", f"fold {fold}"))
    results: dict[str, Any] = {"recipe": recipe.name, "fusion": recipe.fusion, "folds": scores}
    if sample:
        results["interpolated"] = _submission(estimators, corpus, features, sample, out / "submission.csv")
    write_json(out / "reproduction.json", results)
    return results


def _submission(
    estimators: Sequence[Estimator], corpus: AffWild2, features: FeatureStore, sample: Path, out: Path
) -> dict[str, int]:
    filled = submit(estimators, corpus, features, sample, out)
    console.say(f"{out} joins {len(estimators)} folds")
    return filled


def beside_papers(results: dict[str, Any]) -> Table:
    """A table: what was measured, above what papers report."""
    shown = Table(title="CCC on Aff-Wild2; rows below the line are quoted from papers, not measured here")
    shown.add_column("method")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    official, *others = results["folds"]
    shown.add_row(f"{results['fusion']} ({results['recipe']}), official split", *_cells([official]))
    if others:
        shown.add_row(f"the same, mean of {len(others)} further folds", *_cells(others))
    shown.add_section()
    for method, reported in AFFWILD2.items():
        shown.add_row(method, *astuple(reported))
    return shown


def _cells(folds: Sequence[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Validation cells with the mean over folds; test labels are the organisers'."""
    scores = {t: [fold["smoothed"]["pooled"][t]["ccc"] for fold in folds] for t in AffWild2.targets}
    known = {t: [x for x in found if math.isfinite(x)] for t, found in scores.items()}
    valence, arousal = (f"{sum(known[t]) / len(known[t]):.3f}" if known[t] else "" for t in AffWild2.targets)
    return valence, "", arousal, ""
