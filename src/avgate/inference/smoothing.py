"""Post-processing of estimates: a mean filter, centred or one-sided, and clipping to the targets' range."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from avgate.core.state import Stateful


def mean_filter(values: np.ndarray, width: int, one_sided: bool = False) -> np.ndarray:
    """Moving average: centred with reflected edges, or one-sided, of each step and those before it.

    Clip ends keep their level (they aren't pulled to 0), and unknown steps stay unknown: each step is the mean of the
    known ones in its window. A one-sided filter is (width - 1) / 2 steps late, and less after the beginning.

    Args:
        values: float64 [n k]; NaN where unknown.
        width: steps, odd; 1 changes nothing.
        one_sided: for streams, which know no later step.
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"a centred mean filter needs an odd width of at least 1, not {width}")
    n = len(values)
    if width == 1 or n == 0:
        return values.copy()
    half = width // 2
    if one_sided:
        padded = np.pad(values, ((width - 1, 0), (0, 0)), constant_values=np.nan)
    else:
        padded = np.pad(values, ((half, half), (0, 0)), mode="symmetric")
    known = np.isfinite(padded)
    total = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), np.where(known, padded, 0.0)]), axis=0)
    count = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), known]), axis=0)
    # A sum over no known step is 0 / 1 here, and is unknown below anyway.
    mean = (total[width:] - total[:-width]) / np.maximum(count[width:] - count[:-width], 1)
    return np.where(np.isfinite(values), mean, np.nan)


def finish(values: np.ndarray, width: int, targets: int, one_sided: bool = False) -> np.ndarray:
    """Smoothed, and the first columns, the targets, clipped to [-1, 1]; see mean_filter."""
    smooth = mean_filter(values, width, one_sided)
    smooth[:, :targets] = smooth[:, :targets].clip(-1.0, 1.0)
    return smooth


class RunningMean(Stateful):
    """`finish` with a one-sided filter, one step after the other.

    Args:
        width: steps, odd; 1 changes nothing.
        targets: how many of the values are targets; they stand first.
    """

    STATE = ("_last",)

    def __init__(self, width: int, targets: int):
        self._width, self._targets = width, targets
        self._last: list[Sequence[float]] = []

    def __call__(self, values: Sequence[float]) -> list[float]:
        """The next step's values, smoothed; NaN where unknown."""
        self._last.append(values)
        del self._last[: -self._width]
        smooth = []
        for column in zip(*self._last, strict=True):  # so few numbers that arrays would take several times as long
            known = [x for x in column if math.isfinite(x)]
            smooth.append(sum(known) / len(known) if math.isfinite(column[-1]) else math.nan)
        smooth[: self._targets] = [min(max(x, -1.0), 1.0) for x in smooth[: self._targets]]
        return smooth

    def clear(self) -> None:
        """Forget the steps so far."""
        self._last.clear()
