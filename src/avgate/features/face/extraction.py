"""What the face backbones share: analyse faces in batches, then average the frames of each step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from avgate.core.timeline import Grid, fill_short_gaps
from avgate.core.types import FaceTrack, FeatureTrack
from avgate.features.base import Backbone

FRAME_GAP_S = 0.35
"""Longest gap in seconds that is filled with the nearest step, where a slow video has no frame in a step."""


class FaceExtraction:
    """One clip's extraction; memory holds one batch of faces and one row per step that has frames.

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
        self._cells: list[int] = []  # steps that have frames
        self._sum, self._count = np.zeros((0, len(backbone.columns))), np.zeros(0)  # of each of them
        self._faces: list[np.ndarray] = []
        self._rows: list[int] = []  # which of them each waiting face belongs to

    def push(self, piece: FaceTrack) -> None:
        """Take the next frames."""
        if not len(piece):
            return
        faces = self._faces_of(piece)
        for i, cell in enumerate(self._grid.index(piece.time_s).tolist()):
            if cell < 0:
                continue
            if not self._cells or cell > self._cells[-1]:
                self._cells.append(cell)
            if piece.present[i]:
                self._faces.append(faces[i])
                self._rows.append(len(self._cells) - 1)
            if len(self._faces) == self._batch:
                self._analyse_batch()

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """See Extraction."""
        self._analyse_batch()
        backbone, (grid, first, last) = self._backbone, self._grid.part(start_s, end_s)
        rows = slice(*(bisect_left(self._cells, cell) for cell in (first, last)))
        seen, values = np.zeros(last - first, bool), np.full((last - first, len(backbone.columns)), np.nan, np.float32)
        steps = np.array(self._cells[rows], int) - first
        seen[steps] = True
        with np.errstate(invalid="ignore", divide="ignore"):
            values[steps] = self._sum[rows] / self._count[rows, None]
        values, _ = fill_short_gaps(values, seen, int(FRAME_GAP_S * grid.rate))
        present = np.isfinite(values).all(axis=1)
        values[~present] = np.nan
        return FeatureTrack(values, present, grid, backbone.name, "video", backbone.columns, backbone.fingerprint)

    def _analyse_batch(self) -> None:
        more = len(self._cells) - len(self._count)
        if more > 0:
            more = max(more, len(self._count))  # doubling, so that growing step by step copies little
            self._sum = np.concatenate([self._sum, np.zeros((more, self._sum.shape[1]))])
            self._count = np.append(self._count, np.zeros(more))
        if self._faces:
            values, rows = self._analyse(np.stack(self._faces)), np.array(self._rows)
            known = np.isfinite(values).all(axis=1)
            np.add.at(self._sum, rows[known], values[known])
            np.add.at(self._count, rows[known], 1)
            self._faces, self._rows = [], []


def crops_of(track: FaceTrack) -> np.ndarray:
    """The aligned faces of a track, uint8 [n 112 112 3]; ValueError where it was made without them."""
    if track.crop is None:
        raise ValueError("the track has no crops")
    return track.crop
