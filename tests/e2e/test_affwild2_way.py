"""Aff-Wild2's layout from the release to a submission, from commands alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from avgate import load_checkpoint
from avgate.apps.affwild2.submission import estimate_frames
from avgate.cli import main
from avgate.core.errors import UsageError
from avgate.corpora.affwild2 import AffWild2
from avgate.evaluation.examples import Reader
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from tests.affwild2 import VIDEOS, labels_of, write_affwild2

pytestmark = pytest.mark.slow  # test_affwild2.py shows the same of the corpus and of submissions, piece by piece


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_affwild2(tmp_path_factory.mktemp("affwild2") / "release")
    main(["extract", "--corpus", "affwild2", "--data", str(root), "--recipe", "smoke", "--workers", "1"])
    return root


@pytest.fixture(scope="module")
def trained(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("affwild2-run")
    main(["train", "--corpus", "affwild2", "--data", str(release), "--out", str(run), "--recipe", "smoke"])
    return run / "checkpoint.safetensors"


@pytest.fixture(scope="module")
def submission(release: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("submission") / "submission.csv"
    main(["submit", str(trained), "--data", str(release), "--sample", str(release / "sample.csv"), "--out", str(out)])
    return out


@pytest.mark.long
def test_inspect_says_what_is_there_what_is_missing_and_what_disagrees(release: Path, capsys):
    main(["inspect", "--corpus", "affwild2", "--data", str(release)])
    said = capsys.readouterr().out
    for expected in (
        "gone: its raw video is missing",
        "(train): 5 of the release's 356 videos can be used",
        "1-30-1280x720: 12 of 60 frames have no crop and count as frames without a face",
        "105: 63 labels but 60 frames: only the first 60 are used",
        "video7_left: 57 labels but 60 frames: only the first 57 are used; "
        "20 of 60 frames have no crop and count as frames without a face",
    ):
        assert expected in said, said
    assert "short: " not in said


def test_training_on_stored_features_decodes_nothing(release: Path, trained: Path, tmp_path, monkeypatch):
    from avgate.media import Media

    def decoded(*_: object) -> None:
        raise AssertionError("a frame or sound was decoded")

    monkeypatch.setattr(Media, "frames", decoded)
    monkeypatch.setattr(Media, "sound", decoded)
    where = ["--corpus", "affwild2", "--data", str(release), "--out", str(tmp_path)]
    main(["train", *where, "--recipe", "smoke"])
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == 2  # both epochs, from the features that were paid for once
    assert (
        load_checkpoint(tmp_path / "checkpoint.safetensors").weights.keys() == load_checkpoint(trained).weights.keys()
    )


def test_faces_are_where_crops_are_and_sound_is_the_raw_videos(release: Path, trained: Path):
    store = FeatureStore(release / "features")
    for video in VIDEOS:
        if video.suffix is None:
            continue
        face = store.read(video.name, store.find("facemesh-"))
        seen = {int((frame / 25 + 0.004) * 10) for frame in range(video.frames) if frame not in video.no_crop}
        steps = range(video.frames * 10 // 25)
        assert [bool(face.present[step]) for step in steps] == [step in seen for step in steps], video.name
        assert store.read(video.name, store.find("egemaps-")).present.any(), video.name


def test_scores_are_those_of_an_independent_computation(release: Path, trained: Path, tmp_path):
    where = ["--corpus", "affwild2", "--data", str(release), "--split", "train"]
    main(["evaluate", str(trained), *where, "--out", str(tmp_path / "scores.json")])
    (scores,) = json.loads((tmp_path / "scores.json").read_text())
    corpus, estimator = AffWild2(release), Estimator(trained)
    reader = Reader(corpus, FeatureStore(release / "features"), estimator.recipe)
    clips = {clip.name: clip for clip in corpus.clips()}
    predicted, labelled = [], []
    for video in VIDEOS:
        if video.split != "train" or video.suffix is None:
            continue
        with av.open(str(clips[video.name].video)) as container:
            frames = sum(1 for _ in container.decode(video=0))
        assert frames == video.frames
        estimates, labels = (
            estimate_frames([(estimator, reader)], clips[video.name]),
            labels_of(video),
        )
        for frame in range(min(frames, len(labels))):
            if -5 not in labels[frame] and not np.isnan(estimates[frame]).any():
                predicted.append(estimates[frame])
                labelled.append(labels[frame])
    x, y = np.array(predicted), np.array(labelled)
    assert scores["clips"] == 5
    for k, target in enumerate(("valence", "arousal")):
        a, b = x[:, k], y[:, k]
        expected = 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        assert scores["smoothed"]["pooled"][target]["ccc"] == pytest.approx(expected, abs=1e-6)


def test_a_raw_video_is_predicted_with_a_row_per_frame(release: Path, trained: Path, tmp_path):
    main(
        [
            "predict",
            str(release / "batch1" / "test_a.mp4"),
            "--checkpoint",
            str(trained),
            "--out",
            str(tmp_path),
            "--no-report",
        ]
    )
    assert len(pd.read_csv(tmp_path / "test_a.csv")) == 60


def test_a_submission_has_the_samples_rows_and_passes_its_check(release: Path, submission: Path, capsys):
    rows, sample = pd.read_csv(submission), pd.read_csv(release / "sample.csv")
    assert rows["image_location"].tolist() == sample["image_location"].tolist()
    assert rows[["valence", "arousal"]].abs().max().max() <= 1
    main(["check-submission", str(submission), "--sample", str(release / "sample.csv")])
    assert "100 rows, as asked for" in capsys.readouterr().err.replace("\n", " ")


def test_several_checkpoints_are_joined(release: Path, trained: Path, submission: Path, tmp_path):
    args = ["--data", str(release), "--sample", str(release / "sample.csv")]
    main(["submit", str(trained), str(trained.parent), *args, "--out", str(tmp_path / "twice.csv")])
    assert (tmp_path / "twice.csv").read_text() == submission.read_text()


def test_a_submission_is_not_written_over_the_checkpoint_of_a_run(release: Path, trained: Path, fails):
    before = trained.read_bytes()
    args = ["--data", release, "--sample", release / "sample.csv", "--out", trained]
    assert "it is an input" in fails(UsageError.exit_code, "submit", trained.parent, *args)
    assert trained.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows.pop(7), "the row 'test_a/00007.jpg' is missing"),
        (lambda rows: rows.insert(9, rows[7]), "the row 'test_a/00007.jpg' is there more than once"),
        (
            lambda rows: rows.__setitem__(slice(7, 9), [rows[8], rows[7]]),
            "the row 'test_a/00008.jpg' stands at place 7, where 'test_a/00007.jpg' is asked for",
        ),
        (lambda rows: rows.append("other/00001.jpg,0,0"), "the row 'other/00001.jpg' is not asked for"),
        (lambda rows: rows.__setitem__(5, "test_a/00005.jpg,0.1,1.5"), "'test_a/00005.jpg' must hold two numbers in"),
        (lambda rows: rows.__setitem__(5, "test_a/00005.jpg,0.1,"), "'test_a/00005.jpg' must hold two numbers in"),
        (lambda rows: rows.__setitem__(5, "test_a/00005.jpg,nan,0"), "'test_a/00005.jpg' must hold two numbers in"),
        (
            lambda rows: rows.__setitem__(0, "image,valence,arousal"),
            "first line must be image_location,valence,arousal",
        ),
    ],
)
def test_a_wrong_submission_is_refused_with_the_rows_name(
    release: Path, submission: Path, tmp_path, fails: Callable[..., str], spoil, said
):
    rows = submission.read_text().splitlines()
    spoil(rows)
    path = tmp_path / "spoiled.csv"
    path.write_text("\n".join([*rows, ""]))
    assert said in fails(7, "check-submission", path, "--sample", release / "sample.csv")


def test_the_sample_decides_and_videos_that_arent_there_are_named(release: Path, trained: Path, tmp_path, fails):
    sample = tmp_path / "sample.csv"
    sample.write_text("image_location,valence,arousal\nnowhere/00001.jpg,-5,-5\n")
    args = ["--data", release, "--sample", sample, "--out", tmp_path / "out.csv"]
    assert "1 videos of the sample can't be used, such as nowhere" in fails(7, "submit", trained, *args)
    row = "105/00001.jpg,-5,-5\n"
    sample.write_text(f"image_location,valence,arousal\n{row}{row}")
    assert "'105/00001.jpg' is asked for 2 times" in fails(7, "submit", trained, *args)
    sample.write_text("image_location,valence,arousal\n105/99999999999999999999.jpg,-5,-5\n")
    assert "is no VIDEO/NUMBER.jpg" in fails(7, "submit", trained, *args)
    assert "is no VIDEO/NUMBER.jpg" in fails(7, "reproduce", "affwild2", *args[:4], "--out", tmp_path / "all")
    assert not list((tmp_path / "all").glob("fold*"))
    sample.write_text("valence,arousal\n0,0\n")
    assert "must begin with image_location" in fails(7, "submit", trained, *args)


@pytest.mark.slow  # its steps are tested one by one above
def test_reproduce_runs_the_whole_and_shows_it_beside_what_papers_report(release: Path, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    small = [
        "train.epochs=1",
        "train.batch=4",
        "model.encoders.audio.channels=(8,)",
        "model.encoders.video.channels=(8,)",
        "model.fusion.iterations=1",
    ]
    where = ["--data", str(release), "--sample", str(release / "sample.csv"), "--out", str(tmp_path), "--workers", "1"]
    main(["reproduce", "affwild2", *where, "--folds", "2", "--set", *small])
    said = " ".join(capsys.readouterr().out.split())
    assert "hgrjca (affwild2-hgrjca), official split" in said
    assert "GRJCA │ .623 │ .561 │ .660 │ .620" in said
    results = json.loads((tmp_path / "reproduction.json").read_text())
    official, mixed = results["folds"]
    ccc = official["smoothed"]["pooled"]["valence"]["ccc"]
    assert f"{ccc:.3f}" in said
    assert (official["clips"], mixed["split"]) == (2, "validation")
    assert load_checkpoint(tmp_path / "fold0" / "checkpoint.safetensors").recipe.window == 300
    main(["check-submission", str(tmp_path / "submission.csv"), "--sample", str(release / "sample.csv")])
