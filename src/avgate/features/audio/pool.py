"""Pooling frames of sound around each step of a grid."""

from __future__ import annotations

import math

import numpy as np

from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE
from avgate.features.audio.chunks import Chunk

_BLOCK = 256
"""Steps pooled at once; limits the memory."""


class StepPool(Stateful):
    """Mean and standard deviation of the frames in a window around each step; forgets frames that no step needs.

    Time and memory grow with the steps that have frames, and not with the time between them.

    Args:
        grid: the steps.
        width_s: width of the window around a step's centre, in seconds.
        least: [d], how many frames with a value a window needs; with fewer, its statistics are NaN.
    """

    STATE = ("_time", "_values", "_next")

    def __init__(self, grid: Grid, width_s: float, least: np.ndarray):
        self._grid, self._half, self._least = grid, width_s / 2, np.asarray(least)
        self._time = np.empty(0)
        self._values = np.empty((0, len(self._least)), np.float32)
        self._next = 0

    @property
    def width(self) -> int:
        """How many values a frame has."""
        return len(self._least)

    def add(self, chunk: Chunk, centre: np.ndarray, values: np.ndarray) -> None:
        """Take the next chunk's frames.

        Args:
            chunk: where the frames come from. Those centred outside its core belong to its neighbours and are dropped.
            centre: int [m], ascending, the frames' centres in samples from the chunk's first sample.
            values: float32 [m d]; NaN where a frame has no value.
        """
        position = chunk.start + centre
        mine = (position >= chunk.core_start) & (position < chunk.core_end)
        self._time = np.append(self._time, position[mine] / SAMPLE_RATE)
        self._values = np.concatenate([self._values, values[mine]])

    def ended(self, time_s: float) -> int:
        """How many steps have windows that end by then."""
        return max(0, self._first_after(time_s, self._half))

    def take(self, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pool the steps before `stop` that haven't been pooled yet, and forget the frames that only they need.

        Returns:
            int64 [k], numbers of those steps that have frames near them; mean and population standard deviation of the
            frames in each one's window that aren't NaN, float32 [k d] each, NaN where fewer than `least` have a value.
        """
        ranges = []
        # Between stretches that are further apart than a window is wide, no step has a frame.
        cuts = np.flatnonzero(np.diff(self._time) > 2 * self._half + 1 / self._grid.rate) + 1
        for times in np.split(self._time, cuts) if len(self._time) else ():
            first = max(self._next, self._first_after(times[0], self._half))
            last = min(stop, self._first_after(times[-1], -self._half))
            ranges += [np.arange(i, min(i + _BLOCK, last)) for i in range(first, last, _BLOCK)]
        pooled = [self._pooled(steps) for steps in ranges]
        if stop > self._next:
            needed = np.searchsorted(self._time, self._grid.centres(np.array([stop]))[0] - self._half)
            self._time, self._values = self._time[needed:], self._values[needed:]
            self._next = stop
        steps = np.concatenate([np.zeros(0, np.int64), *ranges])
        rows = np.concatenate([np.zeros((0, 2, self.width), np.float32), *pooled])
        return steps, rows[:, 0], rows[:, 1]

    def _first_after(self, time_s: float, offset_s: float) -> int:
        """The first step whose centre, moved by the offset, is after a time."""
        step = math.floor((time_s - offset_s - self._grid.start_s) * self._grid.rate - 0.5) - 1
        while self._grid.start_s + (step + 0.5) / self._grid.rate + offset_s <= time_s:
            step += 1
        return step

    def _pooled(self, steps: np.ndarray) -> np.ndarray:
        """Mean and deviation of each step's window, float32 [steps 2 d]."""
        middle = self._grid.centres(steps)
        low, high = (np.searchsorted(self._time, middle + side) for side in (-self._half, self._half))
        index = low[:, None] + np.arange((high - low).max())
        # numpy adds a lone column pairwise, so that its sums would depend on how many steps are pooled at once.
        frames = np.full((*index.shape, max(2, self.width)), np.nan)
        inside = index < high[:, None]
        frames[inside, : self.width] = self._values[index[inside]]
        return statistics(frames, np.append(self._least, [1] * (frames.shape[2] - self.width)))[..., : self.width]


def statistics(frames: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Mean and population standard deviation over m frames, leaving out NaN.

    Args:
        frames: float64 [n m d].
        least: [d], how many frames with a value it takes; with fewer, both are NaN.

    Returns:
        float32 [n 2 d].
    """
    known = ~np.isnan(frames)
    count = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, frames, 0).sum(axis=1) / count
        variance = np.square(np.where(known, frames - mean[:, None], 0)).sum(axis=1) / count
    row = np.stack([mean, np.sqrt(variance)], axis=1)
    return np.where((count < least)[:, None], np.nan, row).astype(np.float32)
