"""The stress suite: every model meets the same corrupted clips, nothing else about them changes, and scores add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avgate.compare.stress import SHARES, Condition, area, corrupt, curve, standardise, stress
from avgate.core.metrics import ccc, moments
from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.evaluation.scoring import label_moments, label_traces
from avgate.features.corruption import CORRUPTIONS
from avgate.features.stats import FeatureStats
from avgate.inference.estimator import Estimator
from avgate.labels.tracks import labels_on_grid
from avgate.models.network import ModelOutput
from tests.tiny import COLUMNS, RECIPE, TARGETS, make_checkpoint, make_clip, make_stats

STEPS = (3, 8)
GONE = {"audio": range(5, 15), "video": range(30, 40)}
OTHER = {"audio": "video", "video": "audio"}
PRIOR = np.array([0.1, -0.2])
IDENTITY = {m: FeatureStats.identity(len(columns)) for m, columns in COLUMNS.items()}

every_kind = pytest.mark.parametrize("kind", CORRUPTIONS)
every_modality = pytest.mark.parametrize("modality", COLUMNS)
every_share = pytest.mark.parametrize("share", SHARES)


def example(name: str, n: int, seed: int) -> Example:
    """A clip in which each modality is absent for a while; no two clips share any row of features."""
    features = make_clip(n, seed=seed, absent=GONE, name=name)
    labels = LabelTrack(features.grid.times(n), np.random.default_rng(seed).uniform(-1, 1, (n, 2)), TARGETS)
    clip = Clip(name, Path("x.mp4"), "test", f"person {seed}")
    return Example(clip, features, labels, labels_on_grid(labels, features.grid, n))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [example(f"clip{i}", n, seed=i) for i, n in enumerate((80, 80, 63, 41, 57))]


@pytest.fixture(scope="module")
def stats() -> dict[str, FeatureStats]:
    return make_stats()


def by_hand(example: Example, stats: dict[str, FeatureStats], modality: str) -> np.ndarray:
    """Clipped, shifted and scaled; 0 where absent."""
    s, found = stats[modality], example.features.values[modality].copy()
    found[~example.features.present[modality]] = s.mean
    return (np.minimum(np.maximum(found, s.low), s.high) - s.mean) / s.std


def assert_same(one: Example, other: Example) -> None:
    """Equal features to the bit, and the same all else."""
    assert (one.clip, one.labels, len(one.features)) == (other.clip, other.labels, len(other.features))
    for m in one.features.values:
        np.testing.assert_array_equal(one.features.values[m], other.features.values[m])
        np.testing.assert_array_equal(one.features.present[m], other.features.present[m])


@every_kind
@every_modality
def test_the_same_clip_and_condition_give_the_same_corruption_in_every_call(examples, stats, kind, modality):
    condition = Condition(modality, kind, 0.5)
    (first, masks), _, (again, same) = (
        corrupt(standardise(examples, stats), c, STEPS)
        for c in (condition, Condition(OTHER[modality], kind, 0.25), condition)
    )
    for one, other, mask, its in zip(first, again, masks, same, strict=True):
        assert_same(one, other)
        np.testing.assert_array_equal(mask, its)


@every_kind
@every_modality
def test_models_that_read_one_modality_meet_the_same_corruption_of_it(examples, stats, kind, modality):
    condition = Condition(modality, kind, 0.5)
    both, masks = corrupt(standardise(examples, stats), condition, STEPS)
    alone, same = corrupt(standardise(examples, {modality: stats[modality]}), condition, STEPS)
    for one, other, mask, its in zip(both, alone, masks, same, strict=True):
        np.testing.assert_array_equal(one.features.values[modality], other.features.values[modality])
        np.testing.assert_array_equal(one.features.present[modality], other.features.present[modality])
        np.testing.assert_array_equal(mask, its)


def test_clips_kinds_shares_and_modalities_are_corrupted_at_places_of_their_own(examples, stats):
    asked = [(m, kind, share) for m in COLUMNS for kind in CORRUPTIONS for share in (0.25, 0.251)]
    places = [corrupt(standardise(examples, stats), Condition(*one), STEPS)[1] for one in asked]
    first, second = ({tuple(np.flatnonzero(masks[i])) for masks in places} for i in (0, 1))  # both have 80 steps
    assert len(first) == len(second) == len(asked)
    assert not first & second


@every_share
@every_kind
@every_modality
def test_the_mask_covers_the_share_and_nothing_outside_it_is_touched(examples, stats, kind, modality, share):
    corrupted, masks = corrupt(standardise(examples, stats), Condition(modality, kind, share), STEPS)
    assert len(corrupted) == len(masks) == len(examples)
    touched = 0
    for clean, found, mask in zip(examples, corrupted, masks, strict=True):
        n = len(clean.features)
        assert mask.dtype == bool
        assert mask.shape == (n,)
        assert mask.sum() == round(share * n)
        values, present = found.features.values[modality], found.features.present[modality]
        expected = by_hand(clean, stats, modality)
        assert values.dtype == np.float32
        assert values.shape == expected.shape
        np.testing.assert_array_equal(values[~mask], expected[~mask])
        np.testing.assert_array_equal(present[~mask], clean.features.present[modality][~mask])
        assert (values[~present] == 0).all()
        touched += ((values != expected).any(1) | (present != clean.features.present[modality]))[mask].mean()
    assert touched / len(examples) > 0.6, "the corruption corrupts"


@every_kind
@every_modality
def test_the_other_modality_labels_and_the_clips_themselves_stay_as_they_are(examples, stats, kind, modality):
    kept = [example(e.clip.name, len(e.features), seed=i) for i, e in enumerate(examples)]
    corrupted, _ = corrupt(standardise(examples, stats), Condition(modality, kind, 0.75), STEPS)
    for clean, found, before in zip(examples, corrupted, kept, strict=True):
        other = OTHER[modality]
        np.testing.assert_array_equal(found.features.values[other], by_hand(clean, stats, other))
        np.testing.assert_array_equal(found.features.present[other], clean.features.present[other])
        assert (found.clip, found.features.name, found.features.grid) == (clean.clip, clean.clip.name, RECIPE.grid)
        np.testing.assert_array_equal(found.steps, clean.steps)
        np.testing.assert_array_equal(found.labels.values, clean.labels.values)
        assert_same(replace(before, clip=clean.clip, labels=clean.labels), clean)


@pytest.mark.parametrize("clips", [2, 3, 5])
@every_modality
def test_swapped_features_are_those_of_another_clip(examples, stats, modality, clips):
    some = examples[:clips]
    donors = set()
    corrupted, masks = corrupt(standardise(some, stats), Condition(modality, "swapped", 1.0), STEPS)
    for i, (found, mask) in enumerate(zip(corrupted, masks, strict=True)):
        rows = found.features.values[modality][mask & found.features.present[modality]]
        assert len(rows) > 10
        lenders = [{j for j, e in enumerate(some) if (by_hand(e, stats, modality) == row).all(1).any()} for row in rows]
        assert all(lender == lenders[0] for lender in lenders), "one donor each"
        (donor,) = lenders[0]
        assert donor != i
        donors.add(donor)
    assert len(donors) > 1


def test_every_other_clip_may_be_the_donor(stats):
    """Over many names, the first of four clips borrows from each of the other three."""
    donors = set()
    for k in range(30):
        some = [example(f"{k} {i}", 45, seed=i) for i in range(4)]
        (first, *_), _ = corrupt(standardise(some, stats), Condition("video", "swapped", 1.0), (45, 45))
        row = first.features.values["video"][first.features.present["video"]][0]
        donors |= {j for j, e in enumerate(some) if (by_hand(e, stats, "video") == row).all(1).any()}
    assert donors == {1, 2, 3}


@every_modality
def test_all_of_a_modality_absent_leaves_nothing_of_it(examples, stats, modality):
    corrupted, masks = corrupt(standardise(examples, stats), Condition(modality, "absent", 1.0), STEPS)
    for found, mask in zip(corrupted, masks, strict=True):
        assert mask.all()
        assert not found.features.present[modality].any()
        assert not found.features.values[modality].any()


def test_clips_without_corruption_give_the_clean_estimate_to_the_bit(examples, stats):
    """They are standardised already: with statistics that change nothing, the model sees what it always sees."""
    checkpoint = replace(make_checkpoint(), stats=stats)
    estimator, on_standardised = Estimator(checkpoint), Estimator(replace(checkpoint, stats=IDENTITY))
    corrupted, masks = corrupt(standardise(examples, stats), Condition("audio", "noise", 0.0), STEPS)
    for clean, found, mask in zip(examples, corrupted, masks, strict=True):
        assert not mask.any()
        one = estimator.estimate(clean.features)
        other = on_standardised.estimate(found.features)
        np.testing.assert_array_equal(one.raw, other.raw)


def test_conditions_are_named_by_modality_kind_and_share():
    assert Condition("audio", "absent", 0.25).name == "audio absent 0.25"
    assert Condition("video", "swapped", 1.0).name == "video swapped 1"


# ---- what a model makes of them


def reading(*modalities: str) -> Estimator:
    """A tiny model with random weights that was trained on these modalities alone."""
    recipe = RECIPE if len(modalities) > 1 else RECIPE.with_fusion(modalities[0])
    whole = make_checkpoint(recipe)
    specs = tuple(f for f in whole.features if f.modality in modalities)
    return Estimator(replace(whole, features=specs, stats={m: whole.stats[m] for m in modalities}))


@pytest.mark.slow
def test_every_kind_and_share_of_a_corrupted_modality_is_measured_and_every_gate_at_half(examples):
    estimator, test = reading("audio", "video"), examples[2:4]
    found = stress(estimator, examples[:2], test, ("video",), PRIOR)
    assert set(found.moments) == {Condition("video", kind, share).name for kind in CORRUPTIONS for share in SHARES}
    assert set(found.auroc) == {f"video {kind}" for kind in CORRUPTIONS}
    for areas in found.auroc.values():
        assert set(areas) == {f"{m}_{g}" for m in ("voice", "face") for g in ("attended", "iteration_1", "iteration_2")}
        assert all(0 <= a <= 1 for a in areas.values())
    for share in (0.5, 1.0):
        condition = Condition("video", "noise", share)
        corrupted, _ = corrupt(standardise(test, estimator.stats), condition, RECIPE.train.corrupt.steps)
        width = estimator.checkpoint.smooth_steps
        on_standardised = Estimator(replace(estimator.checkpoint, stats=IDENTITY))
        traces = label_traces(on_standardised, corrupted, [width])
        expected = label_moments(traces[width], test, TARGETS, PRIOR)
        np.testing.assert_array_equal(found.moments[condition.name], expected)
        assert expected.shape == (2, 2, 6)


@every_modality
def test_modalities_that_the_model_does_not_read_are_not_measured(examples, modality):
    estimator, test = reading(modality), examples[2:4]
    other = OTHER[modality]
    nothing = stress(estimator, examples[:2], test, (other,), PRIOR)
    assert (nothing.moments, nothing.auroc) == ({}, {})
    found = stress(estimator, examples[:2], test, (modality, other), PRIOR)
    assert {name.split()[0] for name in found.moments} == {modality}
    assert len(found.moments) == len(CORRUPTIONS) * len(SHARES)
    assert found.auroc == {}, "it has no gates"
    for clip, gone in zip(test, found.moments[f"{modality} absent 1"], strict=True):
        for k in range(2):  # nothing is left: the prior stands for every estimate
            expected = moments(np.full(len(clip.steps), PRIOR[k]), clip.labels.values[:, k])
            np.testing.assert_array_equal(gone[k], expected)


UNKNOWN = 9.0


class Hearing(nn.Module):
    """A model whose only gate opens or closes where it hears something; which of both, it reads off the picture."""

    modalities, causal = ("audio", "video"), False

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, features, present):
        direction = features["video"][..., :1]
        direction = torch.where(direction == UNKNOWN, torch.nan, direction)
        heard = present["audio"][..., None].to(direction) - 0.5
        return ModelOutput(torch.zeros(*heard.shape[:2], 2), {"reliability/audio": 0.5 + direction * heard}, {})


def showing(direction: float, seed: int) -> Example:
    """A clip of 40 steps with sound throughout, and with a picture that says the same all the time."""
    found = example(f"clip{seed}", 40, seed)
    present = {m: np.ones(40, bool) for m in COLUMNS}
    values = {"audio": found.features.values["audio"], "video": np.full((40, 2), direction, np.float32)}
    return replace(found, features=replace(found.features, values=values, present=present))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("validation", "test", "expected"),
    [
        pytest.param(1, 1, 1.0, id="closes in both"),
        pytest.param(-1, -1, 1.0, id="opens in both"),
        pytest.param(1, -1, 0.0, id="closes in validation and opens in test"),
        pytest.param(-1, 1, 0.0, id="opens in validation and closes in test"),
        pytest.param(0, 0, 0.5, id="stands still"),
        pytest.param(1, 0, 0.5, id="stands still in test"),
        pytest.param(UNKNOWN, 1, np.nan, id="unknown in validation"),
        pytest.param(1, UNKNOWN, np.nan, id="unknown in test"),
    ],
)
def test_whether_a_gate_opens_or_closes_under_corruption_is_read_off_on_validation_clips(validation, test, expected):
    estimator = Estimator(replace(make_checkpoint(), stats=IDENTITY), model=Hearing())
    parts = [[showing(validation, seed) for seed in (0, 1)], [showing(test, seed) for seed in (2, 3, 4)]]
    found = stress(estimator, *parts, ("audio",), PRIOR)
    assert found.auroc["audio absent"] == {"voice_reliability": pytest.approx(expected, nan_ok=True)}
    chance = np.nan if UNKNOWN in (validation, test) else 0.5
    assert found.auroc["audio noise"] == {"voice_reliability": pytest.approx(chance, nan_ok=True)}


# ---- curves and areas


def test_a_curve_begins_with_the_clean_clips_and_keeps_to_the_shares():
    rng = np.random.default_rng(0)
    labels = rng.uniform(-1, 1, (3, 20, 2))

    def measured(error: float) -> tuple[np.ndarray, list[float]]:
        estimates = labels + error * rng.standard_normal(labels.shape)
        pooled = [ccc(estimates[..., k].ravel(), labels[..., k].ravel()) for k in range(2)]
        pairs = zip(estimates, labels, strict=True)
        return np.array([[moments(e[:, k], y[:, k]) for k in range(2)] for e, y in pairs]), pooled

    clean, first = measured(0.1)
    stressed, expected = {}, [first]
    for share, name in ((0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1")):
        stressed[f"audio noise {name}"], scores = measured(share)
        stressed[f"audio frozen {name}"], stressed[f"video noise {name}"] = measured(2)[0], measured(2)[0]
        expected.append(scores)
    np.testing.assert_allclose(curve(clean, stressed, "audio", "noise"), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve(clean, stressed, "video", "absent"), [first] * 5, rtol=0, atol=1e-12)


def test_the_area_is_that_of_the_trapezoids_between_neighbouring_shares():
    one, other = [0.8, 0.6, 0.5, 0.1, -0.2], [0.4] * 5
    by_hand = 0.25 * ((0.8 + 0.6) / 2 + (0.6 + 0.5) / 2 + (0.5 + 0.1) / 2 + (0.1 - 0.2) / 2)
    assert area(np.array([one, other]).T) == pytest.approx([by_hand, 0.4])
    assert area(np.array([one]).T).shape == (1,)
