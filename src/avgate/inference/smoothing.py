"""Post-processing of estimates: a centred mean filter, and clipping to the targets' range."""

from __future__ import annotations

import numpy as np


def mean_filter(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average with reflected edges.

    Clip ends keep their level (they aren't pulled to 0), and unknown steps stay unknown: each step is the mean of the
    known ones in its window.

    Args:
        values: float64 [n k]; NaN where unknown.
        width: steps, odd; 1 changes nothing.
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"a centred mean filter needs an odd width of at least 1, not {width}")
    n = len(values)
    if width == 1 or n == 0:
        return values.copy()
    half = width // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="symmetric")
    known = np.isfinite(padded)
    total = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), np.where(known, padded, 0.0)]), axis=0)
    count = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), known]), axis=0)
    # A sum over no known step is 0 / 1 here, and is unknown below anyway.
    mean = (total[width:] - total[:-width]) / np.maximum(count[width:] - count[:-width], 1)
    return np.where(np.isfinite(values), mean, np.nan)


def finish(values: np.ndarray, width: int) -> np.ndarray:
    """Smoothed and clipped to [-1, 1]; see mean_filter."""
    return np.clip(mean_filter(values, width), -1.0, 1.0)
