"""A corpus with voice, face and text: random features, of which the text alone says what the labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avgate.core.timeline import Grid
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import RhgrjcaConfig
from avgate.models.network import ModelConfig
from avgate.models.recipe import Recipe, TrainConfig

COLUMNS = {"audio": ("loudness", "pitch"), "video": ("smile", "frown", "gaze"), "text": ("word", "tone")}
STEPS = 30

RECIPE = Recipe(
    name="three",
    backbones=tuple(COLUMNS),
    label_rate=2.0,
    window_s=8.0,
    hop_s=4.0,
    model=ModelConfig(
        fusion=RhgrjcaConfig(iterations=2, time_mixing="relative"),
        encoders={m: TcnConfig(channels=(8,), dropout=0.0) for m in COLUMNS},
        unimodal_heads=True,
    ),
    train=TrainConfig(epochs=12, batch=4, lr=1e-2, unimodal_weight=1.0, reliability_weight=1.0),
    smooth_s=(0.0,),
)


class ThreeModalities:
    """See Corpus; the folder is never looked at."""

    name, targets, synthetic = "three", ("valence", "arousal"), False

    def __init__(self, root: Path):
        self.root = root

    def clips(self) -> list[Clip]:
        """Ten clips of ten persons."""
        splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
        return [Clip(f"c{i}", Path(f"c{i}.mp4"), split, f"p{i}", Path(f"c{i}.csv")) for i, split in enumerate(splits)]

    def labels(self, clip: Clip) -> LabelTrack:
        """A slow wave."""
        grid, phase = Grid(RECIPE.label_rate), int(clip.name[1:])
        wave = np.sin(0.4 * np.arange(STEPS)[:, None] + phase + np.array([0, 2]))
        return LabelTrack(grid.times(STEPS), (0.8 * wave).astype(np.float32), self.targets)

    def tracks(self, clip: Clip) -> list[FeatureTrack]:
        """One backbone per modality, named like it; nobody speaks in the first three steps."""
        random = np.random.default_rng(int(clip.name[1:]))
        found = []
        for m, columns in COLUMNS.items():
            values = random.normal(size=(STEPS, len(columns))).astype(np.float32)
            present = np.ones(STEPS, bool)
            if m == "text":
                values = self.labels(clip).values + 0.1 * values
                present[:3] = False
                values[~present] = np.nan
            found.append(FeatureTrack(values, present, Grid(RECIPE.label_rate), m, m, columns, f"{m:0>16}"))
        return found

    def findings(self) -> dict[str, list[str]]:
        """Nothing is missing."""
        return {}
