"""Backbone `blendshapes`: mediapipe's 52 blendshape scores, such as mouthSmileLeft."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import BLENDSHAPES, FaceTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import FaceExtraction

VERSION = 1
"""Raise it whenever this file, extraction.py or cells.py changes the features."""


@dataclass(frozen=True)
class BlendshapesConfig:
    """What to extract.

    Args:
        rate: steps per second.
        causal: whether a step is known as soon as its cell ends, for live use. Gaps between frames then repeat the step
            before, and not the nearest.
    """

    rate: float
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not self.rate > 0:
            raise UsageError(f"these settings are impossible: {self}", where="blendshapes", hint="rate must be above 0")


class Blendshapes:
    """Blendshape scores in [0, 1], averaged over each step. They need a face_landmarker.task file."""

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("blendshapes",))
    columns: tuple[str, ...] = BLENDSHAPES

    def __init__(self, config: BlendshapesConfig, name: str = "blendshapes"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("blendshapes", VERSION, self.config)

    def start(self) -> FaceExtraction:
        """Begin a clip."""
        return FaceExtraction(self.grid, len(self.columns), lambda scores: scores, _scores, batch=1, causal=self.causal)


def _scores(track: FaceTrack) -> np.ndarray:
    if track.blendshapes is None:
        raise ValueError("the track has no blendshapes")
    return track.blendshapes
