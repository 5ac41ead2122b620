"""How far a face shows each of mediapipe's 52 blendshapes, such as smiling with the left corner of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import BLENDSHAPES, FaceTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import Looking

VERSION = 1
"""To be raised whenever this file or looking.py change what comes out."""


@dataclass(frozen=True)
class BlendshapesConfig:
    """What to extract.

    Args:
        rate: steps per second.
    """

    rate: float

    def __post_init__(self):
        """Refuse what can't be extracted."""
        if not self.rate > 0:
            raise UsageError(f"these parameters can't be extracted with: {self}", hint="rate is above 0")


class Blendshapes:
    """Scores in [0, 1], and their mean over each step; they need a face_landmarker.task."""

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("blendshapes",))
    columns: tuple[str, ...] = BLENDSHAPES

    def __init__(self, config: BlendshapesConfig, name: str = "blendshapes"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("blendshapes", VERSION, self.config)

    def start(self) -> Looking:
        """Begin a clip."""
        return Looking(self, self.grid, lambda scores: scores, _scores, batch=256)


def _scores(track: FaceTrack) -> np.ndarray:
    if track.blendshapes is None:
        raise ValueError("the track has no blendshapes")
    return track.blendshapes
