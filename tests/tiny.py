"""Small models, features and checkpoints for the tests that need some, but none in particular."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from avgate.core.timeline import Grid
from avgate.core.types import FeatureTrack, Modality
from avgate.features.stats import FeatureStats
from avgate.inference.clip import ClipFeatures, on_common_grid
from avgate.models.checkpoint import Checkpoint, FeatureSpec, modality_dims
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.network import Model, ModelConfig
from avgate.models.recipe import Recipe, TrainConfig
from avgate.training import train as training

RECIPE = Recipe(
    name="tiny",
    label_rate=10.0,
    window_s=2.0,
    hop_s=1.0,
    model=ModelConfig(
        fusion=HgrjcaConfig(iterations=2),
        encoders={"audio": TcnConfig(channels=(8,)), "video": TcnConfig(channels=(8,))},
    ),
    train=TrainConfig(epochs=2, batch=4),
    smooth_s=(0.0, 0.5),
)
"""Windows of 20 steps every 10 steps."""

TARGETS = ("valence", "arousal")
COLUMNS = {"audio": ("loudness", "pitch", "jitter"), "video": ("smile", "frown")}
BACKBONES = {"audio": "tinyvoice", "video": "tinyface"}


def make_track(modality: Modality, n: int, *, rate: float = 10.0, seed: int = 0, **changes: Any) -> FeatureTrack:
    """Random features, all present; `absent` lists the steps that aren't, anything else replaces a field."""
    rng = np.random.default_rng((seed, len(modality), n))
    present = np.ones(n, bool)
    present[list(changes.pop("absent", ()))] = False
    columns = COLUMNS[modality]
    values = rng.standard_normal((n, len(columns))).astype(np.float32)
    values[~present] = np.nan
    whole: dict[str, Any] = {
        "values": values,
        "present": present,
        "grid": Grid(rate),
        "backbone": BACKBONES[modality],
        "modality": modality,
        "columns": columns,
        "fingerprint": f"{len(columns):016x}",
    }
    return FeatureTrack(**(whole | changes))


def make_clip(n: int, *, seed: int = 0, absent: Mapping[str, Any] | None = None, name: str = "clip") -> ClipFeatures:
    """Both modalities on the recipe's grid; `absent` lists the absent steps of a modality."""
    absent = absent or {}
    tracks = [make_track(m, n, seed=seed, absent=absent.get(m, ())) for m in ("audio", "video")]
    return on_common_grid(name, tracks, RECIPE.grid)


def make_stats(seed: int = 5) -> dict[str, FeatureStats]:
    """Statistics of random training clips."""
    rng = np.random.default_rng(seed)
    return {m: FeatureStats.fit([rng.normal(0.3, 1.5, (400, len(c)))]) for m, c in COLUMNS.items()}


def make_checkpoint(recipe: Recipe = RECIPE, seed: int = 0) -> Checkpoint:
    """A checkpoint with random weights."""
    specs = tuple(FeatureSpec.of(make_track(m, 1)) for m in ("audio", "video"))
    torch.manual_seed(seed)
    model = Model(recipe.model, modality_dims(specs), len(TARGETS), recipe.window)
    return Checkpoint(
        recipe=recipe,
        features=specs,
        targets=TARGETS,
        stats=make_stats(),
        weights=model.state_dict(),
        smooth_steps=5,
        trained_on={"corpus": "rendered", "train_clips": 12, "epoch": 7, "seed": 0, "train_groups": ["p1", "p2"]},
        scores={"validation": {"raw": {"mean": {"ccc": 0.25}}}},
    )


def stopped_in_epoch(wanted: int) -> Callable[..., float]:
    """Training's epochs, until somebody presses Ctrl-C in one of them."""
    run_epoch = training._run_epoch

    def run(fabric, model, optimizer, data, recipe, epoch):
        if epoch == wanted:
            raise KeyboardInterrupt
        return run_epoch(fabric, model, optimizer, data, recipe, epoch)

    return run


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Every file of this process ends at `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
