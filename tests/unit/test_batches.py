"""What training sees: every window, in an order that the seed decides, and corrupted only where it is told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avgate.core.errors import CorpusError, FeatureError
from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example, load_examples
from avgate.features.corruption import CORRUPTIONS
from avgate.features.store import FeatureStore
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec
from avgate.models.recipe import CorruptConfig, Recipe
from avgate.training.batches import Batch, Prepared, batches, prepare, with_losses
from tests.tiny import BACKBONES, COLUMNS, RECIPE, TARGETS, make_clip, make_track

SPECS = tuple(FeatureSpec(BACKBONES[m], m, COLUMNS[m], "f" * 16) for m in COLUMNS)
CPU = torch.device("cpu")


def example(n: int, seed: int, group: str, absent: Mapping[str, range] | None = None) -> Example:
    features = make_clip(n, seed=seed, absent=absent, name=f"clip{seed}")
    labels = LabelTrack(features.grid.times(n), np.random.default_rng(seed).uniform(-1, 1, (n, 2)), TARGETS)
    clip = Clip(features.name, Path("x.mp4"), "train", group)
    return Example(clip, features, labels, labels_on_grid(labels, features.grid, n))


def data(lengths: tuple[int, ...] = (95, 40, 12), absent: Mapping[str, range] | None = None) -> Prepared:
    train = [example(n, i, f"person{i}", absent) for i, n in enumerate(lengths)]
    return prepare(train, [example(30, 9, "somebody else")], SPECS, "tiny")


def test_nobody_is_in_both_splits_however_their_name_is_written():
    with pytest.raises(CorpusError, match="these groups are in the training and in the validation split: ANNA"):
        prepare([example(20, 0, "Anna")], [example(20, 1, "ANNA")], SPECS, "tiny")


def corrupting(**changes: object) -> Recipe:
    return replace(RECIPE, train=replace(RECIPE.train, corrupt=CorruptConfig(**changes)))


def by_clip(prepared: Prepared, seen: list[Batch]) -> Iterator[tuple[int, dict[str, np.ndarray], Batch, int]]:
    """Every window of clips that are one window each: which clip it is, what was recorded there, batch and row.

    A window is known by its labels, which no two clips share; where nothing is left to see there are none.
    """
    for batch in seen:
        for row, labels in enumerate(batch.labels.numpy()):
            fits = [
                i
                for i, e in enumerate(prepared.train)
                if len(e.steps) <= len(labels)
                and ((labels[: len(e.steps)] == e.steps) | np.isnan(labels[: len(e.steps)])).all()
            ]
            assert len(fits) == 1
            yield fits[0], {m: prepared.feature(fits[0], m).values for m in prepared.stats}, batch, row


def test_a_person_in_both_splits_is_refused():
    with pytest.raises(CorpusError, match="person1"):
        prepare([example(20, 0, "person1")], [example(20, 1, "person1")], SPECS, "tiny")


def test_statistics_come_from_present_training_steps_alone():
    prepared = data()
    rows = np.concatenate([e.features.values["audio"][e.features.present["audio"]] for e in prepared.train])
    assert np.array_equal(prepared.stats["audio"].high, np.percentile(rows, 99.5, axis=0).astype(np.float32))


def test_features_too_large_to_be_standardised_are_refused():
    large, other = example(40, 0, "person"), example(40, 1, "another")
    large.features.values["video"][:, 1] = np.resize([1e25, -1e25], 40)
    train = [large, replace(other, clip=replace(other.clip, source="another"))]

    with pytest.raises(FeatureError, match="statistics of video can't be used: column 1 has") as caught:
        prepare(train, [example(30, 9, "somebody else")], SPECS, "tiny")
    assert caught.value.where == "tiny"


def test_clips_whose_features_differ_in_kind_are_refused():
    clips = [Clip(name, Path("x.mp4"), "train", name, labels=Path("x.csv")) for name in "ab"]
    tracks = {name: make_track("audio", 20, fingerprint=name * 16) for name in "ab"}
    labels = LabelTrack(np.arange(20) / 10, np.zeros((20, 2)), TARGETS)
    corpus = SimpleNamespace(
        name="tiny", targets=TARGETS, clips=lambda: clips, tracks=lambda c: [tracks[c.name]], labels=lambda _: labels
    )
    recipe = replace(RECIPE, backbones=("tinyvoice",))

    assert len(load_examples(corpus, FeatureStore("features"), recipe, "train", only="a")[0]) == 1
    with pytest.raises(FeatureError, match="of another kind") as caught:
        load_examples(corpus, FeatureStore("features"), recipe, "train")
    assert caught.value.where == "b"


def test_the_order_depends_on_seed_and_epoch_alone():
    one, same, other = (list(batches(data(), RECIPE, epoch, CPU)) for epoch in (3, 3, 4))
    assert all(torch.equal(a.features["audio"], b.features["audio"]) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a.features["audio"], b.features["audio"]) for a, b in zip(one, other, strict=True))


def test_windows_reach_the_end_of_every_clip():
    prepared = data()
    seen = torch.cat([b.labels for b in batches(prepared, RECIPE, 0, CPU)]).reshape(-1, 2).numpy()
    for clip in prepared.train:
        assert (seen == clip.steps[-1]).all(1).any()


def test_padding_has_neither_features_nor_presence_nor_labels_nor_reliability():
    prepared = data((12, 7, 15))
    (batch,) = batches(prepared, corrupting(kinds=("noise",), probability=1.0, share=(1.0, 1.0)), 0, CPU)
    lengths = {}
    for i, _, _, row in by_clip(prepared, [batch]):
        lengths[i] = n = len(prepared.train[i].steps)
        for m in COLUMNS:
            assert batch.present[m][row, :n].all()
            assert not batch.present[m][row, n:].any()
            assert not batch.features[m][row, n:].any()
            assert not torch.isnan(batch.reliable[m][row, :n]).any()
            assert torch.isnan(batch.reliable[m][row, n:]).all()
        assert torch.isnan(batch.labels[row, n:]).all()
    assert lengths == {0: 12, 1: 7, 2: 15}


@pytest.mark.parametrize(
    "lengths", [(12, 7, 15), (1,), (RECIPE.window,) * 2, (95, 40, 12), tuple(range(3, 20))], ids=str
)
def test_batches_are_as_long_as_their_longest_window(lengths):
    """Every step of these clips has a label, so that labels end where the window does."""
    for batch in batches(data(lengths), RECIPE, 0, CPU):
        longest = int((~torch.isnan(batch.labels)).all(-1).sum(1).max())
        assert longest <= RECIPE.window
        assert batch.labels.shape[1] == longest
        for part in (batch.features, batch.present, batch.reliable):
            assert all(x.shape[:2] == batch.labels.shape[:2] for x in part.values())


def test_short_clips_alone_fill_no_window_and_a_long_one_among_them_does():
    short, mixed = ([b.labels.shape[1] for b in batches(data(n), RECIPE, 0, CPU)] for n in ((9, 11), (9, 11, 50)))
    assert short == [11]
    assert max(mixed) == RECIPE.window


def from_sources(lengths: Mapping[str, tuple[int, ...]], weight: float = 1.0) -> Prepared:
    """Clips of several sources; the source "face" has no sound."""
    train = []
    for source, all_lengths in lengths.items():
        for n in all_lengths:
            one = example(n, len(train), f"person{len(train)}", {"audio": range(n)} if source == "face" else None)
            train.append(replace(one, clip=replace(one.clip, source=source, weight=weight)))
    return prepare(train, [example(30, 99, "somebody else")], SPECS, "tiny")


def test_a_batch_holds_one_source_and_those_of_a_small_source_are_spread_over_the_epoch():
    prepared = from_sources({"face": (1,) * 9, "voice": (12, 7, 15)})
    recipe = replace(RECIPE, train=replace(RECIPE.train, batch=3))
    seen = list(batches(prepared, recipe, 0, CPU))
    assert ["audio" if b.present["audio"].any() else "face" for b in seen] == ["face", "face", "audio", "face"]
    assert Counter(i for i, *_ in by_clip(prepared, seen)) == dict.fromkeys(range(12), 1)


def test_training_sees_a_clip_as_often_as_its_weight_says():
    prepared = from_sources({"": (9, 11, 6)}, weight=2.5)
    epochs = [batches(prepared, RECIPE, epoch, CPU) for epoch in range(40)]
    counts = [Counter(i for i, *_ in by_clip(prepared, list(seen))) for seen in epochs]
    assert all(2 <= count[i] <= 3 for count in counts for i in range(3))
    assert 2.3 < np.mean([count[i] for count in counts for i in range(3)]) < 2.7


def test_a_window_with_one_modality_alone_is_not_corrupted():
    prepared = from_sources({"face": (RECIPE.window,) * 6, "voice": (RECIPE.window,) * 6})
    recipe = corrupting(kinds=("noise", "absent"), probability=1.0, share=(1.0, 1.0))
    faces = [b for b in batches(prepared, recipe, 0, CPU) if not b.present["audio"].any()]
    assert sum(len(b.labels) for b in faces) == 6
    for batch in faces:
        assert batch.present["video"].all()
        assert (batch.reliable["video"] == 1).all()


def with_neutral(steps: int = 8) -> Prepared:
    """Two neutral people, and one who is not."""
    train = [example(steps, i, f"person{i}") for i in range(3)]
    for one in train[:2]:
        one.steps[:] = 0
    return prepare(train, [example(30, 9, "somebody else")], SPECS, "tiny")


def test_neutral_people_are_those_whose_labels_are_0_throughout():
    prepared = with_neutral()
    for m in COLUMNS:
        means = [prepared.feature(i, m).values.mean(0) for i in range(2)]
        assert np.allclose(prepared.neutral[m], means, atol=1e-6)


def test_windows_are_moved_by_what_tells_two_neutral_people_apart():
    prepared = with_neutral()
    for epoch in range(6):
        (batch,) = batches(prepared, corrupting(anatomy=0.5), epoch, CPU)
        for m in COLUMNS:
            one, other = prepared.neutral[m]
            away = {0.0: 0 * one, 1.0: 0.5 * (one - other), -1.0: 0.5 * (other - one)}
            for row in batch.features[m].numpy():
                moves = [row - prepared.feature(i, m).values - by for i in range(3) for by in away.values()]
                assert min(np.abs(move).max() for move in moves) < 1e-5


def test_jitter_adds_one_number_to_a_column_throughout_a_window_and_leaves_what_is_absent():
    prepared = data((RECIPE.window,) * 40, absent={"video": range(3)})
    moved = []
    for batch in batches(prepared, corrupting(jitter=0.3), 0, CPU):
        for row in range(len(batch.labels)):
            own = batch.present["video"][row].numpy()
            assert not batch.features["video"][row].numpy()[~own].any()
            i = next(i for i, e in enumerate(prepared.train) if np.array_equal(e.steps, batch.labels[row].numpy()))
            by = (batch.features["video"][row].numpy() - prepared.feature(i, "video").values)[own]
            assert np.allclose(by, by[0], atol=1e-5)
            moved.append(by[0])
    assert np.std(moved) == pytest.approx(0.3, rel=0.3)


def test_every_source_that_has_a_modality_counts_the_same_in_its_statistics():
    prepared = from_sources({"face": (4,), "film": (40, 40)})
    by_source = [prepared.train[0].features.values["video"]]
    by_source.append(np.concatenate([e.features.values["video"] for e in prepared.train[1:]]))
    clipped = [np.clip(x, *np.percentile(x, (0.5, 99.5), axis=0)) for x in by_source]
    mean = np.mean([x.mean(0) for x in clipped], axis=0)
    spread = np.sqrt(np.mean([(x**2).mean(0) for x in clipped], axis=0) - mean**2)
    stats = prepared.stats["video"]
    assert np.allclose(stats.mean, mean, atol=1e-5)
    assert np.allclose(stats.std, spread, rtol=1e-4)
    assert np.allclose(stats.high, np.max([np.percentile(x, 99.5, axis=0) for x in by_source], axis=0))
    assert np.isfinite(prepared.stats["audio"].mean).all()


def test_without_corruption_windows_hold_the_clips_own_features():
    prepared = data((RECIPE.window,))
    (batch,) = batches(prepared, RECIPE, 0, CPU)
    assert np.array_equal(batch.features["video"][0].numpy(), prepared.feature(0, "video").values)


def test_modality_dropout_takes_one_whole_modality_and_leaves_the_data_alone():
    prepared = data((RECIPE.window,) * 12)
    before = [{m: v.copy() for m, v in example.features.values.items()} for example in prepared.train]
    seen = list(batches(prepared, corrupting(dropout=1.0), 0, CPU))
    audio, video = (torch.cat([b.present[m] for b in seen]).any(1) for m in ("audio", "video"))
    assert (audio ^ video).all()
    assert 0 < audio.sum() < len(audio)
    kept = [example.features.values for example in prepared.train]
    assert all(np.array_equal(a[m], b[m], equal_nan=True) for a, b in zip(before, kept, strict=True) for m in a)


def test_stretches_of_absence_cover_the_share_of_one_modality_and_steps_without_any_lose_their_labels():
    prepared = data((RECIPE.window,) * 40, absent={"audio": range(5), "video": range(10, 15)})
    recipe = corrupting(kinds=("absent",), probability=1.0, share=(0.5, 0.5), steps=(2, 5))
    blind, left = 0, dict.fromkeys(COLUMNS, 0)
    for batch in batches(prepared, recipe, 0, CPU):
        lost = torch.zeros(len(batch.labels))
        for m, gap in (("audio", slice(0, 5)), ("video", slice(10, 15))):
            absent = ~batch.present[m]
            assert absent[:, gap].all()
            absent[:, gap] = False
            left[m] += int((~absent).all(1).sum())
            lost += absent.sum(1)
        assert ((lost >= 10 - 5) & (lost <= 10)).all(), "half of the steps, less what was missing anyway"
        nothing = ~torch.stack(list(batch.present.values())).any(0)
        assert torch.equal(torch.isnan(batch.labels).all(-1), nothing)
        blind += int(nothing.sum())
    assert blind > 40
    assert sum(left.values()) == 40, "one of the two is left alone"
    assert min(left.values()) > 10, "now this one, now that one"


# ---- what is reliable


def test_clean_windows_are_reliable_wherever_the_modality_was_recorded():
    prepared = data((RECIPE.window,) * 3, absent={"audio": range(3, 9), "video": range(15, 20)})
    (batch,) = batches(prepared, RECIPE, 0, CPU)
    assert batch.reliable.keys() == batch.present.keys()
    for m, gone in (("audio", slice(3, 9)), ("video", slice(15, 20))):
        expected = torch.ones(3, RECIPE.window)
        expected[:, gone] = 0
        assert batch.reliable[m].dtype == torch.float32
        assert torch.equal(batch.reliable[m], expected)


@pytest.mark.parametrize("recorded", [None, {"audio": range(4), "video": range(8, 13)}], ids=("complete", "with gaps"))
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_reliable_steps_are_as_recorded_and_the_share_that_was_asked_for_is_not(kind, recorded):
    prepared = data((RECIPE.window,) * 30, recorded)
    recipe = corrupting(kinds=(kind,), probability=1.0, share=(0.4, 0.4), steps=(2, 5))
    corrupted, changed, seen = 0, 0, []
    for i, values, batch, row in by_clip(prepared, list(batches(prepared, recipe, 0, CPU))):
        lost = {}
        for m in COLUMNS:
            here = prepared.train[i].features.present[m]
            reliable, present = batch.reliable[m][row].numpy(), batch.present[m][row].numpy()
            features = batch.features[m][row].numpy()
            assert set(np.unique(reliable)) <= {0.0, 1.0}
            kept = reliable == 1
            np.testing.assert_array_equal(features[kept], values[m][kept])
            assert present[kept].all()
            assert not kept[~here].any(), "absent, whatever the corruption puts there"
            if kind == "absent":
                np.testing.assert_array_equal(kept, present)
            lost[m] = int((~kept & here).sum())
            corrupted += lost[m]
            changed += ((features != values[m]).any(1) & here).sum()
        seen.append(i)
        if recorded is None:
            assert sorted(lost.values()) == [0, round(0.4 * RECIPE.window)], "one modality"
        else:
            assert min(lost.values()) == 0
            assert 0 < max(lost.values()) <= round(0.4 * RECIPE.window)
    assert sorted(seen) == list(range(30))
    # Only where a stream freezes does the first step of a stretch, of 2 or more, stay what it was; few coincide.
    assert corrupted * (0.4 if kind == "frozen" else 0.95) <= changed <= corrupted


def test_features_swapped_into_a_gap_are_there_and_not_reliable():
    prepared = data((RECIPE.window,) * 10, absent={"audio": range(10)}).only(("audio",))
    recipe = corrupting(kinds=("swapped",), probability=1.0, share=(1.0, 1.0))
    seen = list(batches(prepared, recipe, 0, CPU))
    assert torch.cat([b.present["audio"][:, :10] for b in seen]).any()
    assert not any(b.reliable["audio"].any() for b in seen)


def test_now_one_modality_and_now_the_other_is_corrupted_with_the_probability_that_was_asked_for():
    prepared = data((RECIPE.window,) * 200)
    recipe = corrupting(kinds=("noise",), probability=0.6, share=(0.5, 0.5))
    seen = list(batches(prepared, recipe, 0, CPU))
    shares = [torch.cat([b.reliable[m] for b in seen]).mean(1).tolist() for m in COLUMNS]
    found = Counter(zip(*shares, strict=True))
    assert set(found) == {(1.0, 1.0), (0.5, 1.0), (1.0, 0.5)}
    assert found[0.5, 1.0] == pytest.approx(60, abs=20)  # three standard deviations
    assert found[1.0, 0.5] == pytest.approx(60, abs=20)


@pytest.mark.parametrize("kinds", [(), ("noise",)], ids=("alone", "after noise"))
def test_a_dropped_modality_is_not_reliable_and_the_other_one_as_much_as_before(kinds):
    prepared = data((RECIPE.window,) * 24)
    recipe = corrupting(kinds=kinds, probability=1.0, share=(0.25, 0.25), dropout=1.0)
    dropped, shares = set(), set()
    for batch in batches(prepared, recipe, 0, CPU):
        for row in range(len(batch.labels)):
            (gone,) = [m for m in COLUMNS if not batch.present[m][row].any()]
            (left,) = set(COLUMNS) - {gone}
            assert not batch.reliable[gone][row].any()
            assert batch.present[left][row].all()
            shares.add(float(batch.reliable[left][row].mean()))
            dropped.add(gone)
    assert dropped == set(COLUMNS)
    assert shares == ({0.75, 1.0} if kinds else {1.0})


def test_a_model_of_one_modality_gets_that_ones_reliability_alone():
    (batch,) = batches(data((RECIPE.window,)).only(("video",)), RECIPE, 0, CPU)
    assert set(batch.reliable) == set(batch.features) == {"video"}


def test_windows_that_have_lost_a_modality_differ_in_nothing_else():
    (batch, *_) = batches(data((40,) * 60), replace(RECIPE, train=replace(RECIPE.train, batch=256)), 0, CPU)
    lost = with_losses(batch, (4, 15), np.random.default_rng(0))
    gone = {m: batch.present[m] & ~here for m, here in lost.present.items()}
    assert all(bool((here <= batch.present[m]).all()) for m, here in lost.present.items())
    touched = torch.stack([g.any(1) for g in gone.values()])
    assert (touched.sum(0) <= 1).all(), "one modality of a window"
    assert 0.35 < float(touched.any(0).float().mean()) < 0.55, "about half of the windows"
    assert 0.3 < float(touched[0].sum() / touched.sum()) < 0.7, "either modality"
    shares = torch.stack([g.float().mean(1) for g in gone.values()]).sum(0)
    assert float(shares.max()) > 0.9
    assert lost.features is batch.features
    known = ~torch.isnan(lost.labels).any(-1)
    assert torch.equal(lost.labels[known], batch.labels[known])
    assert torch.equal(with_losses(batch, (4, 15), np.random.default_rng(0)).present["audio"], lost.present["audio"])


def test_a_step_without_any_modality_left_has_no_label():
    (batch,) = batches(data((20,) * 4, {"video": range(2, 20)}), RECIPE, 0, CPU)
    lost = with_losses(batch, (4, 15), np.random.default_rng(1))
    nothing = ~(lost.present["audio"] | lost.present["video"])
    assert nothing.any()
    assert torch.equal(torch.isnan(lost.labels).all(-1), nothing)
