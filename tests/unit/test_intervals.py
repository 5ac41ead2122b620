"""Intervals of traces: they hold the estimate, widen with the level, and are kept in checkpoints."""

from dataclasses import replace

import numpy as np
import pytest

from avgate.core.errors import CheckpointError, UsageError
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import load_checkpoint
from avgate.models.intervals import LEVELS, Intervals, ends, ends_of_one, persons_needed
from avgate.models.network import ModelConfig
from avgate.models.recipe import from_plain, to_plain
from tests.tiny import RECIPE, TARGETS, make_checkpoint, make_clip

NARROW = np.linspace(0.1, 0.59, len(LEVELS))


def with_intervals(spread: bool = True, persons: int = 12, widths: np.ndarray = NARROW):
    recipe = replace(RECIPE, model=replace(RECIPE.model, spread=spread))
    table = {t: widths * (k + 1) for k, t in enumerate(TARGETS)}
    return replace(make_checkpoint(recipe), intervals=Intervals(persons, table if spread else {}, table))


def trace_of(checkpoint, level: float = 0.9):
    clip = make_clip(50, absent={"audio": range(20, 26), "video": range(20, 30)})
    return Estimator(checkpoint, level=level).trace(clip, RECIPE.grid.times(50))


@pytest.mark.parametrize("spread", [True, False])
def test_intervals_hold_the_estimate_and_are_unknown_where_it_is(spread):
    trace = trace_of(with_intervals(spread))
    assert trace.level == 0.9
    for t in TARGETS:
        known = np.isfinite(trace.targets[t])
        assert 0 < known.sum() < 50
        assert (np.isfinite(trace.low[t]) == known).all()
        assert (np.isfinite(trace.high[t]) == known).all()
        low, value, high = trace.low[t][known], trace.targets[t][known], trace.high[t][known]
        assert ((low >= -1) & (low <= value) & (value <= high) & (high <= 1)).all()
        assert (low < high).all()


def test_the_ends_of_one_interval_are_those_of_many():
    rng = np.random.default_rng(0)
    of = rng.uniform(-1, 1, (3, 200))
    of[2] *= 2
    of[:, :5] = np.nan
    np.testing.assert_array_equal([ends_of_one(*one) for one in of.T.tolist()], np.stack(ends(*of), axis=1))


def test_a_higher_level_is_wider_everywhere():
    by_level = [trace_of(with_intervals(), level) for level in (0.5, 0.8, 0.99)]
    for t in TARGETS:
        widths = np.stack([trace.high[t] - trace.low[t] for trace in by_level])
        assert (np.diff(widths[:, np.isfinite(widths[0])], axis=0) > 0).all()


def test_constant_intervals_have_the_width_that_was_measured():
    trace = trace_of(with_intervals(spread=False))
    inside = (trace.low["valence"] > -1) & (trace.high["valence"] < 1)
    assert inside.any()
    assert (trace.high["valence"] - trace.low["valence"])[inside] == pytest.approx(2 * NARROW[LEVELS.index(0.9)])


def test_the_interval_belongs_to_the_smoothed_value():
    estimator = Estimator(with_intervals())
    clip = make_clip(60)
    estimated, times = estimator.estimate(clip), RECIPE.grid.times(60)
    rough, smooth = (estimator.read(clip, estimated, times, width) for width in (1, 9))
    for t in TARGETS:
        jumps = [np.abs(np.diff(trace.high[t] - trace.low[t])).mean() for trace in (rough, smooth)]
        assert jumps[1] < 0.5 * jumps[0]


def test_what_too_few_persons_cannot_tell_spans_the_scale_and_is_said():
    trace = trace_of(with_intervals(persons=2, widths=np.where(np.array(LEVELS) > 0.7, np.inf, NARROW)))
    known = np.isfinite(trace.targets["valence"])
    assert set(trace.low["valence"][known]) == {-1}
    assert set(trace.high["valence"][known]) == {1}
    assert any("calibrated on 2 persons" in note for note in trace.notes)
    assert trace.provenance["interval"]["calibrated_on_persons"] == 2
    assert persons_needed(0.9) == 9
    assert trace_of(with_intervals(persons=9)).notes == ()


def test_a_model_that_was_never_calibrated_says_so():
    trace = trace_of(make_checkpoint())
    assert (trace.low, trace.high, trace.level) == ({}, {}, None)
    assert any("no intervals" in note for note in trace.notes)
    assert trace.provenance["interval"] == "none: not calibrated"


@pytest.mark.parametrize("spread", [True, False])
def test_intervals_come_back_from_a_checkpoint(spread, tmp_path):
    widths = np.where(np.array(LEVELS) > 0.9, np.inf, NARROW)
    one = with_intervals(spread, widths=widths)
    lost = {"valence": {"audio": 1.25}} if spread else {}
    one = replace(one, intervals=replace(one.intervals, lost=lost, power={"arousal": 0.5}))
    back = load_checkpoint(one.save(tmp_path / "c.safetensors")).intervals
    assert (back.persons, back.lost, back.power) == (12, lost, {"arousal": 0.5})
    assert set(back.scaled) == (set(TARGETS) if spread else set())
    assert back.constant["arousal"] == pytest.approx(2 * widths)


def test_a_checkpoint_whose_intervals_do_not_fit_is_refused(tmp_path):
    wrong = replace(with_intervals(), intervals=Intervals(3, {}, {"valence": NARROW}))
    with pytest.raises(CheckpointError, match="intervals don't fit"):
        load_checkpoint(wrong.save(tmp_path / "c.safetensors"))


def test_a_recipe_without_a_spread_head_is_written_as_in_earlier_versions_and_read_so():
    """Files of versions without this setting have no such head; new recipes have one."""
    plain = to_plain(ModelConfig(spread=False))
    assert "spread" not in plain
    assert not from_plain(plain).spread
    assert from_plain(to_plain(ModelConfig())).spread


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, 90.0, float("nan")])
def test_other_levels_are_refused(level):
    with pytest.raises(UsageError, match="interval"):
        Estimator(make_checkpoint(), level=level)
