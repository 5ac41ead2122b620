"""Corruptions touch their stretches and nothing else, and do there what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgate.features.corruption import CORRUPTIONS, NOISE, Feature, stretches


def feature(n: int = 60, seed: int = 0) -> Feature:
    random = np.random.default_rng(seed)
    present = random.random(n) > 0.1
    values = np.where(present[:, None], random.standard_normal((n, 3)), 0.0).astype(np.float32)
    return Feature(values, present)


@given(st.integers(1, 200), st.floats(0, 1), st.integers(1, 8), st.integers(0, 12), st.integers(0, 1000))
def test_stretches_cover_the_share_without_overlap(n, share, shortest, more, seed):
    mask, found = stretches(n, share, (shortest, shortest + more), np.random.default_rng(seed))
    assert mask.sum() == round(share * n)
    assert sum(s.stop - s.start for s in found) == mask.sum()
    assert all(mask[s].all() for s in found)
    assert all(shortest <= s.stop - s.start <= shortest + more for s in found[:-1])


def test_stretches_begin_anywhere():
    starts = {stretches(30, 0.2, (6, 6), np.random.default_rng(seed))[1][0].start for seed in range(300)}
    assert starts == set(range(25))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_what_lies_outside_the_stretches_and_the_input_itself_stay(kind):
    clean, donor, kept = feature(), feature(40, 1), feature()
    where = [slice(5, 15), slice(40, 60)]
    corrupted = CORRUPTIONS[kind](clean, where, np.random.default_rng(2), lambda: donor)
    outside = np.r_[0:5, 15:40]
    assert np.array_equal(corrupted.values[outside], clean.values[outside])
    assert np.array_equal(corrupted.present[outside], clean.present[outside])
    assert np.array_equal(clean.values, kept.values)
    assert np.array_equal(clean.present, kept.present)
    assert (corrupted.values[~corrupted.present] == 0).all()
    assert not np.array_equal(corrupted.values[5:15], clean.values[5:15])


def test_absent_is_absent_and_noise_has_the_spread_it_says():
    clean = Feature(np.ones((20_000, 2), np.float32), np.ones(20_000, bool))
    gone = CORRUPTIONS["absent"](clean, [slice(0, 100)], np.random.default_rng(0), clean)
    assert not gone.present[:100].any()
    for seed in range(5):
        noisy = CORRUPTIONS["noise"](clean, [slice(0, 20_000)], np.random.default_rng(seed), clean)
        assert NOISE[0] * 0.97 < noisy.values.std() < NOISE[1] * 1.03
        assert abs(noisy.values.mean()) < 0.05


def test_frozen_stands_still_swapped_is_the_donors_and_shifted_is_from_elsewhere_in_the_clip():
    clean, donor, random = feature(), feature(40, 1), np.random.default_rng(3)
    still = CORRUPTIONS["frozen"](clean, [slice(10, 20)], random, lambda: donor)
    assert (still.values[10:20] == clean.values[10]).all()
    other = CORRUPTIONS["swapped"](clean, [slice(10, 20)], random, lambda: donor)
    assert all((row == donor.values).all(1).any() for row in other.values[10:20])
    late = CORRUPTIONS["shifted"](clean, [slice(10, 20)], random, lambda: donor)
    places = [int(np.flatnonzero((row == clean.values).all(1))[0]) for row in late.values[10:20] if row.any()]
    assert all(
        15 <= (place - i) % 60 <= 30 for place, i in zip(places, np.flatnonzero(late.present[10:20]) + 10, strict=True)
    )
