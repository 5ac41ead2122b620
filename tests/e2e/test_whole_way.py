"""From commands alone: render, extract, train, evaluate, predict, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avgate import Predictor, load_checkpoint
from avgate.cli import main
from avgate.core.types import SAMPLE_RATE
from avgate.corpora.manifest import Manifest
from avgate.corpora.rendered import Rendered
from avgate.media import Media


def test_extract_makes_features_of_every_clip_and_a_manifest_that_lists_them(corpus: Path):
    manifest = pd.read_csv(corpus / "features" / "manifest.csv")
    clips = {c.name for c in Rendered(corpus).clips()}
    assert set(manifest["clip"]) == clips
    assert manifest.groupby("backbone")["clip"].nunique().to_dict() == {"egemaps": 6, "facemesh": 6}
    assert all((corpus / "features" / file).is_file() for file in manifest["file"])


def test_extract_again_costs_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = shutil.copytree(corpus, tmp_path / "corpus")
    before = {p: p.stat().st_mtime_ns for p in (root / "features").glob("*/*.safetensors")}
    main(["extract", "--data", str(root), "--recipe", "smoke"])
    assert "0 clips extracted, 6 were there" in capsys.readouterr().err.replace("\n", " ")
    assert {p: p.stat().st_mtime_ns for p in (root / "features").glob("*/*.safetensors")} == before


def test_the_checkpoint_describes_itself(checkpoint: Path):
    found = load_checkpoint(checkpoint)
    assert found.recipe.name == "smoke"
    assert found.targets == ("valence", "arousal")
    assert [f.backbone for f in found.features] == ["egemaps", "facemesh"]
    assert found.trained_on["corpus"] == "rendered"
    assert found.trained_on["train_clips"] == 2
    assert set(found.scores["validation"]) == {"raw", "smoothed"}


def test_evaluate_writes_table_and_json_with_raw_beside_smoothed(corpus: Path, checkpoint: Path, tmp_path, capsys):
    out = tmp_path / "scores.json"
    main(["evaluate", str(checkpoint), "--data", str(corpus), "--out", str(out)])
    shown = capsys.readouterr().out
    assert "hgrjca" in shown
    assert "raw" in shown
    assert "NaN" not in out.read_text()  # strict JSON, for other programs
    (result,) = json.loads(out.read_text())
    assert result["split"] == "test"
    assert result["note"].startswith("Demonstration weights:")  # the model has seen rendered people only
    assert result["clips"] == 2
    for kind in ("raw", "smoothed"):
        assert set(result[kind]["pooled"]) == {"valence", "arousal", "mean"}
        assert set(result[kind]["pooled"]["valence"]) == {"ccc", "pcc", "rmse"}
        assert len(result[kind]["clips"]) == 2
        low, high = result[kind]["interval"]["arousal"]
        assert low <= high


def test_predict_writes_one_row_per_decoded_frame_with_everything_a_reader_needs(corpus, checkpoint, tmp_path):
    video = Rendered(corpus).clips()[0].video
    main(["predict", str(video), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "new" / "folder")])
    stem = tmp_path / "new" / "folder" / video.stem
    rows = pd.read_csv(stem.with_suffix(".csv"))
    assert rows["time_s"].to_numpy() == pytest.approx([f.time_s for f in Media(video).frames()], abs=1e-6)
    assert (rows["weights"] == "demonstration").all()  # the model has seen rendered people only
    assert rows[["valence", "arousal"]].abs().max().max() <= 1
    assert {"face_present", "voice_present", "voice_attended", "face_attended", "face_iteration_2"} <= set(rows)
    stages = rows[["voice_iteration_1", "voice_iteration_2"]].sum(axis=1)
    assert np.allclose(stages, 1, atol=1e-5)
    data = json.loads(stem.with_suffix(".json").read_text())
    assert data["provenance"]["recipe"]["name"] == "smoke"
    assert stem.with_suffix(".html").read_text().count("<video") == 1
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # what is written is what the frames and sound in memory give, too
def test_prediction_is_the_same_from_python_and_from_the_command_line(corpus, checkpoint, tmp_path):
    video = Rendered(corpus).clips()[1].video
    main(["predict", str(video), "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--no-report"])
    assert not (tmp_path / f"{video.stem}.html").exists()
    trace = Predictor(checkpoint)(video)
    rows = pd.read_csv(tmp_path / f"{video.stem}.csv")
    assert rows["valence"].to_numpy() == pytest.approx(trace.targets["valence"], abs=1e-6)


@pytest.mark.slow
def test_prediction_and_evaluation_take_the_same_path(corpus, checkpoint):
    from avgate.evaluation.examples import load_examples
    from avgate.evaluation.scoring import label_traces
    from avgate.features.store import FeatureStore
    from avgate.inference.estimator import Estimator

    found, opened = Estimator(checkpoint), Rendered(corpus)
    examples, _ = load_examples(opened, FeatureStore(corpus / "features"), found.recipe, "test")
    width = found.checkpoint.smooth_steps
    scored = label_traces(found, examples, [width])[width]
    predicted = Predictor(found)(examples[0].clip.video)
    assert np.array_equal(predicted.time_s, np.round(scored[0].time_s, 6)) or predicted.time_s == pytest.approx(
        scored[0].time_s, abs=1e-3
    )
    assert predicted.raw["arousal"] == pytest.approx(scored[0].raw["arousal"], abs=1e-3)


@pytest.mark.long
def test_frames_and_sound_in_memory_give_the_trace_of_their_file(corpus, checkpoint):
    video, predictor = Rendered(corpus).clips()[0].video, Predictor(checkpoint)
    frames = list(Media(video).frames())
    sound = np.concatenate([piece.samples for piece in Media(video).sound()])
    images, times = np.stack([frame.image for frame in frames]), [frame.time_s for frame in frames]
    expected, found = predictor(video), predictor(images, times, sound, SAMPLE_RATE)

    for target in expected.targets:
        assert found.targets[target] == pytest.approx(expected.targets[target], abs=1e-3)
    assert set(found.present) == set(expected.present)
    assert (found.source, found.provenance.get("video")) == ("frames in memory", None)
    silent = predictor(images, times)
    assert not silent.present["audio"].any()
    assert "There is no sound." in silent.notes


def test_the_folder_of_a_run_stands_for_its_checkpoint(corpus, checkpoint, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(checkpoint, again)
    scores = tmp_path / "scores.json"
    main(["evaluate", str(checkpoint.parent), str(again), "--data", str(corpus), "--out", str(scores)])
    first, second = json.loads(scores.read_text())
    assert [first["name"], second["name"]] == [f"hgrjca ({checkpoint.parent.name})", "hgrjca (again)"]
    assert first["raw"] == second["raw"]

    of_file, of_folder = Predictor(checkpoint).estimator.checkpoint, Predictor(again).estimator.checkpoint
    assert of_folder.recipe == of_file.recipe
    assert all((of_file.weights[name] == weight).all() for name, weight in of_folder.weights.items())


@pytest.mark.long  # test_report.py shows the same of a trace that no model made
def test_report_is_drawn_anew_from_the_json_of_a_prediction(corpus, checkpoint, tmp_path):
    video = Rendered(corpus).clips()[0].video
    main(["predict", str(video), "--checkpoint", str(checkpoint.parent), "--out", str(tmp_path), "--no-report"])
    main(["report", str(tmp_path / f"{video.stem}.json"), "--out", str(tmp_path / "figure.pdf")])
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_another_fusion_and_other_settings_are_taken_from_the_command_line(corpus, tmp_path):
    run = tmp_path / "run"
    settings = ["--set", "train.epochs=1", "model.head_dropout=0.2"]
    main(["train", "--data", str(corpus), "--out", str(run), "--recipe", "smoke", "--fusion", "audio", *settings])
    found = load_checkpoint(run / "checkpoint.safetensors")
    assert found.recipe.fusion == "audio"
    assert found.recipe.train.epochs == 1
    assert found.recipe.model.head_dropout == 0.2
    assert [f.backbone for f in found.features] == ["egemaps"]
    trace = Predictor(found)(Rendered(corpus).clips()[0].video)
    assert "face" not in trace.present
    assert not trace.gates


@pytest.mark.slow
def test_the_same_clips_listed_in_a_manifest_train_the_same_model(corpus, checkpoint, tmp_path):
    where = ["--corpus", "manifest", "--data", str(corpus / "manifest.csv")]
    main(["train", *where, "--out", str(tmp_path), "--recipe", "smoke"])
    same, found = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert all((same.weights[name] == weight).all() for name, weight in found.weights.items())
    assert not found.demonstration
    main(["evaluate", str(tmp_path / "checkpoint.safetensors"), *where, "--out", str(tmp_path / "scores.json")])
    assert json.loads((tmp_path / "scores.json").read_text())[0]["clips"] == 2


@pytest.mark.slow  # test_deep_backbones.py and the backbones' contract show the same of each backbone
def test_deep_backbones_extract_resume_and_train_as_any_other(three, tmp_path, capsys):
    from tests.deep import write_audio, write_image

    sound, picture = write_audio(tmp_path / "sound"), write_image(tmp_path / "picture")
    names = f'("hf_audio:{sound}?batch=2", "hf_image:{picture}", "egemaps")'
    where = ["--corpus", "manifest", "--data", str(three), "--store", str(tmp_path / "store")]
    change = ["--recipe", "smoke", "--set", f"backbones={names}", "train.epochs=1"]
    main(["extract", *where, *change, "--workers", "1"])
    files = sorted((tmp_path / "store").glob("*/*.safetensors"))
    assert len(files) == 9
    files[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in files[1:]}
    capsys.readouterr()
    main(["extract", *where, *change, "--workers", "1"])
    assert "1 clips extracted, 2 were there" in capsys.readouterr().err.replace("\n", " ")
    assert {path: path.stat().st_mtime_ns for path in files[1:]} == before
    main(["train", *where, *change, "--out", str(tmp_path / "run")])
    found = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert [len(spec.columns) for spec in found.features] == [16, 16, 51]
    trace = Predictor(found)(Manifest(three).clips()[0].video)
    assert trace.present["face"].any()


@pytest.mark.long  # test_finetune.py shows the same of a backbone by itself
def test_the_last_layers_of_a_backbone_train_with_the_fusion_and_the_rest_stays(three, tmp_path):
    from avgate.features.hub import load_encoder
    from tests.deep import write_image

    source = write_image(tmp_path / "vit")
    where = [
        "--corpus",
        "manifest",
        "--data",
        str(three),
        "--store",
        str(tmp_path / "store"),
        "--recipe",
        "demo-finetune",
    ]
    change = [
        f"model.finetune.video.source={source}",
        "model.finetune.video.layers=1",
        'backbones=("egemaps", "crops?size=32")',
    ]
    change += ["hop_s=2", "window_s=2", "train.epochs=2", "train.batch=4", "model.finetune.video.lr_scale=1.0"]
    main(["extract", *where, "--set", *change, "--workers", "1"])
    main(["train", *where, "--set", *change, "--out", str(tmp_path / "run")])
    found = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    before = load_encoder(source, "cpu", half=False).state_dict()
    tuned = {n.removeprefix("tuned.video.backbone."): w for n, w in found.weights.items() if n.startswith("tuned.")}
    moved = {name for name, weight in tuned.items() if not (weight == before[name]).all()}
    assert moved
    assert all(".1." in name for name in moved)  # of two layers, the second
    trace = Predictor(found)(Manifest(three).clips()[0].video)
    assert abs(trace.raw["valence"]).max() <= 1
