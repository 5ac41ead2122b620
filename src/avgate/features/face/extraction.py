"""What the face backbones share: analyse faces in batches, then average the frames of each step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avgate.core.timeline import Grid, fill_short_gaps
from avgate.core.types import FaceTrack, FeatureTrack
from avgate.features.base import Backbone

FRAME_GAP_S = 0.35
"""Longest gap in seconds that is filled with the nearest step, where a slow video has no frame in a step."""


class FaceExtraction:
    """One clip's extraction; memory holds one batch of faces and one row per step.

    A step is the mean of its frames that have a face. A step whose frames have no face is absent.

    Args:
        backbone: gives the track its name, columns and fingerprint.
        grid: the steps.
        analyse: a batch of faces [n ...] -> features float32 [n d].
        faces_of: what `analyse` needs of a FaceTrack, [n ...].
        batch: faces per call of `analyse`.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: Grid,
        analyse: Callable[[np.ndarray], np.ndarray],
        faces_of: Callable[[FaceTrack], np.ndarray],
        batch: int,
    ):
        self._backbone, self._grid, self._analyse, self._faces_of, self._batch = (
            backbone,
            grid,
            analyse,
            faces_of,
            batch,
        )
        self._sum = np.zeros((0, len(backbone.columns)))
        self._count, self._seen = np.zeros(0), np.zeros(0, bool)
        self._faces: list[np.ndarray] = []
        self._cells: list[int] = []

    def push(self, piece: FaceTrack) -> None:
        """Take the next frames."""
        if not len(piece):
            return
        cells, faces = self._grid.index(piece.time_s), self._faces_of(piece)
        self._grow(int(cells.max()) + 1)
        self._seen[cells[cells >= 0]] = True
        for i in np.flatnonzero(piece.present & (cells >= 0)):
            self._faces.append(faces[i])
            self._cells.append(int(cells[i]))
            if len(self._faces) == self._batch:
                self._analyse_batch()

    def finish(self, end_s: float) -> FeatureTrack:
        """See Extraction."""
        self._analyse_batch()
        n, backbone = self._grid.steps(end_s), self._backbone
        self._grow(n)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = (self._sum[:n] / self._count[:n, None]).astype(np.float32)
        values, _ = fill_short_gaps(values, self._seen[:n], int(FRAME_GAP_S * self._grid.rate))
        present = np.isfinite(values).all(axis=1)
        values[~present] = np.nan
        return FeatureTrack(values, present, self._grid, backbone.name, "video", backbone.columns, backbone.fingerprint)

    def _grow(self, n: int) -> None:
        more = n - len(self._count)
        if more > 0:
            more = max(more, len(self._count))  # doubling, so that growing step by step copies little
            self._sum = np.concatenate([self._sum, np.zeros((more, self._sum.shape[1]))])
            self._count = np.append(self._count, np.zeros(more))
            self._seen = np.append(self._seen, np.zeros(more, bool))

    def _analyse_batch(self) -> None:
        if self._faces:
            values, cells = self._analyse(np.stack(self._faces)), np.array(self._cells)
            known = np.isfinite(values).all(axis=1)
            np.add.at(self._sum, cells[known], values[known])
            np.add.at(self._count, cells[known], 1)
            self._faces, self._cells = [], []


def crops_of(track: FaceTrack) -> np.ndarray:
    """The aligned faces of a track, uint8 [n 112 112 3]; ValueError where it was made without them."""
    if track.crop is None:
        raise ValueError("the track has no crops")
    return track.crop
