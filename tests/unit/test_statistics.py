"""Folds share no person, and differences are judged by drawing the same clips for both models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avgate.compare.folds import folds, most_folds, split
from avgate.compare.statistics import holm, paired_bootstrap
from avgate.core.errors import CorpusError, UsageError
from avgate.core.metrics import ccc, moments
from avgate.core.types import Clip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=10, max_size=40), st.integers(2, 5), st.integers(0, 99))
def test_every_group_is_tested_once_and_no_fold_shares_one(sizes, count, seed):
    groups = {f"person{i}": n for i, n in enumerate(sizes)}
    found = folds(groups, count, seed=seed)
    assert sorted(g for fold in found for g in fold.test) == sorted(groups)
    for fold in found:
        assert fold.train
        assert fold.validation
        assert fold.train | fold.validation | fold.test == set(groups)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(groups)


def test_folds_are_of_about_equal_size_and_the_same_for_the_same_seed():
    sizes = {f"person{i}": 1 + i % 3 for i in range(60)}
    found = folds(sizes, 5, seed=1)
    tested = [sum(sizes[g] for g in fold.test) for fold in found]
    assert max(tested) - min(tested) <= 1
    assert found == folds(sizes, 5, seed=1) != folds(sizes, 5, seed=2)
    validated = [sum(sizes[g] for g in fold.validation) / (120 - t) for fold, t in zip(found, tested, strict=True)]
    assert validated == pytest.approx([0.15] * 5, abs=0.03)


def test_too_few_groups_are_refused():
    with pytest.raises(ValueError, match="3 groups"):
        folds({"a": 1, "b": 1, "c": 1}, 2)


def test_groups_too_unequal_for_the_folds_are_refused():
    with pytest.raises(ValueError, match="use more folds"):
        folds({f"person{i}": 1 for i in range(6)} | {"chatterbox": 6}, 2)


def whole(fold) -> bool:
    return bool(fold.train and fold.validation and fold.test)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=0, max_size=9))
def test_the_most_folds_is_the_largest_count_that_works(sizes):
    groups = {f"person{i}": n for i, n in enumerate(sizes)}
    most = most_folds(groups)
    if most is not None:
        assert all(map(whole, folds(groups, most)))
    for count in range((most or 1) + 1, len(groups) + 2):
        with pytest.raises(ValueError, match="groups"):
            folds(groups, count)


def clips_of(*persons: str, split: str = "train") -> list[SimpleNamespace]:
    """A clip of 10 steps of each of these."""
    return [SimpleNamespace(clip=Clip(f"clip {p}", Path("x"), split, p), features=range(10)) for p in persons]


@pytest.mark.parametrize("count", [-1, 1, 5, 6, 100])
def test_more_folds_than_there_are_persons_for_are_refused_with_the_most_that_work(count):
    with pytest.raises(UsageError, match="6 groups") as refused:
        split(clips_of(*"abcdef"), count)
    assert "--folds 4" in refused.value.hint
    assert len(split(clips_of(*"abcdef"), 4)) == 4


@pytest.mark.parametrize("persons", ["a", "ab", "abc"])
def test_a_corpus_of_too_few_persons_for_any_folds_is_referred_to_its_own_splits(persons):
    with pytest.raises(UsageError, match=f"{len(persons)} groups") as refused:
        split(clips_of(*persons), 5)
    assert "too few persons for any" in refused.value.hint
    assert "--folds 0" in refused.value.hint


def test_own_splits_of_which_one_is_empty_are_refused_by_its_name():
    with pytest.raises(UsageError, match="own splits have no labelled clip for validation or test"):
        split(clips_of("a", "b"), 0)
    (fold,) = split([*clips_of("a"), *clips_of("b", split="validation"), *clips_of("c", split="test")], 0)
    assert (fold.train, fold.validation, fold.test) == ({"a"}, {"b"}, {"c"})


@pytest.mark.parametrize("shared", ["train", "validation"])
def test_own_splits_that_share_a_person_are_refused(shared):
    clips = [*clips_of("a"), *clips_of("b", split="validation"), *clips_of("c", split="test")]
    with pytest.raises(CorpusError, match="more than one split: c"):
        split([*clips, *clips_of("c", split=shared)], 0)


Clips = list[tuple[np.ndarray, np.ndarray]]


def measured(*by_seed: Clips) -> np.ndarray:
    return np.array([[moments(p, y) for p, y in clips] for clips in by_seed])


def clips(error: float, seed: int, n: int = 30) -> Clips:
    labels = np.random.default_rng(99).uniform(-1, 1, (n, 40))
    return [
        (y + error * e, y) for y, e in zip(labels, np.random.default_rng(seed).standard_normal((n, 40)), strict=True)
    ]


def test_a_better_model_is_found_better_and_the_effect_is_the_difference_of_pooled_ccc():
    good, bad = [clips(0.3, s) for s in (1, 2)], [clips(0.6, s) for s in (3, 4)]
    found = paired_bootstrap(measured(*good), measured(*bad), draws=500)

    def pooled(pairs):
        return ccc(np.concatenate([p for p, _ in pairs]), np.concatenate([y for _, y in pairs]))

    expected = np.mean([pooled(a) - pooled(b) for a, b in zip(good, bad, strict=True)])
    assert found.effect == pytest.approx(expected, abs=1e-12)
    assert 0 < found.low < found.effect < found.high
    assert found.p == 2 / 500


def test_models_of_equal_worth_do_not_differ_and_a_model_does_not_differ_from_itself():
    same = measured(clips(0.5, 1))
    assert paired_bootstrap(same, same, draws=200).p == 1.0
    assert paired_bootstrap(same, measured(clips(0.5, 2)), draws=500).p > 0.05


def test_a_model_without_any_score_differs_from_no_other():
    same = measured(clips(0.5, 1))
    assert paired_bootstrap(np.full_like(same, np.nan), same, draws=200).p == 1.0


def test_bootstrap_draws_equal_a_loop_over_the_same_draws():
    first, second = clips(0.3, 1, n=6), clips(0.5, 2, n=6)
    pick = np.random.default_rng(0).integers(0, 6, (50, 6))

    def pooled(pairs, row):
        return ccc(np.concatenate([pairs[i][0] for i in row]), np.concatenate([pairs[i][1] for i in row]))

    differences = [pooled(first, row) - pooled(second, row) for row in pick]
    found = paired_bootstrap(measured(first), measured(second), draws=50)
    assert [found.low, found.high] == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=1e-9)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
