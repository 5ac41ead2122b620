"""From features to a trace: what is known shapes the estimate, what is absent can't, and nothing is made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avgate.core.errors import FeatureError
from avgate.core.gates import Gate
from avgate.core.timeline import Grid
from avgate.inference.clip import on_common_grid, standardised
from avgate.inference.estimator import Estimator
from avgate.models.fusions.hgrjca import HgrjcaConfig
from tests.tiny import COLUMNS, RECIPE, TARGETS, make_checkpoint, make_clip, make_track

GRID = RECIPE.grid


@pytest.fixture(scope="module")
def estimator():
    return Estimator(make_checkpoint())


@pytest.fixture
def stats(estimator):
    return estimator.stats


@pytest.fixture
def run(estimator):
    return estimator.estimate


def directly(estimator, clip, first=0, last=None):
    """The model on some steps of a clip, without windows."""
    part = slice(first, last)
    features = {m: torch.from_numpy(x[None, part]) for m, x in standardised(clip, estimator.stats).items()}
    with torch.no_grad():
        out = estimator.model(features, {m: torch.from_numpy(p[None, part]) for m, p in clip.present.items()})
    return out.targets[0].double().numpy()


def same(one, two):
    """Two estimates that are equal to the bit."""
    np.testing.assert_array_equal(one.raw, two.raw)
    assert one.gates.keys() == two.gates.keys()
    for name in one.gates:
        np.testing.assert_array_equal(one.gates[name], two.gates[name])


# ---- the common grid


def test_tracks_of_other_rates_meet_on_the_label_rate():
    fast, slow = make_track("audio", 100, rate=100.0), make_track("video", 5, rate=5.0)
    clip = on_common_grid("clip", [fast, slow], GRID)

    assert len(clip) == 10
    assert clip.values["audio"] == pytest.approx(fast.values.reshape(10, 10, -1).mean(1), abs=1e-6)
    np.testing.assert_array_equal(clip.values["video"], np.repeat(slow.values, 2, axis=0))
    assert all(present.all() for present in clip.present.values())


def test_the_longest_track_decides_and_a_shorter_one_is_absent_behind_its_end():
    clip = on_common_grid("clip", [make_track("audio", 12), make_track("video", 9)], GRID)

    assert len(clip) == 12
    assert np.flatnonzero(~clip.present["video"]).tolist() == [9, 10, 11]
    assert np.isnan(clip.values["video"][9:]).all()


def test_a_track_that_begins_later_is_absent_before():
    late = make_track("audio", 6, grid=Grid(10.0, 0.4))
    clip = on_common_grid("clip", [late, make_track("video", 10)], GRID)

    assert np.flatnonzero(~clip.present["audio"]).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(clip.values["audio"][4:], late.values)


def test_backbones_of_one_modality_stand_side_by_side_and_are_present_together():
    first = make_track("audio", 10, absent=[2])
    second = make_track("audio", 10, seed=1, absent=[5], backbone="other")
    clip = on_common_grid("clip", [first, make_track("video", 10), second], GRID)

    assert np.flatnonzero(~clip.present["audio"]).tolist() == [2, 5]
    there = clip.present["audio"]
    np.testing.assert_array_equal(clip.values["audio"][there], np.hstack([first.values, second.values])[there])
    assert np.isnan(clip.values["audio"][~there]).all()


def test_voice_activity_is_that_of_the_first_backbone_that_can_tell():
    active = np.float32([0, 0.4, 0.6, 1, 1])
    tracks = [
        make_track("video", 5),
        make_track("audio", 5, absent=[4], active=active),
        make_track("audio", 5, backbone="other", active=np.ones(5, np.float32)),
    ]

    assert on_common_grid("clip", tracks, GRID).voice.tolist() == [False, False, True, True, False]


def test_voice_activity_that_no_backbone_knows_stays_unknown():
    assert make_clip(5).voice is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_present_step_without_a_number_is_refused_by_name_and_step(value):
    track = make_track("audio", 10)
    track.values[7, 1] = track.values[8, 1] = value

    with pytest.raises(FeatureError) as caught:
        on_common_grid("interview", [track], GRID)
    assert "'pitch' of 'tinyvoice' is not a number at step 7 (2 of 10 present steps" in caught.value.what
    assert caught.value.where == "interview"
    assert caught.value.hint


def test_features_without_a_step_are_refused():
    with pytest.raises(FeatureError, match="no step on the clock of the model") as caught:
        on_common_grid("interview", [make_track("audio", 0)], GRID)
    assert caught.value.where == "interview"


def test_one_unknown_sample_is_not_averaged_away_on_a_slower_grid():
    track = make_track("audio", 100, rate=100.0)
    track.values[31, 2] = np.nan

    with pytest.raises(FeatureError, match=r"'jitter' of 'tinyvoice' is not a number at step 3 "):
        on_common_grid("clip", [track], GRID)


def test_absent_steps_are_0_for_the_model_and_present_ones_standardised(stats):
    clip = make_clip(10, absent={"video": [3]})
    values = standardised(clip, stats)["video"]

    assert values.dtype == np.float32
    assert values[3].tolist() == [0, 0]
    np.testing.assert_array_equal(np.delete(values, 3, 0), np.delete(stats["video"].apply(clip.values["video"]), 3, 0))


# ---- the estimate


@pytest.mark.parametrize("n", [1, 7, RECIPE.window])
def test_a_clip_of_at_most_a_window_is_estimated_as_it_is(run, estimator, n):
    clip = make_clip(n)

    np.testing.assert_allclose(run(clip).raw, directly(estimator, clip), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [21, 30, 47, 200])
def test_a_longer_clip_is_the_weighted_mean_of_its_windows(run, estimator, n):
    clip = make_clip(n)
    starts = [*range(0, n - 20, 10), n - 20]
    total, weight = np.zeros((n, 2)), np.zeros((n, 1))
    for first in starts:
        w = np.array([min(i + 1, 20 - i, 11) / 11 for i in range(20)])[:, None]
        total[first : first + 20] += w * directly(estimator, clip, first, first + 20)
        weight[first : first + 20] += w

    np.testing.assert_allclose(run(clip).raw, total / weight, rtol=0, atol=1e-6)


def test_an_estimate_is_known_and_in_range_wherever_something_is_present(run):
    estimated = run(make_clip(95, absent={"audio": range(40), "video": range(40, 95)}))

    assert estimated.raw.shape == (95, len(TARGETS))
    assert (np.abs(estimated.raw) <= 1).all()
    for name, gate in estimated.gates.items():
        assert ((gate >= -1e-12) & (gate <= 1 + 1e-12)).all(), name


def test_steps_where_nothing_is_present_are_unknown(run):
    nothing = [0, 1, 2, *range(30, 60), 93, 94]
    estimated = run(make_clip(95, absent={"audio": nothing, "video": nothing}))

    for values in (estimated.raw[:, 0], estimated.raw[:, 1], *estimated.gates.values()):
        assert np.flatnonzero(np.isnan(values)).tolist() == nothing


def test_a_clip_without_any_evidence_is_unknown_throughout(run):
    assert np.isnan(run(make_clip(45, absent={"audio": range(45), "video": range(45)})).raw).all()


def test_evidence_counts_only_in_what_the_model_reads():
    recipe = RECIPE.with_fusion("audio")
    checkpoint = make_checkpoint(recipe)
    clip = make_clip(30, absent={"audio": [4, 5]})
    estimated = Estimator(checkpoint).estimate(clip)

    assert np.flatnonzero(np.isnan(estimated.raw).any(1)).tolist() == [4, 5]
    assert estimated.gates == {}


@pytest.mark.parametrize("garbage", [0.0, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("modality", ["audio", "video"])
def test_what_stands_in_absent_steps_cannot_reach_the_estimate(run, modality, garbage):
    absent = [0, 1, *range(17, 29), 44]
    tracks = [make_track(m, 45, absent=absent if m == modality else ()) for m in COLUMNS]
    clean = run(on_common_grid("clip", tracks, GRID))
    for track in tracks:
        track.values[~track.present] = garbage

    same(run(on_common_grid("clip", tracks, GRID)), clean)


def test_the_estimate_does_not_depend_on_what_lies_further_away_than_a_window(run):
    long, other = make_clip(300, seed=1), make_clip(300, seed=2)
    for modality, values in other.values.items():
        values[100:200] = long.values[modality][100:200]

    here, there = run(long).raw, run(other).raw
    np.testing.assert_array_equal(here[120:180], there[120:180])
    assert not np.allclose(here[:80], there[:80])


def test_the_same_clip_gives_the_same_estimate_to_the_bit(run):
    clip = make_clip(77, absent={"video": range(9)})
    same(run(clip), run(clip))


# ---- its gates


@pytest.mark.parametrize("reliability", ["scaled", "fallback"])
def test_reliability_of_an_estimate_is_known_wherever_something_is_present(reliability):
    fusion = HgrjcaConfig(iterations=2, reliability=reliability)
    recipe = replace(RECIPE, model=replace(RECIPE.model, fusion=fusion))
    checkpoint = make_checkpoint(recipe)
    clip = make_clip(50, absent={"audio": range(10), "video": range(5)})
    gates = Estimator(checkpoint).estimate(clip).gates

    audio, video = (gates[Gate("reliability", m)] for m in ("audio", "video"))
    for relied in (audio, video):
        assert np.flatnonzero(np.isnan(relied)).tolist() == list(range(5))
        assert ((relied[5:] > 0) & (relied[5:] < 1)).all()
    assert not np.allclose(audio[5:], video[5:])


def test_an_estimate_has_all_gates_of_its_fusion_and_stage_weights_sum_to_1(run):
    gates = run(make_clip(50)).gates

    own = [("attended", None), ("iteration", 1), ("iteration", 2)]
    assert set(gates) == {Gate(kind, m, i) for m in ("audio", "video") for kind, i in own}
    for m in ("audio", "video"):
        both = gates[Gate("iteration", m, 1)] + gates[Gate("iteration", m, 2)]
        assert both == pytest.approx(np.ones(50), abs=1e-6)


# ---- the trace


def test_a_trace_has_one_row_per_asked_time_with_raw_beside_final(estimator, run):
    clip = make_clip(40)
    time_s = np.sort(np.random.default_rng(0).uniform(0, 4, 101))
    trace = estimator.read(clip, run(clip), time_s, 5)

    assert len(trace) == 101
    assert trace.source == "clip"
    np.testing.assert_array_equal(trace.time_s, time_s)
    for columns in (trace.targets, trace.raw, trace.present, trace.gates):
        assert columns
        assert all(len(column) == 101 for column in columns.values())
    assert list(trace.targets) == list(trace.raw) == list(TARGETS)
    assert trace.targets["valence"].std() < trace.raw["valence"].std(), "smoothed beside raw"


def test_at_the_steps_own_times_raw_is_what_the_model_said(estimator, run):
    clip = make_clip(40)
    estimated = run(clip)
    trace = estimator.read(clip, estimated, GRID.times(40), 1)

    for k, target in enumerate(TARGETS):
        assert trace.raw[target] == pytest.approx(estimated.raw[:, k], abs=1e-12)
        np.testing.assert_array_equal(trace.targets[target], trace.raw[target])
    for name, gate in estimated.gates.items():
        assert trace.gates[name] == pytest.approx(gate, abs=1e-12)


def test_smoothing_is_a_mean_over_that_many_steps(estimator, run):
    clip = make_clip(40)
    estimated = run(clip)
    trace = estimator.read(clip, estimated, GRID.times(40), 5)

    assert trace.targets["arousal"][20] == pytest.approx(estimated.raw[18:23, 1].mean())


def test_frames_where_nothing_is_known_stay_unknown_and_presence_says_why(estimator, run):
    clip = make_clip(40, absent={"audio": range(30), "video": range(20, 40)})
    time_s = np.arange(100) / 25
    trace = estimator.read(clip, run(clip), time_s, 9)

    unknown = (time_s >= 2) & (time_s < 3)
    for values in (*trace.targets.values(), *trace.raw.values(), *trace.gates.values()):
        np.testing.assert_array_equal(np.isnan(values), unknown)
    np.testing.assert_array_equal(trace.present["face"], time_s < 2)
    np.testing.assert_array_equal(trace.present["audio"], time_s >= 3)
    assert "voice" not in trace.present, "no backbone could tell"


def test_voice_activity_is_read_off_at_the_frames(estimator, run):
    clip = replace(make_clip(4), voice=np.array([False, True, True, False]))
    trace = estimator.read(clip, run(clip), np.array([0.0, 0.09, 0.1, 0.25, 0.3, 0.39]), 1)

    assert trace.present["voice"].tolist() == [False, False, True, True, False, False]
