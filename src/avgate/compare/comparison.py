"""`avgate compare`: every fusion under one protocol and one budget, and which differences are more than chance.

OUT/runs/, OUT/checkpoints/    each training's scores and model, see kept.py
OUT/results.json, results.md   the tables
OUT/curves.png                 scores over the corrupted share, where models are measured on corrupted clips
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from avgate.compare.best import best_of
from avgate.compare.data import PRECISION, Data, load_data
from avgate.compare.kept import Kept
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Run, Variant
from avgate.compare.stress import CLEAN, measure_intervals, stress
from avgate.compare.tables import summarise, write_tables
from avgate.core.cluster import LOCAL, Engine, open_workers
from avgate.core.console import console, progress, quiet
from avgate.core.errors import UsageError, WorkerError
from avgate.core.processes import worker_count
from avgate.core.text import reason
from avgate.evaluation.scoring import label_moments, label_traces
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import Checkpoint
from avgate.models.recipe import Recipe, to_plain
from avgate.training.batches import prepare
from avgate.training.train import train


def compare(
    protocol: Protocol,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    out: Path,
    *,
    reference: str,
    workers: int | None = None,
    engine: Engine = LOCAL,
) -> dict[str, Any]:
    """Train every variant on every fold with every seed, in parallel, and compare; earlier trainings are kept.

    Each variant is tuned alike: on every fold, each setting of its recipe's `tuning` is trained with the first seed,
    and the one with the best score on the fold's validation clips is kept for all seeds. Test clips have no part in it.

    Args:
        protocol: what all share.
        variants: what is compared; their names differ.
        seeds: training seeds.
        out: folder for trainings and tables.
        reference: name of the variant that all others are compared with.
        workers: processes of one thread each, this one if it is 1; None is one per core, or 1 where a GPU trains.
        engine: what trains; on several machines, each must see corpus, features and `out` under the same paths.

    Returns:
        What results.json holds.

    Raises:
        UsageError: the reference isn't among the variants, a name occurs twice, there are too few persons for so many
            folds, or there is no such accelerator.
        WorkerError: trainings were lost with their workers again and again; all others are done.
    """
    names = [variant.name for variant in variants]
    if not names:
        raise UsageError("there is nothing to compare", where="--fusions", hint="name two or more, or all")
    if len(set(names)) < len(names):
        raise UsageError("a fusion is named twice", where="--fusions", hint="name each once")
    if reference not in names:
        raise UsageError(
            f"the reference '{reference}' is not among the fusions",
            hint="add it to --fusions, or choose another by --reference",
        )
    if not len(seeds):
        raise UsageError("there is nothing to train without a seed", where="--seeds", hint="use 1 or more")
    if engine.name == "local":
        protocol, workers = _on_accelerator(protocol, workers)
    elif protocol.accelerator not in ("auto", "cpu"):
        raise UsageError("Ray trains on processors", where="--accelerator", hint="use cpu, or leave out --engine ray")
    else:
        protocol = replace(protocol, accelerator="cpu")
    kept = Kept(out)
    kept.make_folders()
    data = load_data(protocol, variants[0].recipe)
    outcomes = _all_outcomes(protocol, data, kept, variants, seeds, workers, engine)

    def of(name: str, seed: int) -> list[Outcome]:
        return [outcomes[name, seed, fold] for fold in range(protocol.splits)]

    about = {
        "corpus": protocol.corpus,
        "recipe": to_plain(variants[0].recipe),
        "folds": protocol.folds,
        "seeds": list(seeds),
        "tuned": {name: [outcome.setting for outcome in of(name, seeds[0])] for name in names},
    }
    joined = {name: [Outcome.joined(of(name, seed)) for seed in seeds] for name in names}
    results = about | summarise(joined, reference) | {"best": best_of(protocol, variants, outcomes, kept)}
    write_tables(results, out)
    return results


def _on_accelerator(protocol: Protocol, workers: int | None) -> tuple[Protocol, int]:
    """The protocol with "auto" replaced by what there is, and how many processes train on it."""
    try:
        device = Fabric(accelerator=protocol.accelerator, devices=1).device.type
    except Exception as error:  # lightning-fabric raises whatever suits it
        what = f"the accelerator '{protocol.accelerator}' can't be used: {reason(error)}"
        raise UsageError(what, where="--accelerator", hint="use auto or cpu") from error
    if protocol.accelerator == "auto":
        protocol = replace(protocol, accelerator=device)
    if device == "cpu":
        return protocol, worker_count(workers)
    count = worker_count(1 if workers is None else workers)
    at_once = "one model at a time; --workers 2 trains two side by side" if count == 1 else f"{count} models at a time"
    console.say(f"Training on {device}, {at_once}")
    return protocol, count


def _all_outcomes(
    protocol: Protocol,
    data: Data,
    kept: Kept,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    workers: int | None,
    engine: Engine,
) -> dict[tuple[str, int, int], Outcome]:
    """(variant, seed, fold) -> outcome, read from disk where it is there and trained where it isn't."""
    first, *others = seeds
    tuning = [
        Run(v.name, v.recipe, fold, first, v.recipe.tuning or ("",))
        for v in variants
        for fold in range(protocol.splits)
    ]
    _tell_of_outdated(protocol, data, kept, tuning, others)
    outcomes: dict[tuple[str, int, int], Outcome] = {}

    def follow(run: Run, outcome: Outcome) -> list[Run]:
        return missing(run.repeated(outcome.setting, others)) if run.seed == first else []

    def missing(runs: Iterable[Run]) -> list[Run]:
        """Those of these runs, and of the runs that follow from them, that are not kept."""
        found = []
        for run in runs:
            outcome = kept.load(run, data.identity(run, protocol), protocol.stress)
            if outcome is None:
                found.append(run)
            else:
                note(run, outcome)
                found += follow(run, outcome)
        return found

    def note(run: Run, outcome: Outcome) -> None:
        outcomes[run.variant, run.seed, run.fold] = outcome
        bar.advance(task)

    count = engine.count(workers, len(tuning) * len(seeds))
    if engine.name == "local" and count == 1:
        work = partial(_train_and_keep, protocol, kept, data)
    else:
        work = partial(_train_in_worker, protocol, kept, variants[0].recipe)
    lost: dict[str, WorkerError] = {}
    with progress() as bar, open_workers(work, count, engine=engine) as pool:
        task = bar.add_task("Training", total=len(tuning) * len(seeds))
        for run, outcome in pool.run(missing(tuning), follow):
            if isinstance(outcome, WorkerError):
                lost[run.name] = outcome
            else:
                note(run, outcome)
    if lost:
        raise WorkerError(
            f"{len(lost)} trainings were lost:\n" + "\n".join(f"  {name}: {lost[name]}" for name in sorted(lost)),
            where=kept.out,
            hint="run it again; the other trainings are done and stay",
        )
    return outcomes


def _tell_of_outdated(protocol: Protocol, data: Data, kept: Kept, tuning: Sequence[Run], others: Sequence[int]) -> None:
    """Say how many kept trainings don't fit the data, recipes or version of today."""
    wanted = [(run, {data.identity(run, protocol)}) for run in tuning]
    for run in tuning:
        # Whichever setting is chosen with the first seed, the other seeds are trained with it.
        by_setting = [run.repeated(setting, others) for setting in run.settings]
        wanted += [(same[0], {data.identity(r, protocol) for r in same}) for same in zip(*by_setting, strict=True)]
    count = kept.outdated(wanted)
    if count:
        console.say(
            f"{count} of the trainings in {kept.out} are done again: since then the features, labels, "
            "splits, settings or the version of avgate have changed"
        )


_worker_data: Data | None = None
"""This worker process's own copy, loaded before its first training."""


def _train_in_worker(protocol: Protocol, kept: Kept, recipe: Recipe, run: Run) -> Outcome:
    """Train in a worker process, which loads the clips with the recipe's features itself."""
    global _worker_data
    if _worker_data is None:
        _worker_data = load_data(protocol, recipe)
    return _train_and_keep(protocol, kept, _worker_data, run)


def _train_and_keep(protocol: Protocol, kept: Kept, data: Data, run: Run) -> Outcome:
    with quiet():  # there is one bar for all trainings
        outcome, checkpoint = train_and_measure(protocol, data, run)
    kept.save(run, data.identity(run, protocol), outcome, checkpoint)
    return outcome


def train_and_measure(protocol: Protocol, data: Data, run: Run) -> tuple[Outcome, Checkpoint]:
    """Train with every setting, and score the best by validation on the test clips; returns its outcome and model."""
    began = time.process_time()
    fold = data.folds[run.fold]
    training, validation, test = (data.part(groups) for groups in (fold.train, fold.validation, fold.test))
    prepared = prepare(training, validation, data.specs, data.corpus.name)
    trained = {
        setting: train(
            data.corpus,
            data.store,
            recipe,
            None,
            accelerator=protocol.accelerator,
            precision=PRECISION,
            prepared=prepared,
        )
        for setting, recipe in run.recipes().items()
    }
    setting, best = max(trained.items(), key=lambda found: np.nan_to_num(_validation(found[1]), nan=-1.0))
    prior = np.nanmean(np.concatenate([e.steps for e in training]), axis=0)
    width = best.checkpoint.smooth_steps
    traces = label_traces(best, test, [width])[width]
    clean = label_moments(traces, test, best.targets, prior)
    names = tuple(e.clip.name for e in test)
    outcome = Outcome(_validation(best), setting, best.targets, tuple(best.stats), names, clean)
    sure, told = measure_intervals(best, traces, test)
    outcome = replace(outcome, sure={CLEAN: sure}, told={CLEAN: told})
    if protocol.stress:
        found = stress(best, validation, test, tuple(prepared.stats), prior)
        sure_too, told_too = {**outcome.sure, **found.sure}, {**outcome.told, **found.told}
        outcome = replace(outcome, stressed=found.moments, auroc=found.auroc, sure=sure_too, told=told_too)
    return replace(outcome, seconds=time.process_time() - began), best.checkpoint


def _validation(estimator: Estimator) -> float:
    return estimator.checkpoint.scores["validation"]["smoothed"]["mean"]["ccc"]
