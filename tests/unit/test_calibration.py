"""Intervals are calibrated on persons: checked against the textbook rule and by brute force."""

import math

import numpy as np
import pytest

from avgate.evaluation.calibration import quantiles


def test_one_step_per_person_is_ordinary_split_conformal():
    scores = np.random.default_rng(0).exponential(size=37)
    levels = (0.5, 0.75, 0.9, 0.97)
    found = quantiles(scores, np.arange(37), levels)
    # Lei et al. 2018: the ceil(level (n + 1))-th smallest of n scores.
    assert found.tolist() == [np.sort(scores)[math.ceil(level * 38 - 1e-9) - 1] for level in levels]


def test_too_few_persons_give_no_finite_interval():
    assert quantiles(np.arange(1.0, 9), np.arange(8), (0.5, 0.9)).tolist() == [5.0, math.inf]
    assert quantiles(np.arange(1.0, 101), np.zeros(100), (0.9,)).tolist() == [math.inf], "one person"
    assert quantiles(np.zeros(0), np.zeros(0), (0.9,)).tolist() == [math.inf]


def test_every_person_weighs_the_same():
    # Nobody's errors reach those of the one who is seen for 10,000 steps.
    persons = np.repeat(np.arange(20), [10_000, *[50] * 19])
    scores = np.where(persons == 0, 10.0, 0.0) + np.random.default_rng(1).random(len(persons))
    assert quantiles(scores, persons, (0.5,))[0] < 1


def test_quantiles_agree_with_brute_force():
    rng = np.random.default_rng(2)
    persons = np.repeat(list("abcdefghijkl"), rng.integers(20, 60, 12))
    scores = rng.exponential(size=len(persons)) * np.where(persons < "d", 1.5, 1.0)
    for level in (0.6, 0.8, 0.9):

        def covered(t):
            return np.array([(scores[persons == p] <= t).mean() for p in np.unique(persons)])

        grid = np.sort(scores)
        first = next(t for t in grid if covered(t).mean() >= level - 1e-9)
        independent = level * (1 - level) / (covered(first).var(ddof=1) / 12)
        independent = min(max(independent, 12), len(scores))
        wanted = level * (independent + 1) / independent
        assert quantiles(scores, persons, (level,))[0] == next(t for t in grid if covered(t).mean() >= wanted - 1e-9)


@pytest.mark.parametrize("person_scale", [0.0, 0.5])
def test_intervals_hold_for_other_persons_as_often_as_they_say(person_scale):
    rng, held = np.random.default_rng(3), []

    def people(count):
        scale = np.exp(person_scale * rng.standard_normal(count))
        return np.repeat(np.arange(count), 40), np.abs(rng.standard_normal(count * 40)) * np.repeat(scale, 40)

    for _ in range(300):
        persons, scores = people(12)
        held.append((people(12)[1] <= quantiles(scores, persons, (0.9,))[0]).mean())
    assert 0.895 <= np.mean(held) <= 0.96
