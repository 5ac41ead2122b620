"""Intervals that hold for persons that the model hasn't seen: split-conformal calibration on validation persons.

The error of every step is divided by the deviation that the model gave for it (the scaled residual: Lei et al., JASA
2018; Romano, Patterson and Candes, NeurIPS 2019), and a quantile of these over persons is the factor that turns
deviations into intervals. Steps of one person aren't independent, and persons are the exchangeable units (hierarchical
conformal prediction: Dunn, Wasserman and Ramdas, JASA 2022; Lee, Barber and Willett, 2023).

Of the libraries, crepes takes scaled residuals without weights, and MAPIE passes weights on to the regressor that it
fits: neither knows that steps belong to persons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avgate.evaluation.examples import Example
from avgate.inference.estimator import Estimate, Estimator
from avgate.models.intervals import DEFAULT_LEVEL, LEVELS, POWERS, Intervals


def calibrate(estimator: Estimator, examples: Sequence[Example]) -> Intervals:
    """Measure how wide intervals must be, on validation clips, with the smoothing that the checkpoint says.

    Errors grow more on new persons than on those of the training, and not alike at all steps. So validation decides how
    far deviations are followed (the exponent with the best Winkler score); and each modality is taken from the clips in
    turn, to see how much wider intervals must be without it.

    Args:
        estimator: the model, without intervals.
        examples: clips of persons that it wasn't trained on.
    """
    targets, modalities = estimator.targets, estimator.model.modalities
    judged = _estimated(estimator, examples)
    plain = _measure(estimator, judged, None)
    intervals = Intervals(len(set(plain.persons)), {}, plain.table(plain.errors, targets))
    if estimator.model.spread is None:
        return intervals
    found = {power: replace(intervals, power=dict.fromkeys(targets, power)) for power in POWERS}
    scores = {power: _winkler(_measure(estimator, judged, one)) for power, one in found.items()}
    best = {t: max(POWERS, key=lambda power: -scores[power][k]) for k, t in enumerate(targets)}
    intervals = replace(intervals, power=best)
    usual = _widths(_measure(estimator, judged, intervals), targets)
    lost: dict[str, dict[str, float]] = {t: {} for t in targets}
    for m in modalities if len(modalities) > 1 else ():
        without = _estimated(estimator, [_without(example, m) for example in examples])
        widths = _widths(_measure(estimator, without, intervals), targets)
        for t in targets:
            ratio = widths[t] / usual[t] if usual[t] and np.isfinite([widths[t], usual[t]]).all() else 1.0
            lost[t][m] = max(1.0, round(ratio, 4))
    intervals = replace(intervals, lost=lost)
    adjusted = _measure(estimator, judged, intervals)
    return replace(intervals, scaled=adjusted.table(adjusted.scaled, targets))


_Estimated = list[tuple[Example, Estimate]]


def _estimated(estimator: Estimator, examples: Sequence[Example]) -> _Estimated:
    """Every clip with its estimate: the network runs once, however many adjustments are then compared."""
    return [(example, estimator.estimate(example.features)) for example in examples]


class _Measured(NamedTuple):
    """Absolute errors of the estimates, scaled residuals and deviations, [k n] each; whose step each is."""

    errors: np.ndarray
    scaled: np.ndarray
    deviation: np.ndarray
    persons: np.ndarray

    def table(self, scores: np.ndarray, targets: Sequence[str]) -> dict[str, np.ndarray]:
        return {t: quantiles(scores[k], self.persons, LEVELS) for k, t in enumerate(targets)}


def _measure(estimator: Estimator, judged: _Estimated, intervals: Intervals | None) -> _Measured:
    """Errors and deviations, the latter adjusted as `intervals` says."""
    targets = estimator.targets
    errors, scaled, deviation, persons = [], [], [], []
    for example, estimated in judged:
        labels = example.labels
        if intervals is not None:
            adjusted = intervals.adjusted(targets, estimated.deviation, example.features.present)
            estimated = replace(estimated, deviation=adjusted)
        found = estimator.spread(estimated, labels.time_s, estimator.checkpoint.smooth_steps)
        values = labels.values[:, [labels.targets.index(t) for t in targets]].T.astype(np.float64)
        known = np.isfinite(labels.values).all(1) & np.isfinite(found.estimate).all(0)
        errors.append(np.abs(values - found.estimate)[:, known])
        scaled.append((np.abs(values - found.centre) / found.deviation)[:, known])
        deviation.append(found.deviation[:, known])
        persons += [example.clip.group] * int(known.sum())
    joined = [np.concatenate(part, axis=1) for part in (errors, scaled, deviation)]
    return _Measured(joined[0], joined[1], joined[2], np.array(persons))


def _winkler(measured: _Measured) -> list[float]:
    """Mean Winkler score of each target over persons, for intervals that are calibrated on these very steps."""
    _, of_step, steps = np.unique(measured.persons, return_inverse=True, return_counts=True)
    found = []
    for scaled, deviation in zip(measured.scaled, measured.deviation, strict=True):
        width = quantiles(scaled, measured.persons, (DEFAULT_LEVEL,))[0]
        outside = np.maximum(scaled - width, 0) if np.isfinite(width) else np.zeros_like(scaled)
        half = np.minimum(width, 2 / deviation)  # the scale is 2 wide
        score = deviation * (2 * half + 2 / (1 - DEFAULT_LEVEL) * outside)
        found.append(float(np.average(score, weights=1 / steps[of_step])) if len(score) else 0.0)
    return found


def _widths(measured: _Measured, targets: Sequence[str]) -> dict[str, float]:
    """The factor on deviations at the usual level."""
    levels = (DEFAULT_LEVEL,)
    return {t: float(quantiles(measured.scaled[k], measured.persons, levels)[0]) for k, t in enumerate(targets)}


def _without(example: Example, modality: str) -> Example:
    features = example.features
    present = {**features.present, modality: np.zeros(len(features), bool)}
    return replace(example, features=replace(features, present=present))


def quantiles(scores: np.ndarray, persons: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Quantiles of scores over persons, with the finite-sample correction of conformal prediction.

    Every person weighs the same, however many steps are known of each: F is the mean of the persons' own distribution
    functions. The quantile is taken at

        level (n + 1) / n       n = level (1 - level) / (s^2 / K), between K and the number of steps

    n is how many independent steps would tell as much of F as these do (Kish 1965: the design effect of a sample in
    clusters): s^2 is the variance over K persons of their own distribution functions at F's quantile. If persons differ
    so much that each is either wholly covered or not at all, n is K: the correction of Lee, Barber and Willett. If they
    differ by no more than chance, n is large.

    Args:
        scores: float64 [n], larger for worse estimates.
        persons: [n], whose step each is.
        levels: increasing, in (0, 1).

    Returns:
        float64 [levels], non-decreasing; infinite where the level can't be reached with so few.
    """
    if not len(scores):
        return np.full(len(levels), np.inf)
    order = np.argsort(scores, kind="stable")
    _, of_step, steps = np.unique(persons[order], return_inverse=True, return_counts=True)
    count, ranked = len(steps), scores[order]
    reached = np.cumsum(1 / (steps[of_step] * count))
    found = []
    for level in levels:
        first = ranked[_first(reached, level)]
        own = np.bincount(of_step, ranked <= first) / steps
        between = own.var(ddof=1) / count if count > 1 else 1.0
        independent = min(max(level * (1 - level) / between, count) if between else math.inf, len(scores))
        wanted = level * (independent + 1) / independent
        found.append(ranked[_first(reached, wanted)] if wanted <= 1 + 1e-9 else math.inf)
    return np.maximum.accumulate(found)


def _first(reached: np.ndarray, share: float) -> int:
    """Index of the first step at which that share of the weight is reached."""
    return min(int(np.searchsorted(reached, share - 1e-9)), len(reached) - 1)
