"""Windows cover every step, and merging them adds nothing of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgate.inference.windows import cut, overlap_add, taper


@st.composite
def layouts(draw):
    """Steps of a clip, window length and hop."""
    length = draw(st.integers(1, 40))
    return draw(st.integers(1, 200)), length, draw(st.integers(1, length))


def naive_overlap_add(windows, n, margin):
    """One step and column at a time: the mean of the covering windows, weighted by distance from their edges."""
    out = np.full((n, *windows[0][1].shape[1:]), np.nan)
    for index in np.ndindex(out.shape):
        total = weight = 0.0
        for first, values in windows:
            i = index[0] - first
            if 0 <= i < len(values) and np.isfinite(values[(i, *index[1:])]):
                w = min(1.0, (i + 1) / (margin + 1), (len(values) - i) / (margin + 1))
                total, weight = total + w * values[(i, *index[1:])], weight + w
        if weight:
            out[index] = total / weight
    return out


@given(layouts())
def test_every_step_is_covered_and_no_window_leaves_the_clip(layout):
    n, length, hop = layout
    starts = cut(n, length, hop)

    covered = np.zeros(n, int)
    for first in starts:
        covered[first : first + length] += 1
    assert (covered > 0).all()
    assert starts[0] == 0
    assert all(0 <= first <= max(0, n - length) for first in starts)
    assert starts[-1] == max(0, n - length)


@given(layouts())
def test_windows_are_as_few_as_the_hop_allows(layout):
    n, length, hop = layout
    starts = cut(n, length, hop)

    assert len(starts) == 1 + -(-max(0, n - length) // hop)
    assert set(np.diff(starts)[:-1]) <= {hop}


@given(layouts(), st.floats(-1, 1))
def test_merging_constant_windows_gives_the_constant(layout, value):
    n, length, hop = layout
    windows = [(first, np.full((min(length, n), 2), value)) for first in cut(n, length, hop)]

    merged = overlap_add(windows, n, length - hop)

    assert merged.shape == (n, 2)
    np.testing.assert_allclose(merged, value, rtol=0, atol=1e-12)


@given(layouts(), st.integers(0, 2**32 - 1))
def test_overlap_add_equals_a_naive_loop(layout, seed):
    n, length, hop = layout
    rng = np.random.default_rng(seed)
    windows = [(first, rng.standard_normal((length, 2))) for first in cut(n, length, hop)]
    for _, values in windows:
        values[rng.random(values.shape) < 0.2] = np.nan

    np.testing.assert_allclose(
        overlap_add(windows, n, length - hop), naive_overlap_add(windows, n, length - hop), atol=1e-12
    )


def test_merging_cuts_what_reaches_beyond_the_clip():
    assert overlap_add([(0, np.arange(10.0))], 4, 2).tolist() == pytest.approx([0, 1, 2, 3])


def test_steps_without_any_value_are_unknown_and_leave_their_neighbours_alone():
    windows = [(0, np.array([1.0, np.nan, np.nan, 1.0])), (2, np.array([np.nan, 1.0, 1.0, 1.0]))]

    np.testing.assert_array_equal(overlap_add(windows, 6, 2), [1, np.nan, np.nan, 1, 1, 1])


def test_two_neighbouring_windows_cross_fade_in_even_steps():
    merged = overlap_add([(0, np.zeros(8)), (4, np.ones(8))], 12, 4)

    assert merged == pytest.approx([0] * 4 + [0.2, 0.4, 0.6, 0.8] + [1] * 4)


def test_windows_without_overlap_stand_side_by_side():
    assert overlap_add([(0, np.zeros(3)), (3, np.ones(3))], 6, 0).tolist() == [0, 0, 0, 1, 1, 1]


def test_weights_fall_to_both_ends_but_never_to_nothing():
    weights = taper(9, 3)

    assert weights == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25])
    assert taper(1, 10) == pytest.approx([1 / 11])


@pytest.mark.parametrize(("length", "hop"), [(0, 1), (5, 0), (5, 6)])
def test_windows_that_would_leave_gaps_are_refused(length, hop):
    with pytest.raises(ValueError, match=f"hop={hop}, length={length}"):
        cut(100, length, hop)
