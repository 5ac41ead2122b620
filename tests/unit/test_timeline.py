from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from avgate.core.timeline import Grid, cell_mean, fill_short_gaps, read_off, read_off_mask, resample

RATES = st.sampled_from([1.0, 4.0, 5.0, 10.0, 12.5, 4500 / 377, 25.0, 30000 / 1001, 30.0, 60.0, 100.0])
STARTS = st.sampled_from([0.0, 0.3, -2.0, 1234.56])
GRIDS = st.builds(Grid, RATES, STARTS)
COUNTS = st.integers(1, 40)


def arrays(n: int, seed: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Values with NaN in absent rows, and presence."""
    rng = np.random.default_rng(seed)
    present = rng.random(n) < 0.6
    values = rng.uniform(-1, 1, (n, d)).astype(np.float32)
    values[~present] = np.nan
    return values, present


@pytest.mark.parametrize(
    ("rate", "start"), [(0, 0), (-1, 0), (math.nan, 0), (math.inf, 0), (10, math.nan), (10, math.inf)]
)
def test_a_grid_without_a_clock_is_refused(rate, start):
    with pytest.raises(ValueError, match="positive rate"):
        Grid(rate, start)


@given(GRIDS, st.integers(0, 100_000))
def test_the_centre_of_a_cell_falls_into_that_cell(grid, i):
    assert grid.index(grid.times(i + 1)[-1:])[0] == i
    assert grid.times(i + 1)[-1] == pytest.approx(grid.start_s + (i + 0.5) / grid.rate)


@given(GRIDS, st.integers(-1000, 100_000))
def test_a_cells_left_edge_belongs_to_it_however_it_was_rounded(grid, i):
    edge = grid.start_s + i / grid.rate
    assert grid.index(np.array([edge, np.nextafter(edge, -np.inf), edge + 0.4 / grid.rate])).tolist() == [i, i, i]
    assert grid.index(np.array([edge - 2e-6]))[0] == i - 1


def test_sums_of_tenths_land_on_their_edge():
    assert Grid(10).index(np.array([0.1 + 0.2, 0.3, 0.7 - 0.4])).tolist() == [3, 3, 3]


@given(GRIDS, st.floats(-5, 5000), st.floats(0, 1))
def test_the_steps_cover_all_times_before_the_end_and_no_cell_is_idle(grid, end_s, share):
    n = grid.steps(end_s)
    if n == 0:
        assert end_s <= grid.start_s + 1.1e-6
        return
    assert grid.start_s + (n - 1) / grid.rate < end_s <= grid.start_s + n / grid.rate + 1.1e-6
    time_s = grid.start_s + share * (end_s - grid.start_s)
    assume(time_s < end_s - 2e-6)
    assert 0 <= grid.index(np.array([time_s]))[0] < n


@given(GRIDS, st.integers(0, 10_000))
def test_whole_numbers_of_steps_are_counted_exactly(grid, n):
    assert grid.steps(grid.start_s + n / grid.rate) == n


@given(RATES, st.integers(1, 10_000))
def test_durations_become_the_nearest_number_of_steps(rate, n):
    assert Grid(rate).seconds_to_steps(n / rate) == n
    assert Grid(rate).seconds_to_steps((n + 0.4) / rate) == n
    assert Grid(rate).seconds_to_steps(0.1 / rate) == 1


@given(GRIDS, COUNTS, st.integers(0, 60), st.integers(0, 1000))
def test_cell_means_are_the_means_of_the_present_samples_in_each_cell(grid, n, m, seed):
    values, present = arrays(m, seed)
    time_s = grid.start_s + np.random.default_rng(seed).uniform(-1, n + 1, m) / grid.rate
    mean, has = cell_mean(values, present, time_s, grid, n)
    assert mean.shape == (n, 2)
    assert mean.dtype == np.float32
    for i in range(n):
        inside = [values[j] for j in range(m) if present[j] and grid.index(time_s[j : j + 1])[0] == i]
        assert has[i] == bool(inside)
        if inside:
            np.testing.assert_allclose(mean[i], np.mean(inside, axis=0, dtype=np.float64), atol=1e-6)
        else:
            assert np.isnan(mean[i]).all()


@given(COUNTS, st.integers(0, 6), st.integers(0, 1000))
def test_short_gaps_get_the_nearest_row_and_everything_else_stays(n, max_gap, seed):
    values, present = arrays(n, seed)
    before = values.copy(), present.copy()
    filled, has = fill_short_gaps(values, present, max_gap)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(present, before[1])
    have = np.flatnonzero(present)
    for i in range(n):
        left, right = have[have <= i], have[have >= i]
        between = len(left) > 0 and len(right) > 0
        expected = present[i] or (between and right[0] - left[-1] - 1 <= max_gap)
        assert has[i] == expected
        if expected:
            nearest = left[-1] if i - left[-1] <= right[0] - i else right[0]
            np.testing.assert_array_equal(filled[i], values[nearest])
        else:
            assert np.isnan(filled[i]).all()


@given(COUNTS, GRIDS, st.integers(0, 1000))
def test_resampling_to_the_same_grid_changes_nothing(n, grid, seed):
    values, present = arrays(n, seed)
    out, mask = resample(values, present, grid, grid, n)
    np.testing.assert_array_equal(out, values)
    np.testing.assert_array_equal(mask, present)


@given(COUNTS, GRIDS, RATES, COUNTS, st.integers(0, 1000))
def test_resampling_means_when_slower_and_repeats_when_faster(m, source, rate, n, seed):
    values, present = arrays(m, seed)
    target = Grid(rate, source.start_s)
    out, mask = resample(values, present, source, target, n)
    source_s, target_s = source.times(m), target.times(n)
    for i in range(n):
        if rate < source.rate:
            rows = [j for j in range(m) if present[j] and target.index(source_s[j : j + 1])[0] == i]
        else:
            cell = source.index(target_s[i : i + 1])[0]
            rows = [cell] if 0 <= cell < m and present[cell] else []
        assert mask[i] == bool(rows)
        expected = np.mean([values[j] for j in rows], axis=0, dtype=np.float64) if rows else [np.nan, np.nan]
        np.testing.assert_allclose(out[i], expected, atol=1e-6)


@given(COUNTS, GRIDS, RATES, st.integers(0, 1000))
def test_a_track_without_absences_is_never_resampled_into_one_with_absences(m, source, rate, seed):
    values = np.random.default_rng(seed).uniform(-1, 1, (m, 1)).astype(np.float32)
    target = Grid(rate, source.start_s)
    n = int(m / source.rate * rate + 1e-6)
    assert resample(values, np.ones(m, bool), source, target, n)[1].all()


@given(GRIDS, COUNTS, st.integers(0, 1000))
def test_a_track_reads_back_its_own_values_at_its_centres(grid, n, seed):
    values, _ = arrays(n, seed)
    np.testing.assert_allclose(read_off(values, grid, grid.times(n)), values, atol=1e-6)


@given(GRIDS, st.integers(2, 40))
def test_a_straight_line_is_read_off_exactly_between_the_outer_centres(grid, n):
    times = grid.times(n)
    at = np.linspace(times[0], times[-1], 101)
    np.testing.assert_allclose(read_off(2 * times - 3, grid, at), 2 * at - 3, atol=1e-6)


@given(GRIDS, COUNTS, st.floats(0, 1.4))
def test_the_ends_are_held_for_one_step_and_unknown_beyond(grid, n, beyond):
    values = np.arange(1.0, n + 1)
    first, last = grid.times(n)[0] - beyond / grid.rate, grid.times(n)[-1] + beyond / grid.rate
    np.testing.assert_allclose(read_off(values, grid, np.array([first, last])), [1, n], rtol=1e-6)
    outside = np.array([grid.start_s - 1.1 / grid.rate, grid.start_s + (n + 1.1) / grid.rate])
    assert np.isnan(read_off(values, grid, outside)).all()


@given(GRIDS, st.integers(1, 40), st.integers(0, 1000))
def test_what_is_read_off_is_known_exactly_where_the_cell_is_and_stays_between_its_neighbours(grid, n, seed):
    values, present = arrays(n, seed, 1)
    # Not within a microsecond of an edge, where the grid's rounding decides.
    position = np.arange(n * 20) / 20 + 0.025
    out = read_off(values, grid, grid.start_s + position / grid.rate)[:, 0]
    cell = position.astype(int)
    np.testing.assert_array_equal(~np.isnan(out), present[cell])
    for value, where in zip(out, position, strict=True):
        i = int(where)
        if present[i]:
            around = [values[j, 0] for j in (i - 1, i, i + 1) if 0 <= j < n and present[j]]
            assert min(around) - 1e-6 <= value <= max(around) + 1e-6


def test_values_of_any_shape_are_read_off():
    values = np.arange(24.0).reshape(4, 2, 3)
    out = read_off(values, Grid(2.0), np.array([0.25, 0.5]))
    np.testing.assert_allclose(out, [values[0], (values[0] + values[1]) / 2])


@given(GRIDS, COUNTS, st.integers(0, 1000))
def test_masks_are_read_off_by_cell_and_false_outside(grid, n, seed):
    mask = np.random.default_rng(seed).random(n) < 0.5
    index = np.arange(-3, n + 3)
    read = read_off_mask(mask, grid, grid.start_s + (index + 0.5) / grid.rate)
    np.testing.assert_array_equal(read, [bool(0 <= i < n and mask[i]) for i in index])
