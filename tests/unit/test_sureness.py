"""Scores of a model's intervals on labelled clips."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avgate.core.types import Clip, LabelTrack, Trace
from avgate.evaluation.calibration import calibrate
from avgate.evaluation.evaluate import intervals_table
from avgate.evaluation.examples import Example
from avgate.evaluation.sureness import constant_width, score_intervals, sums
from avgate.inference.estimator import Estimator
from avgate.labels.tracks import labels_on_grid
from avgate.models.intervals import LEVELS, Intervals
from tests.tiny import TARGETS, make_checkpoint, make_clip

PLAIN = SimpleNamespace(name="tiny")


class Raters:
    """A corpus whose raters' mean has a standard error of 0.1 everywhere, or of 0 at the first step."""

    def rater_error(self, clip: Clip) -> np.ndarray:
        return np.where(np.arange(20) == 0, 0.0, 0.1)[:, None] + np.zeros(2)


def example(seed: int, person: str, n: int = 20) -> Example:
    features = make_clip(n, seed=seed, name=f"clip{seed}")
    labels = LabelTrack(features.grid.times(n), np.random.default_rng(seed).uniform(-1, 1, (n, 2)), TARGETS)
    return Example(
        Clip(features.name, Path("x.mp4"), "test", person), features, labels, labels_on_grid(labels, features.grid, n)
    )


def trace_of(e: Example, half: float, off: float) -> Trace:
    """Estimates that are off by that much, with intervals of that half width."""
    values = {t: e.labels.values[:, k] + off for k, t in enumerate(TARGETS)}
    low, high = ({t: x + side * half for t, x in values.items()} for side in (-1, 1))
    return Trace(e.labels.time_s, values, {}, low=low, high=high, level=0.9)


def estimator_with(half: float, persons: int = 12) -> Estimator:
    table = {t: np.full(len(LEVELS), half) for t in TARGETS}
    return Estimator(replace(make_checkpoint(), intervals=Intervals(persons, table, table)))


def test_a_person_is_held_whose_labels_mostly_lie_inside():
    examples = [example(0, "ann"), example(1, "ben"), example(2, "ben")]
    traces = [trace_of(examples[0], 0.2, 0.1), trace_of(examples[1], 0.2, 0.3), trace_of(examples[2], 0.2, 0.1)]
    found = score_intervals(estimator_with(0.4), traces, examples, PLAIN)
    assert (found["level"], found["persons"]) == (0.9, 12)
    scores = found["targets"]["valence"]
    assert scores["coverage"] == pytest.approx(2 / 3)
    assert scores["persons_held"] == 0.5, "half of Ben's are outside"
    assert scores["width"] == pytest.approx(0.4)
    assert "raters" not in scores


def test_beside_them_stand_intervals_of_constant_width():
    examples = [example(0, "ann")]
    traces = [trace_of(examples[0], 0.05, 0.1)]
    estimator = estimator_with(0.3)
    (constant,) = constant_width(traces, estimator.checkpoint.intervals)
    low = np.clip(traces[0].targets["arousal"] - 0.3, -1, 1)
    assert constant.low["arousal"] == pytest.approx(low)
    found = score_intervals(estimator, traces, examples, PLAIN)["targets"]["arousal"]
    assert found["coverage"] == 0
    assert found["constant"]["coverage"] == 1
    assert sums([constant], examples, TARGETS)[0, 1, 2] / 20 == pytest.approx(found["constant"]["width"])


def test_intervals_are_compared_with_the_raters_own_where_they_are_known():
    examples = [example(0, "ann")]
    traces = [trace_of(examples[0], 0.329, 0.0)]
    found = score_intervals(estimator_with(0.3), traces, examples, Raters())["targets"]["valence"]
    assert found["raters"] == pytest.approx(0.329 / (1.6449 * 0.1), abs=1e-3)


def test_a_model_without_intervals_is_said_to_have_none():
    examples = [example(0, "ann")]
    assert score_intervals(Estimator(make_checkpoint()), [trace_of(examples[0], 0.1, 0.0)], examples, PLAIN) is None
    assert intervals_table([{"name": "old", "intervals": None}]) is None
    measured = score_intervals(estimator_with(0.3, persons=4), [trace_of(examples[0], 0.1, 0.0)], examples, PLAIN)
    table = intervals_table([{"name": "new", "intervals": measured}, {"name": "old", "intervals": None}])
    assert table.row_count == 4, "two targets, each with its own and constant width"
    assert "old has no intervals" in table.caption
    assert "new was calibrated on 4 persons" in table.caption


def test_calibrated_intervals_hold_the_share_that_they_say_of_the_clips_they_were_made_on():
    examples = [example(seed, f"person {seed}") for seed in range(15)]
    estimator = Estimator(make_checkpoint())
    intervals = calibrate(estimator, examples)
    assert intervals.persons == 15
    sure = Estimator(replace(estimator.checkpoint, intervals=intervals), level=0.8)
    traces = [sure.trace(e.features, e.labels.time_s) for e in examples]
    for found in score_intervals(sure, traces, examples, PLAIN)["targets"].values():
        assert 0.78 <= found["coverage"] <= 0.9
        assert 0.78 <= found["constant"]["coverage"] <= 0.9


def test_a_modality_that_is_lost_can_widen_the_interval():
    """The spread head sees which modality is there: two models that differ in its weight alone."""
    estimator = estimator_with(0.5)
    features = make_clip(40, absent={"audio": range(20, 40)})
    first, _, last = estimator.model.spread.variance
    for weight in (first.weight, first.bias, last.weight, last.bias):
        weight.data.zero_()
    audio = first.in_features - 4  # the presence of audio, then of video, then what is relied on of each
    first.weight.data[0, audio] = -1.0
    first.bias.data[0] = 1.0
    last.weight.data[:, 0] = 2.0
    deviation = estimator.estimate(features).deviation
    assert (deviation[20:].min(0) > 1.5 * deviation[:20].max(0)).all()
