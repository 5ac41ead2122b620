"""How well the raters of one clip agree: CCC between raters, and Cronbach's alpha."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from avgate.core.metrics import ccc
from avgate.labels.merge import mean


@dataclass(frozen=True)
class Agreement:
    """How well raters agree on one target; NaN where too few steps are known.

    Attributes:
        pairs: mean CCC over all pairs of raters.
        others: for each rater, the CCC with the mean of the other raters.
        alpha: Cronbach's alpha.
    """

    pairs: float
    others: tuple[float, ...]
    alpha: float


def agreement(ratings: np.ndarray) -> Agreement:
    """Agreement of raters on one target.

    Args:
        ratings: float [raters n], NaN where unknown; at least two raters.
    """
    pairs = [ccc(a, b) for a, b in combinations(ratings, 2)]
    others = tuple(ccc(ratings[k], mean(np.delete(ratings, k, 0))) for k in range(len(ratings)))
    known = np.array(pairs)[~np.isnan(pairs)]
    return Agreement(float(known.mean()) if len(known) else float("nan"), others, cronbach_alpha(ratings))


def cronbach_alpha(ratings: np.ndarray) -> float:
    """Cronbach's alpha over the steps that all K raters rated.

    K / (K - 1) (1 - sum of the raters' variances / variance of the raters' sum). Cronbach, "Coefficient alpha and the
    internal structure of tests", Psychometrika 16, 1951.

    Args:
        ratings: float [raters n], NaN where unknown.

    Returns:
        In (-inf, 1]; NaN for fewer than two raters or such steps, or where the sum is constant.
    """
    complete = ratings[:, ~np.isnan(ratings).any(0)].astype(np.float64)
    raters = len(complete)
    if raters < 2 or complete.shape[1] < 2 or np.ptp(complete.sum(0)) == 0:
        return float("nan")
    return float(raters / (raters - 1) * (1 - complete.var(1).sum() / complete.sum(0).var()))
