"""`avgate benchmark` on a tiny folder of dialogues: every combination once, resumable, with tables that add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avgate.cli import main
from avgate.errors import UsageError
from tests.dialogues import write_hazumi

SETTINGS = ["train.epochs=2", "model.encoders.audio.dim=4", "model.encoders.video.dim=4", "hop_s=40.0", "window_s=40.0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hazumi(tmp_path_factory.mktemp("hazumi"))


def compare(folder: Path, out: Path, *more: str) -> dict:
    args = ["--data", str(folder), "--corpus", "hazumi", "--recipe", "hazumi", "--out", str(out), "--folds", "2"]
    args += ["--seeds", "2", "--fusions", "audio", "concat", "--reference", "concat", "--workers", "1", *more]
    main(["benchmark", *args, "--set", *SETTINGS])
    return json.loads((out / "results.json").read_text())


def test_every_combination_is_trained_once_and_the_tables_are_written(folder, tmp_path, capsys):
    results = compare(folder, tmp_path)
    runs = sorted(path.stem for path in (tmp_path / "runs").iterdir())
    assert runs == [f"{f}-seed{s}-fold{k}" for f in ("audio", "concat") for s in (0, 1) for k in (0, 1)]
    assert set(results["fusions"]) == {"audio", "concat"}
    for target in ("impression", "continuance"):
        assert len(results["fusions"]["audio"]["ccc"][target]) == 2
        difference = results["fusions"]["audio"]["against"][target]
        means = [np.mean(results["fusions"][f]["ccc"][target]) for f in ("audio", "concat")]
        assert difference["effect"] == pytest.approx(means[0] - means[1], abs=1e-6)
        assert difference["low"] <= difference["effect"] <= difference["high"]
    shown = capsys.readouterr().out
    assert (tmp_path / "results.md").read_text().strip() in shown
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    (tmp_path / "runs" / "audio-seed1-fold0.safetensors").unlink()
    assert compare(folder, tmp_path) == results
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert {path.stem for path in again if again[path] != stamps[path]} == {"audio-seed1-fold0"}


def test_a_reference_that_is_not_compared_is_refused(folder, tmp_path, fails):
    args = ["benchmark", "--data", folder, "--out", tmp_path, "--fusions", "audio", "--reference", "rjca"]
    assert "rjca" in fails(UsageError.exit_code, *args)
