"""Statistics of the training clips' features, for standardising features in training and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

CLIP_PERCENTILES = (0.5, 99.5)

_AT_ONCE = 64
"""Columns held in float64 at once; limits the memory, since deep features of a whole corpus fill gigabytes."""


@dataclass(frozen=True)
class FeatureStats:
    """For each column, float32 [d]: limits `low` and `high` to clip to, then `mean` and `std` of the clipped values."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values: Sequence[np.ndarray], present: Sequence[np.ndarray] | None = None) -> FeatureStats:
        """Statistics over the rows of all arrays, float [n d]; with `present`, bool [n], over present rows only."""
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
        # A constant column becomes 0 everywhere instead of dividing by 0.
        std[std < 1e-8] = 1.0
        return cls(*(a.astype(np.float32) for a in (low, high, rows.mean(0), std)))

    @classmethod
    def merged(cls, parts: Sequence[FeatureStats]) -> FeatureStats:
        """Statistics of several sources together, each counting the same; limits that leave room for all of them."""
        if len(parts) == 1:
            return parts[0]
        means = np.stack([part.mean for part in parts])
        with np.errstate(over="ignore", invalid="ignore"):  # `fault` tells of it
            variance = np.stack([part.std for part in parts]) ** 2 + means**2
            mean = means.mean(0)
            std = np.sqrt(np.maximum(variance.mean(0) - mean**2, 0.0))
        low = np.min([part.low for part in parts], axis=0)
        return cls(low, np.max([part.high for part in parts], axis=0), mean, np.where(std < 1e-8, 1.0, std))

    @classmethod
    def identity(cls, d: int) -> FeatureStats:
        """Statistics that leave d columns unchanged, for features that are standardised already."""
        return cls(*(np.full(d, value, np.float32) for value in (-np.inf, np.inf, 0.0, 1.0)))

    def fault(self, d: int) -> str | None:
        """What is wrong with these as statistics of d columns, which would give wrong numbers; None where nothing is.

        Limits may be infinite: then they clip nothing.
        """
        for name, values in vars(self).items():
            if values.shape != (d,) or values.dtype.kind != "f":
                return f"`{name}` doesn't fit {d} columns"
        wrong = {
            "limits that aren't in order": ~((self.low <= self.high) & (self.low < np.inf) & (self.high > -np.inf)),
            "a mean that is NaN or Inf": ~np.isfinite(self.mean),
            "a deviation that isn't a number above 0": ~(np.isfinite(self.std) & (self.std > 0)),
        }
        for what, where in wrong.items():
            if where.any():
                return f"column {int(where.argmax())} has {what}"
        return None

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clip and standardise, float32 [n d]; NaN stays NaN."""
        standard: np.ndarray = (np.clip(values, self.low, self.high) - self.mean) / self.std
        return standard

    def fill(self, values: np.ndarray) -> np.ndarray:
        """Clip and standardise, float32 [n d]; NaN becomes 0, which models mask."""
        return np.nan_to_num(self.apply(values))
