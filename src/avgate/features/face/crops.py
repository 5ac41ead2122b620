"""Backbone `crops`: the pixels of the aligned face, for image models that are fine-tuned with the fusion."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import FaceTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.cells import FRAME_GAP_S, CellExtraction
from avgate.features.face.extraction import crops_of

VERSION = 1
"""Raise it whenever this file or cells.py changes the features."""


@dataclass(frozen=True)
class CropsConfig:
    """What to extract.

    Args:
        rate: steps per second.
        size: side of the crop in pixels. A step takes 12 * size^2 bytes.
        causal: whether a step is known as soon as its cell ends, for live use. Gaps between frames then repeat the step
            before, and not the nearest.
    """

    rate: float
    size: int = 112
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not (self.rate > 0 and 8 <= self.size <= 112):
            raise UsageError(
                f"these settings are impossible: {self}",
                where="crops",
                hint="rate must be above 0, and size from 8 to 112",
            )


class Crops:
    """Pixels (0 to 255) of each step's first frame with a face, flattened from [row column RGB]."""

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("crop",))

    def __init__(self, config: CropsConfig, name: str = "crops"):
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal
        self.columns = _columns(config.size)

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("crops", VERSION, self.config)

    def start(self) -> CropsExtraction:
        """Begin a clip."""
        return CropsExtraction(self)


@cache
def _columns(size: int) -> tuple[str, ...]:
    """Names of the pixels' columns; made once, since there are tens of thousands."""
    return tuple(f"p{i}" for i in range(size**2 * 3))


class CropsExtraction(CellExtraction):
    """One clip's extraction; it keeps one crop."""

    STATE = (*CellExtraction.STATE, "_taken")

    def __init__(self, backbone: Crops):
        super().__init__(backbone.grid, len(backbone.columns), FRAME_GAP_S, backbone.causal)
        self._size = backbone.config.size
        self._taken = -1  # the last step that has its crop

    def _take(self, piece: FaceTrack, cells: np.ndarray) -> None:
        import cv2

        crops, size = crops_of(piece), self._size
        steps, first = np.unique(np.where(piece.present, cells, -1), return_index=True)
        first = first[steps > self._taken]  # each step's first frame with a face
        if len(first):
            chosen = [crops[i] for i in first.tolist()]
            if crops.shape[1] != size:
                chosen = [cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in chosen]
            self._add(cells[first], np.stack(chosen).reshape(len(chosen), -1))
            self._taken = int(cells[first[-1]])

    def _first_waiting(self) -> int:
        return sys.maxsize
