"""Feature statistics of the training clips, by which all features are standardised ever after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

CLIP_PERCENTILES = (0.5, 99.5)

_AT_ONCE = 64
"""Columns whose rows are held in float64 at once: deep features of a whole corpus fill gigabytes as it is."""


@dataclass(frozen=True)
class FeatureStats:
    """Per column, float32 [d]: `low` and `high`, to which values are clipped, then `mean` and `std` of the result."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values: Sequence[np.ndarray], present: Sequence[np.ndarray] | None = None) -> FeatureStats:
        """Statistics of all rows together; each array is float [n d]. Of `present`, bool [n], only rows that are."""
        rows: Sequence[Any] = [slice(None)] * len(values) if present is None else present
        parts = [
            cls._fit([v[here, first : first + _AT_ONCE] for v, here in zip(values, rows, strict=True)])
            for first in range(0, values[0].shape[1], _AT_ONCE)
        ]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @classmethod
    def _fit(cls, values: Sequence[np.ndarray]) -> FeatureStats:
        rows = np.concatenate([np.asarray(v, np.float64) for v in values])
        low, high = np.percentile(rows, CLIP_PERCENTILES, axis=0)
        rows = np.clip(rows, low, high)
        std = rows.std(0)
        # A constant column carries nothing: it becomes 0 everywhere and never a division by 0.
        std[std < 1e-8] = 1.0
        return cls(*(a.astype(np.float32) for a in (low, high, rows.mean(0), std)))

    @classmethod
    def identity(cls, d: int) -> FeatureStats:
        """Statistics that leave d columns as they are, for features that are standardised already."""
        return cls(*(np.full(d, value, np.float32) for value in (-np.inf, np.inf, 0.0, 1.0)))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clipped and standardised, float32 [n d]; NaN stays NaN."""
        return (np.clip(values, self.low, self.high) - self.mean) / self.std

    def fill(self, values: np.ndarray) -> np.ndarray:
        """Clipped and standardised, float32 [n d]; 0 where unknown, which models never read."""
        return np.nan_to_num(self.apply(values))
