"""The clock: all arithmetic between frames and seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LONGEST_S, IN_WORDS = 7 * 86400.0, "7 days"
"""Longest recording, and latest time of a label, in seconds; later times are clock times, or in another unit."""


@dataclass(frozen=True)
class Grid:
    """A regular clock: step i stands for the cell [start_s + i / rate, start_s + (i + 1) / rate).

    Args:
        rate: steps per second, above 0.
        start_s: left edge of the first cell, in seconds on the video's own clock.
    """

    rate: float
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0 and math.isfinite(self.start_s)):
            raise ValueError(
                f"a grid needs a positive rate and a finite start, not rate={self.rate}, start={self.start_s}"
            )

    def times(self, n: int) -> np.ndarray:
        """Centres of the first n cells in seconds, float64 [n]."""
        return self.centres(np.arange(n))

    def centres(self, steps: np.ndarray) -> np.ndarray:
        """Centres of these cells in seconds, float64 [n]."""
        return self.start_s + (steps + 0.5) / self.rate

    def index(self, time_s: np.ndarray) -> np.ndarray:
        """The cell that each time falls into, int64 [n]; negative before the grid's start.

        Times closer than a microsecond to the next edge count as on it, so that 0.1 + 0.2 lands where 0.3 does.
        """
        steps = (np.asarray(time_s, np.float64) - self.start_s) * self.rate
        cells: np.ndarray = np.floor(steps + 1e-6 * self.rate).astype(np.int64)
        return cells

    def cell(self, time_s: float) -> int:
        """The cell that one time falls into, as `index`."""
        return int(self.index(np.array([time_s]))[0])

    def steps(self, end_s: float) -> int:
        """How many cells it takes to cover everything up to end_s (at least 0)."""
        return max(0, math.ceil((end_s - self.start_s) * self.rate - 1e-6 * self.rate))

    def part(self, start_s: float, end_s: float) -> tuple[Grid, int, int]:
        """The cells from the one that start_s falls into up to end_s.

        Returns:
            A grid that starts with the first of them, its number, and that of the cell after the last of them.
        """
        first = max(0, self.cell(start_s))
        return Grid(self.rate, self.start_s + first / self.rate), first, max(first, self.steps(end_s))

    def seconds_to_steps(self, seconds: float) -> int:
        """The nearest whole number of steps to a duration, at least 1."""
        return max(1, round(seconds * self.rate))


def cell_mean(
    values: np.ndarray, present: np.ndarray, time_s: np.ndarray, grid: Grid, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of all present samples whose time falls into each cell.

    Args:
        values: [m d] samples at any times; rows that aren't present may hold anything.
        present: bool [m].
        time_s: float64 [m] seconds.
        grid: the cells.
        n: how many cells.

    Returns:
        float32 [n d], NaN where a cell has no present sample, and bool [n], True where it has one.
    """
    cell = grid.index(time_s)
    use = np.asarray(present, bool) & (cell >= 0) & (cell < n)
    count = np.bincount(cell[use], minlength=n).astype(np.float64)
    total = np.zeros((n, values.shape[1]))
    np.add.at(total, cell[use], values[use])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count[:, None]).astype(np.float32), count > 0


def touched_cells(start_s: np.ndarray, until_s: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Which cells each stretch of time stands for: those whose centres lie in it, or else the one in which it begins.

    Args:
        start_s: float64 [m] seconds.
        until_s: float64 [m] seconds, each after its start; a stretch doesn't contain its end.
        grid: the cells.

    Returns:
        int64 [r] stretches and int64 [r] cells, in the stretches' order.
    """
    half = 0.5 / grid.rate
    first = grid.index(np.asarray(start_s) + half - 2e-6)
    count = np.maximum(grid.index(np.asarray(until_s) + half - 2e-6) - first, 0)
    first, count = np.where(count == 0, grid.index(start_s), first), np.maximum(count, 1)
    stretch = np.repeat(np.arange(len(count)), count)
    return stretch, first[stretch] + np.arange(len(stretch)) - np.repeat(np.cumsum(count) - count, count)


def fill_short_gaps(values: np.ndarray, present: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the nearest present row in gaps of up to max_gap cells between two present ones.

    A source slower than the grid leaves empty cells between its samples; they aren't absences. Longer gaps,
    and everything before the first or after the last present row, stay absent.

    Args:
        values: float32 [n d].
        present: bool [n].
        max_gap: longest run of empty cells to fill, in cells.

    Returns:
        values and presence with the short gaps filled (copies).
    """
    values, present = values.copy(), present.copy()
    have = np.flatnonzero(present)
    if max_gap < 1 or len(have) < 2:
        return values, present
    apart = np.diff(have)
    for i in np.flatnonzero((apart > 1) & (apart <= max_gap + 1)):
        left, right = have[i], have[i + 1]
        gap = np.arange(left + 1, right)
        values[gap] = values[np.where(gap - left <= right - gap, left, right)]
        present[gap] = True
    return values, present


def resample(
    values: np.ndarray, present: np.ndarray, source: Grid, target: Grid, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a track from its own grid to another one: means when the target is slower, nearest cells when it is faster.

    Args:
        values: float32 [m d] on `source`.
        present: bool [m].
        source: the track's grid.
        target: the grid to bring it to.
        n: steps on the target grid.

    Returns:
        float32 [n d] (NaN where absent) and bool [n].
    """
    if target.rate < source.rate:
        return cell_mean(values, present, source.times(len(values)), target, n)
    cell = source.index(target.times(n))
    inside = (cell >= 0) & (cell < len(values))
    out = np.full((n, values.shape[1]), np.nan, np.float32)
    mask = np.zeros(n, bool)
    mask[inside] = present[cell[inside]]
    out[mask] = values[cell[mask]]
    return out, mask


def read_off(values: np.ndarray, grid: Grid, time_s: np.ndarray) -> np.ndarray:
    """Values of a track at any times: linear between the centres of neighbouring cells, held at the ends.

    Where one of the two neighbours is NaN, the value is that of the cell the time falls into (which may be NaN): a
    known value is never spread over an unknown cell, nor lost beside one.

    Args:
        values: float [n ...] on `grid`, n >= 1.
        grid: the values' grid.
        time_s: float64 [m] seconds.

    Returns:
        float64 [m ...], NaN for times outside the grid's cells by more than one step.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    position = (np.asarray(time_s, np.float64) - grid.start_s) * grid.rate - 0.5
    left = np.clip(np.floor(position).astype(np.int64), 0, n - 1)
    right = np.clip(left + 1, 0, n - 1)
    shape = (-1,) + (1,) * (values.ndim - 1)
    weight = np.clip(position - left, 0, 1).reshape(shape)
    own = values[np.clip(grid.index(time_s), 0, n - 1)]
    mixed = np.where(weight == 0, values[left], (1 - weight) * values[left] + weight * values[right])
    out = np.where(np.isnan(mixed), own, mixed)
    outside = (position < -1.5) | (position > n + 0.5)
    out[outside] = np.nan
    return out


def read_cell(values: np.ndarray, grid: Grid, time_s: np.ndarray) -> np.ndarray:
    """Values of the cell that each time falls into, float64 [m ...] from float [n ...]; NaN outside the grid."""
    values, cell = np.asarray(values, np.float64), grid.index(time_s)
    inside = (cell >= 0) & (cell < len(values))
    out = np.full((len(cell), *values.shape[1:]), np.nan)
    out[inside] = values[cell[inside]]
    return out


def read_off_mask(mask: np.ndarray, grid: Grid, time_s: np.ndarray) -> np.ndarray:
    """The mask of the cell that each time falls into, bool [m]; False outside the grid."""
    cell = grid.index(time_s)
    inside = (cell >= 0) & (cell < len(mask))
    out = np.zeros(len(cell), bool)
    out[inside] = np.asarray(mask, bool)[cell[inside]]
    return out
