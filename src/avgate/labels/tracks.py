"""Arithmetic on LabelTracks: their rate, their intervals, several tracks as one, and values at other times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.timeline import Grid, cell_mean, touched_cells
from avgate.core.types import LabelTrack

_REGULAR = 0.9
"""Share of the intervals that must be about as long as the median, for labels to have a rate."""

_PAUSE = 1.5
"""A distance between two labels above this many usual ones is a pause."""

_ROUNDED_S = 6e-4
"""How far rounding may move a time: files round times to milliseconds."""

FARTHEST_S = 0.05
"""Furthest that a grid may move the beginning or the end of a label without a word: half a step at 10 per second."""

_RATES = (1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 25.0)
"""Rates to try where labels' own rate would move them; the last one moves none further than FARTHEST_S."""

_DEFAULT_RATE = 10.0
"""Labels per second where no track has a regular rate of its own."""

MOST_STEPS = 1_000_000
"""Most steps of a grid of labels: 11 hours at 25 per second. Times that need more are mistakes."""


def rate_of(time_s: np.ndarray) -> float:
    """Labels per second, from the distance between neighbours in `time_s` float [n]; 1 for a single label."""
    return _rate(np.diff(time_s)) if len(time_s) > 1 else 1.0


def own_rate(labels: LabelTrack) -> float | None:
    """Labels per second; None where labels are of intervals that vary in length, or of whole clips."""
    if labels.until_s is None:
        return rate_of(labels.time_s)
    lengths = labels.until_s - labels.time_s
    if np.isinf(lengths).any():
        return None
    usual = float(np.median(lengths))
    return _rate(lengths) if (np.abs(lengths - usual) < 0.1 * usual).mean() >= _REGULAR else None


def _rate(distances: np.ndarray) -> float:
    """Labels per second, from the mean of all distances near the median, in which rounding cancels out.

    A rate very near a whole number becomes that number.
    """
    usual = float(np.median(distances))
    near = distances[np.abs(distances - usual) < 0.5 * usual]
    rate = 1 / float(near.mean() if len(near) else usual)
    whole = round(rate)
    return float(whole) if whole and abs(rate - whole) < 5e-4 * whole else rate


def intervals(labels: LabelTrack) -> tuple[np.ndarray, np.ndarray]:
    """The interval in which each label holds: start and end in seconds, float64 [n] each.

    A label of a single time holds until the next one. Before a pause, and at the end, it holds as long as most others
    do; a single one holds for one second.
    """
    if labels.until_s is not None:
        return labels.time_s, labels.until_s
    usual = 1 / rate_of(labels.time_s)
    following = np.append(labels.time_s[1:], np.inf)
    pause = following - labels.time_s > _PAUSE * usual
    return labels.time_s, np.where(pause, labels.time_s + usual, following)


def steps_of(tracks: Mapping[str, LabelTrack], grid: Grid) -> int:
    """How many steps of a grid it takes to hold all these labels; `tracks` has a name for each.

    Raises:
        CorpusError: more than MOST_STEPS; nothing of that size is made.
    """
    ends = {name: float(intervals(track)[1][-1]) for name, track in tracks.items()}
    last = max(ends, key=ends.__getitem__)
    end_s = ends[last]
    if not (end_s - grid.start_s) * grid.rate <= MOST_STEPS:
        what = f"labels until {end_s:g} s at {grid.rate:g} per second are {end_s * grid.rate:.3g} steps"
        hint = f"{MOST_STEPS:,} are possible: correct the times, or give a lower --rate"
        raise CorpusError(what, where=last, hint=hint)
    return grid.steps(end_s)


def from_zero(labels: LabelTrack) -> LabelTrack:
    """The labels from 0 s on: those that hold only before are left out, unless all do; others begin at 0."""
    kept = intervals(labels)[1] > 0
    if labels.time_s[0] >= 0 or not kept.any():
        return labels
    until_s = None if labels.until_s is None else labels.until_s[kept]
    return replace(labels, time_s=np.maximum(labels.time_s[kept], 0), values=labels.values[kept], until_s=until_s)


def moved_s(labels: LabelTrack, grid: Grid) -> float:
    """The most seconds by which `labels_on_grid` moves the beginning or the end of a label."""
    start_s, until_s = intervals(labels)
    begins, ends = (grid.index(edge + 0.5 / grid.rate - 2e-6) for edge in (start_s, until_s))
    if labels.until_s is None:
        begins = grid.index(start_s + _rounding(start_s, grid))
    else:  # one that holds in the middle of no step has the step in which it begins
        begins = np.where(ends <= begins, grid.index(start_s), begins)
    ends = np.maximum(ends, begins + 1)
    edges = ((begins, start_s), (ends, until_s))
    return max(float(np.abs(grid.start_s + step / grid.rate - edge).max()) for step, edge in edges)


def grid_for(
    tracks: Mapping[str, LabelTrack], rate: float | None = None, *, delay_s: float = 0.0, at_zero: bool = False
) -> Grid:
    """A grid that moves no label and no delay further than FARTHEST_S, where there is one.

    It has the highest of the labels' own rates, and begins at 0 or where the labels' own steps begin. Where these would
    move a label, it is the first of the rates up to 25 per second that moves none, or else 25 per second.

    Args:
        tracks: labels by name.
        rate: the grid's rate, if it is given: then labels may be moved further, see `moved_s`.
        delay_s: seconds by which labels will be moved to an earlier time.
        at_zero: whether the grid must begin at 0.
    """
    rates = [own for track in tracks.values() if (own := own_rate(track)) is not None]
    usual = rate or (float(f"{max(rates):.6g}") if rates else _DEFAULT_RATE)
    end_s = max(float(intervals(track)[1][-1]) for track in tracks.values())

    def moved(grid: Grid) -> float:
        late = abs(delay_s - round(delay_s * grid.rate) / grid.rate)
        return max(late, *(moved_s(track, grid) for track in tracks.values()))

    phase = min(float(track.time_s[0]) for track in tracks.values()) % (1 / usual)
    for grid in (Grid(usual), *([] if at_zero else [Grid(usual, phase)])):
        if moved(grid) <= FARTHEST_S + 1e-6:
            return grid
    finer = [Grid(r) for r in _RATES if rate is None and r > usual and r * end_s <= MOST_STEPS]
    exact = (grid for grid in finer if moved(grid) <= 2e-3)
    return next(exact, finer[-1] if finer else Grid(usual))


def only(labels: LabelTrack, targets: Sequence[str]) -> LabelTrack:
    """The labels of these targets alone, in the track's own order."""
    kept = [k for k, target in enumerate(labels.targets) if target in targets]
    names = tuple(labels.targets[k] for k in kept)
    return replace(labels, values=labels.values[:, kept], targets=names)


def whole_clip(values: Mapping[str, float]) -> LabelTrack:
    """Labels that hold for a whole clip, however long it is: target -> value."""
    return LabelTrack(
        np.zeros(1), np.array([list(values.values())], np.float32), tuple(values), until_s=np.array([math.inf])
    )


def track_of_tiers(tiers: Mapping[str, Sequence[tuple[float, float, float]]]) -> LabelTrack:
    """Tiers of intervals as one track; a new row begins wherever an interval of any target begins or ends.

    Args:
        tiers: target -> its intervals in any order, (start, end, value) with times in seconds.
    """
    borders = np.unique([time for tier in tiers.values() for start, end, _ in tier for time in (start, end)])
    values = np.full((max(0, len(borders) - 1), len(tiers)), np.nan)
    for k, tier in enumerate(tiers.values()):
        for start, end, value in tier:
            values[np.searchsorted(borders, start) : np.searchsorted(borders, end), k] = value
    known = ~np.isnan(values).all(1)
    return LabelTrack(borders[:-1][known], values[known].astype(np.float32), tuple(tiers), borders[1:][known])


def values_at(labels: LabelTrack, time_s: np.ndarray) -> np.ndarray:
    """Labels read off at other times: each holds throughout its interval, see `intervals`.

    Args:
        labels: what to read.
        time_s: float [m] seconds.

    Returns:
        float64 [m k]; NaN where no label holds.
    """
    start_s, until_s = intervals(labels)
    # Times that were rounded must not fall before the label that they belong to.
    time_s = np.asarray(time_s, np.float64) + min(_ROUNDED_S, 0.2 / rate_of(start_s))
    at = np.searchsorted(start_s, time_s, side="right") - 1
    inside = (at >= 0) & (time_s < until_s[at])
    return np.where(inside[:, None], labels.values[at].astype(np.float64), np.nan)


def side_by_side(tracks: Sequence[LabelTrack]) -> LabelTrack:
    """Tracks of different targets as one track, at the times of the first; unknown where no label holds.

    Raises:
        ValueError: two tracks have the same target.
    """
    first, *others = tracks
    targets = [target for track in tracks for target in track.targets]
    if len(set(targets)) < len(targets):
        raise ValueError(f"a target is there twice: {', '.join(targets)}")
    if not others:
        return first
    notes = tuple(note for track in tracks for note in track.notes)
    if first.until_s is not None and all(track.until_s is not None for track in others):
        tiers = {
            target: list(zip(*map(np.ndarray.tolist, (*intervals(t), t.values[:, k])), strict=True))
            for t in tracks
            for k, target in enumerate(t.targets)
        }
        known = {name: [row for row in tier if row[2] == row[2]] for name, tier in tiers.items()}
        return replace(track_of_tiers(known), notes=notes)
    values = [first.values, *(values_at(track, first.time_s) for track in others)]
    return replace(first, values=np.concatenate(values, 1).astype(np.float32), targets=tuple(targets), notes=notes)


def labels_on_grid(labels: LabelTrack, grid: Grid, n: int) -> np.ndarray:
    """Labels on a regular grid: the mean of the valid labels in each step.

    A label of an interval belongs to the steps whose middle lies in it. A label of a single time belongs to the step
    that it falls into; in steps without any label, the last one holds, see `intervals`. A label that is unknown in one
    target is unknown in all.

    Args:
        labels: what to resample.
        grid: the grid.
        n: number of steps.

    Returns:
        float32 [n k]; NaN where a step has no valid label.
    """
    valid = np.isfinite(labels.values).all(1)
    if labels.until_s is not None:
        # A label of a whole clip has no end of its own: it ends with the grid.
        until_s = np.where(np.isinf(labels.until_s), grid.start_s + n / grid.rate, labels.until_s)
        stretch, cell = touched_cells(labels.time_s, until_s, grid)
        return cell_mean(labels.values[stretch], valid[stretch], grid.start_s + (cell + 0.5) / grid.rate, grid, n)[0]
    time_s = labels.time_s + _rounding(labels.time_s, grid)
    cell = grid.index(time_s)
    own = np.zeros(n, bool)
    own[cell[(cell >= 0) & (cell < n)]] = True
    held = values_at(labels, grid.times(n))
    held[np.isnan(held).any(1)] = np.nan
    values = cell_mean(labels.values, valid, time_s, grid, n)[0]
    return np.where(own[:, None], values, held).astype(np.float32)


def _rounding(time_s: np.ndarray, grid: Grid) -> float:
    """Seconds to add to the times of labels, so that rounding doesn't put them into the step before their own.

    Files round times to milliseconds, some to hundredths. With one label per step, more can safely be added.
    """
    same = len(time_s) > 1 and abs(rate_of(time_s) / grid.rate - 1) < 0.01
    return 0.2 / grid.rate if same else min(_ROUNDED_S, 0.2 / grid.rate)
