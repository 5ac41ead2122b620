"""Verbs of one benchmark, Aff-Wild2: the papers' protocol and its submission files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def reproduce(
    corpus: Annotated[Literal["affwild2"], Positional],
    data: Path,
    out: Path,
    recipe: str = "affwild2-hgrjca",
    folds: int = 6,
    set: tuple[str, ...] = (),
    sample: Path | None = None,
    store: Path | None = None,
    face_model: Path | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true",
) -> None:
    """Extract, train and evaluate as the papers do, and print the result beside what they report.

    Args:
        corpus: Kind of corpus.
        data: The release's folder.
        out: Folder for runs, reproduction.json and submission.csv; run it again to continue after an interruption.
        recipe: affwild2-jca, -rjca, -grjca, -hgrjca, -rhgrjca or -lfan.
        folds: How many folds; the first is the official split.
        set: Settings to change, as path=value.
        sample: The challenge's sample file; then submission.csv joins all folds.
        store: Folder of the features; DATA/features unless given.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        workers: Processes for the extraction; one per core unless given.
        accelerator: auto, cpu, cuda, ...
        precision: Numeric precision.
    """
    from rich.console import Console

    from avgate.apps.affwild2.reproduce import beside_papers
    from avgate.apps.affwild2.reproduce import reproduce as run
    from avgate.core.files import make_folder
    from avgate.models.recipe import override
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
    checkpoints: Annotated[tuple[Path, ...], Positional, arg(metavar="CHECKPOINT...")],
    data: Path,
    sample: Path,
    out: Path,
    store: Path | None = None,
) -> None:
    """Write Aff-Wild2's test results as the challenge wants them: the rows and order of its sample file.

    Args:
        checkpoints: Trained models; several are joined by CCC centring.
        data: The release's folder.
        sample: The challenge's sample file.
        out: File to write.
        store: Folder of the features; DATA/features unless given.
    """
    from avgate.apps.affwild2.submission import submit as run
    from avgate.core.console import console
    from avgate.core.errors import UsageError
    from avgate.core.files import refuse_overwriting
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside
    from avgate.inference.estimator import Estimator

    if not checkpoints:
        raise UsageError("there is nothing to submit", hint="name one or more checkpoint.safetensors")
    refuse_overwriting([sample, *checkpoints], {"--out": out})
    features = FeatureStore(store or features_beside(data))
    loaded = [Estimator(path) for path in checkpoints]
    filled = run(loaded, open_corpus("affwild2", data), features, sample, out)
    for video, count in filled.items():
        console.print(f"[yellow]{video}:[/] {count} frames without an estimate were interpolated")
    console.print(f"{out} is written and has the rows of {sample}", soft_wrap=True)


def check_submission(submission: Annotated[Path, Positional], sample: Path) -> None:
    """Refuse an Aff-Wild2 submission that isn't what the challenge's sample file asks for, naming the row.

    Args:
        submission: The file to check.
        sample: The challenge's sample file.
    """
    from avgate.apps.affwild2.submission import check_submission as run
    from avgate.core.console import console

    console.print(f"{submission}: {run(submission, sample)} rows, as asked for", soft_wrap=True)
