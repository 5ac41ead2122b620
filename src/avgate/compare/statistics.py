"""Which differences are more than chance: a paired bootstrap over clips, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.metrics import ccc_of


@dataclass(frozen=True)
class Difference:
    """How two models differ in pooled CCC, first minus second: mean over seeds, 95 % interval, two-sided p-value."""

    effect: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: np.ndarray, second: np.ndarray, draws: int = 2000, seed: int = 0) -> Difference:
    """How the pooled CCCs of two models differ when clips are drawn with replacement, the same ones for both.

    Args:
        first: one model's moments (see metrics.moments), float64 [seeds clips 6].
        second: the other model's, alike.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        The difference; p is twice the smaller share of draws on either side of 0, at least 2 / draws.
    """
    clips = first.shape[1]
    pick = np.random.default_rng(seed).integers(0, clips, (draws, clips))
    differences = (ccc_of(first[:, pick].sum(2)) - ccc_of(second[:, pick].sum(2))).mean(0)
    effect = (ccc_of(first.sum(1)) - ccc_of(second.sum(1))).mean()
    known = differences[~np.isnan(differences)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    # Draws in which a CCC is unknown (NaN) speak for neither model.
    tail = min(1 - (differences > 0).mean(), 1 - (differences < 0).mean())
    return Difference(float(effect), float(low), float(high), float(min(1.0, max(2 * tail, 2 / draws))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * (len(p_values) - np.arange(len(p_values))))
    out = np.empty(len(p_values))
    out[order] = np.minimum(corrected, 1.0)
    return out.tolist()
