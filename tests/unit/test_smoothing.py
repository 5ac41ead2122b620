"""The mean filter keeps clip ends at their level and unknown steps unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgate.core.state import pack, unpack
from avgate.inference.smoothing import RunningMean, finish, mean_filter


def naive_filter(values, width):
    """One step at a time; the clip is mirrored at its ends as often as the window needs."""
    n, half = len(values), width // 2
    out = np.full(values.shape, np.nan)
    for t, k in np.ndindex(values.shape):
        mirrored = [i % (2 * n) for i in range(t - half, t + half + 1)]
        seen = [values[i if i < n else 2 * n - 1 - i, k] for i in mirrored]
        if np.isfinite(values[t, k]):
            out[t, k] = np.mean([v for v in seen if np.isfinite(v)])
    return out


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_filter_equals_a_naive_loop_even_when_wider_than_the_clip(n, half, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 2))
    values[rng.random((n, 2)) < 0.2] = np.nan

    np.testing.assert_allclose(mean_filter(values, 2 * half + 1), naive_filter(values, 2 * half + 1), atol=1e-12)


@given(st.integers(1, 50), st.integers(0, 40), st.floats(-1, 1))
def test_a_constant_stays_what_it_is_up_to_both_ends(n, half, level):
    np.testing.assert_allclose(mean_filter(np.full((n, 1), level), 2 * half + 1), level, rtol=0, atol=1e-12)


def test_clip_ends_keep_their_level():
    values = np.r_[np.full(30, 0.8), np.full(30, -0.6)][:, None]
    smooth = mean_filter(values, 15)[:, 0]

    assert smooth[:20] == pytest.approx(0.8)
    assert smooth[-20:] == pytest.approx(-0.6)


def test_unknown_steps_stay_unknown_and_do_not_spread():
    values = np.ones((20, 1))
    values[8:11] = np.nan

    smooth = mean_filter(values, 7)[:, 0]

    assert np.flatnonzero(np.isnan(smooth)).tolist() == [8, 9, 10]
    assert smooth[[7, 11]] == pytest.approx(1.0), "an unknown neighbour doesn't count as 0"


def test_targets_are_smoothed_apart_from_each_other():
    values = np.stack([np.linspace(-1, 1, 11), np.full(11, np.nan)], axis=1)
    smooth = mean_filter(values, 3)

    assert np.isfinite(smooth[:, 0]).all()
    assert np.isnan(smooth[:, 1]).all()


def test_width_one_changes_nothing_and_the_input_is_never_written_to():
    values = np.array([[0.5], [np.nan], [-0.2]])
    before = values.copy()

    np.testing.assert_array_equal(mean_filter(values, 1), before)
    mean_filter(values, 3)[:] = 9.0
    mean_filter(values, 1)[:] = 9.0
    np.testing.assert_array_equal(values, before)


def test_a_clip_without_steps_stays_without():
    assert mean_filter(np.zeros((0, 2)), 5).shape == (0, 2)


@pytest.mark.parametrize("width", [0, -3, 4])
def test_a_filter_without_a_centre_is_refused(width):
    with pytest.raises(ValueError, match=str(width)):
        mean_filter(np.zeros((5, 1)), width)


def test_finished_values_lie_in_the_range_of_the_targets():
    values = np.array([[1.4], [1.4], [np.nan], [-3.0]])

    np.testing.assert_array_equal(finish(values, 1, 1), [[1.0], [1.0], [np.nan], [-1.0]])


def test_a_one_sided_filter_is_the_mean_of_the_known_steps_until_then():
    values = np.array([[1.0], [np.nan], [3.0], [5.0], [np.nan], [9.0]])
    expected = [[1.0], [np.nan], [2.0], [4.0], [np.nan], [7.0]]
    np.testing.assert_allclose(mean_filter(values, 3, one_sided=True), expected)


def test_a_running_mean_gives_what_the_one_sided_filter_gives_and_can_be_saved():
    values = np.random.default_rng(0).uniform(-1.2, 1.2, (40, 6))
    values[5:8] = np.nan
    expected, running = finish(values, 7, 2, one_sided=True), RunningMean(7, 2)
    np.testing.assert_allclose([running(row) for row in values[:20].tolist()], expected[:20], atol=1e-12)
    other = RunningMean(7, 2)
    other.restore(unpack(pack(running.state())))
    assert [other(row) for row in values[20:].tolist()] == [running(row) for row in values[20:].tolist()]
