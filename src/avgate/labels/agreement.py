"""Several raters' labels of one clip: how well they agree, and one label made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from avgate.core.metrics import ccc, pcc


@dataclass(frozen=True)
class Agreement:
    """How well raters agree; NaN where too little is known to say.

    Attributes:
        pairs: mean CCC over all pairs of raters, which is what one rater is to another.
        others: per rater, CCC with the mean of the others.
        alpha: Cronbach's alpha.
    """

    pairs: float
    others: tuple[float, ...]
    alpha: float


def agreement(ratings: np.ndarray) -> Agreement:
    """Agreement of raters on one target.

    Args:
        ratings: float [raters n], NaN where a rater said nothing; at least two raters.
    """
    pairs = [ccc(a, b) for a, b in combinations(ratings, 2)]
    others = tuple(ccc(ratings[k], mean(np.delete(ratings, k, 0))) for k in range(len(ratings)))
    known = np.array(pairs)[~np.isnan(pairs)]
    return Agreement(float(known.mean()) if len(known) else float("nan"), others, cronbach_alpha(ratings))


def cronbach_alpha(ratings: np.ndarray) -> float:
    """Cronbach's alpha (1951) over the steps that all raters rated, in (-inf, 1].

    K / (K - 1) (1 - sum of the raters' variances / variance of their sum); NaN for fewer than two such steps, or where
    the sum doesn't vary.
    """
    whole = ratings[:, ~np.isnan(ratings).any(0)].astype(np.float64)
    raters = len(whole)
    if raters < 2 or whole.shape[1] < 2 or np.ptp(whole.sum(0)) == 0:
        return float("nan")
    return float(raters / (raters - 1) * (1 - whole.var(1).sum() / whole.sum(0).var()))


def mean(ratings: np.ndarray) -> np.ndarray:
    """Mean over the raters who said something at each step: float64 [n] from [raters n], NaN where nobody did."""
    return _weighted(ratings, np.ones(len(ratings)))


def ewe(ratings: np.ndarray) -> np.ndarray:
    """Evaluator weighted estimator: the mean with each rater weighted by the correlation with the mean of all.

    Grimm and Kroschel, "Evaluation of natural emotions using self assessment manikins", ASRU 2005, equations 4 and 5.
    Whoever correlates negatively or not at all counts for nothing; if all do, it is the mean.
    """
    return _weighted(ratings, ewe_weights(ratings))


def ewe_weights(ratings: np.ndarray) -> np.ndarray:
    """Each rater's weight in `ewe`, float64 [raters] of at least 0; all 1 where no rater correlates with the mean."""
    centre = mean(ratings)
    weights = np.array([max(0.0, np.nan_to_num(pcc(rating, centre))) for rating in ratings])
    return weights if weights.any() else np.ones(len(ratings))


def raaw(ratings: np.ndarray, reach: int = 30, rounds: int = 2) -> np.ndarray:
    """Rater aligned annotation weighting: the EWE of ratings that were first warped onto a common course.

    After Stappen et al., "MuSe-Toolbox", MuSe 2021, where generic time warping aligns the raters. Here each is warped
    onto the EWE of all by dynamic time warping, both standardised, and the EWE is taken anew.

    Args:
        ratings: float [raters n].
        reach: by how many steps a rater may be ahead or behind, at least 1.
        rounds: how often raters are warped onto the latest EWE.
    """
    course = ewe(ratings)
    for _ in range(rounds):
        course = ewe(np.stack([warped(rating, course, reach) for rating in ratings]))
    return course


def warped(rating: np.ndarray, onto: np.ndarray, reach: int) -> np.ndarray:
    """A rating moved in time, step by step, to follow another course as closely as it can: float64 [n].

    Steps that the rating doesn't know stay in place; several of its steps that meet in one are averaged.
    """
    from dtaidistance import dtw

    both = ~np.isnan(rating) & ~np.isnan(onto)
    if both.sum() < 2 or np.ptp(rating[both]) == 0 or np.ptp(onto[both]) == 0:
        return rating.astype(np.float64)
    at = np.flatnonzero(both)
    path = np.array(dtw.warping_path_fast(_standard(rating[both]), _standard(onto[both]), window=reach + 1))
    total = np.bincount(path[:, 1], rating[both][path[:, 0]], minlength=len(at))
    moved = rating.astype(np.float64)
    moved[at] = total / np.bincount(path[:, 1], minlength=len(at))
    return moved


MERGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "ewe": ewe, "raaw": raaw}
"""Name -> what makes one rating float64 [n] of several [raters n]."""


def _standard(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((values - values.mean()) / values.std(), np.float64)


def _weighted(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of those who said something; the plain mean where only raters without weight did."""
    ratings = np.asarray(ratings, np.float64)
    known = ~np.isnan(ratings)
    share = np.where(known, weights[:, None], 0.0)
    share = np.where(share.sum(0) > 0, share, known)
    with np.errstate(invalid="ignore"):
        return np.where(known, ratings * share, 0.0).sum(0) / share.sum(0)
