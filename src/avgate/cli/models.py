"""Verbs for models: train, evaluate, compare, export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from avgate.cli.options import (
    FOLDS,
    SEED,
    SEEDS,
    Accelerator,
    AnyPlace,
    Checkpoints,
    ClusterAddress,
    Corpus,
    Data,
    Devices,
    EngineName,
    Fusion,
    Level,
    Nodes,
    Precision,
    Recipe,
    Set,
    Store,
    Strategy,
    Workers,
    default,
)
from avgate.core.places import Place


def train(
    data: Data,
    out: AnyPlace,
    corpus: Corpus = "rendered",
    recipe: Recipe = "demo",
    fusion: Fusion = None,
    seed: Annotated[int | None, default("the recipe's"), SEED] = None,
    set: Set = (),
    store: Store = None,
    accelerator: Accelerator = "auto",
    precision: Precision = "32-true",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
) -> None:
    """Train a recipe on a corpus whose features are extracted; run it again to continue after an interruption.

    For example: avgate train --corpus manifest --data clips.csv --out run --fusion rjca --set train.epochs=20

    Args:
        out: Folder for the run, or its address: checkpoint.safetensors, history.csv and what is needed to continue.
        seed: Seed of initial weights, data order and dropout.
    """
    from avgate.core.console import console
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside
    from avgate.models.overrides import override
    from avgate.models.recipes import recipe_named
    from avgate.training.several import is_first
    from avgate.training.train import train as run

    wanted = recipe_named(recipe)
    if fusion:
        wanted = wanted.with_fusion(fusion)
    if seed is not None:
        wanted = override(wanted, f"train.seed={seed}")
    wanted = override(wanted, *set)
    opened, features = open_corpus(corpus, data), FeatureStore(store or features_beside(data))
    checkpoint = run(
        opened,
        features,
        wanted,
        out,
        accelerator=accelerator,
        precision=precision,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
    ).checkpoint
    if not is_first():
        return
    scores = checkpoint.scores["validation"]
    console.say(
        f"best epoch {checkpoint.trained_on['epoch']}: validation CCC {scores['raw']['mean']['ccc']:.3f} raw, "
        f"{scores['smoothed']['mean']['ccc']:.3f} smoothed -> {out / 'checkpoint.safetensors'}"
    )


def evaluate(
    checkpoints: Checkpoints,
    data: Data,
    corpus: Corpus = "rendered",
    split: str = "test",
    store: Store = None,
    out: Annotated[AnyPlace | None, default("none")] = None,
    level: Level = 0.9,
) -> None:
    """Score trained models on held-out clips: pooled CCC with bootstrap intervals, PCC, RMSE, raw and smoothed.

    For example: avgate evaluate run another-run --corpus manifest --data clips.csv

    Args:
        split: Which clips: train, validation or test.
        out: JSON file for the scores, also of each clip; or its address.
    """
    from avgate.core.console import Terminal
    from avgate.core.errors import UsageError
    from avgate.core.files import refuse_overwriting
    from avgate.corpora import open_corpus
    from avgate.evaluation.evaluate import evaluate as run
    from avgate.evaluation.evaluate import intervals_table, scores_table, write_scores
    from avgate.features.store import FeatureStore, features_beside
    from avgate.inference.estimator import Estimator
    from avgate.models.checkpoint import checkpoint_file

    if not checkpoints:
        raise UsageError("there is nothing to evaluate", hint="name one or more runs or checkpoints")
    opened, features = open_corpus(corpus, data), FeatureStore(store or features_beside(data))
    loaded = [Estimator(path, level=level) for path in checkpoints]
    refuse_overwriting([data, *map(checkpoint_file, checkpoints)], {"--out": out})
    names = _names([estimator.recipe.fusion for estimator in loaded], checkpoints)
    results = [run(c, opened, features, split, name) for c, name in zip(loaded, names, strict=True)]
    Terminal().print(scores_table(results))
    sure = intervals_table(results)
    if sure is not None:
        Terminal().print(sure)
    if out:
        write_scores(results, out)


def _names(fusions: Sequence[str], paths: Sequence[Place]) -> list[str]:
    """Names of models in a table: the fusion; where several have it, also the run's folder, or else the whole path.

    Args:
        fusions: of each model.
        paths: where each was loaded from: a run's folder or a file.
    """
    from avgate.models.checkpoint import checkpoint_file

    in_runs = [f"{f} ({checkpoint_file(p).resolve().parent.name})" for f, p in zip(fusions, paths, strict=True)]
    return [
        fusion if fusions.count(fusion) == 1 else in_run if in_runs.count(in_run) == 1 else f"{fusion} ({path})"
        for fusion, in_run, path in zip(fusions, in_runs, paths, strict=True)
    ]


def compare(
    data: Data,
    out: Path,
    corpus: Corpus = "rendered",
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the corpus' own)")] = None,
    fusions: tuple[str, ...] = ("audio", "video", "concat", "rjca", "hgrjca"),
    reference: Annotated[str | None, default("hgrjca")] = None,
    ablate: bool = False,
    seeds: Annotated[int, SEEDS] = 3,
    folds: Annotated[int, FOLDS] = 5,
    stress: bool = False,
    set: Set = (),
    store: Store = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: ClusterAddress = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Compare fusions fairly: one protocol, one budget, several seeds, and a paired test of every difference.

    Run it again to continue after an interruption. Where a GPU trains, the default is one process.

    For example: avgate compare --corpus hazumi --data HAZUMI --out comparison --fusions audio video rjca hgrjca

    Args:
        out: Folder for checkpoints, results.json and results.md.
        recipe: Recipe to train, with each of the fusions in place of its own; `avgate train --help` lists them. Its
            setting `tuning` says what is tried for every fusion; --set 'tuning=()' tries nothing else.
        fusions: Fusions to compare, or all; `avgate train --help` lists them.
        reference: Fusion that all others are compared with.
        ablate: Instead of fusions, compare hgrjca with itself, one thing changed at a time.
        seeds: How many training seeds.
        folds: Folds of a cross-validation by person; 0 takes the corpus' own splits.
        stress: Also test every model on clips in which voice or face is missing or misleads.
    """
    from avgate.compare.ablations import PUBLISHED, ablations
    from avgate.compare.comparison import compare as run
    from avgate.compare.protocol import Protocol, Variant
    from avgate.compare.tables import all_tables
    from avgate.core.cluster import Engine
    from avgate.core.console import Terminal
    from avgate.core.files import output_folder
    from avgate.features.store import features_beside
    from avgate.models.fusions import FUSIONS, fusion_named
    from avgate.models.overrides import override
    from avgate.models.recipes import OF_CORPUS, recipe_named

    wanted = override(recipe_named(recipe or OF_CORPUS.get(corpus, "demo")), *set)
    names = [f.name for f in FUSIONS] if fusions == ("all",) else [fusion_named(name).name for name in fusions]
    variants = ablations(wanted) if ablate else [Variant(name, wanted.with_fusion(name)) for name in names]
    reference = reference or (PUBLISHED if ablate else "hgrjca")
    chosen = Engine(engine, address)
    protocol = Protocol(corpus, data, store or features_beside(data), folds, stress, accelerator)
    with output_folder(out):
        results = run(protocol, variants, range(seeds), out, reference=reference, workers=workers, engine=chosen)
    Terminal().print(all_tables(results), soft_wrap=True)


def export(
    out: Path,
    checkpoint: Annotated[Path | None, Positional, default("the weights that come with avgate")] = None,
    formats: tuple[str, ...] = ("onnx", "pt2"),
    form: Annotated[Literal["window", "step", "both"] | None, default("what the model has")] = None,
    int8: bool = False,
    corpus: Corpus = "rendered",
    data: Annotated[Path | None, default("none")] = None,
    split: str = "validation",
    store: Store = None,
) -> None:
    """Write a model as ONNX and .pt2 files that run without avgate, and compare each with the model.

    ONNX files need the extra: pip install "avgate[onnx]".

    For example: avgate export run --out exported --int8 --corpus manifest --data clips.csv

    Args:
        out: Folder for the files; or the name of one file, .onnx or .pt2, which then says the format.
        checkpoint: A trained model: a run's folder, a checkpoint.safetensors file, `default` or `live`.
        formats: Files to write: onnx, for onnxruntime and others; pt2, for torch.export.load.
        form: The model over whole sequences (window), over one step with its state (step), or both. Only causal models
            have a step.
        int8: Write ONNX files with int8 weights, too, and print what that costs.
        data: Folder or list of labelled clips whose features are extracted, to measure the cost of int8 as CCC.
        split: Which of these clips: train, validation or test.
    """
    from avgate.apps.export.cost import Labelled
    from avgate.apps.export.export import export as run
    from avgate.core.errors import UsageError
    from avgate.corpora import open_corpus
    from avgate.features.store import FeatureStore, features_beside

    labelled = None
    if data is not None:
        if not int8:
            raise UsageError("clips are for measuring what int8 costs", where="--data", hint="add --int8")
        labelled = Labelled(open_corpus(corpus, data), FeatureStore(store or features_beside(data)), split)
    run(checkpoint, out, formats=formats, form=form, int8=int8, labelled=labelled)
