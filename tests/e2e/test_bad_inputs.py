"""What goes wrong ends in one clear error with its own exit code, and leaves nothing half-written behind."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate import Predictor
from avgate.cli import main
from avgate.core.errors import CheckpointError, FeatureError, MediaError, OutputError, UsageError
from avgate.corpora.rendered import Rendered
from avgate.features.store import FeatureStore, source_fingerprint
from avgate.media import Media
from avgate.models.checkpoint import load_checkpoint
from tests.clips import as_cover, cut, greys, make_clip, tone
from tests.hostile import CONTENTS, FILE_NAMES, content
from tests.own_corpus import edit
from tests.recordings import write_sound


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def folder_itself(folder: Path) -> Path:
    return folder


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def not_media(folder: Path) -> Path:
    (folder / "text.mp4").write_text("This is a letter, not a video.\n" * 100)
    return folder / "text.mp4"


def cover_alone(folder: Path) -> Path:
    return make_clip(folder / "cover.mp4", greys(1), codec="mjpeg", prepare=as_cover)


@pytest.mark.parametrize("bad", [missing, folder_itself, empty, not_media, cover_alone])
def test_what_is_no_recording_is_refused_by_name(bad, tmp_path, checkpoint, fails):
    video = bad(tmp_path)
    said = fails(MediaError.exit_code, "predict", video, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert video.name in said
    assert not (tmp_path / "out").exists()


def test_files_that_name_other_files_open_none_of_them(tmp_path, checkpoint, fails):
    part = make_clip(tmp_path / "part.ts", greys(10))
    files = [tmp_path / f"{i}.mp4" for i, _ in enumerate(CONTENTS)]
    for file, kind in zip(files, CONTENTS, strict=True):
        file.write_bytes(content(kind, part))
    said = fails(
        1, "predict", *files, "--checkpoint", checkpoint, "--out", tmp_path / "out", "--no-report", "--jobs", 1
    )
    assert f"{len(files)} of {len(files)} recordings failed" in said
    assert all(file.name in said for file in files)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_recording_s_name_is_nothing_but_a_name(tmp_path, checkpoint, capsys):
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    sound = write_sound(tmp_path / "sound.wav", tone(0.5, 16_000)).read_bytes()
    names = list({Path(name).stem: name for name in FILE_NAMES}.values())
    for name in names:
        (given / name).write_bytes(sound)
    recordings = [str(given / name) for name in names]
    main(["predict", *recordings, "--checkpoint", str(checkpoint), "--out", str(out), "--no-report", "--jobs", "1"])
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        f"{Path(n).stem}{end}" for n in names for end in (".csv", ".json")
    }
    assert all(json.loads(path.read_bytes()) for path in out.glob("*.json"))
    assert {path.name for path in tmp_path.iterdir()} == {"given", "out", "sound.wav"}
    assert {path.name for path in given.iterdir()} == {*names}
    assert "\x1b[31m" not in capsys.readouterr().err


@pytest.mark.slow
def test_one_bad_video_among_several_costs_only_itself(tmp_path, corpus, checkpoint, fails):
    good = Rendered(corpus).clips()[0].video
    out = tmp_path / "out"
    said = fails(
        1, "predict", empty(tmp_path), good, "--checkpoint", checkpoint, "--out", out, "--no-report", "--jobs", 1
    )
    assert "1 of 2 recordings failed" in said
    assert "empty.mp4" in said
    assert (out / f"{good.stem}.csv").is_file()


def test_two_videos_of_one_name_are_refused_before_anything_is_done(tmp_path, checkpoint, fails):
    said = fails(UsageError.exit_code, "predict", "a/x.mp4", "b/x.mov", "--checkpoint", checkpoint, "--out", tmp_path)
    assert "x.csv" in said


def test_a_video_without_sound_and_face_has_rows_but_no_estimate_and_says_so(tmp_path, checkpoint, capsys):
    video = make_clip(tmp_path / "mute.mp4", greys(30))
    main(["predict", str(video), "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--no-report"])
    said = " ".join(capsys.readouterr().err.split())
    assert "The file has no sound." in said
    assert "No face was found in any frame." in said
    assert "30 of 30 frames have no estimate" in said
    with (tmp_path / "mute.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for row in rows:
        assert {row[name] for name in row if name.startswith(("valence", "arousal"))} == {""}
        assert [row[name] for name in ("face_present", "voice_present", "audio_present")] == ["0", "0", "0"]


@pytest.mark.slow
def test_a_face_that_is_never_in_two_frames_in_a_row_is_left_out_and_that_is_said(tmp_path, corpus, checkpoint):
    images = [frame.image for frame in Media(Rendered(corpus).clips()[0].video).frames()][::13]
    walls = [np.zeros_like(images[0])] * 4
    video = make_clip(tmp_path / "glimpses.mp4", [*walls, images[0], *walls, images[1], *walls], rate=5)
    trace = Predictor(checkpoint)(video)
    assert trace.present["face"].any()
    assert np.isnan(trace.targets["valence"]).all()
    assert any("never in two frames in a row" in note for note in trace.notes)


@pytest.mark.slow
def test_a_video_of_two_frames_a_second_is_taken_for_pictures_that_stand_still(tmp_path, corpus, checkpoint):
    images = [frame.image for frame in Media(Rendered(corpus).clips()[0].video).frames()][::13]
    trace = Predictor(checkpoint)(make_clip(tmp_path / "slow.mp4", images, rate=2))
    seen = trace.present["face"]
    assert seen.any()
    assert np.isfinite(trace.targets["valence"][seen]).all()


def test_a_truncated_video_gives_what_decodes_and_says_so(tmp_path, corpus, checkpoint, capsys):
    video = tmp_path / "short.mp4"
    shutil.copy(Rendered(corpus).clips()[0].video, video)
    cut(video, 0.6)
    main(["predict", str(video), "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--no-report"])
    rows = (tmp_path / "short.csv").read_text().splitlines()
    assert 20 < len(rows) - 1 < 125
    assert (
        "truncated" in capsys.readouterr().err.lower() or "incomplete" in (tmp_path / "short.json").read_text().lower()
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"{}" * 40])
def test_what_is_no_checkpoint_is_refused(content, tmp_path, fails):
    (tmp_path / "model.safetensors").write_bytes(content)
    said = fails(
        CheckpointError.exit_code, "predict", "x.mp4", "--checkpoint", tmp_path / "model.safetensors", "--out", tmp_path
    )
    assert "model.safetensors" in said
    assert "avgate train" in said


def test_a_folder_without_a_checkpoint_is_refused_with_what_is_in_it(corpus, tmp_path, fails):
    (tmp_path / "history.csv").touch()
    predict = ["predict", "x.mp4", "--checkpoint", tmp_path, "--out", tmp_path]
    for args in (predict, ["evaluate", tmp_path, "--data", corpus]):
        said = fails(CheckpointError.exit_code, *args)
        assert "no checkpoint.safetensors in this folder; it holds history.csv" in said
        assert f"avgate train --out {tmp_path}" in said


@pytest.mark.slow
def test_features_that_the_checkpoint_was_not_trained_on_are_refused(corpus, checkpoint, tmp_path, fails):
    found = load_checkpoint(checkpoint)
    foreign = tuple(replace(f, fingerprint="0" * 16) for f in found.features)
    other = replace(found, features=foreign).save(tmp_path / "other.safetensors")
    said = fails(FeatureError.exit_code, "evaluate", other, "--data", corpus)
    assert "don't match the checkpoint" in said
    said = fails(FeatureError.exit_code, "predict", Rendered(corpus).clips()[0].video, "--checkpoint", other,
                 "--out", tmp_path / "out")  # fmt: skip
    assert "don't match the checkpoint" in said


def test_features_that_are_missing_or_not_numbers_are_refused_by_clip_and_column(corpus, checkpoint, tmp_path, fails):
    copy = tmp_path / "features"
    shutil.copytree(corpus / "features", copy)
    store = FeatureStore(copy)
    clip = next(c for c in Rendered(corpus).clips() if c.split == "test")
    key = store.find("egemaps")
    track = store.read(clip.name, key)
    values = track.values.copy()
    values[7, 3] = np.nan
    store.write(clip.name, key, replace(track, values=values), source_fingerprint(clip.video))
    said = fails(FeatureError.exit_code, "evaluate", checkpoint, "--data", corpus, "--store", copy)
    assert clip.name in said
    assert track.columns[3] in said
    assert "step 7" in said
    store.path(clip.name, key).unlink()
    said = fails(FeatureError.exit_code, "evaluate", checkpoint, "--data", corpus, "--store", copy)
    assert "avgate extract" in said


@pytest.mark.parametrize("verb", ["predict", "train", "render"])
def test_an_output_that_can_not_be_written_is_refused_before_the_work(verb, corpus, checkpoint, tmp_path, fails):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    args = {
        "predict": [Rendered(corpus).clips()[0].video, "--checkpoint", checkpoint],
        "train": ["--data", corpus, "--recipe", "smoke"],
        "render": [],
    }
    said = fails(OutputError.exit_code, verb, *args[verb], "--out", out)
    assert str(out) in said.replace(" ", "")


def test_a_training_that_diverges_ends_in_an_error_and_keeps_no_checkpoint(corpus, tmp_path, fails):
    out = tmp_path / "run"
    said = fails(
        UsageError.exit_code, "train", "--data", corpus, "--out", out, "--recipe", "smoke", "--set", "train.lr=1e30"
    )
    assert "diverged" in said
    assert "lower train.lr" in said
    assert not (out / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    "setting",
    ["window_s=1e9", "smooth_s=(1e9,)", "backbones=()", "backbones=('egemaps','egemaps')", "train.seed=99999999999999"],
)
def test_impossible_settings_are_refused(setting, corpus, tmp_path, fails):
    args = ["train", "--data", corpus, "--out", tmp_path, "--recipe", "smoke", "--set", setting]
    assert setting.partition("=")[0] in fails(UsageError.exit_code, *args)


def test_wrong_names_are_answered_with_what_there_is(corpus, tmp_path, fails):
    said = fails(UsageError.exit_code, "train", "--data", corpus, "--out", tmp_path, "--fusion", "hgrcja")
    assert "did you mean 'hgrjca'" in said
    said = fails(UsageError.exit_code, "train", "--data", corpus, "--out", tmp_path, "--recipe", "dem")
    assert "did you mean 'demo'" in said
    said = fails(UsageError.exit_code, "train", "--data", corpus, "--out", tmp_path, "--set", "train.epoch=5")
    assert "epochs" in said


def test_labels_that_lie_beyond_their_clips_train_nothing(corpus, three, tmp_path, fails):
    late = tmp_path / "late.csv"
    late.write_text("time_s,valence,arousal\n100,0.1,0.2\n101,0.2,0.1\n")
    edit(three, lambda rows: [row.update(labels=str(late)) for row in rows])
    where = ["--corpus", "manifest", "--data", three, "--store", corpus / "features", "--recipe", "smoke"]
    said = fails(7, "train", *where, "--out", tmp_path / "run")
    assert "in the split 'train', no step of any clip has a label for all of valence, arousal" in said


def test_predictions_replace_earlier_ones_and_nobody_elses_files(tmp_path, checkpoint, fails):
    sound = write_sound(tmp_path / "talk.wav", tone(1.0))
    command = ["predict", sound, "--checkpoint", checkpoint, "--out", tmp_path, "--no-report"]
    for name, formats in (("talk.csv", ["csv"]), ("talk.json", ["csv", "json"]), ("talk.eaf", ["eaf"])):
        (tmp_path / name).write_text("time_s,valence\n0,0.5\n")
        said = fails(OutputError.exit_code, *command, "--formats", *formats)
        assert f"{name}: there is another file of this name" in said
        assert (tmp_path / name).read_text() == "time_s,valence\n0,0.5\n"
        (tmp_path / name).unlink()
    for _ in range(2):
        main([str(part) for part in command])
