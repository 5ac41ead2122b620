"""`avgate benchmark`: every fusion under one protocol and one budget, and which differences are more than chance.

OUT/runs/*.safetensors         what each training came to on its test clips, kept so that an interruption costs little
OUT/results.json, results.md   the tables; curves.png with them if models are stressed
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from avgate.compare.outcome import Outcome
from avgate.compare.statistics import Fold, folds
from avgate.compare.stress import stress
from avgate.compare.tables import compare, write_results
from avgate.core.console import console, progress
from avgate.core.errors import UsageError
from avgate.core.files import make_folder
from avgate.core.processes import held_interrupts, lost_workers_named
from avgate.corpora import open_corpus
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Example, load_examples
from avgate.evaluation.scoring import label_moments, label_traces
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import FeatureSpec
from avgate.models.recipe import Recipe, override, to_plain
from avgate.training.batches import prepare
from avgate.training.train import train


@dataclass(frozen=True)
class Variant:
    """One row of the comparison: its name, and the recipe that is trained for it."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Protocol:
    """What all variants of one comparison share.

    Attributes:
        corpus: kind of corpus.
        data: its folder.
        store: folder of its features.
        folds: cross-validation by group; 0 takes the corpus' own splits.
        stress: whether models are tried on corrupted clips too.
    """

    corpus: str
    data: Path
    store: Path
    folds: int
    stress: bool = False

    @property
    def count(self) -> int:
        """How many splits there are."""
        return max(1, self.folds)


@dataclass(frozen=True)
class Run:
    """One training, or several of which the best on validation clips is kept.

    Attributes:
        variant: name of the row that it is part of.
        recipe: what is trained.
        fold: on which split.
        seed: with which seed.
        settings: what is tried, one string of settings each.
    """

    variant: str
    recipe: Recipe
    fold: int
    seed: int
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its file's stem."""
        return f"{self.variant}-seed{self.seed}-fold{self.fold}"

    def repeated(self, setting: str, seeds: Sequence[int]) -> list[Run]:
        """The same with one setting and other seeds."""
        return [replace(self, seed=seed, settings=(setting,)) for seed in seeds]

    def recipes(self) -> dict[str, Recipe]:
        """Setting -> the recipe with it ("train.lr=1e-3 model.head_dropout=0.5" changes two things)."""
        return {s: override(self.recipe, f"train.seed={self.seed}", *s.split()) for s in self.settings}

    def identity(self, protocol: Protocol) -> str:
        """Changes with whatever its outcome depends on."""
        depends = [
            to_plain(self.recipe),
            self.settings,
            self.fold,
            self.seed,
            protocol.corpus,
            str(protocol.data.resolve()),
        ]
        text = json.dumps([*depends, protocol.folds], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def benchmark(
    protocol: Protocol,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    out: Path,
    *,
    reference: str,
    workers: int | None = None,
) -> dict[str, Any]:
    """Train every combination, in parallel, and compare; runs that are there from an earlier call are kept.

    Each variant is tuned alike: on every fold, each setting of its recipe's `tuning` is trained with the first seed,
    and the one with the best score on the fold's validation clips is kept for all seeds. Test clips have no part in it.

    Args:
        protocol: what is the same for all.
        variants: what is compared; their names differ.
        seeds: training seeds.
        out: folder for runs and tables.
        reference: name of the variant that all others are compared with.
        workers: processes of one thread each, this one if it is 1; None is one per core.

    Returns:
        What results.json holds.
    """
    names = [variant.name for variant in variants]
    if reference not in names:
        raise UsageError(
            f"the reference '{reference}' is not among the fusions",
            hint="add it to --fusions, or choose another by --reference",
        )
    if len(set(names)) < len(names):
        raise UsageError("a fusion is named twice", hint="name each once")
    folder = make_folder(out / "runs")
    first, *others = seeds
    tuning = [
        Run(v.name, v.recipe, fold, first, v.recipe.tuning or ("",)) for v in variants for fold in range(protocol.count)
    ]
    with progress() as bar, _Pool(protocol, variants[0].recipe, folder, workers) as pool:

        def further(run: Run, outcome: Outcome) -> list[Run]:
            return run.repeated(outcome.setting, others) if run.seed == first else []

        task = bar.add_task("Training", total=len(tuning) * len(seeds))
        outcomes: dict[tuple[str, int, int], Outcome] = {}
        for run, outcome in pool.outcomes(tuning, further):
            outcomes[run.variant, run.seed, run.fold] = outcome
            bar.advance(task)

    def of(name: str, seed: int) -> list[Outcome]:
        return [outcomes[name, seed, fold] for fold in range(protocol.count)]

    held = {name: [Outcome.joined(of(name, seed)) for seed in seeds] for name in names}
    about = {
        "corpus": protocol.corpus,
        "recipe": to_plain(variants[0].recipe),
        "folds": protocol.folds,
        "seeds": list(seeds),
        "tuned": {name: [outcome.setting for outcome in of(name, first)] for name in names},
    }
    results = about | compare(held, reference)
    write_results(results, out)
    return results


class _Pool:
    """Processes that train runs, or this one if one is enough; an outcome that is in the folder is read instead."""

    def __init__(self, protocol: Protocol, recipe: Recipe, folder: Path, workers: int | None):
        self._protocol, self._recipe, self._folder = protocol, recipe, folder
        count = workers or os.cpu_count() or 1
        self._executor = ProcessPoolExecutor(count, get_context("spawn"), _begin) if count > 1 else None
        _forget()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def outcomes(
        self, runs: Sequence[Run], further: Callable[[Run, Outcome], list[Run]]
    ) -> Iterator[tuple[Run, Outcome]]:
        """All runs with their outcomes, as they are done.

        Args:
            runs: what is known from the beginning.
            further: the runs that follow from one of them; they begin while others still run.
        """
        running: dict[Future[Outcome], Run] = {}
        try:
            with lost_workers_named():
                yield from self._outcomes(deque(runs), running, further)
        except KeyboardInterrupt:
            self._keep(running)
            raise

    def _outcomes(
        self, waiting: deque[Run], running: dict[Future[Outcome], Run], further: Callable[[Run, Outcome], list[Run]]
    ) -> Iterator[tuple[Run, Outcome]]:
        while waiting or running:
            # This process by itself does one at a time, so that each is kept before the next one begins.
            while waiting and (self._executor or not running):
                run = waiting.popleft()
                outcome = Outcome.load(self._path(run), run.identity(self._protocol))
                if outcome is None or (self._protocol.stress and not outcome.stressed):
                    running[self._begun(run)] = run
                    continue
                waiting.extend(further(run, outcome))
                yield run, outcome
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                run, outcome = running.pop(future), future.result()
                self._save(run, outcome)
                waiting.extend(further(run, outcome))
                yield run, outcome

    def _keep(self, running: dict[Future[Outcome], Run]) -> None:
        """Keep what has begun in other processes, which can't be stopped halfway."""
        begun = {future: run for future, run in running.items() if not future.cancel()}
        if begun:
            console.print(f"Stopping once what has begun is done, to keep it (trainings: {len(begun)})")
        for future in as_completed(begun):
            if not future.exception():
                self._save(begun[future], future.result())

    def _save(self, run: Run, outcome: Outcome) -> None:
        outcome.save(self._path(run), run.identity(self._protocol))

    def _begun(self, run: Run) -> Future[Outcome]:
        if self._executor:
            with held_interrupts():
                return self._executor.submit(_do, self._protocol, self._recipe, run)
        before, console.quiet = console.quiet, True  # there is a progress bar already
        try:
            done: Future[Outcome] = Future()
            done.set_result(_do(self._protocol, self._recipe, run))
            return done
        finally:
            console.quiet = before

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.name}.safetensors"


_loaded: tuple[Corpus, tuple[FeatureSpec, ...], list[Example]] | None = None


def _begin() -> None:
    """A worker's beginning; what can fail comes later, in the first run, which can say so."""
    import signal

    # Ctrl-C reaches every process of the terminal; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.quiet = True


def _load(protocol: Protocol, recipe: Recipe) -> tuple[Corpus, tuple[FeatureSpec, ...], list[Example]]:
    """The corpus and its features, loaded once for all runs of this process."""
    global _loaded
    if _loaded is None:
        corpus = open_corpus(protocol.corpus, protocol.data)
        examples, specs = load_examples(corpus, FeatureStore(protocol.store), recipe, None)
        _loaded = corpus, specs, examples
    return _loaded


def _forget() -> None:
    global _loaded
    _loaded = None


def _do(protocol: Protocol, recipe: Recipe, run: Run) -> Outcome:
    """Train with every setting, and measure the best of them on the test clips; the features are `recipe`'s."""
    corpus, specs, examples = _load(protocol, recipe)
    began = time.process_time()
    fold = split(examples, protocol.folds)[run.fold]
    parts = [[e for e in examples if e.clip.group in groups] for groups in (fold.train, fold.validation, fold.test)]
    data = prepare(parts[0], parts[1], specs, corpus.name)
    store = FeatureStore(protocol.store)
    trained = {s: train(corpus, store, r, None, prepared=data, accelerator="cpu") for s, r in run.recipes().items()}
    setting, best = max(trained.items(), key=lambda found: np.nan_to_num(_validation(found[1]), nan=-1.0))
    prior = np.nanmean(np.concatenate([e.steps for e in parts[0]]), axis=0)
    width = best.checkpoint.smooth_steps
    clean = label_moments(label_traces(best, parts[2], [width])[width], parts[2], best.targets, prior)
    names = tuple(e.clip.name for e in parts[2])
    outcome = Outcome(_validation(best), setting, best.targets, names, clean)
    if protocol.stress:
        found = stress(best, parts[1], parts[2], tuple(data.stats), prior)
        outcome = replace(outcome, stressed=found.moments, auroc=found.auroc)
    return replace(outcome, seconds=time.process_time() - began)


def _validation(estimator: Estimator) -> float:
    return estimator.checkpoint.scores["validation"]["smoothed"]["mean"]["ccc"]


def split(examples: Sequence[Example], count: int) -> list[Fold]:
    """The folds of a comparison: by group, or the corpus' own splits as the only one."""
    if count:
        sizes: dict[str, int] = {}
        for example in examples:
            sizes[example.clip.group] = sizes.get(example.clip.group, 0) + len(example.features)
        return folds(sizes, count)
    own = {s: frozenset(e.clip.group for e in examples if e.clip.split == s) for s in ("train", "validation", "test")}
    return [Fold(own["train"], own["validation"], own["test"])]
