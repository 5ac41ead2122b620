"""How well a prediction agrees with labels: float64, population statistics, NaN where there is nothing to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def _paired(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(prediction, np.float64), np.asarray(label, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"prediction and label must be vectors of one length, not {x.shape} and {y.shape}")
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]


def ccc(prediction: np.ndarray, label: np.ndarray) -> float:
    """Concordance correlation coefficient in [-1, 1] over the steps where both are known (Lin 1989).

    NaN for fewer than two such steps, or when both are one and the same constant.
    """
    x, y = _paired(prediction, label)
    if len(x) < 2 or (np.ptp(x) == np.ptp(y) == 0 and x[0] == y[0]):
        return float("nan")
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * ((x - x.mean()) * (y - y.mean())).mean() / spread)


def pcc(prediction: np.ndarray, label: np.ndarray) -> float:
    """Pearson correlation in [-1, 1] over the steps where both are known; NaN when either is constant."""
    x, y = _paired(prediction, label)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))


def rmse(prediction: np.ndarray, label: np.ndarray) -> float:
    """Root mean squared error, in the targets' unit, over the steps where both are known."""
    x, y = _paired(prediction, label)
    return float(np.sqrt(((x - y) ** 2).mean())) if len(x) else float("nan")


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"ccc": ccc, "pcc": pcc, "rmse": rmse}


def pooled(metric: Callable[[np.ndarray, np.ndarray], float], clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """A metric over all frames of all clips put together, as the field reports it; clips are (prediction, label)."""
    return metric(np.concatenate([p for p, _ in clips]), np.concatenate([y for _, y in clips]))


def moments(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """All that pooled scores need of one clip: float64 [6] of n, and the sums of x, y, x^2, y^2 and xy.

    Moments of several clips add up to those of the clips put together. Steps where either is unknown don't count.
    """
    x, y = _paired(prediction, label)
    return np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def ccc_of(moments: np.ndarray) -> np.ndarray:
    """CCC from moments: float64 [...] from [... 6]; NaN where there is nothing to measure."""
    n, sx, sy, sxx, syy, sxy = np.moveaxis(moments, -1, 0)
    n = np.where(n < 2, np.nan, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my = sx / n, sy / n
        spread = (sxx / n - mx**2) + (syy / n - my**2) + (mx - my) ** 2
        agreement: np.ndarray = 2 * (sxy / n - mx * my) / spread
    return agreement


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how often a true step's score is above another one's.

    Args:
        score: float [n]; ties count half.
        truth: bool [n].

    Returns:
        In [0, 1], 0.5 for chance; NaN where all steps are true or none is.
    """
    from scipy.stats import rankdata  # here, since it takes most of a second to load and predictions don't need it

    true = int(truth.sum())
    false = len(truth) - true
    if not true or not false:
        return float("nan")
    # Mann and Whitney: the ranks of the true steps say how many others lie below them.
    return float((rankdata(score)[truth].sum() - true * (true + 1) / 2) / (true * false))


def bootstrap_ccc(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the pooled CCC, by drawing whole clips with replacement.

    Pooled CCC needs only each clip's count, sums, squares and products, so every draw is a sum of those.

    Args:
        clips: (prediction, label) vectors per clip.
        draws: bootstrap samples.
        level: coverage of the interval.
        seed: of the random draws.

    Returns:
        Lower and upper bound; NaN for fewer than two clips with known steps.
    """
    pairs = [(x, y) for x, y in (_paired(p, y) for p, y in clips) if len(x)]
    if len(pairs) < 2:
        return float("nan"), float("nan")
    # CCC doesn't change when both are moved alike; moments around a value near their own lose no digits.
    origin = pairs[0][1][0]
    by_clip = np.array([moments(x - origin, y - origin) for x, y in pairs])
    pick = np.random.default_rng(seed).integers(0, len(by_clip), (draws, len(by_clip)))
    values = ccc_of(by_clip[pick].sum(1))
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_groups(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[str],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> np.ndarray:
    """Percentile intervals of statistics, by drawing whole groups (persons) with replacement.

    Args:
        statistic: from numbers of rows (with repetitions), int [m], to the statistics, float [k].
        groups: of each row.
        draws: bootstrap samples.
        level: coverage of the intervals.
        seed: of the random draws.

    Returns:
        Lower and upper bounds, float64 [2 k]; NaN for fewer than two groups, or where no draw gave a number.
    """
    own = [np.flatnonzero(np.asarray(groups) == group) for group in sorted(set(groups))]
    width = np.shape(statistic(np.arange(len(groups))))
    if len(own) < 2:
        return np.full((2, *width), np.nan)
    pick = np.random.default_rng(seed).integers(0, len(own), (draws, len(own)))
    values = np.array([statistic(np.concatenate([own[i] for i in drawn])) for drawn in pick])
    low, high = (1 - level) / 2, (1 + level) / 2
    known = ~np.isnan(values).all(0)
    bounds = np.full((2, *width), np.nan)
    bounds[:, known] = np.nanquantile(values[:, known], [low, high], axis=0)
    return bounds


def interval_sums(low: np.ndarray, high: np.ndarray, label: np.ndarray, level: float) -> np.ndarray:
    """All that pooled scores of intervals need of one clip: float64 [4], summed over the steps where all are known.

    The number of steps, how many labels lie in their interval, the intervals' widths, and their Winkler scores:

        W = (high - low) + 2 / (1 - level) * (how far the label lies outside; 0 inside)

    Smaller is better. Winkler, "A Decision-Theoretic Approach to Interval Estimation", JASA 1972; Gneiting and Raftery,
    JASA 2007, equation 43.

    Args:
        low: float64 [n].
        high: float64 [n].
        label: float64 [n]; NaN where unknown.
        level: share of the labels that the intervals are made to hold.
    """
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(label)
    low, high, label = (np.asarray(x, np.float64)[known] for x in (low, high, label))
    outside = np.maximum(low - label, 0) + np.maximum(label - high, 0)
    width = high - low
    return np.array([len(label), (outside == 0).sum(), width.sum(), (width + 2 / (1 - level) * outside).sum()])


def interval_scores(sums: np.ndarray) -> dict[str, float]:
    """Coverage, mean width and mean Winkler score from interval_sums, which add up over clips; NaN without any step."""
    n, inside, width, winkler = sums.tolist()
    names = ("coverage", "width", "winkler")
    return {name: x / n if n else float("nan") for name, x in zip(names, (inside, width, winkler), strict=True)}


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation in [-1, 1] over the steps where both are known; NaN where either is constant."""
    from scipy.stats import rankdata  # here, for the same reason as in auroc

    x, y = _paired(x, y)
    return pcc(rankdata(x), rankdata(y)) if len(x) else float("nan")


def risk_at_coverage(width: np.ndarray, error: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Mean error over the share of the steps with the narrowest intervals, for each share; NaN without any step.

    If widths say nothing of errors, all are alike. El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
    Classification", JMLR 2010.
    """
    width, error = _paired(width, error)
    if not len(width):
        return [float("nan")] * len(shares)
    means = np.cumsum(error[np.argsort(width, kind="stable")]) / np.arange(1, len(error) + 1)
    return [float(means[max(1, round(share * len(means))) - 1]) for share in shares]
