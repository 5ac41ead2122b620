"""How good the intervals of estimates are: whether they hold what they say, how wide they are, what widths tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avgate.core.metrics import interval_scores, interval_sums, rank_correlation, risk_at_coverage
from avgate.core.types import Trace
from avgate.corpora.base import Corpus, Rated
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import pairs
from avgate.inference.estimator import Estimator
from avgate.models.intervals import Intervals

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the steps with the narrowest intervals over which errors are averaged."""

_MARGIN = 0.1
"""How much less than the level an interval may cover of one person's steps."""


def constant_width(traces: Sequence[Trace], intervals: Intervals) -> list[Trace]:
    """The same traces with intervals of one width about the estimate, for comparison."""
    found = []
    for trace in traces:
        level = trace.level or 0.0
        ends = {t: intervals.constant_bounds(t, level, values) for t, values in trace.targets.items()}
        low, high = ({t: both[side] for t, both in ends.items()} for side in (0, 1))
        found.append(replace(trace, low=low, high=high))
    return found


def sums(traces: Sequence[Trace], examples: Sequence[Example], targets: Sequence[str]) -> np.ndarray:
    """metrics.interval_sums of every clip and target, float64 [clips k 4]; traces have intervals."""
    found = np.zeros((len(traces), len(targets), 4))
    for k, target in enumerate(targets):
        for i, (trace, (_, label)) in enumerate(zip(traces, pairs(traces, examples, target), strict=True)):
            found[i, k] = interval_sums(trace.low[target], trace.high[target], label, trace.level or 0.0)
    return found


def what_widths_tell(traces: Sequence[Trace], examples: Sequence[Example], target: str) -> dict[str, Any]:
    """`rank`: rank correlation of width and absolute error; `risk`: mean absolute error at each of SHARES."""
    known = pairs(traces, examples, target)
    width = np.concatenate([trace.high[target] - trace.low[target] for trace in traces])
    error = np.concatenate([np.abs(estimate - label) for estimate, label in known])
    return {"rank": rank_correlation(width, error), "risk": risk_at_coverage(width, error, SHARES)}


def score_intervals(
    estimator: Estimator, traces: Sequence[Trace], examples: Sequence[Example], corpus: Corpus
) -> dict[str, Any] | None:
    """All scores of a model's intervals, ready for JSON; None for a model without intervals.

    Returns:
        `level`; `persons`, on whom they were calibrated; `targets`: target -> `coverage`, `width`, `winkler`, `rank`,
        `risk`, `persons_held` (share of the persons whose coverage is at most 0.1 below the level), `constant` (the
        first three and the last for intervals of constant width) and, where the corpus knows each rater, `raters`: how
        many times as wide as the interval of the raters' own mean it is, median over steps.
    """
    intervals, targets = estimator.checkpoint.intervals, estimator.targets
    if intervals is None:
        return None
    persons = [e.clip.group for e in examples]
    by_width = {"own": traces, "constant": constant_width(traces, intervals)}
    by_clip = {name: sums(found, examples, targets) for name, found in by_width.items()}

    def scores(name: str, k: int) -> dict[str, float]:
        held = _persons_held(by_clip[name][:, k], persons, estimator.level - _MARGIN)
        return interval_scores(by_clip[name][:, k].sum(0)) | {"persons_held": held}

    found = {
        t: scores("own", k) | what_widths_tell(traces, examples, t) | {"constant": scores("constant", k)}
        for k, t in enumerate(targets)
    }
    if isinstance(corpus, Rated):
        for t in targets:
            found[t]["raters"] = _against_raters(traces, examples, corpus, t)
    return {"level": estimator.level, "persons": intervals.persons, "targets": found}


def _persons_held(sums: np.ndarray, persons: Sequence[str], least: float) -> float:
    """Share of the persons whose coverage is above `least`; sums are [clips 4]."""
    by_person: dict[str, np.ndarray] = {}
    for person, of_clip in zip(persons, sums, strict=True):
        by_person[person] = by_person.get(person, np.zeros(4)) + of_clip
    known = [total for total in by_person.values() if total[0]]
    return float(np.mean([total[1] / total[0] > least for total in known])) if known else float("nan")


def _against_raters(traces: Sequence[Trace], examples: Sequence[Example], corpus: Rated, target: str) -> float:
    """Median of an interval's half width over that of the raters' mean; steps on which all raters agree don't count."""
    from scipy.stats import norm

    ratios = []
    for trace, example in zip(traces, examples, strict=True):
        error = corpus.rater_error(example.clip)[:, example.labels.targets.index(target)]
        own = norm.ppf(0.5 + (trace.level or 0.0) / 2) * error
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append((trace.high[target] - trace.low[target]) / 2 / np.where(own > 0, own, np.nan))
    known = np.concatenate(ratios)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else float("nan")
