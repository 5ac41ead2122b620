"""Sound, images and folders of images: through predict, and mixed in a manifest through train and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avgate import Predictor, load_checkpoint
from avgate.cli import main
from avgate.core.errors import AvgateError, MediaError, UsageError
from avgate.core.types import SAMPLE_RATE
from avgate.corpora.rendered import Rendered
from avgate.faces import model_file
from avgate.media import Media
from tests.clips import greys, tone
from tests.few import few
from tests.own_corpus import write_rows
from tests.recordings import write_image, write_images, write_sound, write_times


@pytest.fixture(scope="module")
def faces(corpus: Path) -> list[np.ndarray]:
    """Every eighth picture of a rendered clip."""
    return [frame.image for frame in Media(Rendered(corpus).clips()[0].video).frames()][::8]


@pytest.fixture(scope="module")
def voice(corpus: Path) -> np.ndarray:
    """The sound of the same clip."""
    return np.concatenate([piece.samples for piece in Media(Rendered(corpus).clips()[0].video).sound()])


def predicted(path: Path, checkpoint: Path, out: Path, *more: str) -> tuple[pd.DataFrame, str]:
    """The rows that `avgate predict` writes, and the report."""
    main(["predict", str(path), "--checkpoint", str(checkpoint), "--out", str(out), *more])
    name = path.name if path.is_dir() else path.stem
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return pd.read_csv(out / f"{name}.csv"), (out / f"{name}.html").read_text()


def test_sound_an_image_and_a_folder_of_images_have_rows_estimates_and_reports(tmp_path, checkpoint, faces, voice):
    rows, page = predicted(write_sound(tmp_path / "talk.wav", voice), checkpoint, tmp_path)
    assert rows["time_s"].to_numpy() == pytest.approx(np.arange(np.ceil(len(voice) / 1600)) / 10)
    assert rows["valence"].notna().all()
    assert (rows["face_present"] == 0).all()
    assert rows["audio_present"].mean() > 0.9
    assert "There is sound alone" in page
    assert page.count("<video") == 1  # the waveform, with its sound

    rows, page = predicted(write_image(tmp_path / "smile.jpg", faces[0]), checkpoint, tmp_path)
    assert rows["time_s"].tolist() == [0]
    assert rows[["valence", "arousal"]].notna().all(axis=None)
    assert rows[["face_present", "audio_present"]].to_numpy().tolist() == [[1, 0]]
    assert "This is a still image, without sound." in page
    assert "data:image/jpeg;base64," in page
    assert "<video" not in page

    folder = write_images(tmp_path / "visit.1", faces[:4])
    rows, page = predicted(folder, checkpoint, tmp_path, "--fps", "2")
    assert rows["time_s"].tolist() == [0, 0.5, 1, 1.5]
    assert "The images have no sound." in page
    assert rows["valence"].notna().all()
    assert page.count("<video") == 1


@pytest.mark.slow
def test_sound_needs_no_face_model_and_what_is_said_of_the_weights_is_said_once(tmp_path, voice, monkeypatch, capfd):
    monkeypatch.setattr(model_file, "find_spec", lambda name: None)  # as with a mediapipe that bundles none
    monkeypatch.delenv("AVGATE_FACE_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_file, "URL", (tmp_path / "not there").as_uri())
    files = [write_sound(tmp_path / f"{name}.wav", voice) for name in ("one", "two")]
    main(["predict", *map(str, files), "--out", str(tmp_path / "out"), "--no-report", "--jobs", "1"])
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"one.csv", "two.csv"}
    assert capfd.readouterr().err.count("Default weights:") == 1


@pytest.mark.slow  # test_sound_files.py reads every format, and the test above predicts from one
@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".m4a", ".ogg", ".opus"])
def test_sound_of_every_format_gives_about_the_same_estimate(tmp_path, checkpoint, voice, suffix):
    predictor = Predictor(checkpoint)
    expected = predictor(write_sound(tmp_path / "a.wav", voice, rate=SAMPLE_RATE))
    found = predictor(write_sound(tmp_path / f"a{suffix}", voice, rate=SAMPLE_RATE))
    n = min(len(expected), len(found))
    assert abs(len(expected) - len(found)) <= 2
    assert np.nanmean(np.abs(found.targets["arousal"][:n] - expected.targets["arousal"][:n])) < 0.2


@pytest.mark.slow
def test_the_sound_of_a_video_says_the_same_by_itself_as_to_a_model_of_sound_alone(tmp_path, corpus, voice):
    run = tmp_path / "run"
    change = ["--recipe", "smoke", "--fusion", "audio", "--set", "train.epochs=1"]
    main(["train", "--data", str(corpus), "--out", str(run), *change])
    predictor = Predictor(run)
    video = predictor(Rendered(corpus).clips()[0].video)
    sound = predictor(write_sound(tmp_path / "a.flac", voice))
    at = np.searchsorted(video.time_s, sound.time_s[:-1] - 1e-6)
    same = np.isclose(video.time_s[at], sound.time_s[:-1], atol=1e-3)
    assert same.sum() > 10
    for target in sound.targets:
        difference = sound.targets[target][:-1][same] - video.targets[target][at[same]]
        assert np.abs(difference).mean() < 0.02  # windows lie a little differently


@pytest.mark.long
def test_what_cannot_be_predicted_says_why_and_the_rest_is_written(tmp_path, checkpoint, faces, fails):
    folder = write_images(tmp_path / "images", faces[:2])
    out = ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--no-report"]
    said = fails(MediaError.exit_code, "predict", folder, *out)
    assert "--fps" in said
    assert "times.csv" in said
    said = fails(UsageError.exit_code, "predict", write_image(tmp_path / "a.png", faces[0]), "--fps", 5, *out)
    assert "only folders of images take it" in said
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning")
    said = fails(AvgateError.exit_code, "predict", tmp_path / "a.png", tmp_path / "b.jpg", *out)
    assert "b.jpg: the image can't be read" in said
    assert (tmp_path / "out" / "a.csv").is_file()


def test_an_image_without_a_face_has_a_row_without_an_estimate(tmp_path, checkpoint):
    trace = Predictor(checkpoint)(write_image(tmp_path / "wall.png", greys(1)[0]))
    assert len(trace) == 1
    assert np.isnan(trace.targets["valence"]).all()
    assert "No face was found in the image." in trace.notes


@pytest.mark.slow
def test_the_report_is_drawn_anew_with_the_sound_or_the_image(tmp_path, checkpoint, faces, voice):
    for path in (write_sound(tmp_path / "a.wav", voice), write_image(tmp_path / "b.png", faces[0])):
        main(["predict", str(path), "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--no-report"])
        main(["report", str(path.with_suffix(".json")), "--video", str(path), "--out", str(tmp_path / "r.html")])
        kind = "<video" if path.suffix == ".wav" else 'src="data:image/jpeg'
        assert (tmp_path / "r.html").read_text().count(kind) == 1


@pytest.fixture
def mixed(tmp_path: Path, corpus: Path, faces: list[np.ndarray], voice: np.ndarray) -> Path:
    """A manifest of videos, sounds, images and folders of images; labels in files, as numbers and as emotions."""
    rows = []
    for clip in {clip.split: clip for clip in Rendered(corpus).clips()}.values():
        home = {"split": clip.split, "group": clip.group}

        def row(kind: str, path: Path, labels: str, home=home) -> None:
            number = sum(r["clip"].startswith(kind) for r in rows)
            rows.append({"clip": f"{kind}{number}", "video": str(path), "labels": labels, **home})

        n = len(rows)
        folder = tmp_path / clip.name
        folder.mkdir()
        row("video", clip.video, str(clip.labels))
        row("sound", write_sound(folder / "a.flac", voice[n * 500 :]), "valence=0.6; arousal=0.3")
        row("hum", write_sound(folder / "b.wav", tone(2, 16_000)), "emotion=sadness")
        row("image", write_image(folder / "c.jpg", faces[n % len(faces)]), "emotion=anger; intensity=0.5")
        images = write_images(folder / "images", faces[:3], times=[0, 0.5, 2])
        row("images", images, "arousal=-0.2; valence=0.1")
    write_rows(tmp_path / "mixed.csv", rows)
    return tmp_path / "mixed.csv"


@pytest.mark.slow
@pytest.mark.parametrize("fusion", few(["rhgrjca", "hgrjca"], 1, pytest.mark.long))
def test_a_manifest_that_mixes_all_kinds_trains_and_is_scored(mixed, tmp_path, fusion, capsys):
    where = ["--corpus", "manifest", "--data", str(mixed)]
    change = ["--recipe", "smoke", "--fusion", fusion, "--set", "train.epochs=2", "train.corrupt.dropout=0.3"]
    main(["inspect", *where])
    assert "manifest: 15 clips" in capsys.readouterr().out
    main(["extract", *where, "--recipe", "smoke", "--workers", "1"])
    said = capsys.readouterr().err
    assert "15 clips extracted" in " ".join(said.split())
    assert "image" not in said.replace(str(mixed), "")  # a missing modality is no cause for a note on every clip
    main(["train", *where, *change, "--out", str(tmp_path / "run")])
    stats = load_checkpoint(tmp_path / "run").stats
    assert "Russell" in load_checkpoint(tmp_path / "run").trained_on["emotion_map"]
    assert all(np.isfinite(s.mean).all() and np.isfinite(s.std).all() for s in stats.values())

    main(["evaluate", str(tmp_path / "run"), *where, "--out", str(tmp_path / "scores.json")])
    (result,) = json.loads((tmp_path / "scores.json").read_text())
    assert result["clips"] == 5
    assert np.isfinite(result["raw"]["pooled"]["valence"]["ccc"])
    kinds = {name.rstrip("0123456789") for name in result["raw"]["clips"]}
    assert kinds == {"video", "sound", "hum", "image", "images"}
    rmse = {name: scores["valence"]["rmse"] for name, scores in result["raw"]["clips"].items()}
    assert all(value is not None for value in rmse.values()), rmse  # every clip was scored, one step long or many

    main(["extract", *where, "--recipe", "smoke", "--workers", "1"])
    assert "0 clips extracted, 15 were there" in " ".join(capsys.readouterr().err.split())
    folder = next(mixed.parent.glob("*/images"))
    write_times(folder, [("1.png", 0), ("2.png", 1)])
    main(["extract", *where, "--recipe", "smoke", "--workers", "1"])
    assert "1 clips extracted, 14 were there" in " ".join(capsys.readouterr().err.split())
