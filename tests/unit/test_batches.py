"""What training sees: every window, in an order that the seed decides, and corrupted only where it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avgate.batches import Prepared, batches, prepare
from avgate.checkpoint import FeatureSpec
from avgate.config import CorruptConfig, Recipe
from avgate.errors import CorpusError
from avgate.examples import Example, labels_on_grid
from avgate.types import Clip, LabelTrack
from tests.tiny import BACKBONES, COLUMNS, RECIPE, TARGETS, make_clip

SPECS = tuple(FeatureSpec(BACKBONES[m], m, COLUMNS[m], "f" * 16) for m in COLUMNS)
CPU = torch.device("cpu")


def example(n: int, seed: int, group: str) -> Example:
    features = make_clip(n, seed=seed, name=f"clip{seed}")
    labels = LabelTrack(features.grid.times(n), np.random.default_rng(seed).uniform(-1, 1, (n, 2)), TARGETS)
    clip = Clip(features.name, Path("x.mp4"), "train", group)
    return Example(clip, features, labels, labels_on_grid(labels, features.grid, n))


def data(lengths: tuple[int, ...] = (95, 40, 12)) -> Prepared:
    train = [example(n, i, f"person{i}") for i, n in enumerate(lengths)]
    return prepare(train, [example(30, 9, "somebody else")], SPECS, "tiny")


def corrupting(**changes: object) -> Recipe:
    return replace(RECIPE, train=replace(RECIPE.train, corrupt=CorruptConfig(**changes)))


def test_a_person_in_both_splits_is_refused():
    with pytest.raises(CorpusError, match="person1"):
        prepare([example(20, 0, "person1")], [example(20, 1, "person1")], SPECS, "tiny")


def test_statistics_come_from_present_training_steps_alone():
    prepared = data()
    rows = np.concatenate([e.features.values["audio"][e.features.present["audio"]] for e in prepared.train])
    assert np.array_equal(prepared.stats["audio"].high, np.percentile(rows, 99.5, axis=0).astype(np.float32))


def test_the_order_depends_on_seed_and_epoch_alone():
    one, same, other = (list(batches(data(), RECIPE, epoch, CPU)) for epoch in (3, 3, 4))
    assert all(torch.equal(a.features["audio"], b.features["audio"]) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a.features["audio"], b.features["audio"]) for a, b in zip(one, other, strict=True))


def test_windows_reach_the_end_of_every_clip_and_padding_has_neither_features_nor_labels():
    prepared = data()
    seen = torch.cat([b.labels for b in batches(prepared, RECIPE, 0, CPU)]).reshape(-1, 2).numpy()
    for clip in prepared.train:
        assert (seen == clip.steps[-1]).all(1).any()
    short = next(iter(batches(data((12,)), RECIPE, 0, CPU)))
    assert not short.present["audio"][0, 12:].any()
    assert torch.isnan(short.labels[0, 12:]).all()


def test_without_corruption_windows_hold_the_clips_own_features():
    prepared = data((RECIPE.window,))
    (batch,) = batches(prepared, RECIPE, 0, CPU)
    assert np.array_equal(batch.features["video"][0].numpy(), prepared.values[0]["video"])


def test_modality_dropout_takes_one_whole_modality_and_leaves_the_data_alone():
    prepared = data((RECIPE.window,) * 12)
    before = [{m: v.copy() for m, v in values.items()} for values in prepared.values]
    seen = list(batches(prepared, corrupting(dropout=1.0), 0, CPU))
    audio, video = (torch.cat([b.present[m] for b in seen]).any(1) for m in ("audio", "video"))
    assert (audio ^ video).all()
    assert 0 < audio.sum() < len(audio)
    assert all(np.array_equal(a[m], b[m]) for a, b in zip(before, prepared.values, strict=True) for m in a)


def test_stretches_of_absence_cover_about_the_share_that_was_asked_for():
    prepared = data((RECIPE.window,) * 40)
    recipe = corrupting(kinds=("absent",), probability=1.0, share=(0.5, 0.5), steps=(2, 5))
    clean = np.mean([e.features.present["audio"].mean() for e in prepared.train])
    present = torch.cat([b.present["audio"] for b in batches(prepared, recipe, 0, CPU)]).float().mean()
    assert float(present) == pytest.approx(clean / 2, abs=0.05)
    nothing = list(batches(prepared, recipe, 0, CPU))
    blind = torch.cat([~(b.present["audio"] | b.present["video"]) for b in nothing])
    assert torch.isnan(torch.cat([b.labels for b in nothing])[blind]).all()
