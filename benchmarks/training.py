"""Measure the speed of training beside plain PyTorch versions of the models, and write docs/benchmarks-training.md.

make bench            # or: python benchmarks/training.py [--repeats 9] [--out docs/benchmarks-training.md]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from plain import Plain, Trainer
from run import ROOT, git_commit, machine

from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.inference.clip import ClipFeatures
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec, modality_dims
from avgate.models.network import Model
from avgate.models.recipe import Recipe
from avgate.models.recipes import recipe_named
from avgate.training.batches import Prepared, batches, prepare, with_losses
from avgate.training.train import _adamw, _run_epoch, learning_rate

WINDOW, BATCH, STEPS, LOSSES = 300, 12, 3, 30
COLUMNS = {"audio": 51, "video": 92}
"""Of openSMILE's eGeMAPS with its deviations, and of the face mesh."""

TARGETS = ("valence", "arousal")
PLAIN = "plain PyTorch, float32"
OURS = {"avgate, float32": "32-true", "avgate, --precision bf16-mixed": "bf16-mixed"}
"""Version -> lightning-fabric's precision."""


@dataclass(frozen=True)
class Row:
    """What was found of one model.

    Attributes:
        model: its name for readers.
        speeds: version -> frames per second of each epoch, in turn with the others.
        losses: version -> losses of each step, without dropout.
    """

    model: str
    speeds: dict[str, list[float]]
    losses: dict[str, list[float]]

    def times(self, version: str) -> float:
        """How many times as fast as the plain version: the median over neighbouring epochs."""
        return statistics.median(a / b for a, b in zip(self.speeds[version], self.speeds[PLAIN], strict=True))


def main() -> None:
    """Measure, write the page, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="epochs of each that are timed")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-training.md")
    given = parser.parse_args()
    lines = [
        "# Speed of training",
        "",
        f"Made by `{' '.join(['python benchmarks/training.py', *sys.argv[1:]])}` (`make bench`).",
        "",
        machine(),
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread.",
        f"avgate {git_commit()}.",
        "",
        *section(measure(given.repeats)),
        "",
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def measure(repeats: int) -> list[Row]:
    """One row for each model."""
    torch.set_num_threads(1)
    published, people = recipe_named("affwild2-hgrjca"), recipe_named("people")
    recipes = {
        "hgrjca as published (recipe affwild2-hgrjca), without a spread head": replace(
            published, model=replace(published.model, spread=False)
        ),
        "hgrjca (recipe affwild2-hgrjca), with the spread head": published,
        "rhgrjca (recipe people, of the default weights), with the spread head": people,
    }
    return [row_of(name, recipe, repeats) for name, recipe in recipes.items()]


def section(rows: list[Row]) -> list[str]:
    """Rows as markdown."""
    return [
        f"Frames per second of training: windows of {WINDOW} steps, {BATCH} at a time, three iterations.",
        f"Features are made up ({COLUMNS['audio']} columns of audio, {COLUMNS['video']} of video). A step cuts and",
        "corrupts its windows, and does the forward and backward passes and AdamW's step. The plain version",
        "(benchmarks/plain.py) is written from the equations with torch's own modules, and gets the same windows and",
        "initial weights.",
        f"Medians of {len(rows[0].speeds[PLAIN])} epochs of {STEPS} steps, of all in turn, in processor time.",
        "Times plain is the median of the quotients of neighbouring epochs, so it needn't be that of the medians.",
        "",
        f"Losses are those without dropout, in the first and in the last of {LOSSES} steps, and how far they are from",
        "the plain version's. All versions round differently, and what they differ by grows with every step. A spread",
        "head has a loss of its own, which isn't among them and changes no other weight.",
        "",
        "| model | version | frames/s | times plain | first loss | off by | last loss | off by |",
        "|---|---|---|---|---|---|---|---|",
        *(line for row in rows for line in _lines(row)),
    ]


def _lines(row: Row) -> list[str]:
    lines = []
    for version, speeds in row.speeds.items():
        losses = [(row.losses[version][i], row.losses[PLAIN][i]) for i in (0, -1)]
        told = " | ".join(f"{own:.4f} | {abs(own - plain):.0e}" for own, plain in losses)
        lines.append(
            f"| {row.model} | {version} | {statistics.median(speeds):,.0f} | {row.times(version):.2f} | {told} |"
        )
    return lines


def row_of(name: str, recipe: Recipe, repeats: int) -> Row:
    """Compare losses without dropout, then speed as the recipe has it."""
    wide = replace(recipe, window_s=WINDOW / recipe.label_rate, hop_s=WINDOW / recipe.label_rate)
    wide = replace(wide, train=replace(wide.train, batch=BATCH))
    losses = {version: [run(i) for i in range(LOSSES)] for version, run in versions(without_dropout(wide), 1).items()}
    runs = versions(wide, STEPS)
    for run in runs.values():
        run(0)
    frames = WINDOW * BATCH * STEPS
    speeds: dict[str, list[float]] = {version: [] for version in runs}
    for i in range(1, repeats + 1):
        for version, run in runs.items():
            speeds[version].append(frames / timed(lambda run=run, i=i: run(i)))
    return Row(name, speeds, losses)


def timed(run: Callable[[], object]) -> float:
    """Seconds of this process's time that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def versions(recipe: Recipe, steps: int) -> dict[str, Callable[[int], float]]:
    """Each version, with the same initial weights: a function of the epoch, which returns its mean loss."""
    data = made_up(recipe, steps * BATCH)

    def model_of() -> Model:
        torch.manual_seed(recipe.train.seed)
        return Model(recipe.model, modality_dims(data.specs), len(TARGETS), WINDOW)

    def ours(precision: Any) -> Callable[[int], float]:
        fabric, model = Fabric(accelerator="cpu", devices=1, precision=precision), model_of()
        wrapped, optimizer = fabric.setup(model, _adamw(model, recipe, fabric.device))
        return lambda epoch: _run_epoch(fabric, wrapped, optimizer, data, recipe, epoch)

    config, twin = recipe.train, plain_of(recipe)
    twin.load_state_dict(model_of().state_dict())
    trainer = Trainer(
        twin,
        config.lr,
        config.weight_decay,
        unimodal=config.unimodal_weight,
        reliability=config.reliability_weight,
        mse=config.mse_weight,
    )

    def plain(epoch: int) -> float:
        for group in trainer.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, epoch)
        random = np.random.default_rng((config.seed, epoch, 1))
        losses = []
        for batch in batches(data, recipe, epoch, torch.device("cpu")):
            lost = with_losses(batch, config.corrupt.steps, random).present
            losses.append(trainer.step(batch.features, batch.present, batch.labels, batch.reliable, lost))
        return float(np.mean(losses))

    return {PLAIN: plain} | {version: ours(precision) for version, precision in OURS.items()}


def plain_of(recipe: Recipe) -> Plain:
    """The plain version of a recipe's model."""
    model: Any = recipe.model
    encoders, fusion = model.encoders, model.fusion
    return Plain(
        COLUMNS,
        {m: encoders[m].channels for m in COLUMNS},
        WINDOW,
        None if fusion.time_mixing == "window" else fusion.reach,
        (encoders["audio"].dropout, fusion.dropout, model.head_dropout),
        fallback=fusion.reliability == "fallback",
        unimodal=model.unimodal_heads,
        spread=model.spread,
    )


def without_dropout(recipe: Recipe) -> Recipe:
    """The same recipe, so that both versions say the same."""
    model: Any = recipe.model
    encoders = {m: replace(encoder, dropout=0.0) for m, encoder in model.encoders.items()}
    fusion = replace(model.fusion, dropout=0.0)
    return replace(recipe, model=replace(model, encoders=encoders, fusion=fusion, head_dropout=0.0))


def made_up(recipe: Recipe, clips: int) -> Prepared:
    """So many clips of one window; labels are mixtures of the features, and in places a modality is absent."""
    random = np.random.default_rng(0)
    mixing = {m: random.normal(0, 1 / np.sqrt(columns), (columns, len(TARGETS))) for m, columns in COLUMNS.items()}

    def example(i: int) -> Example:
        values, present = {}, {}
        for m, columns in COLUMNS.items():
            values[m] = random.normal(size=(WINDOW, columns)).astype(np.float32)
            present[m] = np.ones(WINDOW, bool)
            start = random.integers(WINDOW - 15)
            present[m][start : start + 15] = False
        labels = np.tanh(sum(values[m] @ mixing[m] for m in COLUMNS) / 2)
        for m in COLUMNS:
            values[m][~present[m]] = np.nan
        track = LabelTrack(recipe.grid.times(WINDOW), labels, TARGETS)
        features = ClipFeatures(f"clip{i}", recipe.grid, values, present, None)
        clip = Clip(features.name, Path("none.mp4"), "train", f"person{i}")
        return Example(clip, features, track, labels_on_grid(track, recipe.grid, WINDOW))

    specs = tuple(FeatureSpec(m, m, tuple(map(str, range(n))), "made up") for m, n in COLUMNS.items())
    return prepare([example(i) for i in range(clips)], [example(clips)], specs, "made up")


if __name__ == "__main__":
    main()
