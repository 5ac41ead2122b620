"""Verbs for Aff-Wild2: the papers' protocol, and files for its challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from avgate.cli.options import (
    Accelerator,
    Checkpoints,
    Data,
    FaceModel,
    Precision,
    Recipe,
    Set,
    Store,
    Workers,
    default,
)


def reproduce(
    corpus: Annotated[Literal["affwild2"], Positional],
    data: Data,
    out: Path,
    recipe: Recipe = "affwild2-hgrjca",
    folds: int = 6,
    set: Set = (),
    sample: Annotated[Path | None, default("no submission")] = None,
    store: Store = None,
    face_model: FaceModel = None,
    workers: Workers = None,
    accelerator: Accelerator = "auto",
    precision: Precision = "32-true",
) -> None:
    """Extract, train and evaluate on Aff-Wild2 as the papers do, and print the result beside theirs.

    Run it again to continue after an interruption. Its recipes are those whose names begin with affwild2.

    For example: avgate reproduce affwild2 --data AFFWILD2 --out reproduction

    Args:
        corpus: Whose papers.
        out: Folder for the runs, reproduction.json and submission.csv.
        folds: How many folds; the first is the official split.
        sample: The challenge's sample file; then submission.csv joins the models of all folds.
    """
    from rich.console import Console

    from avgate.apps.affwild2.reproduce import beside_papers
    from avgate.apps.affwild2.reproduce import reproduce as run
    from avgate.core.files import make_folder
    from avgate.models.overrides import override
    from avgate.models.recipes import recipe_named

    results = run(
        data,
        make_folder(out),
        override(recipe_named(recipe), *set),
        folds=folds,
        store=store,
        sample=sample,
        face_model=str(face_model) if face_model else None,
        workers=workers,
        accelerator=accelerator,
        precision=precision,
    )
    Console().print(beside_papers(results))


def submit(
    checkpoints: Checkpoints,
    data: Data,
    sample: Path,
    out: Path,
    store: Store = None,
) -> None:
    """Write a submission for Aff-Wild2's challenge: estimates for the rows of its sample file, in their order.

    Several models are joined by CCC centring.

    For example: avgate submit run --data AFFWILD2 --sample sample.csv --out submission.csv

    Args:
        sample: The challenge's sample file.
        out: File to write.
    """
    from rich.markup import escape

    from avgate.apps.affwild2.submission import submit as run
    from avgate.core.console import console
    from avgate.core.errors import UsageError
    from avgate.core.files import refuse_overwriting
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside
    from avgate.inference.estimator import Estimator
    from avgate.models.checkpoint import checkpoint_file

    if not checkpoints:
        raise UsageError("there is nothing to submit", hint="name one or more runs or checkpoints")
    refuse_overwriting([sample, *map(checkpoint_file, checkpoints)], {"--out": out})
    features = FeatureStore(store or features_beside(data))
    loaded = [Estimator(path) for path in checkpoints]
    filled = run(loaded, open_corpus("affwild2", data), features, sample, out)
    for video, count in filled.items():
        console.print(f"[yellow]{escape(video)}:[/] {count} frames without an estimate were interpolated")
    console.print(f"{out} is written and has the rows of {sample}", soft_wrap=True, markup=False)


def check_submission(submission: Annotated[Path, Positional], sample: Path) -> None:
    """Check a submission for Aff-Wild2's challenge against its sample file, and name the first row that is wrong.

    For example: avgate check-submission submission.csv --sample sample.csv

    Args:
        submission: The file to check.
        sample: The challenge's sample file.
    """
    from avgate.apps.affwild2.submission import check_submission as run
    from avgate.core.console import console

    console.print(f"{submission}: {run(submission, sample)} rows, as asked for", soft_wrap=True, markup=False)
