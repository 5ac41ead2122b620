"""Merging raters against hand-computed cases, and delays that were put in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate.core.metrics import ccc
from avgate.labels.agreement import MERGES, agreement, cronbach_alpha, ewe, ewe_weights, mean, raaw, warped
from avgate.labels.delay import MEASURES, delays

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

    def test_cronbach_alpha(self):
        assert cronbach_alpha(np.array([[1.0, 2, 3], [1, 3, 2]])) == pytest.approx(2 / 3)
        assert cronbach_alpha(np.array([[1.0, 2, 3], [1, 2, 3]])) == pytest.approx(1)
        assert math.isnan(cronbach_alpha(np.array([[1.0, 1, 1], [1, 1, 1]])))
        assert cronbach_alpha(np.array([[1.0, 2, 3, np.nan], [1, 3, 2, 9]])) == pytest.approx(2 / 3)

    def test_foundof_pairs_and_with_the_others(self):
        found = agreement(THREE)
        apart = ccc(THREE[0], THREE[2])
        assert found.pairs == pytest.approx((1 + 2 * apart) / 3)
        assert found.others[2] == pytest.approx(apart)
        assert found.others[0] == pytest.approx(ccc(THREE[0], (THREE[1] + THREE[2]) / 2))

    def test_cronbach_alpha_is_that_of_an_independent_computation(self):
        ratings = np.random.default_rng(0).normal(size=(5, 60)) + np.sin(np.arange(60) / 5)
        covariance = np.cov(ratings)
        expected = 5 / 4 * (1 - np.trace(covariance) / covariance.sum())
        assert cronbach_alpha(ratings) == pytest.approx(expected)


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


class TestDelay:
    @pytest.mark.parametrize("measure", MEASURES)
    @pytest.mark.parametrize("lag", [0, 7, 23])
    def test_the_lag_that_was_put_in_is_found(self, measure, lag):
        rng = np.random.default_rng(lag)
        features = np.convolve(rng.normal(size=1030), np.ones(6) / 6, "valid")[:1000, None] * [1.0, -0.5]
        features[:, 1] += rng.normal(size=1000)
        labels = np.roll(features[:, 0], lag) + 0.1 * rng.normal(size=1000)
        judged = delays(labels, features, rate=10.0, longest_s=6.0, measure=measure)
        assert len(judged) == 61
        assert abs(int(np.argmax(judged)) - lag) <= 1

    @pytest.mark.parametrize("measure", MEASURES)
    def test_unknown_steps_are_left_out_and_too_few_say_nothing(self, measure):
        features = np.random.default_rng(0).normal(size=(400, 1))
        labels = features[:, 0].copy()
        features[100:110], labels[200:210] = np.nan, np.nan
        assert np.argmax(delays(labels, features, 10.0, 2.0, measure)) == 0
        assert np.isnan(delays(labels[:40], features[:40], 10.0, 2.0, measure)).all()
        assert np.isnan(delays(labels[:10], features[:10], 10.0, 2.0, measure)).all()

    def test_mutual_information_of_a_label_with_itself_is_the_entropy_of_its_bins(self):
        values = np.random.default_rng(0).permutation(800).astype(float)
        assert MEASURES["mi"](values[:, None], values) == pytest.approx(math.log(8), abs=1e-6)
        assert MEASURES["mi"](values[::-1, None].copy(), values) < 0.1


def test_the_page_on_raters_says_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    import raters as docs_raters

    from avgate.corpora.hazumi import Hazumi
    from tests.dialogues import write_hazumi

    page = docs_raters.page(Hazumi(write_hazumi(tmp_path, n=20)))
    # Ratings that were drawn at random agree with nobody.
    for target in ("impression", "continuance"):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {target} |")]
        *found, alpha = map(float, row.split("|")[2:-1])
        assert max(map(abs, found)) < 0.2
        assert alpha < 0.5
