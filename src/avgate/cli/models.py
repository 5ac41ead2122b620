"""Verbs that train, score and compare models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

# Named here once more, because to ask for them takes seconds: they come with PyTorch.
FUSIONS = "audio, video, concat, ca, jca, rjca, dca, iaca, grjca, hgrjca, rhgrjca, lfan, tagf, crossmodal"
RECIPES = (
    "demo, demo-absence, demo-finetune, demonstration-weights, hazumi, hazumi-absence, affwild2-hgrjca, affwild2-jca, "
    "affwild2-rjca, affwild2-grjca, affwild2-lfan, affwild2-rhgrjca, smoke"
)

Fusion = Annotated[str | None, arg(help=f"Fusion to use instead of the recipe's: {FUSIONS}.")]
RecipeName = Annotated[str, arg(help=f"Which recipe: {RECIPES}.")]


def train(
    data: Path,
    out: Path,
    recipe: RecipeName = "demo",
    fusion: Fusion = None,
    seed: int | None = None,
    set: tuple[str, ...] = (),
    store: Path | None = None,
    corpus: str = "rendered",
    accelerator: str = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true",
) -> None:
    """Train a recipe on a corpus whose features are extracted; run it again to continue after an interruption.

    Args:
        data: The corpus' folder; of a manifest, the CSV file.
        out: Folder for the run: checkpoint.safetensors, history.csv and what is needed to continue.
        recipe: see RECIPES.
        fusion: see FUSIONS.
        seed: Seed to use instead of the recipe's.
        set: Settings to change, as path=value: train.epochs=5 model.fusion.tau=0.5
        store: Folder of the features; the folder features beside or in DATA unless given.
        corpus: Kind of corpus: rendered, manifest (your own), affwild2, hazumi.
        accelerator: auto, cpu, cuda, ...
        precision: Numeric precision.
    """
    from avgate.core.console import console
    from avgate.core.files import make_folder
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside
    from avgate.models.recipe import override
    from avgate.models.recipes import recipe_named
    from avgate.training.train import train as run

    wanted = recipe_named(recipe)
    if fusion:
        wanted = wanted.with_fusion(fusion)
    if seed is not None:
        wanted = override(wanted, f"train.seed={seed}")
    wanted = override(wanted, *set)
    checkpoint = run(
        open_corpus(corpus, data),
        FeatureStore(store or features_beside(data)),
        wanted,
        make_folder(out),
        accelerator=accelerator,
        precision=precision,
    ).checkpoint
    scores = checkpoint.scores["validation"]
    console.print(
        f"best epoch {checkpoint.trained_on['epoch']}: validation CCC {scores['raw']['mean']['ccc']:.3f} raw, "
        f"{scores['smoothed']['mean']['ccc']:.3f} smoothed -> {out / 'checkpoint.safetensors'}",
        soft_wrap=True,
    )


def evaluate(
    checkpoints: Annotated[tuple[Path, ...], Positional, arg(metavar="CHECKPOINT...")],
    data: Path,
    split: str = "test",
    store: Path | None = None,
    corpus: str = "rendered",
    out: Path | None = None,
) -> None:
    """Score trained models on held-out clips: pooled CCC with bootstrap intervals, PCC, RMSE, raw and smoothed.

    Args:
        checkpoints: What to score.
        data: The corpus' folder; of a manifest, the CSV file.
        split: Which clips: train, validation or test.
        store: Folder of the features; the folder features beside or in DATA unless given.
        corpus: Kind of corpus: rendered, manifest (your own), affwild2, hazumi.
        out: JSON file for the scores, per clip too.
    """
    from rich.console import Console

    from avgate.core.errors import UsageError
    from avgate.corpora import open_corpus
    from avgate.evaluation.evaluate import evaluate as run
    from avgate.evaluation.evaluate import scores_table, write_scores
    from avgate.features.store import FeatureStore, features_beside
    from avgate.inference.estimator import Estimator

    if not checkpoints:
        raise UsageError("there is nothing to evaluate", hint="name one or more checkpoint.safetensors")
    opened, features = open_corpus(corpus, data), FeatureStore(store or features_beside(data))
    loaded = [Estimator(path) for path in checkpoints]
    fusions = [estimator.recipe.fusion for estimator in loaded]
    # Several runs of one fusion are told apart by their folders.
    names = [
        f if fusions.count(f) == 1 else f"{f} ({p.parent.name})" for f, p in zip(fusions, checkpoints, strict=True)
    ]
    results = [run(c, opened, features, split, name) for c, name in zip(loaded, names, strict=True)]
    Console().print(scores_table(results))
    if out:
        write_scores(results, out)


def benchmark(
    corpus: Positional[str],
    data: Path,
    out: Path,
    recipe: str | None = None,
    fusions: tuple[str, ...] = ("audio", "video", "concat", "rjca", "hgrjca"),
    reference: str | None = None,
    ablate: bool = False,
    seeds: int = 3,
    folds: int = 5,
    stress: bool = False,
    set: tuple[str, ...] = (),
    store: Path | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
) -> None:
    """Compare fusions fairly: one protocol, one budget, several seeds, and a paired test of every difference.

    Args:
        corpus: Kind of corpus: rendered, manifest (your own), affwild2, hazumi.
        data: The corpus' folder; of a manifest, the CSV file.
        out: Folder for checkpoints, results.json and results.md; run it again to continue after an interruption.
        recipe: What is trained, see `avgate train --help`; its fusion is replaced by each of the fusions. The corpus'
            own recipe unless given.
        fusions: What to compare; "all" is every one that `avgate train --help` names.
        reference: What all others are compared with; hgrjca unless given.
        ablate: Instead of fusions, compare hgrjca with itself, one thing changed at a time.
        seeds: How many training seeds.
        folds: Cross-validation by person; 0 takes the corpus' own splits.
        stress: Also try every model on clips in which voice or face is missing or misleads.
        set: Settings to change, as path=value; tuning=() tries no other settings.
        store: Folder of the features; the folder features beside or in DATA unless given.
        workers: Processes; one per core unless given, and one where a GPU trains.
        accelerator: auto, cpu, cuda, ...
    """
    from rich.console import Console

    from avgate.compare.ablations import PUBLISHED, ablations
    from avgate.compare.comparison import compare as run
    from avgate.compare.protocol import Protocol, Variant
    from avgate.compare.tables import all_tables
    from avgate.features.store import features_beside
    from avgate.models.fusions import FUSIONS, fusion_named
    from avgate.models.recipe import override
    from avgate.models.recipes import OF_CORPUS, recipe_named

    wanted = override(recipe_named(recipe or OF_CORPUS.get(corpus, "demo")), *set)
    names = [f.name for f in FUSIONS] if fusions == ("all",) else [fusion_named(name).name for name in fusions]
    variants = ablations(wanted) if ablate else [Variant(name, wanted.with_fusion(name)) for name in names]
    reference = reference or (PUBLISHED if ablate else "hgrjca")
    protocol = Protocol(corpus, data, store or features_beside(data), folds, stress, accelerator)
    results = run(protocol, variants, range(seeds), out, reference=reference, workers=workers)
    Console().print(all_tables(results), markup=False, soft_wrap=True)
