"""`avgate benchmark`: every fusion under one protocol and one budget, and which differences are more than chance.

OUT/runs/*.safetensors         what each training came to on its test clips, kept so that an interruption costs little
OUT/results.json, results.md   the tables; curves.png with them if models are stressed
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from avgate.batches import prepare
from avgate.checkpoint import Checkpoint
from avgate.comparison import Fold, folds
from avgate.config import Recipe, override, to_plain
from avgate.console import console, progress
from avgate.corpora import open_corpus
from avgate.errors import UsageError
from avgate.examples import Example, load_examples
from avgate.files import make_folder
from avgate.results import Outcome, compare, write_results
from avgate.scoring import label_moments, label_traces
from avgate.store import FeatureStore
from avgate.stress import stress
from avgate.train import train
from avgate.workers import held_interrupts


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
        name: its file's stem.
        recipe: what is trained.
        fold: on which split.
        seed: with which seed.
        settings: what is tried, one string of settings each.
    """

    name: str
    recipe: Recipe
    fold: int
    seed: int
    settings: tuple[str, ...]

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
    with progress() as bar, _Pool(protocol, variants[0].recipe, folder, workers) as pool:

        def complete(runs: list[Run], description: str) -> list[Outcome]:
            task = bar.add_task(description, total=len(runs))
            return pool.complete(runs, lambda: bar.advance(task))

        first, *others = seeds
        cells = [(v, fold) for v in variants for fold in range(protocol.count)]
        tuning = [Run(f"{v.name}-seed{first}-fold{k}", v.recipe, k, first, v.recipe.tuning or ("",)) for v, k in cells]
        outcomes = complete(tuning, "First seed")
        settings = [outcome.setting for outcome in outcomes]
        further = [
            Run(f"{v.name}-seed{seed}-fold{k}", v.recipe, k, seed, (setting,))
            for seed in others
            for (v, k), setting in zip(cells, settings, strict=True)
        ]
        outcomes += complete(further, "Other seeds") if further else []

    def of(variant: int, values: list[Any], seed: int = 0) -> list[Any]:
        start = seed * len(cells) + variant * protocol.count
        return values[start : start + protocol.count]

    held = {name: [Outcome.joined(of(i, outcomes, seed)) for seed in range(len(seeds))] for i, name in enumerate(names)}
    about = {
        "corpus": protocol.corpus,
        "recipe": to_plain(variants[0].recipe),
        "folds": protocol.folds,
        "seeds": list(seeds),
        "tuned": {name: of(i, settings) for i, name in enumerate(names)},
    }
    results = about | compare(held, reference)
    write_results(results, out)
    return results


class _Pool:
    """Processes that train runs, or this one if one is enough; an outcome that is in the folder is read instead."""

    def __init__(self, protocol: Protocol, recipe: Recipe, folder: Path, workers: int | None):
        self._protocol, self._recipe, self._folder = protocol, recipe, folder
        count = workers or os.cpu_count() or 1
        others = ProcessPoolExecutor(count, get_context("spawn"), _begin, (protocol, recipe)) if count > 1 else None
        self._executor = others

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def complete(self, runs: list[Run], on_done: Callable[[], object]) -> list[Outcome]:
        """The outcomes of all runs, in their order."""
        found: dict[str, Outcome] = {}
        for run in runs:
            outcome = Outcome.load(self._path(run), run.identity(self._protocol))
            if outcome is not None and (outcome.stressed or not self._protocol.stress):
                found[run.name] = outcome
                on_done()
        for run, outcome in self._trained([run for run in runs if run.name not in found]):
            outcome.save(self._path(run), run.identity(self._protocol))
            found[run.name] = outcome
            on_done()
        return [found[run.name] for run in runs]

    def _trained(self, runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
        """Each run with its outcome, as they are done."""
        if self._executor:
            with held_interrupts():
                running = {self._executor.submit(_do, run): run for run in runs}
            for future in as_completed(running):
                yield running[future], future.result()
        elif runs:
            _load(self._protocol, self._recipe)
            for run in runs:
                before, console.quiet = console.quiet, True  # there is a progress bar already
                try:
                    outcome = _do(run)
                finally:
                    console.quiet = before
                yield run, outcome

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.name}.safetensors"


_loaded: tuple[Protocol, list[Example], Any] | None = None


def _begin(protocol: Protocol, recipe: Recipe) -> None:
    """A worker's beginning."""
    import signal

    # Ctrl-C reaches every process of the terminal; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.quiet = True
    _load(protocol, recipe)


def _load(protocol: Protocol, recipe: Recipe) -> None:
    """Load the corpus once for all runs of this process."""
    global _loaded
    corpus = open_corpus(protocol.corpus, protocol.data)
    examples, specs = load_examples(corpus, FeatureStore(protocol.store), recipe, None)
    _loaded = protocol, examples, (corpus, specs)


def _do(run: Run) -> Outcome:
    """Train with every setting, and measure the best of them on the test clips."""
    if _loaded is None:
        raise RuntimeError("no corpus has been loaded")
    began = time.process_time()
    protocol, examples, (corpus, specs) = _loaded
    fold = split(examples, protocol.folds)[run.fold]
    parts = [[e for e in examples if e.clip.group in groups] for groups in (fold.train, fold.validation, fold.test)]
    data = prepare(parts[0], parts[1], specs, corpus.name)
    store = FeatureStore(protocol.store)
    trained = {s: train(corpus, store, r, None, prepared=data, accelerator="cpu") for s, r in run.recipes().items()}
    setting, checkpoint = max(trained.items(), key=lambda found: np.nan_to_num(_validation(found[1]), nan=-1.0))
    prior = np.nanmean(np.concatenate([e.steps for e in parts[0]]), axis=0)
    width, recipe = checkpoint.smooth_steps, checkpoint.recipe
    traces = label_traces(checkpoint.build(), parts[2], checkpoint.stats, recipe, checkpoint.targets, [width])[width]
    clean = label_moments(traces, parts[2], checkpoint.targets, prior)
    names = tuple(e.clip.name for e in parts[2])
    outcome = Outcome(_validation(checkpoint), setting, checkpoint.targets, names, clean)
    if protocol.stress:
        found = stress(checkpoint, parts[1], parts[2], tuple(data.stats), prior)
        outcome = replace(outcome, stressed=found.moments, auroc=found.auroc)
    return replace(outcome, seconds=time.process_time() - began)


def _validation(checkpoint: Checkpoint) -> float:
    return checkpoint.scores["validation"]["smoothed"]["mean"]["ccc"]


def split(examples: Sequence[Example], count: int) -> list[Fold]:
    """The folds of a comparison: by group, or the corpus' own splits as the only one."""
    if count:
        sizes: dict[str, int] = {}
        for example in examples:
            sizes[example.clip.group] = sizes.get(example.clip.group, 0) + len(example.features)
        return folds(sizes, count)
    own = {s: frozenset(e.clip.group for e in examples if e.clip.split == s) for s in ("train", "validation", "test")}
    return [Fold(own["train"], own["validation"], own["test"])]
