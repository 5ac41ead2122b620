"""Raters need time to see, decide and move: by how much labels lag behind what they are about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avgate.core.metrics import ccc

_BINS = 8
_RIDGE = 1.0


def delays(labels: np.ndarray, features: np.ndarray, rate: float, longest_s: float, measure: str) -> np.ndarray:
    """How well features and labels go together at every delay from 0 to longest_s, a step apart; float64 [shifts].

    At a delay of s steps, features of step t stand beside the label of step t + s. All delays are judged on the same
    features, so that their numbers can be compared.

    Args:
        labels: float [n], NaN where unknown.
        features: float [n d], NaN where absent.
        rate: steps per second.
        longest_s: in seconds.
        measure: of MEASURES.
    """
    shifts = round(longest_s * rate)
    n = len(labels) - shifts
    if n < 2:
        return np.full(1, np.nan)
    here = ~np.isnan(features[:n]).any(1)
    later = np.stack([labels[s : s + n] for s in range(shifts + 1)])
    use = here & ~np.isnan(later).any(0)
    if use.sum() < 4 * _BINS:
        return np.full(shifts + 1, np.nan)
    judge = MEASURES[measure]
    return np.array([judge(features[:n][use], row[use]) for row in later])


def mutual_information(features: np.ndarray, labels: np.ndarray) -> float:
    """Mutual information in nats between the label and a feature, mean over features.

    Both in eight bins of equal frequency. Mariooryad and Busso, "Correcting time-continuous emotional labels by
    modeling the reaction lag of evaluators", IEEE Transactions on Affective Computing 6(2), 2015, choose the delay so.

    Args:
        features: float [n d].
        labels: float [n].
    """
    label = _ranked(labels)
    found = []
    for column in features.T:
        if np.ptp(column) == 0:
            continue
        joint = np.bincount(_ranked(column) * _BINS + label, minlength=_BINS**2).reshape(_BINS, _BINS) / len(label)
        apart = joint.sum(1, keepdims=True) * joint.sum(0)
        some = joint > 0
        found.append(float((joint[some] * np.log(joint[some] / apart[some])).sum()))
    return float(np.mean(found)) if found else 0.0


def ridge_ccc(features: np.ndarray, labels: np.ndarray) -> float:
    """CCC of the label with its ridge regression on the features; each half is predicted from the other.

    Args:
        features: float [n d].
        labels: float [n].
    """
    x = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    half = len(x) // 2
    predicted = np.empty(len(x))
    for fit, ask in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        centre = labels[fit].mean()
        gram = x[fit].T @ x[fit] + _RIDGE * len(x[fit]) / 100 * np.eye(x.shape[1])
        predicted[ask] = centre + x[ask] @ np.linalg.solve(gram, x[fit].T @ (labels[fit] - centre))
    return float(np.nan_to_num(ccc(predicted, labels)))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"mi": mutual_information, "ccc": ridge_ccc}
"""Name -> how well features [n d] and labels [n] go together; more is better."""


def _ranked(values: np.ndarray) -> np.ndarray:
    """Bins of equal frequency, int [n]; equal values fall into one."""
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.searchsorted(edges, values, side="right")
