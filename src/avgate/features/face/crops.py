"""Backbone `crops`: the pixels of the aligned face, for image models that are fine-tuned with the fusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid, fill_short_gaps
from avgate.core.types import FaceTrack, FeatureTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.extraction import FRAME_GAP_S, crops_of

VERSION = 1
"""Raise it whenever this file changes the features."""


@dataclass(frozen=True)
class CropsConfig:
    """What to extract.

    Args:
        rate: steps per second.
        size: side of the crop in pixels. A step takes 12 * size^2 bytes.
    """

    rate: float
    size: int = 112

    def __post_init__(self):
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
        self.columns = tuple(f"p{i}" for i in range(config.size**2 * 3))

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("crops", VERSION, self.config)

    def start(self) -> CropsExtraction:
        """Begin a clip."""
        return CropsExtraction(self)


class CropsExtraction:
    """One clip's extraction; it keeps one crop per step."""

    def __init__(self, backbone: Crops):
        self._backbone = backbone
        self._rows: dict[int, np.ndarray] = {}
        self._seen: set[int] = set()

    def push(self, piece: FaceTrack) -> None:
        """Take the next frames."""
        import cv2

        crops, size = crops_of(piece), self._backbone.config.size
        for i, cell in enumerate(self._backbone.grid.index(piece.time_s).tolist()):
            self._seen.add(cell)
            if piece.present[i] and cell not in self._rows:
                crop = crops[i]
                if crop.shape[0] != size:
                    crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
                self._rows[cell] = crop.reshape(-1)

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """See Extraction."""
        backbone = self._backbone
        grid, first, last = backbone.grid.part(start_s, end_s)
        n = last - first
        values, seen = np.full((n, len(backbone.columns)), np.nan, np.float32), np.zeros(n, bool)
        for cell, row in self._rows.items():
            if first <= cell < last:
                values[cell - first] = row
        seen[[cell - first for cell in self._seen if first <= cell < last]] = True
        values, _ = fill_short_gaps(values, seen, int(FRAME_GAP_S * backbone.config.rate))
        present = np.isfinite(values[:, 0])
        return FeatureTrack(values, present, grid, backbone.name, "video", backbone.columns, backbone.fingerprint)
