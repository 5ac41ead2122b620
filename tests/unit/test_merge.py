"""Ways to merge raters, against hand-computed cases and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate.core.metrics import ccc
from avgate.labels.merge import MERGES, ewe, ewe_weights, mean, raaw, warped

THREE = np.array([[0.0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]])
RATINGS = arrays(np.float64, (4, 25), elements=st.floats(-1, 1, width=32))


class TestHandComputed:
    def test_ewe_weighs_raters_by_their_correlation_with_the_mean_of_all(self):
        # The mean is 1/3, 0, 1, 2/3; the first two raters correlate with it by 2 / sqrt 5, the third by half of that.
        assert ewe_weights(THREE) == pytest.approx([2 / math.sqrt(5), 2 / math.sqrt(5), 1 / math.sqrt(5)])
        assert ewe(THREE) == pytest.approx([0.2, 0, 1, 0.8])

    def test_ewe_ignores_who_contradicts_all_others(self):
        ratings = np.array([[0.0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]]) / 3
        assert ewe(ratings) == pytest.approx(ratings[0])

    def test_where_a_rater_said_nothing_the_others_share_the_weight(self):
        ratings = THREE.copy()
        ratings[0, 0] = np.nan
        ratings[:, 1] = np.nan
        weights = ewe_weights(ratings)
        merged = ewe(ratings)
        assert merged[0] == pytest.approx(weights[2] / (weights[1] + weights[2]))
        assert np.isnan(merged[1])
        assert mean(ratings)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", MERGES)
@given(ratings=RATINGS)
def test_a_merged_label_lies_between_the_raters(name, ratings):
    merged = MERGES[name](ratings)
    assert merged.min() >= ratings.min() - 1e-9
    assert merged.max() <= ratings.max() + 1e-9


@pytest.mark.parametrize("name", MERGES)
def test_raters_who_agree_are_left_as_they_are(name):
    course = np.sin(np.arange(50) / 6)
    assert MERGES[name](np.stack([course] * 3)) == pytest.approx(course)


@pytest.mark.parametrize("name", MERGES)
def test_the_order_of_raters_makes_no_difference(name):
    ratings = np.random.default_rng(0).normal(size=(4, 40))
    np.testing.assert_allclose(MERGES[name](ratings), MERGES[name](ratings[::-1]), atol=1e-9)


class TestWarping:
    def course(self, n: int = 400) -> np.ndarray:
        rng = np.random.default_rng(3)
        return np.convolve(rng.normal(size=n + 40), np.hanning(40) / 20, "valid")[:n]

    def test_raters_who_lag_differently_agree_better_with_the_truth_once_aligned(self):
        course = self.course()
        rng = np.random.default_rng(4)
        ratings = np.stack([np.roll(course, lag) + 0.02 * rng.normal(size=len(course)) for lag in (-8, 0, 0, 9)])
        inner = slice(20, -20)
        assert ccc(raaw(ratings, reach=15)[inner], course[inner]) > ccc(ewe(ratings)[inner], course[inner]) + 0.005

    def test_a_shifted_copy_is_brought_back(self):
        course = self.course()
        back = warped(np.roll(course, 7), course, reach=10)
        assert ccc(back[20:-20], course[20:-20]) > 0.99
        assert ccc(np.roll(course, 7)[20:-20], course[20:-20]) < 0.9

    def test_nothing_moves_further_than_the_reach(self):
        course = self.course()
        back = warped(np.roll(course, 30), course, reach=3)
        assert ccc(back[40:-40], course[40:-40]) < 0.8

    def test_unknown_steps_stay_unknown_and_constants_stay(self):
        course = self.course()
        rating = course.copy()
        rating[50:60] = np.nan
        assert np.isnan(warped(rating, course, 5)[50:60]).all()
        assert (warped(np.ones(10), course[:10], 5) == 1).all()
