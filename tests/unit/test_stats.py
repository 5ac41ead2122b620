"""Statistics come from the training clips, and from nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from avgate.features.stats import FeatureStats


def naive_percentile(column, percent):
    """Linear interpolation between the two nearest of the sorted values."""
    ordered = sorted(column)
    at = percent / 100 * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def test_statistics_are_those_of_all_rows_together_after_clipping():
    rng = np.random.default_rng(0)
    clips = [rng.normal(2, 3, (n, 2)).astype(np.float32) for n in (50, 7, 300)]
    stats = FeatureStats.fit(clips)

    rows = np.concatenate(clips).astype(float)
    for k in range(2):
        low, high = naive_percentile(rows[:, k], 0.5), naive_percentile(rows[:, k], 99.5)
        clipped = [min(max(v, low), high) for v in rows[:, k]]
        mean = math.fsum(clipped) / len(clipped)
        std = math.sqrt(math.fsum((v - mean) ** 2 for v in clipped) / len(clipped))
        found = [getattr(stats, name)[k] for name in ("low", "high", "mean", "std")]
        assert found == pytest.approx([low, high, mean, std], rel=1e-5)


def test_standardised_training_rows_have_mean_0_and_standard_deviation_1():
    rows = np.random.default_rng(1).normal([-40, 1e-3], [9, 1e-4], (5000, 2)).astype(np.float32)
    out = FeatureStats.fit([rows]).apply(rows)

    assert out.dtype == np.float32
    assert out.mean(0) == pytest.approx([0, 0], abs=1e-3)
    assert out.std(0) == pytest.approx([1, 1], abs=1e-3)


def test_a_single_outlier_cannot_squeeze_all_other_values():
    rows = np.random.default_rng(2).standard_normal((1000, 1))
    clean = FeatureStats.fit([rows])
    dirty = FeatureStats.fit([np.r_[rows, [[1e9]]]])

    assert dirty.std == pytest.approx(clean.std, rel=0.02)
    assert dirty.apply(np.float32([[1e9]]))[0, 0] < 4, "what lies outside the training range is clipped to it"


def test_other_clips_are_measured_by_the_training_clips():
    stats = FeatureStats.fit([np.float32([[0.0], [2.0]] * 500)])

    assert stats.apply(np.float32([[1.0], [2.0], [7.0]])) == pytest.approx(np.array([[0.0], [1.0], [1.0]]))


@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678, 1e8, 3e-9])
def test_a_constant_column_becomes_0_everywhere(value):
    rows = np.full((1001, 3), value, np.float32)
    out = FeatureStats.fit([rows]).apply(np.float32([[value] * 3, [value + 1e10] * 3, [value - 1e10] * 3]))

    assert np.abs(out).max() < 1e-6


def test_unknown_values_stay_unknown():
    stats = FeatureStats.fit([np.random.default_rng(3).standard_normal((100, 2))])
    out = stats.apply(np.float32([[np.nan, 0.5], [0.5, np.nan]]))

    assert np.isnan(out).tolist() == [[True, False], [False, True]]


def test_the_identity_leaves_every_value_as_it_is_to_the_bit():
    tiny = np.finfo(np.float32).smallest_subnormal
    odd = np.float32([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, tiny, -tiny, 1e-30, 0.1])
    values = np.stack([odd, np.random.default_rng(4).standard_normal(len(odd)).astype(np.float32)], axis=1)
    out = FeatureStats.identity(2).apply(values)

    assert out.dtype == np.float32
    assert out.shape == values.shape
    np.testing.assert_array_equal(out.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("std", 0, "column 1 has a deviation that isn't a number above 0"),
        ("std", -1, "column 1 has a deviation"),
        ("std", np.nan, "column 1 has a deviation"),
        ("std", np.inf, "column 1 has a deviation"),
        ("mean", np.nan, "column 1 has a mean that is NaN or Inf"),
        ("mean", -np.inf, "column 1 has a mean that is NaN or Inf"),
        ("low", np.nan, "column 1 has limits that aren't in order"),
        ("low", 99, "column 1 has limits"),
        ("high", np.nan, "column 1 has limits"),
        ("low", np.inf, "column 1 has limits"),
        ("high", -np.inf, "column 1 has limits"),
    ],
)
def test_statistics_that_would_give_wrong_numbers_are_faulty(name, value, said):
    stats = FeatureStats.fit([np.random.default_rng(5).standard_normal((100, 3))])
    wrong = getattr(stats, name).copy()
    wrong[1] = value

    assert stats.fault(3) is None
    assert replace(stats, **{name: wrong}).fault(3).startswith(said)


@pytest.mark.parametrize("values", [np.ones(2, np.float32), np.ones((3, 1), np.float32), np.ones(3, int)])
def test_statistics_of_other_columns_or_whole_numbers_are_faulty(values):
    assert replace(FeatureStats.identity(3), mean=values).fault(3) == "`mean` doesn't fit 3 columns"
    assert FeatureStats.identity(3).fault(3) is None, "limits may be infinite"


def test_many_columns_are_measured_as_each_alone_and_absent_rows_dont_count():
    random = np.random.default_rng(4)
    clips = [random.standard_normal((n, 150)).astype(np.float32) * np.arange(1, 151) for n in (30, 50)]
    present = [random.random(len(clip)) < 0.7 for clip in clips]
    together = FeatureStats.fit(clips, present)
    for k in (0, 63, 64, 149):
        alone = FeatureStats.fit([clip[here, k : k + 1] for clip, here in zip(clips, present, strict=True)])
        for part in ("low", "high", "mean", "std"):
            assert getattr(together, part)[k] == pytest.approx(getattr(alone, part)[0], rel=1e-6)
