"""Extraction by a network of images: faces are analysed in batches, and the frames of each step averaged."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from avgate.core.timeline import Grid
from avgate.core.types import FaceTrack
from avgate.features.face.cells import FRAME_GAP_S, CellExtraction


class FaceExtraction(CellExtraction):
    """One clip's extraction; memory holds one batch of faces.

    Args:
        grid: the steps.
        width: columns.
        analyse: a batch of faces [n ...] -> features float32 [n d].
        faces_of: what `analyse` needs of a FaceTrack, [n ...].
        batch: most faces per call of `analyse`.
        causal: whether faces are analysed as soon as their step ends, and not in whole batches.
    """

    STATE = (*CellExtraction.STATE, "_faces", "_rows")

    def __init__(
        self,
        grid: Grid,
        width: int,
        analyse: Callable[[np.ndarray], np.ndarray],
        faces_of: Callable[[FaceTrack], np.ndarray],
        batch: int,
        causal: bool = False,
    ):
        super().__init__(grid, width, FRAME_GAP_S, causal)
        self._analyse, self._faces_of, self._batch, self._causal = analyse, faces_of, batch, causal
        self._faces: list[np.ndarray] = []
        self._rows: list[int] = []  # the step of each waiting face

    def _take(self, piece: FaceTrack, cells: np.ndarray) -> None:
        faces = self._faces_of(piece)
        for i in np.flatnonzero(piece.present & (cells >= 0)).tolist():
            if self._causal and self._rows and cells[i] > self._rows[-1]:
                self._analyse_batch()
            self._faces.append(faces[i])
            self._rows.append(int(cells[i]))
            if len(self._faces) == self._batch:
                self._analyse_batch()

    def _pass(self, time_s: float) -> None:
        if self._faces and np.isinf(time_s):
            self._analyse_batch()

    def _close(self) -> None:
        if self._causal and self._rows and self._rows[-1] < self._open:
            self._analyse_batch()

    def _first_waiting(self) -> int:
        return self._rows[0] if self._rows else sys.maxsize

    def _analyse_batch(self) -> None:
        values, cells = self._analyse(np.stack(self._faces)), np.array(self._rows)
        known = np.isfinite(values).all(axis=1)
        self._add(cells[known], values[known])
        self._faces, self._rows = [], []


def crops_of(track: FaceTrack) -> np.ndarray:
    """The aligned faces of a track, uint8 [n 112 112 3]; ValueError where it was made without them."""
    if track.crop is None:
        raise ValueError("the track has no crops")
    return track.crop
