"""Scores of a model on labelled clips, pooled over all valid frames, raw and after post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avgate.core.metrics import METRICS, bootstrap_ccc, ccc, moments, pooled
from avgate.core.types import Trace
from avgate.evaluation.examples import Example, by_source
from avgate.inference.estimator import Estimator

Pairs = list[tuple[np.ndarray, np.ndarray]]
"""Per clip: prediction and label of one target at the label times."""


def label_traces(
    estimator: Estimator, examples: Sequence[Example], smooth_steps: Sequence[int]
) -> dict[int, list[Trace]]:
    """Traces of all clips at their label times, for each width of the mean filter: width -> traces."""
    by_width: dict[int, list[Trace]] = {width: [] for width in smooth_steps}
    for example in examples:
        estimated = estimator.estimate(example.features)
        for width, found in by_width.items():
            found.append(estimator.read(example.features, estimated, example.labels.time_s, width))
    return by_width


def pairs(traces: Sequence[Trace], examples: Sequence[Example], target: str, *, raw: bool = False) -> Pairs:
    """(prediction, label) of one target per clip; frames invalid in any target are NaN."""
    out = []
    for trace, example in zip(traces, examples, strict=True):
        labels = example.labels
        label = np.where(np.isfinite(labels.values).all(1), labels.values[:, labels.targets.index(target)], np.nan)
        out.append(((trace.raw if raw else trace.targets)[target], label))
    return out


def mean_ccc(
    traces: Sequence[Trace], examples: Sequence[Example], targets: Sequence[str], *, raw: bool = False
) -> float:
    """Pooled CCC, averaged over the targets and over the clips' sources."""
    return float(
        np.mean(
            [
                pooled(ccc, pairs([traces[i] for i in part], [examples[i] for i in part], t, raw=raw))
                for part in by_source(examples)
                for t in targets
            ]
        )
    )


def label_moments(
    traces: Sequence[Trace], examples: Sequence[Example], targets: Sequence[str], prior: np.ndarray
) -> np.ndarray:
    """Moments of every clip and target (see metrics.moments), float64 [clips k 6], at the same steps for every model.

    Steps without an estimate take `prior` [k]. Leaving them out would score a model by the easy half of a clip alone.
    """
    return np.stack(
        [
            [moments(np.where(np.isnan(estimate), prior[k], estimate), label) for estimate, label in by_clip]
            for k, by_clip in enumerate(pairs(traces, examples, t) for t in targets)
        ],
        axis=1,
    )


def choose_smoothing(
    by_width: Mapping[int, Sequence[Trace]], examples: Sequence[Example], targets: Sequence[str]
) -> int:
    """The width of the mean filter with the best mean CCC on validation clips; the narrowest of equals."""
    return max(sorted(by_width), key=lambda width: mean_ccc(by_width[width], examples, targets))


def unvarying(examples: Sequence[Example], targets: Sequence[str], split: str) -> list[str]:
    """In words: the targets whose labels are one and the same throughout, for which correlations say nothing."""
    constant = []
    for k in (examples[0].labels.targets.index(t) for t in targets):
        labels = np.concatenate([e.labels.values[np.isfinite(e.labels.values).all(1), k] for e in examples])
        if len(labels) and np.ptp(labels) == 0:
            constant.append(f"{examples[0].labels.targets[k]} (always {labels[0]:g})")
    if not constant:
        return []
    return [f"In the {split} split, the labels don't vary: {', '.join(constant)}. CCC and PCC say nothing of that."]


def score(
    traces: Sequence[Trace], examples: Sequence[Example], targets: Sequence[str], *, raw: bool = False
) -> dict[str, Any]:
    """All scores of one set of traces, ready for JSON.

    Returns:
        `pooled`: target or "mean" -> ccc, pcc, rmse; `clips`: clip -> target -> the same;
        `interval`: target -> bootstrap 95 % interval of the CCC over clips;
        `frames`: valid frames; `coverage`: share of them that have an estimate.
    """
    by_target = {t: pairs(traces, examples, t, raw=raw) for t in targets}
    whole = {t: {name: pooled(metric, by_target[t]) for name, metric in METRICS.items()} for t in targets}
    whole["mean"] = {name: float(np.mean([whole[t][name] for t in targets])) for name in METRICS}
    labels = np.concatenate([y for _, y in by_target[targets[0]]])
    estimates = np.concatenate([p for p, _ in by_target[targets[0]]])
    valid = np.isfinite(labels)
    return {
        "pooled": whole,
        "interval": {t: bootstrap_ccc(by_target[t]) for t in targets},
        "clips": {
            e.clip.name: {t: {n: metric(*by_target[t][i]) for n, metric in METRICS.items()} for t in targets}
            for i, e in enumerate(examples)
        },
        "frames": int(valid.sum()),
        "coverage": float(np.isfinite(estimates[valid]).mean()) if valid.any() else float("nan"),
    }
