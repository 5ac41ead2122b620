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

import numpy as np

from avgate.evaluation.examples import Example
from avgate.inference.estimator import Estimator
from avgate.models.intervals import LEVELS, Intervals


def calibrate(estimator: Estimator, examples: Sequence[Example]) -> Intervals:
    """Measure how wide intervals must be, on validation clips, with the smoothing that the checkpoint says.

    Args:
        estimator: the model.
        examples: clips of persons that it wasn't trained on.
    """
    width, targets = estimator.checkpoint.smooth_steps, estimator.targets
    errors, scaled, persons = [], [], []
    for example in examples:
        labels = example.labels
        found = estimator.spread(estimator.estimate(example.features), labels.time_s, width)
        values = labels.values[:, [labels.targets.index(t) for t in targets]].T.astype(np.float64)
        known = np.isfinite(labels.values).all(1) & np.isfinite(found.estimate).all(0)
        errors.append(np.abs(values - found.estimate)[:, known])
        scaled.append((np.abs(values - found.centre) / found.deviation)[:, known])
        persons += [example.clip.group] * int(known.sum())

    def table(scores: list[np.ndarray]) -> dict[str, np.ndarray]:
        of_steps, of_persons = np.concatenate(scores, axis=1), np.array(persons)
        return {t: quantiles(of_steps[k], of_persons, LEVELS) for k, t in enumerate(targets)}

    return Intervals(len(set(persons)), table(scaled) if estimator.model.spread is not None else {}, table(errors))


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
