"""The verb reproduce: a corpus from its files to its tables, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from avgate.cli.options import (
    FOLDS,
    SEEDS,
    Accelerator,
    Data,
    FaceModel,
    Precision,
    Set,
    Store,
    Within,
    Workers,
    default,
)


def reproduce(
    corpus: Annotated[Literal["affwild2", "cremad"], Positional],
    data: Data,
    out: Path,
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the corpus' own)")] = None,
    folds: Annotated[int | None, default("6 for affwild2, 5 for cremad"), FOLDS] = None,
    fusions: Annotated[tuple[str, ...], default("all")] = (),
    seeds: Annotated[int | None, default("1"), SEEDS] = None,
    clips: Annotated[int | None, default("all"), Within(1, 1_000_000)] = None,
    set: Set = (),
    sample: Annotated[Path | None, default("no submission")] = None,
    store: Store = None,
    face_model: FaceModel = None,
    workers: Workers = None,
    accelerator: Accelerator = "auto",
    precision: Precision = "32-true",
) -> None:
    """Extract, train and evaluate on a corpus as released, and print the result.

    affwild2: a model as in the papers, beside what they report. cremad: all fusions, and whether their gates rely on
    the sense that people rely on. Run it again to continue after an interruption.

    For example: avgate reproduce affwild2 --data AFFWILD2 --out reproduction

    Args:
        corpus: Which corpus.
        out: Folder for the runs and tables.
        recipe: Recipe to train; for affwild2 one whose name begins with affwild2.
        folds: How many folds. Of affwild2, the first is the official split; of cremad, 0 takes the corpus' own splits.
        fusions: For cremad: fusions to compare.
        seeds: For cremad: how many training seeds.
        clips: For cremad: how many clips to use, spread over the actors.
        sample: For affwild2: the challenge's sample file; then submission.csv joins the models of all folds.
    """
    from avgate.core.console import Terminal
    from avgate.core.errors import UsageError
    from avgate.core.files import make_folder
    from avgate.models.overrides import override
    from avgate.models.recipes import OF_CORPUS, recipe_named

    foreign: dict[str, dict[str, object]] = {
        "affwild2": {"--fusions": fusions, "--seeds": seeds, "--clips": clips},
        "cremad": {"--sample": sample, "--precision": precision if precision != "32-true" else None},
    }
    for option, given in foreign[corpus].items():
        if given:
            raise UsageError(f"this option isn't for {corpus}", where=option, hint="leave it out")
    wanted, model = override(recipe_named(recipe or OF_CORPUS[corpus]), *set), str(face_model) if face_model else None
    make_folder(out)
    if corpus == "affwild2":
        from avgate.apps.affwild2 import reproduce as affwild2

        results = affwild2.reproduce(
            data,
            out,
            wanted,
            folds=6 if folds is None else folds,
            store=store,
            sample=sample,
            face_model=model,
            workers=workers,
            accelerator=accelerator,
            precision=precision,
        )
        Terminal().print(affwild2.beside_papers(results))
    else:
        from avgate.apps import cremad
        from avgate.compare.tables import all_tables
        from avgate.models.fusions import FUSIONS, fusion_named

        results = cremad.reproduce(
            data,
            out,
            wanted,
            fusions=[fusion_named(name).name for name in fusions] or [fusion.name for fusion in FUSIONS],
            folds=5 if folds is None else folds,
            seeds=1 if seeds is None else seeds,
            most=clips,
            store=store,
            face_model=model,
            workers=workers,
            accelerator=accelerator,
        )
        tables = f"{all_tables(results)}\n{cremad.reliability_table(results['reliability'])}"
        Terminal().print(tables, soft_wrap=True)
