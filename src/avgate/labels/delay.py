"""Reaction lag: by how much labels lag behind the audio and video that they rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.metrics import ccc

_BINS = 8
_RIDGE = 1.0

_ENOUGH_S = 120.0
"""Seconds of labels above which a delay found from features is trusted.

How well features and label fit has a chance maximum, too, which differs from clip to clip. The raters' delay stands out
from it only over minutes.
"""


def find_delay(
    label: np.ndarray, features: np.ndarray, rate: float, longest_s: float, measure: str
) -> tuple[float, tuple[float, ...]]:
    """The delay at which label and features fit best.

    Args:
        label: float [n], NaN where unknown.
        features: float [m d], NaN where absent.
        rate: steps per second of both.
        longest_s: longest delay to try, in seconds.
        measure: a name in MEASURES.

    Returns:
        The delay in seconds, and the fit at each delay tried, see `delay_fit`.

    Raises:
        FeatureError: the fit is the same at all delays, or can't be measured at any.
    """
    n = min(len(label), len(features))
    fit = delay_fit(label[:n], features[:n], rate, longest_s, measure)
    if np.isnan(fit).all():
        what = "too few steps have both features and labels at all delays"
        hint = f"give a longer clip, or a --longest-delay below {longest_s:g} s"
        raise FeatureError(what, where="--features", hint=hint)
    if np.ptp(np.nan_to_num(fit)) == 0:
        what = "the label fits the features equally well at every delay"
        hint = "give features that vary with what is rated, or a fixed --delay"
        raise FeatureError(what, where="--features", hint=hint)
    return int(np.nanargmax(fit)) / rate, tuple(fit.tolist())


def delay_doubts(fit: Sequence[float], delay_s: float, label: np.ndarray, rate: float) -> list[str]:
    """Reasons to doubt a delay that was found from features, one sentence each.

    Args:
        fit: the fit at each delay tried; empty where the delay was given rather than found.
        delay_s: the delay in seconds.
        label: float [n], the label after the delay was taken out; NaN where unknown.
        rate: steps per second.
    """
    if not len(fit):
        return []
    doubts = []
    if delay_s and round(delay_s * rate) == len(fit) - 1:
        doubts.append(
            f"the best delay is the longest that was tried, {delay_s:g} s, so the true one may be longer or there may "
            "be none: see `fit` in the file that --report writes"
        )
    seconds = float((~np.isnan(label)).sum()) / rate
    if seconds < _ENOUGH_S:
        doubts.append(
            f"{seconds:.0f} s of labels are too few to find a delay reliably: use some minutes of labels, or give the "
            "delay in seconds"
        )
    return doubts


def delay_fit(labels: np.ndarray, features: np.ndarray, rate: float, longest_s: float, measure: str) -> np.ndarray:
    """How well features and labels go together at every delay from 0 to longest_s, one step apart.

    At a delay of s steps, the features of step t belong to the label of step t + s. The same features are used at every
    delay, so that the results can be compared.

    Args:
        labels: float [n], NaN where unknown.
        features: float [n d], NaN where absent.
        rate: steps per second.
        longest_s: longest delay in seconds.
        measure: a name in MEASURES.

    Returns:
        float64 [delays], more is better; all NaN where too few steps have both.
    """
    shifts = round(longest_s * rate)
    n = len(labels) - shifts
    if n < 2:
        return np.full(1, np.nan)
    here = ~np.isnan(features[:n]).any(1)
    use = here
    for s in range(shifts + 1):
        use = use & ~np.isnan(labels[s : s + n])
    if use.sum() < 4 * _BINS:
        return np.full(shifts + 1, np.nan)
    measured = MEASURES[measure]
    return np.array([measured(features[:n][use], labels[s : s + n][use]) for s in range(shifts + 1)])


def mutual_information(features: np.ndarray, labels: np.ndarray) -> float:
    """Mutual information between label and feature, mean over features.

    Both are put into eight bins of equal frequency. Mariooryad and Busso, "Correcting time-continuous emotional labels
    by modeling the reaction lag of evaluators", IEEE Transactions on Affective Computing 6(2), 2015.

    Args:
        features: float [n d].
        labels: float [n].

    Returns:
        In nats, at least 0.
    """
    label = _binned(labels)
    found = []
    for column in features.T:
        if np.ptp(column) == 0:
            continue
        joint = np.bincount(_binned(column) * _BINS + label, minlength=_BINS**2).reshape(_BINS, _BINS) / len(label)
        independent = joint.sum(1, keepdims=True) * joint.sum(0)
        some = joint > 0
        found.append(float((joint[some] * np.log(joint[some] / independent[some])).sum()))
    return float(np.mean(found)) if found else 0.0


def ridge_ccc(features: np.ndarray, labels: np.ndarray) -> float:
    """CCC of the label with its ridge regression on the features, by two-fold cross-validation over time.

    Args:
        features: float [n d].
        labels: float [n].

    Returns:
        In [-1, 1].
    """
    x = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    half = len(x) // 2
    predicted = np.empty(len(x))
    for fit, test in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        centre = labels[fit].mean()
        gram = x[fit].T @ x[fit] + _RIDGE * len(x[fit]) / 100 * np.eye(x.shape[1])
        predicted[test] = centre + x[test] @ np.linalg.solve(gram, x[fit].T @ (labels[fit] - centre))
    return float(np.nan_to_num(ccc(predicted, labels)))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"mi": mutual_information, "ccc": ridge_ccc}
"""Name -> how well features [n d] and labels [n] go together; more is better."""


def _binned(values: np.ndarray) -> np.ndarray:
    """Number of each value's bin, int [n]; bins have equal frequency, and equal values share one."""
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.searchsorted(edges, values, side="right")
