"""From frames to steps, as all face backbones do it: the mean of a step's frames, and short gaps between steps."""

from __future__ import annotations

import sys
from typing import ClassVar

import numpy as np

from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import FaceTrack
from avgate.features.base import Steps

FRAME_GAP_S = 0.35
"""Longest gap in seconds that is filled with the nearest step, where a slow video has no frame in a step."""


class Gaps(Stateful):
    """Fills steps without frames between two that have some: a source slower than the grid leaves them.

    They repeat the nearest step. Longer gaps, and all before the first and after the last step with frames, stay
    absent. So does what would repeat a step whose frames have no face.

    Live, they repeat the last step, and so does the beginning of a longer gap.

    Args:
        longest: steps of the longest gap that is filled.
        width: columns.
        causal: whether what comes after a gap doesn't matter.
    """

    STATE = ("_cell", "_row", "_until")

    def __init__(self, longest: int, width: int, causal: bool):
        self._longest, self._causal = longest, causal
        self._cell, self._row = -1, np.zeros((0, width), np.float32)  # the last step that has frames
        self._until = 0

    def fill(self, cells: np.ndarray, rows: np.ndarray, closed: int, last: bool) -> Steps:
        """Take the next steps that have frames, and give what is known by that.

        Args:
            cells: int64 [k], increasing.
            rows: float32 [k d], NaN where no frame has a face.
            closed: all steps before this one that have frames have been given.
            last: whether no more will come.
        """
        if self._causal:
            return self._hold(cells, rows, closed)
        before, rows = len(self._row), np.concatenate([self._row, rows])
        cells = np.append([self._cell] * before, cells).astype(np.int64)
        apart = np.diff(cells)
        runs = np.append(np.where(apart <= self._longest + 1, apart, 1), 1)[: len(cells)]
        owner = np.repeat(np.arange(len(cells)), runs)
        after = np.arange(len(owner)) - np.repeat(np.cumsum(runs) - runs, runs)
        nearest = owner + (after > np.append(apart, 0)[owner] - after)
        keep = slice(before, None)  # the last step of the previous call was given then
        steps, values = (cells[owner] + after)[keep], rows[nearest[keep]]
        if len(cells):
            self._cell, self._row = int(cells[-1]), rows[-1:]
        waits = len(cells) > 0 and not last and closed - self._cell - 1 <= self._longest
        self._until = max(self._until, self._cell + 1 if waits else closed)
        known = np.isfinite(values).all(axis=1)
        return Steps(steps[known], values[known], self._until)

    def _hold(self, cells: np.ndarray, rows: np.ndarray, closed: int) -> Steps:
        rows = np.concatenate([self._row, rows])
        cells = np.append([self._cell] * len(self._row), cells).astype(np.int64)
        closed = max(closed, self._until)
        runs = np.minimum(np.diff(np.append(cells, closed)), self._longest + 1)
        owner = np.repeat(np.arange(len(cells)), runs)
        steps = cells[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(runs) - runs, runs)
        new = (steps >= self._until) & np.isfinite(rows).all(axis=1)[owner]
        if len(cells):
            self._cell, self._row = int(cells[-1]), rows[-1:]
        self._until = closed
        return Steps(steps[new], rows[owner[new]], closed)


class CellExtraction(Stateful):
    """One clip's extraction: a step is the mean of its frames that have features; without any, it is absent.

    A frame whose time is before that of an earlier one counts as at the same time.

    Args:
        grid: the steps.
        width: columns.
        gap_s: longest gap in seconds that is filled where steps have no frames.
        causal: whether steps are known as soon as they end; see Gaps.
    """

    STATE: ClassVar[tuple[str, ...]] = ("_gaps", "_cells", "_sum", "_count", "_open")

    def __init__(self, grid: Grid, width: int, gap_s: float, causal: bool):
        self._grid, self._gaps = grid, Gaps(int(gap_s * grid.rate), width, causal)
        self._cells: list[int] = []  # steps that have frames and weren't given yet
        self._sum, self._count = np.zeros((0, width)), np.zeros(0)  # of their frames
        self._open = -1  # frames to come belong to this step or a later one

    def push(self, piece: FaceTrack) -> Steps:
        """Take the next frames."""
        if len(piece):
            cells = np.maximum.accumulate(np.append(self._open, self._grid.index(piece.time_s)))[1:]
            self._open = int(cells[-1])
            new = np.unique(cells[cells >= 0])
            new = new[new > self._cells[-1]] if self._cells else new
            self._cells += new.tolist()
            self._sum = np.concatenate([self._sum, np.zeros((len(new), self._sum.shape[1]))])
            self._count = np.append(self._count, np.zeros(len(new)))
            self._take(piece, cells)
        return self._known()

    def advance(self, time_s: float) -> Steps:
        """See Extraction."""
        self._open = max(self._open, self._grid.cell(time_s))
        self._pass(time_s)
        return self._known()

    def finish(self, end_s: float) -> Steps:
        """See Extraction."""
        self._pass(np.inf)
        self._open = sys.maxsize
        self._close()
        return self._fill(self._grid.steps(end_s), last=True)

    def _take(self, piece: FaceTrack, cells: np.ndarray) -> None:
        """Look at frames in these steps, int64 [n]; those with negative numbers don't count."""
        raise NotImplementedError

    def _pass(self, time_s: float) -> None:
        """Do what can be done where no frame will come before this time; infinity at the end of the clip."""

    def _close(self) -> None:
        """Do what is to be done when steps end: frames to come belong to step `_open` or a later one."""

    def _first_waiting(self) -> int:
        """The first step that has frames whose features aren't known yet; without any, one that never ends."""
        raise NotImplementedError

    def _add(self, cells: np.ndarray, values: np.ndarray) -> None:
        """Count the features [n d] of frames in these steps, int64 [n] from 0 on."""
        rows = np.searchsorted(self._cells, cells)
        self._sum, self._count = self._sum.copy(), self._count.copy()  # a state that was saved keeps its own
        np.add.at(self._sum, rows, values)
        np.add.at(self._count, rows, 1)

    def _known(self) -> Steps:
        self._close()
        return self._fill(min(self._open, self._first_waiting()))

    def _fill(self, closed: int, last: bool = False) -> Steps:
        n = int(np.searchsorted(self._cells, closed))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (self._sum[:n] / self._count[:n, None]).astype(np.float32)
        cells = np.array(self._cells[:n], np.int64)
        self._cells, self._sum, self._count = self._cells[n:], self._sum[n:], self._count[n:]
        return self._gaps.fill(cells, means, closed, last)
