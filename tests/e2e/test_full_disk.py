"""Disks that are full or read-only: what can be written is, and the message says where room is missing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from avgate.cli import main
from avgate.core.errors import OutputError
from avgate.report.writers.json import read_json
from tests.clips import make_clip
from tests.disks import disk
from tests.own_corpus import write_rows

pytestmark = pytest.mark.usefixtures("any_face_model")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that is hard to compress."""
    frames = np.random.default_rng(0).integers(0, 255, (10, 96, 96, 3), np.uint8)
    return make_clip(tmp_path_factory.mktemp("noise") / "noise.mp4", list(frames))


@pytest.mark.slow  # test_shown.py fills the same disk
def test_a_full_tmpdir_costs_the_reports_video_alone_and_is_named(noise, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with disk(tmp_path / "temporary", "size=8k") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        main(["predict", str(noise), "--out", str(out)])
        assert not list(temporary.iterdir())
    said = " ".join(capsys.readouterr().err.split())
    assert f"The report shows no video. TMPDIR ({temporary}):" in said
    assert "No space left" in said
    assert {path.name for path in out.iterdir()} == {f"noise.{kind}" for kind in ("csv", "json", "html", "png")}
    assert len(read_json(out / "noise.json")) == 10
    assert f"TMPDIR ({temporary})" in (out / "noise.html").read_text("utf-8")


@pytest.mark.slow
def test_a_full_disk_is_named_with_the_file_and_how_much_of_it_was_written(noise, tmp_path, fails):
    with disk(tmp_path / "out", "size=8k") as out:
        args = ["predict", noise, "--out", out, "--no-report", "--formats", "json", "csv"]
        said = fails(OutputError.exit_code, *args)
        assert not list(out.iterdir())
    assert f"{out / 'noise.json'}: can't be written after " in said
    assert "No space left" in said


def test_a_read_only_store_is_noticed_before_anything_is_decoded(noise, tmp_path, fails, monkeypatch):
    write_rows(
        tmp_path / "clips.csv",
        [{"clip": "a", "video": str(noise), "labels": "valence=0.1; arousal=0", "split": "train", "group": "anna"}],
    )
    monkeypatch.setattr("avgate.features.extract.open_recording", lambda _: pytest.fail("it was decoded"))
    with disk(tmp_path / "store", "ro") as store:
        args = ["extract", "--corpus", "manifest", "--data", tmp_path / "clips.csv", "--store", store, "--workers", "1"]
        said = fails(OutputError.exit_code, *args)
    assert str(store) in said
    assert "Read-only file system" in said
