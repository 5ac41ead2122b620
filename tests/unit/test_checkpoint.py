"""A checkpoint is one file that describes itself, and anything else is refused by saying what it is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avgate.core.errors import CheckpointError, FeatureError, OutputError
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import (
    DEMONSTRATION_NOTE,
    FORMAT,
    FeatureSpec,
    checkpoint_file,
    load_checkpoint,
    modality_dims,
)
from avgate.models.recipes import RECIPES
from avgate.training.run_state import RunState
from tests.deep import with_tiny_weights
from tests.tiny import disk_full_after, make_checkpoint, make_clip, make_stats, make_track

NOTES = ("Ranks most pairs right.", "Not for decisions about a person.")


@pytest.fixture
def saved(tmp_path):
    """A checkpoint and its file."""
    checkpoint = replace(make_checkpoint(), notes=NOTES)
    return checkpoint, checkpoint.save(tmp_path / "run" / "checkpoint.safetensors")


def rewrite(path, *, about=None, tensors=None):
    """Change the description and the tensors of a checkpoint file in place."""
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["avgate"])
    held = load_file(path)
    if about:
        about(described)
    if tensors:
        tensors(held)
    save_file(held, path, {"avgate": json.dumps(described)})


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


def test_a_loaded_checkpoint_estimates_the_same_to_the_bit(saved):
    checkpoint, path = saved
    loaded, clip = load_checkpoint(path), make_clip(53, absent={"video": range(20, 33)})
    one, two = Estimator(checkpoint).estimate(clip), Estimator(loaded).estimate(clip)

    np.testing.assert_array_equal(one.raw, two.raw)
    assert one.gates.keys() == two.gates.keys()
    for name in one.gates:
        np.testing.assert_array_equal(one.gates[name], two.gates[name])


def test_a_checkpoint_describes_itself(saved):
    checkpoint, path = saved
    loaded = load_checkpoint(path)

    for name in (
        "recipe",
        "features",
        "targets",
        "smooth_steps",
        "trained_on",
        "scores",
        "demonstration",
        "avgate",
        "notes",
    ):
        assert getattr(loaded, name) == getattr(checkpoint, name), name
    assert loaded.avgate
    for modality, stats in checkpoint.stats.items():
        for name, values in vars(stats).items():
            np.testing.assert_array_equal(getattr(loaded.stats[modality], name), values)


def test_notes_of_the_weights_come_with_every_trace_after_the_note_of_demonstrations(saved):
    checkpoint, path = saved
    demonstration = Estimator(replace(checkpoint, demonstration=True))

    assert Estimator(load_checkpoint(path)).trace(make_clip(20), np.zeros(1)).notes[:2] == NOTES
    assert demonstration.notes[:3] == (DEMONSTRATION_NOTE, *NOTES)


def test_weights_without_notes_are_written_as_before_there_were_any(tmp_path):
    path = make_checkpoint().save(tmp_path / "c.safetensors")

    with safe_open(path, "pt") as file:
        assert "notes" not in json.loads(file.metadata()["avgate"])
    assert load_checkpoint(path).notes == ()


@pytest.mark.parametrize("notes", ["one sentence", [3], [""], None])
def test_notes_that_are_no_sentences_are_refused(saved, notes):
    rewrite(saved[1], about=lambda about: about.update(notes=notes))

    assert "its notes must be a list of sentences" in refusal(saved[1]).what


def test_scores_that_could_not_be_measured_stay_unknown(tmp_path):
    path = replace(make_checkpoint(), scores={"ccc": float("nan")}).save(tmp_path / "c.safetensors")

    assert np.isnan(load_checkpoint(path).scores["ccc"])


def slow_if_needless(recipe):
    """Aff-Wild2's recipes differ in their fusion alone, so one of them will do."""
    return pytest.mark.slow if recipe.name.startswith("affwild2-") and recipe.fusion != "hgrjca" else ()


@pytest.mark.parametrize("recipe", [pytest.param(r, id=r.name, marks=slow_if_needless(r)) for r in RECIPES])
def test_every_recipe_makes_checkpoints(recipe, tmp_path):
    recipe = with_tiny_weights(recipe, tmp_path)
    loaded = load_checkpoint(make_checkpoint(recipe).save(tmp_path / "c.safetensors"))

    assert loaded.recipe == recipe
    assert not loaded.build().training


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(saved):
    checkpoint, path = saved
    replace(checkpoint, demonstration=True).save(path)

    assert load_checkpoint(path).demonstration
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")

    with pytest.raises(OutputError, match="run"):
        make_checkpoint().save(tmp_path / "run" / "checkpoint.safetensors")


def test_a_full_disk_leaves_the_checkpoint_of_before(saved):
    checkpoint, path = saved
    with disk_full_after(1000), pytest.raises(OutputError, match="disk"):
        replace(checkpoint, demonstration=True).save(path)

    assert not load_checkpoint(path).demonstration
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_missing_file_says_where_checkpoints_come_from(tmp_path):
    error = refusal(tmp_path / "nowhere.safetensors")

    assert "no such checkpoint" in error.what
    assert "avgate train" in error.hint


def test_the_folder_of_a_run_stands_for_its_checkpoint(saved):
    checkpoint, path = saved
    assert load_checkpoint(path.parent).trained_on == checkpoint.trained_on
    assert checkpoint_file(path.parent) == checkpoint_file(path) == path


def test_an_empty_folder_says_how_to_get_a_checkpoint(tmp_path):
    error = refusal(tmp_path)
    assert "no checkpoint.safetensors in this folder; it holds nothing" in error.what
    assert f"avgate train --out {tmp_path}" in error.hint


def test_a_folder_of_runs_names_their_checkpoints(saved):
    runs = saved[1].parent.parent
    (runs / "results.json").write_text("{}")
    error = refusal(runs)
    assert "it holds results.json, run" in error.what
    assert error.hint == f"give one of those in it: {saved[1]}"


def test_the_folder_of_a_comparison_names_its_models(tmp_path):
    model = make_checkpoint().save(tmp_path / "checkpoints" / "rjca-seed0-fold1.safetensors")
    assert refusal(tmp_path).hint == f"give one of those in it: {model}"


def test_a_folder_of_many_files_is_not_listed_in_full(tmp_path):
    for i in range(10):
        (tmp_path / f"{i}.txt").touch()
    assert refusal(tmp_path).what.endswith("it holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt, 6.txt, 7.txt and 2 more")


def feature_file(folder):
    return FeatureStore(folder).write("clip", "tinyvoice-00", make_track("audio", 5), "source")


def resume_file(folder):
    RunState.new({"recipe": "tiny"}, torch.nn.Linear(2, 1)).save(folder)
    return folder / "resume.safetensors"


def other_safetensors(folder):
    save_file({"weight": torch.zeros(3)}, folder / "model.safetensors")
    return folder / "model.safetensors"


def pickled(folder):
    torch.save({"weight": torch.zeros(3)}, folder / "model.pt")
    return folder / "model.pt"


def text(folder):
    (folder / "checkpoint.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 1234\n")
    return folder / "checkpoint.safetensors"


def empty(folder):
    (folder / "checkpoint.safetensors").touch()
    return folder / "checkpoint.safetensors"


def truncated(folder):
    path = make_checkpoint().save(folder / "checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize("make", [feature_file, resume_file, other_safetensors, pickled, text, empty, truncated])
def test_what_is_no_checkpoint_is_refused_with_the_file_to_give_instead(make, tmp_path):
    error = refusal(make(tmp_path))

    assert "isn't a checkpoint of avgate, or it is damaged" in error.what
    assert "checkpoint.safetensors" in error.hint


def test_weights_that_do_not_fit_the_model_are_named(saved):
    rewrite(saved[1], tensors=lambda tensors: tensors.pop("weights/head.bias"))

    assert "head.bias" in refusal(saved[1]).what


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_with_nan_or_inf_are_named(saved, value):
    rewrite(saved[1], tensors=lambda tensors: tensors["weights/head.bias"].fill_(value))
    error = refusal(saved[1])

    assert error.what == "its weights contain NaN or Inf, first in 'head.bias'"
    assert "train it again" in error.hint


@pytest.mark.parametrize(
    "name",
    ["format", "avgate", "recipe", "features", "targets", "smooth_steps", "trained_on", "scores", "demonstration"],
)
def test_a_description_with_a_part_missing_is_refused(saved, name):
    rewrite(saved[1], about=lambda about: about.pop(name))

    refusal(saved[1])


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}])
@pytest.mark.parametrize("name", ["recipe", "features"])
def test_a_description_that_makes_no_sense_is_refused(saved, name, value):
    rewrite(saved[1], about=lambda about: about.update({name: value}))

    refusal(saved[1])


def test_a_newer_format_is_refused_by_naming_the_version_that_wrote_it(saved):
    rewrite(saved[1], about=lambda about: about.update(format=FORMAT + 1, avgate="7.1"))
    error = refusal(saved[1])

    assert error.what == f"it has format {FORMAT + 1}, and this version of avgate reads format {FORMAT}"
    assert "7.1" in error.hint


def test_a_recipe_with_newer_settings_is_refused_with_the_file_and_the_setting(saved):
    rewrite(saved[1], about=lambda about: about["recipe"]["train"].update(warmup=3))
    error = refusal(saved[1])

    assert error.what.endswith(": warmup")
    assert "newer" in error.hint


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda held: held.update({"weights/head.bias": torch.zeros(5)}), id="other shape"),
        pytest.param(lambda held: held.pop("weights/head.bias"), id="weight missing"),
        pytest.param(lambda held: held.update({"weights/extra": torch.zeros(5)}), id="weight too many"),
        pytest.param(lambda held: held.pop("stats/audio/mean"), id="statistic missing"),
        pytest.param(lambda held: held.update({"stats/audio/skew": torch.zeros(3)}), id="statistic too many"),
    ],
)
def test_weights_or_statistics_that_do_not_fit_the_recipe_are_refused(saved, change):
    rewrite(saved[1], tensors=change)

    assert "damaged" in refusal(saved[1]).what


def test_a_recipe_that_does_not_fit_the_weights_is_refused(saved):
    rewrite(saved[1], about=lambda about: about["recipe"].update(window_s=3.0))

    assert "damaged" in refusal(saved[1]).what


def test_features_as_in_training_are_accepted():
    checkpoint = make_checkpoint()

    checkpoint.check(checkpoint.features, "clip.mp4")


def test_a_model_of_one_modality_does_not_mind_features_of_the_other():
    checkpoint = make_checkpoint()

    replace(checkpoint, features=checkpoint.features[:1]).check(checkpoint.features, "clip.mp4")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "0" * 16}, f"fingerprint {'0' * 16}"),
        ({"columns": ("smile", "frown", "blink")}, "3 columns"),
        ({"columns": ("frown", "smile")}, "'tinyface' features don't match"),
        ({"modality": "audio"}, "'tinyface' features don't match"),
    ],
)
def test_features_unlike_those_of_training_are_refused(change, said):
    checkpoint = make_checkpoint()
    voice, face = checkpoint.features

    with pytest.raises(FeatureError) as caught:
        checkpoint.check([voice, replace(face, **change)], "clip.mp4")
    assert said in caught.value.what
    assert caught.value.where == "clip.mp4"
    assert "extract" in caught.value.hint


@pytest.mark.parametrize(("given", "said"), [(0, "there are: tinyvoice"), (None, "there are: none")])
def test_a_missing_backbone_is_named_beside_those_that_are_there(given, said):
    checkpoint = make_checkpoint()

    with pytest.raises(FeatureError) as caught:
        checkpoint.check([] if given is None else [checkpoint.features[given]], "clip.mp4")
    assert said in caught.value.what
    assert caught.value.hint


def test_backbones_of_one_modality_add_up_in_their_order():
    specs = [
        FeatureSpec(b, m, tuple("abc"[:n]), "00")
        for b, m, n in (("x", "video", 1), ("y", "audio", 3), ("z", "video", 2))
    ]

    assert list(modality_dims(specs).items()) == [("video", 3), ("audio", 3)]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stats/audio/mean", lambda x: x * np.nan),
        ("stats/audio/mean", lambda x: x + np.inf),
        ("stats/audio/std", lambda x: x * 0),
        ("stats/audio/std", lambda x: x + np.inf),
        ("stats/audio/std", lambda x: x * np.nan),
        ("stats/audio/high", lambda x: x * np.nan),
        ("stats/video/low", lambda x: x[:1]),
        ("stats/video/mean", lambda x: x.int()),
    ],
)
def test_statistics_that_would_give_wrong_numbers_are_refused(saved, name, change):
    rewrite(saved[1], tensors=lambda held: held.update({name: change(held[name])}))
    assert "statistics" in refusal(saved[1]).what


@pytest.mark.parametrize("about", [{"smooth_steps": 4}, {"smooth_steps": "3"}, {"targets": ["valence", "valence"]}])
def test_settings_that_would_fail_later_are_refused(saved, about):
    rewrite(saved[1], about=lambda described: described.update(about))
    assert "damaged" in refusal(saved[1]).what


def test_the_fingerprint_tells_weights_and_statistics_apart(tmp_path):
    checkpoint = make_checkpoint()
    assert load_checkpoint(checkpoint.save(tmp_path / "one.safetensors")).fingerprint == checkpoint.fingerprint
    name = next(iter(checkpoint.weights))
    others = [
        replace(checkpoint, weights={**checkpoint.weights, name: checkpoint.weights[name] + 1e-4}),
        replace(checkpoint, stats=make_stats(seed=6)),
    ]
    assert len({one.fingerprint for one in (checkpoint, *others)}) == 3


@pytest.mark.parametrize(("name", "causal"), [("default", False), ("live", True)])
def test_the_weights_that_come_with_avgate_can_be_asked_for_by_name(name, causal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint(name).build().causal is causal
    make_checkpoint().save(tmp_path / name)  # a file or folder of that name comes first
    assert load_checkpoint(name).recipe == make_checkpoint().recipe
