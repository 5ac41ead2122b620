"""Outcomes survive the disk to the bit, and those of several folds are joined into one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avgate.compare.outcome import Outcome
from avgate.features.corruption import CORRUPTIONS
from tests.outcomes import BOTH, CLIPS, TARGETS, assert_same, estimates, measured, outcome


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(outcome(), id="clean"),
        pytest.param(outcome(stressed=BOTH, gates=("voice_attended",)), id="stressed"),
        pytest.param(replace(outcome(), validation=float("nan"), setting=""), id="without validation"),
        pytest.param(replace(outcome(), auroc={"audio noise": {"voice": float("nan")}}), id="unknown gate"),
        pytest.param(replace(outcome(), clean=measured(estimates(0.1, 1))[::-1, ::-1]), id="a view"),
        pytest.param(replace(outcome(), clips=tuple(f'übung {i} "b"\n' for i in range(8))), id="odd names"),
    ],
)
def test_an_outcome_comes_back_from_its_file_to_the_bit(tmp_path, whole):
    whole.save(tmp_path / "run.safetensors", "this one")
    assert_same(Outcome.load(tmp_path / "run.safetensors", "this one"), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_an_outcome_of_anything_else_is_none(tmp_path):
    file = tmp_path / "run.safetensors"
    assert Outcome.load(file, "this one") is None, "there is no file"
    outcome().save(file, "this one")
    for other in ("that one", "", "this one "):
        assert Outcome.load(file, other) is None
    replace(outcome(), setting="newer").save(file, "that one")
    assert Outcome.load(file, "this one") is None
    assert Outcome.load(file, "that one").setting == "newer"


def test_a_broken_file_is_none(tmp_path):
    file = tmp_path / "run.safetensors"
    outcome().save(file, "this one")
    whole = file.read_bytes()
    for size in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert Outcome.load(file, "this one") is None, size
    for content in (b"not a safetensors file, but long enough", b"\xff" * 200, whole + b"more"):
        file.write_bytes(content)
        assert Outcome.load(file, "this one") is None
    assert Outcome.load(tmp_path, "this one") is None, "a folder"


# ---- of several folds


@pytest.mark.parametrize(
    "clean", [np.full((8, 2, 6), np.nan), np.zeros((3, 2, 6)), np.zeros((8, 2))], ids=["NaN", "too few clips", "flat"]
)
def test_an_outcome_with_incomplete_moments_is_none_and_said_to_be_trained_again(tmp_path, clean, capsys):
    replace(outcome(), clean=clean).save(tmp_path / "run.safetensors", "this one")
    assert Outcome.load(tmp_path / "run.safetensors", "this one") is None
    assert "trained again" in capsys.readouterr().err


def test_folds_are_joined_clip_by_clip_and_their_scores_averaged():
    parts = [outcome(0.3, 0, ("audio",), ("voice_weight",)), outcome(0.5, 1, ("audio",), ("voice_weight",))]
    parts[0] = replace(parts[0], clips=CLIPS[:3], clean=parts[0].clean[:3], validation=0.25)
    parts[1] = replace(parts[1], clips=CLIPS[3:], clean=parts[1].clean[3:], validation=0.75)
    for i, part in enumerate((slice(3), slice(3, 8))):
        parts[i] = replace(parts[i], stressed={name: m[part] for name, m in parts[i].stressed.items()})
    whole = Outcome.joined(parts)
    assert (whole.validation, whole.setting) == (0.5, "train.lr=1e-0, train.lr=1e-1")
    assert (whole.targets, whole.modalities, whole.clips) == (TARGETS, ("audio",), CLIPS)
    assert whole.seconds == 180.0
    assert whole.clean.tolist() == [*parts[0].clean.tolist(), *parts[1].clean.tolist()]
    assert whole.stressed.keys() == parts[0].stressed.keys()
    for name, found in whole.stressed.items():
        assert found.tolist() == [*parts[0].stressed[name].tolist(), *parts[1].stressed[name].tolist()]
    assert whole.auroc == {f"audio {kind}": {"voice_weight": pytest.approx(0.55)} for kind in CORRUPTIONS}


def test_a_setting_that_several_folds_chose_is_named_once():
    assert Outcome.joined([replace(outcome(), setting=s) for s in ("a", "b", "a")]).setting == "a, b"


def test_one_fold_alone_stays_as_it_is():
    one = outcome(0.3, 0, BOTH, ("voice_weight",))
    assert_same(Outcome.joined([one]), one)


def test_a_fold_in_which_nothing_can_be_said_of_a_gate_does_not_count():
    parts = [replace(outcome(), auroc={"audio noise": {"voice": area}}) for area in (0.75, float("nan"))]
    assert Outcome.joined(parts).auroc == {"audio noise": {"voice": 0.75}}
