"""`avgate benchmark`: every fusion under one protocol and one budget, and which differences are more than chance.

OUT/runs/FUSION-seedS-foldF.safetensors    estimates of that run's test clips, kept so that an interruption costs little
OUT/results.json, OUT/results.md           the tables
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from avgate.batches import prepare
from avgate.comparison import Fold, folds, holm, paired_bootstrap
from avgate.config import Recipe, to_plain
from avgate.console import console, progress
from avgate.corpora import open_corpus
from avgate.errors import UsageError
from avgate.examples import Example, load_examples
from avgate.files import atomic_write, make_folder
from avgate.metrics import ccc, pooled
from avgate.scoring import Pairs, label_traces, pairs
from avgate.store import FeatureStore
from avgate.train import train
from avgate.writers.base import plain


@dataclass(frozen=True)
class Protocol:
    """What all fusions of one comparison share.

    Attributes:
        corpus: kind of corpus.
        data: its folder.
        store: folder of its features.
        recipe: what is trained; its fusion and seed are replaced.
        folds: cross-validation by group; 0 takes the corpus' own splits.
    """

    corpus: str
    data: Path
    store: Path
    recipe: Recipe
    folds: int


@dataclass(frozen=True)
class Run:
    """One training: fusion, seed, fold."""

    fusion: str
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """Its file's stem."""
        return f"{self.fusion}-seed{self.seed}-fold{self.fold}"


def benchmark(
    protocol: Protocol,
    fusions: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    reference: str,
    workers: int | None = None,
) -> dict[str, Any]:
    """Train every combination, in parallel, and compare; runs that are there from an earlier call are kept.

    Args:
        protocol: what is the same for all.
        fusions: names.
        seeds: training seeds.
        out: folder for runs and tables.
        reference: the fusion that all others are compared with.
        workers: processes of one thread each; None is one per core.

    Returns:
        What results.json holds.
    """
    if reference not in fusions:
        raise UsageError(f"the reference '{reference}' is not among the fusions", hint="add it to --fusions")
    folder = make_folder(out / "runs")
    identity = _identity(protocol)
    count = max(1, protocol.folds)
    runs = [Run(f, s, k) for f in fusions for s in seeds for k in range(count)]
    todo = [run for run in runs if not _is_done(folder, run, identity)]
    with (
        progress() as bar,
        ProcessPoolExecutor(
            min(workers or os.cpu_count() or 1, max(1, len(todo))), get_context("spawn"), _begin, (protocol,)
        ) as pool,
    ):
        task = bar.add_task("Training", total=len(runs), completed=len(runs) - len(todo))
        running = {pool.submit(_do, run, folder, identity) for run in todo}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    bar.advance(task)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    results = _compare(protocol, fusions, seeds, folder, reference)
    with atomic_write(out / "results.json") as temporary:
        temporary.write_text(json.dumps(plain(results), indent=1, allow_nan=False))
    with atomic_write(out / "results.md") as temporary:
        temporary.write_text(markdown(results))
    return results


def _identity(protocol: Protocol) -> str:
    """Changes with whatever the runs depend on but for fusion, seed and fold."""
    plain = to_plain(replace(protocol.recipe, train=replace(protocol.recipe.train, seed=0)))
    text = json.dumps([plain, protocol.corpus, str(protocol.data.resolve()), protocol.folds], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_done(folder: Path, run: Run, identity: str) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / f"{run.name}.safetensors", "np") as file:
            return (file.metadata() or {}).get("identity") == identity
    except (SafetensorError, OSError):
        return False


_loaded: tuple[Protocol, list[Example], Any] | None = None


def _begin(protocol: Protocol) -> None:
    """Worker: load the corpus once."""
    import signal

    # Ctrl-C reaches every process of the terminal; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.quiet = True
    global _loaded
    corpus = open_corpus(protocol.corpus, protocol.data)
    examples, specs = load_examples(corpus, FeatureStore(protocol.store), protocol.recipe, None)
    _loaded = protocol, examples, (corpus, specs)


def _do(run: Run, folder: Path, identity: str) -> None:
    """Worker: train one run and keep its estimates of the test clips at the label times."""
    from safetensors.numpy import save

    if _loaded is None:
        raise RuntimeError("the worker has not been started")
    protocol, examples, (corpus, specs) = _loaded
    fold = split(examples, protocol.folds)[run.fold]
    parts = [[e for e in examples if e.clip.group in groups] for groups in (fold.train, fold.validation, fold.test)]
    recipe = protocol.recipe.with_fusion(run.fusion)
    recipe = replace(recipe, train=replace(recipe.train, seed=run.seed))
    data = prepare(parts[0], parts[1], specs, corpus.name)
    checkpoint = train(corpus, FeatureStore(protocol.store), recipe, None, prepared=data, accelerator="cpu")
    width = checkpoint.smooth_steps
    args = (checkpoint.stats, checkpoint.recipe, checkpoint.targets, [width])
    traces = label_traces(checkpoint.build(), parts[2], *args)[width]
    tensors = {}
    for target in checkpoint.targets:
        for example, (prediction, label) in zip(parts[2], pairs(traces, parts[2], target), strict=True):
            tensors[f"{target}/{example.clip.name}"] = np.stack([prediction, label])
    with atomic_write(folder / f"{run.name}.safetensors") as temporary:
        temporary.write_bytes(save(tensors, {"identity": identity, "epoch": str(checkpoint.trained_on["epoch"])}))


def split(examples: Sequence[Example], count: int) -> list[Fold]:
    """The folds of a comparison: by group, or the corpus' own splits as the only one."""
    if count:
        sizes: dict[str, int] = {}
        for example in examples:
            sizes[example.clip.group] = sizes.get(example.clip.group, 0) + len(example.features)
        return folds(sizes, count)
    own = {s: frozenset(e.clip.group for e in examples if e.clip.split == s) for s in ("train", "validation", "test")}
    return [Fold(own["train"], own["validation"], own["test"])]


def _estimates(folder: Path, fusion: str, seed: int, count: int) -> dict[str, Pairs]:
    """Target -> (prediction, label) of all test clips of all folds of one fusion and seed, in the clips' order."""
    from safetensors.numpy import load_file

    found: dict[str, dict[str, np.ndarray]] = {}
    for fold in range(count):
        for key, both in load_file(folder / f"{Run(fusion, seed, fold).name}.safetensors").items():
            target, clip = key.split("/", 1)
            found.setdefault(target, {})[clip] = both
    return {target: [(clips[c][0], clips[c][1]) for c in sorted(clips)] for target, clips in found.items()}


def _compare(
    protocol: Protocol, fusions: Sequence[str], seeds: Sequence[int], folder: Path, reference: str
) -> dict[str, Any]:
    count = max(1, protocol.folds)
    held = {f: [_estimates(folder, f, s, count) for s in seeds] for f in fusions}
    targets = sorted(held[reference][0])
    rows: dict[str, Any] = {}
    for fusion, by_seed in held.items():
        scores = {t: [pooled(ccc, estimates[t]) for estimates in by_seed] for t in targets}
        rows[fusion] = {"ccc": scores, "against": {}}
    others = [f for f in fusions if f != reference]
    for target in targets:
        mine = [e[target] for e in held[reference]]
        found = [paired_bootstrap([e[target] for e in held[f]], mine) for f in others]
        for fusion, difference, p in zip(others, found, holm([d.p for d in found]), strict=True):
            rows[fusion]["against"][target] = vars(difference) | {"p_holm": p}
    return {
        "corpus": protocol.corpus,
        "recipe": to_plain(protocol.recipe),
        "folds": protocol.folds,
        "seeds": list(seeds),
        "reference": reference,
        "targets": targets,
        "clips": len(held[reference][0][targets[0]]),
        "fusions": rows,
    }


def markdown(results: dict[str, Any]) -> str:
    """The table: CCC per target, mean and deviation over seeds, and the difference from the reference."""
    targets, reference = results["targets"], results["reference"]
    protocol = f"{results['folds']}-fold cross-validation by person" if results["folds"] else "the corpus' own splits"
    lines = [
        f"{results['corpus']}, {protocol}, {results['clips']} clips, seeds {', '.join(map(str, results['seeds']))}: "
        "CCC pooled over all held-out steps, mean and standard deviation over seeds; difference from "
        f"{reference} with its 95 % interval (paired bootstrap over clips) and Holm-corrected p.",
        "",
        "| fusion | " + " | ".join(f"{t} | {t}, less {reference} | p" for t in targets) + " |",
        "|---" * (1 + 3 * len(targets)) + "|",
    ]
    for fusion, row in results["fusions"].items():
        cells = []
        for t in targets:
            values = row["ccc"][t]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
            difference = row["against"].get(t)
            cells += (
                [f"{difference['effect']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"]
                if difference
                else [""]
            )
            cells.append(f"{difference['p_holm']:.3f}" if difference else "")
        lines.append(f"| {fusion} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
