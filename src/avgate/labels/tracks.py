"""Arithmetic on LabelTracks: their rate, their intervals, several tracks as one, and values at other times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from avgate.core.timeline import Grid, cell_mean, fill_short_gaps, read_off, touched_cells
from avgate.core.types import LabelTrack

_REGULAR = 0.9
"""Share of the intervals that must be about as long as the median, for labels to have a rate."""


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
    """The interval of each label: start and end in seconds, float64 [n] each.

    A label without an end lasts until the next one. The last of them lasts as long as most others do; a single one
    lasts one second.
    """
    if labels.until_s is not None:
        return labels.time_s, labels.until_s
    return labels.time_s, np.append(labels.time_s[1:], labels.time_s[-1:] + 1 / rate_of(labels.time_s))


def only(labels: LabelTrack, targets: Sequence[str]) -> LabelTrack:
    """The labels of these targets alone, in the track's own order."""
    kept = [k for k, target in enumerate(labels.targets) if target in targets]
    names = tuple(labels.targets[k] for k in kept)
    return LabelTrack(labels.time_s, labels.values[:, kept], names, labels.until_s)


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
    """Labels read off at other times.

    Labels of intervals hold throughout their interval. Labels of single times are interpolated linearly; next to an
    unknown label, the nearer label counts.

    Args:
        labels: what to read.
        time_s: float [m] seconds.

    Returns:
        float64 [m k]; NaN outside any interval, or further outside than half the distance between labels.
    """
    time_s = np.asarray(time_s, np.float64)
    if labels.until_s is not None:
        at = np.searchsorted(labels.time_s, time_s, side="right") - 1
        inside = (at >= 0) & (time_s < labels.until_s[at])
        return np.where(inside[:, None], labels.values[at].astype(np.float64), np.nan)
    # Positions on a regular grid, so that the rule about unknown neighbours is read_off's own.
    n = len(labels.time_s)
    values = read_off(labels.values, Grid(1.0), np.interp(time_s, labels.time_s, np.arange(n) + 0.5))
    margin = 0.5 / rate_of(labels.time_s) + 1e-6
    values[(time_s < labels.time_s[0] - margin) | (time_s > labels.time_s[-1] + margin)] = np.nan
    return values


def side_by_side(tracks: Sequence[LabelTrack]) -> LabelTrack:
    """Tracks of different targets as one track, at the times of the first.

    Raises:
        ValueError: two tracks have the same target.
    """
    first, *others = tracks
    targets = [target for track in tracks for target in track.targets]
    if len(set(targets)) < len(targets):
        raise ValueError(f"a target is there twice: {', '.join(targets)}")
    if not others:
        return first
    if first.until_s is not None and all(track.until_s is not None for track in others):
        tiers = {
            target: list(zip(*map(np.ndarray.tolist, (*intervals(t), t.values[:, k])), strict=True))
            for t in tracks
            for k, target in enumerate(t.targets)
        }
        known = {name: [row for row in tier if row[2] == row[2]] for name, tier in tiers.items()}
        return track_of_tiers(known)
    values = [first.values, *(values_at(track, first.time_s) for track in others)]
    return LabelTrack(first.time_s, np.concatenate(values, 1).astype(np.float32), tuple(targets), first.until_s)


def labels_on_grid(labels: LabelTrack, grid: Grid, n: int) -> np.ndarray:
    """Labels on a regular grid: the mean of the valid labels in each step.

    A label that is unknown in one target is unknown in all. Labels of single times that come more slowly than the
    grid's steps hold until the next one; labels of intervals hold for their interval only.

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
    values, known = cell_mean(labels.values, valid, labels.time_s + _rounding(labels.time_s, grid), grid, n)
    if len(labels.time_s) > 1:
        spacing = float(np.median(np.diff(labels.time_s)))
        values, known = fill_short_gaps(values, known, math.ceil(spacing * grid.rate) - 1)
    values[~known] = np.nan
    return values


def _rounding(time_s: np.ndarray, grid: Grid) -> float:
    """Seconds to add to the times of labels, so that rounding doesn't put them into the step before their own.

    Files round times to milliseconds, some to hundredths. With one label per step, more can safely be added.
    """
    same = len(time_s) > 1 and abs(rate_of(time_s) / grid.rate - 1) < 0.01
    return 0.2 / grid.rate if same else min(6e-4, 0.2 / grid.rate)
