"""Intervals are calibrated on persons: checked against the textbook rule and by brute force."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.calibration import calibrate, quantiles
from avgate.evaluation.examples import Example
from avgate.features.stats import FeatureStats
from avgate.inference.estimator import Estimator
from avgate.labels.tracks import labels_on_grid
from avgate.models.network import ModelOutput
from tests.tiny import COLUMNS, TARGETS, make_checkpoint, make_clip


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


def test_deviations_grow_where_a_lost_modality_costs_more_on_new_persons_than_the_model_thinks():
    """The head says that a lost modality changes nothing; on validation clips, errors are larger without the voice."""
    examples = [_labelled_by_voice(seed) for seed in range(12)]
    estimator = _deaf_to_loss()
    intervals = calibrate(estimator, examples)
    assert intervals.lost["valence"]["audio"] > 1.5
    assert intervals.lost["valence"]["video"] == pytest.approx(1, abs=0.15)
    sure = Estimator(replace(estimator.checkpoint, intervals=intervals), model=estimator.model)
    silent = make_clip(20, seed=99, absent={"audio": range(10)})
    deviation = sure.estimate(silent).deviation
    assert (deviation[:10, 0] > 1.5 * deviation[10:, 0].max()).all()


class _Voice(torch.nn.Module):
    """Estimates the first column of the voice, 0 without it; deviations are 1.

    If `told`, they are small where the face's first column is negative; if not `told`, where it is positive.
    """

    modalities, causal = ("audio", "video"), False
    told: bool | None = None

    def __init__(self):
        super().__init__()
        self.spread = torch.nn.Linear(1, 1)

    def forward(self, features, present):
        heard = torch.where(present["audio"][..., None], features["audio"][..., :1], 0.0)
        targets = torch.tanh(0.5 * heard.expand(-1, -1, 2))
        log_variance = torch.zeros_like(targets)
        if self.told is not None:
            larger = (features["video"][..., :1] > 0) == self.told
            log_variance = torch.where(larger, 0.0, -3.0) + 0 * targets
        return ModelOutput(targets, {}, {}, targets, log_variance)


def _deaf_to_loss() -> Estimator:
    identity = {m: FeatureStats.identity(len(columns)) for m, columns in COLUMNS.items()}
    return Estimator(replace(make_checkpoint(), stats=identity, smooth_steps=1), model=_Voice())


def _labelled_by_voice(seed: int) -> Example:
    features = make_clip(20, seed=seed, name=f"clip{seed}")
    noise = 0.1 * np.random.default_rng(seed).standard_normal((20, 2))
    values = np.tanh(0.5 * features.values["audio"][:, :1]) + noise
    labels = LabelTrack(features.grid.times(20), np.clip(values, -1, 1).astype(np.float32), TARGETS)
    clip = Clip(features.name, Path("x.mp4"), "validation", f"person{seed}")
    return Example(clip, features, labels, labels_on_grid(labels, features.grid, 20))


def test_deviations_are_followed_as_far_as_that_helps_on_validation_persons():
    """One model's deviations are those of its errors, the other's have nothing to do with them."""
    examples = [_labelled_by_voice(seed) for seed in range(12)]
    for told, power in ((True, 1.0), (False, 0.0)):
        estimator = _deaf_to_loss()
        estimator.model.told = told
        harder = [replace(e, labels=_noisier(e.labels, e.features.values["video"][:, 0] > 0)) for e in examples]
        assert set(calibrate(estimator, harder).power.values()) == {power}


def _noisier(labels: LabelTrack, where: np.ndarray) -> LabelTrack:
    """Labels that are off by more at those steps."""
    noise = np.where(where[:, None], 0.6, 0.0) * np.random.default_rng(0).standard_normal(labels.values.shape)
    return replace(labels, values=np.clip(labels.values + noise, -1, 1).astype(np.float32))
