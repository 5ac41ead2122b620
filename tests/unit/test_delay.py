"""Delays of labels: those that were put in are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avgate.labels.delay import MEASURES, delay_fit


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("lag", [0, 7, 23])
def test_the_lag_that_was_put_in_is_found(measure, lag):
    rng = np.random.default_rng(lag)
    features = np.convolve(rng.normal(size=1030), np.ones(6) / 6, "valid")[:1000, None] * [1.0, -0.5]
    features[:, 1] += rng.normal(size=1000)
    labels = np.roll(features[:, 0], lag) + 0.1 * rng.normal(size=1000)
    judged = delay_fit(labels, features, rate=10.0, longest_s=6.0, measure=measure)
    assert len(judged) == 61
    assert abs(int(np.argmax(judged)) - lag) <= 1


@pytest.mark.parametrize("measure", MEASURES)
def test_unknown_steps_are_left_out_and_too_few_say_nothing(measure):
    features = np.random.default_rng(0).normal(size=(400, 1))
    labels = features[:, 0].copy()
    features[100:110], labels[200:210] = np.nan, np.nan
    assert np.argmax(delay_fit(labels, features, 10.0, 2.0, measure)) == 0
    assert np.isnan(delay_fit(labels[:40], features[:40], 10.0, 2.0, measure)).all()
    assert np.isnan(delay_fit(labels[:10], features[:10], 10.0, 2.0, measure)).all()


def test_mutual_information_of_a_label_with_itself_is_the_entropy_of_its_bins():
    values = np.random.default_rng(0).permutation(800).astype(float)
    assert MEASURES["mi"](values[:, None], values) == pytest.approx(math.log(8), abs=1e-6)
    assert MEASURES["mi"](values[::-1, None].copy(), values) < 0.1
