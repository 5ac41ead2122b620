"""Measure how fast stored features are read back and cut into batches, and write docs/benchmarks-store.md.

make bench            # or: python benchmarks/store.py [--clips 60] [--minutes 3] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from run import ROOT, git_commit, machine

from avgate.core.timeline import Grid
from avgate.core.types import Clip, FeatureTrack, LabelTrack, Modality
from avgate.evaluation.examples import Example
from avgate.features.store import FeatureStore
from avgate.inference.clip import on_common_grid
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec
from avgate.models.recipes import recipe_named
from avgate.training.batches import batches, prepare

RATE = 30.0
SETS: tuple[tuple[str, Modality, int], ...] = (("egemaps", "audio", 51), ("facemesh", "video", 150))
"""Backbone, modality and columns: about what Aff-Wild2's recipe reads for each frame."""


def main() -> None:
    """Write a store, read it, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60, help="how many")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of a clip")
    parser.add_argument("--repeats", type=int, default=3, help="medians are over so many runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-store.md")
    given = parser.parse_args()
    n = round(given.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as scratch:
        store = write(Path(scratch), given.clips, n)
        examples = read(store, given.clips)
        stages = {
            "read from disk and brought to one grid": lambda: read(store, given.clips),
            "an epoch of batches of what was read": epoch(examples),
        }
        rates = {name: [given.clips * n / timed(run) for _ in range(given.repeats)] for name, run in stages.items()}
    lines = [
        "# Benchmarks of the feature store",
        "",
        f"Made by `{' '.join(['python benchmarks/store.py', *sys.argv[1:]])}` (`make bench`), which measured all this.",
        "",
        machine(),
        f"Python {platform.python_version()}.",
        f"avgate {git_commit()}.",
        f"{given.clips} clips of {given.minutes:g} min at {RATE:g} frames per second, "
        f"{' and '.join(f'{d} columns of {m}' for _, m, d in SETS)}; files in the page cache.",
        "",
        f"| stage | frames per second, median of {given.repeats} |",
        "|---|---|",
        *(f"| {name} | {statistics.median(values):,.0f} |" for name, values in rates.items()),
        "",
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def write(root: Path, clips: int, n: int) -> FeatureStore:
    """A store of random features, a tenth of the frames absent."""
    rng, store = np.random.default_rng(0), FeatureStore(root)
    for backbone, modality, width in SETS:
        columns = tuple(f"c{i}" for i in range(width))
        for clip in range(clips):
            values, present = rng.standard_normal((n, width), np.float32), rng.random(n) < 0.9
            values[~present] = np.nan
            track = FeatureTrack(values, present, Grid(RATE), backbone, modality, columns, "0" * 16)
            store.write(f"clip{clip}", backbone, track, "0")
    return store


def read(store: FeatureStore, clips: int) -> list[Example]:
    """Every clip's features on the common grid, with labels beside them; a thread per core."""

    def one(number: int) -> Example:
        name = f"clip{number}"
        features = on_common_grid(name, [store.read(name, backbone) for backbone, _, _ in SETS], Grid(RATE))
        time_s = features.grid.times(len(features))
        labels = LabelTrack(time_s, np.zeros((len(features), 2), np.float32), ("valence", "arousal"))
        steps = labels_on_grid(labels, features.grid, len(features))
        return Example(Clip(name, Path(name), "train", name), features, labels, steps)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, range(clips)))


def epoch(examples: list[Example]) -> Callable[[], None]:
    """What one epoch of training asks for."""
    recipe = recipe_named("affwild2-hgrjca")
    recipe = replace(recipe, hop_s=recipe.window_s)
    columns = {m: tuple(f"c{i}" for i in range(width)) for _, m, width in SETS}
    specs = tuple(FeatureSpec(backbone, m, columns[m], "0" * 16) for backbone, m, _ in SETS)
    data = prepare(examples[1:], examples[:1], specs, "benchmark")

    def run() -> None:
        for _ in batches(data, recipe, 0, torch.device("cpu")):
            pass

    return run


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
