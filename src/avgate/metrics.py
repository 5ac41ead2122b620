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
    pairs = [(x - origin, y - origin) for x, y in pairs]
    moments = np.array([(len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()) for x, y in pairs])
    pick = np.random.default_rng(seed).integers(0, len(moments), (draws, len(moments)))
    n, sx, sy, sxx, syy, sxy = moments[pick].sum(1).T
    mx, my = sx / n, sy / n
    spread = (sxx / n - mx**2) + (syy / n - my**2) + (mx - my) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        values = 2 * (sxy / n - mx * my) / spread
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
