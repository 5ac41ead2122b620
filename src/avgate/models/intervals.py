"""How wide the intervals of a model's estimates are: measured on validation persons, kept in its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avgate.core.errors import UsageError

LEVELS = tuple(round(0.01 * percent, 2) for percent in range(50, 100))
"""Levels that checkpoints keep; those between are interpolated."""

DEFAULT_LEVEL = 0.9

POWERS = (1.0, 0.5, 0.0)
"""Exponents of the deviations that calibration tries; with 0, intervals have one width as long as nothing is absent."""


@dataclass(frozen=True)
class Intervals:
    """Calibrated widths for every target and level; how they are measured stands in evaluation/calibration.py.

    Attributes:
        persons: number of validation persons.
        scaled: target -> float64 [levels], the factor on the deviation that the model gives for each step; infinite
            where the persons are too few to tell. Empty for a model without a spread head.
        constant: target -> float64 [levels], one half width for all steps, about the estimate.
        lost: target -> modality -> how much larger, at least 1, the deviation really is where that modality is absent.
        power: target -> exponent of the deviation, one of POWERS: less than 1 where the model tells steps apart more
            than is good.
    """

    persons: int
    scaled: Mapping[str, np.ndarray]
    constant: Mapping[str, np.ndarray]
    lost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    power: Mapping[str, float] = field(default_factory=dict)

    def adjusted(self, targets: Sequence[str], deviation: np.ndarray, present: Mapping[str, np.ndarray]) -> np.ndarray:
        """Deviations as they are on persons whom the model hasn't seen, up to one factor for each target.

        Args:
            targets: k names.
            deviation: float64 [n k], as the model gave them.
            present: modality -> bool [n].
        """
        found = np.empty_like(deviation)
        for k, target in enumerate(targets):
            wider = np.ones(len(deviation))
            for m, factor in self.lost.get(target, {}).items():
                wider = np.maximum(wider, np.where(present[m], 1.0, factor))
            found[:, k] = deviation[:, k] ** self.power.get(target, 1.0) * wider
        return found

    def bounds(
        self, target: str, level: float, estimate: np.ndarray, centre: np.ndarray, deviation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end, float64 [n] in [-1, 1]; the estimate always lies between them.

        Args:
            target: of which target.
            level: share of the true values that the interval is made to hold.
            estimate: float64 [n]; NaN where unknown.
            centre: float64 [n], about which labels vary.
            deviation: float64 [n], how much, before calibration.
        """
        if not self.scaled:
            return self.constant_bounds(target, level, estimate)
        return ends(estimate, centre, self.width(target, level) * deviation)

    def constant_bounds(self, target: str, level: float, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same with one width for all steps, about the estimate."""
        return ends(estimate, estimate, _at(self.constant[target], level) + 0 * estimate)

    def width(self, target: str, level: float) -> float:
        """What the deviation is multiplied by; without a spread head, the half width itself."""
        return _at(self.scaled[target] if self.scaled else self.constant[target], level)

    def to_plain(self) -> dict[str, Any]:
        """For JSON: four decimals, None for infinity."""

        def plain(columns: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
            return {t: [round(x, 4) if math.isfinite(x) else None for x in v.tolist()] for t, v in columns.items()}

        lost = {t: {m: round(x, 4) for m, x in factors.items()} for t, factors in self.lost.items()}
        widths = {"scaled": plain(self.scaled), "constant": plain(self.constant)}
        return {"persons": self.persons, **widths, "lost": lost, "power": dict(self.power)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Intervals:
        """The inverse of to_plain; ValueError where something else stands there."""

        def columns(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
            return {t: np.array([math.inf if x is None else x for x in v], np.float64) for t, v in given.items()}

        lost = {t: {m: float(x) for m, x in factors.items()} for t, factors in plain.get("lost", {}).items()}
        found = cls(
            plain["persons"], columns(plain["scaled"]), columns(plain["constant"]), lost, dict(plain.get("power", {}))
        )
        if not all(1 <= x < math.inf for factors in lost.values() for x in factors.values()):
            raise ValueError("its intervals would be narrower where a modality is absent")
        if not set(found.power.values()) <= set(POWERS):
            raise ValueError(f"its deviations have exponents other than {POWERS}")
        for widths in (*found.scaled.values(), *found.constant.values()):
            if widths.shape != (len(LEVELS),) or np.isnan(widths).any() or (widths[1:] < widths[:-1]).any():
                raise ValueError("its intervals don't fit their levels")
        return found


def ends(estimate: np.ndarray, centre: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of intervals in [-1, 1] of this half width about their centres, wide enough for estimates in [-1, 1] too."""
    low, high = np.minimum(centre - half, estimate), np.maximum(centre + half, estimate)
    return np.maximum(low, -1.0), np.minimum(high, 1.0)


def ends_of_one(estimate: float, centre: float, half: float) -> tuple[float, float]:
    """The same of one interval, which arrays take several times as long for; NaN where the estimate is unknown."""
    return max(min(centre - half, estimate), -1.0), min(max(centre + half, estimate), 1.0)


def check_level(level: float) -> float:
    """The level of an interval, such as 0.9; UsageError where it is none that checkpoints keep."""
    if not LEVELS[0] <= level <= LEVELS[-1]:
        hint = f"use {LEVELS[0]:g} to {LEVELS[-1]:g}, such as 0.9"
        raise UsageError(f"an interval can't hold the share {level:g} of the values", where="level", hint=hint)
    return level


def persons_needed(level: float) -> int:
    """Fewest persons on whose account an interval of this level can hold for another one: n >= level (n + 1)."""
    return math.ceil(level / (1 - level) - 1e-9)


def _at(widths: np.ndarray, level: float) -> float:
    """Between two levels the width is interpolated, and infinite where that of the upper one is."""
    upper = int(np.searchsorted(LEVELS, level - 1e-9))
    known = widths[: upper + 1]
    return float(np.interp(level, LEVELS[: upper + 1], known)) if math.isfinite(known[-1]) else math.inf
