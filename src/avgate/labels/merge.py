"""Merging raters: the labels of several raters of one clip to one label per target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import CorpusError, choose
from avgate.core.metrics import pcc
from avgate.core.timeline import Grid
from avgate.core.types import LabelTrack
from avgate.labels.delay import find_delay
from avgate.labels.tracks import labels_on_grid, only, steps_of


@dataclass(frozen=True)
class Merged:
    """One target: its raters, and the label merged from them.

    Attributes:
        ratings: float32 [raters n], each rater's labels on the common grid; NaN where unknown.
        raters: name of each rater.
        label: float64 [n], the merged label after the delay is taken out; NaN where unknown.
        delay_s: seconds by which the merged label was moved to an earlier time.
        fit: how well label and features go together at each delay tried, from 0 on, one grid step apart; empty where
            the delay was given rather than found.
        unheard: raters who have no weight in the label, because they contradict the mean of all.
    """

    ratings: np.ndarray
    raters: tuple[str, ...]
    label: np.ndarray
    delay_s: float
    fit: tuple[float, ...]
    unheard: tuple[str, ...] = ()


def merge_raters(
    tracks: Mapping[str, LabelTrack],
    grid: Grid,
    *,
    how: str,
    delay: float | str = 0.0,
    features: np.ndarray | None = None,
    longest_s: float = 6.0,
) -> dict[str, Merged]:
    """Merge the raters of each target on a common grid, and take out their delay.

    Args:
        tracks: rater -> labels.
        grid: the grid of the result.
        how: a name in MERGES.
        delay: seconds, or a name in `delay.MEASURES`: then the delay at which label and features fit best.
        features: float [n d] on the grid; needed to find the delay.
        longest_s: longest delay to try, in seconds.

    Returns:
        Target -> raters and merged label, targets in order of first appearance.

    Raises:
        UsageError: there is no such way to merge.
        FeatureError: no delay can be found from these features.
        CorpusError: a merged label is unknown everywhere, or the grid has too many steps.
    """
    merge = choose("way to merge", how, MERGES)
    n = steps_of(tracks, grid)
    merged = {}
    for target in dict.fromkeys(t for track in tracks.values() for t in track.targets):
        raters = tuple(rater for rater, track in tracks.items() if target in track.targets)
        # One target at a time: `labels_on_grid` drops a step in all targets when it is unknown in one.
        ratings = np.stack([labels_on_grid(only(tracks[r], [target]), grid, n)[:, 0] for r in raters])
        label = merge(ratings)
        delay_s, fit = _delay(delay, label, features, grid, longest_s)
        shift = round(delay_s * grid.rate)
        label = np.append(label[shift:], np.full(min(shift, n), np.nan))
        if np.isnan(label).all():
            what = f"nothing is left of {target}: no step from 0 to {n / grid.rate:.1f} s has a value"
            moved = f" after a delay of {delay_s:g} s" if shift else ""
            raise CorpusError(f"{what}{moved}", hint="look at the files' times and values, or choose --targets")
        weights = ewe_weights(ratings) if how == "ewe" else np.ones(len(raters))
        unheard = tuple(rater for rater, weight in zip(raters, weights, strict=True) if not weight)
        merged[target] = Merged(ratings, raters, label, shift / grid.rate, fit, unheard)
    return merged


def _delay(
    delay: float | str, label: np.ndarray, features: np.ndarray | None, grid: Grid, longest_s: float
) -> tuple[float, tuple[float, ...]]:
    if not isinstance(delay, str):
        return delay, ()
    if features is None:
        raise ValueError(f"to find the delay by {delay}, features are needed")
    return find_delay(label, features, grid.rate, longest_s, delay)


def mean(ratings: np.ndarray) -> np.ndarray:
    """Mean of the raters at each step, without those who are unknown there.

    Args:
        ratings: float [raters n], NaN where unknown.

    Returns:
        float64 [n], NaN where all raters are unknown.
    """
    return _weighted_mean(ratings, np.ones(len(ratings)))


def ewe(ratings: np.ndarray) -> np.ndarray:
    """Evaluator weighted estimator: each rater is weighted by the correlation with the mean of all raters.

    Grimm and Kroschel, "Evaluation of natural emotions using self assessment manikins", ASRU 2005, equations 4 and 5.
    A rater with a correlation of 0 or below has weight 0. Where all have, it is the plain mean.
    MuSe-Toolbox weighs by the mean CCC with each of the other raters instead: docs/parity.md has the difference.

    Args:
        ratings: float [raters n], NaN where unknown.

    Returns:
        float64 [n], NaN where all raters are unknown.
    """
    return _weighted_mean(ratings, ewe_weights(ratings))


def ewe_weights(ratings: np.ndarray) -> np.ndarray:
    """Weight of each rater in `ewe`.

    Args:
        ratings: float [raters n], NaN where unknown.

    Returns:
        float64 [raters] in [0, 1]; all 1 where no rater correlates with the mean.
    """
    centre = mean(ratings)
    weights = np.array([max(0.0, np.nan_to_num(pcc(rating, centre))) for rating in ratings])
    return weights if weights.any() else np.ones(len(ratings))


def raaw(ratings: np.ndarray, reach: int = 30, rounds: int = 2) -> np.ndarray:
    """Rater aligned annotation weighting: raters are aligned in time first, then merged by `ewe`.

    After Stappen et al., "MuSe-Toolbox", MuSe 2021, who align raters by generic time warping. Here dynamic time warping
    aligns each rater with the EWE of all, both standardised; the EWE of the aligned raters is the result.

    Args:
        ratings: float [raters n], NaN where unknown.
        reach: most steps by which a rater may be moved, at least 1.
        rounds: how often raters are aligned with the latest EWE.

    Returns:
        float64 [n], NaN where all raters are unknown.
    """
    label = ewe(ratings)
    for _ in range(rounds):
        label = ewe(np.stack([warped(rating, label, reach) for rating in ratings]))
    return label


def warped(rating: np.ndarray, onto: np.ndarray, reach: int) -> np.ndarray:
    """A rating aligned with another by dynamic time warping.

    Unknown steps stay where they are. Where several steps fall into one, it is their mean.

    Args:
        rating: float [n], NaN where unknown.
        onto: float [n], the other one; NaN where unknown.
        reach: most steps by which the rating may be moved, at least 1.

    Returns:
        float64 [n].
    """
    from dtaidistance import dtw

    both = ~np.isnan(rating) & ~np.isnan(onto)
    if both.sum() < 2 or np.ptp(rating[both]) == 0 or np.ptp(onto[both]) == 0:
        return rating.astype(np.float64)
    at = np.flatnonzero(both)
    path = np.array(dtw.warping_path_fast(_standardised(rating[both]), _standardised(onto[both]), window=reach + 1))
    total = np.bincount(path[:, 1], rating[both][path[:, 0]], minlength=len(at))
    moved = rating.astype(np.float64)
    moved[at] = total / np.bincount(path[:, 1], minlength=len(at))
    return moved


MERGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "ewe": ewe, "raaw": raaw}
"""Name -> way to merge ratings float [raters n] to a label float64 [n]."""


def _standardised(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((values - values.mean()) / values.std(), np.float64)


def _weighted_mean(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of the known ratings of each step; their plain mean where all of them have weight 0."""
    ratings = np.asarray(ratings, np.float64)
    known = ~np.isnan(ratings)
    share = np.where(known, weights[:, None], 0.0)
    share = np.where(share.sum(0) > 0, share, known)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(known, ratings * share, 0.0).sum(0) / share.sum(0)
    return mean
