"""A real recording through avgate stream and avgate live, with the real model, and the example of the docs."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from avgate.cli import main
from avgate.core.types import Waveform
from avgate.inference.streaming import Streamer
from avgate.media import Media
from avgate.report.writers.csv import CsvWriter
from tests.clips import make_clip, tone
from tests.live import causal_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("any_face_model")]

FRAMES = 20
PAGE = Path(__file__).resolve().parents[2] / "docs" / "live.md"


@pytest.fixture(scope="module")
def person(tmp_path_factory) -> Path:
    """A face that moves a little for 0.8 s, with a tone."""
    face = astronaut()[:300, 40:400]
    frames = [np.roll(face, round(6 * np.sin(i / 5)), axis=1) for i in range(FRAMES)]
    return make_clip(tmp_path_factory.mktemp("clips") / "interview.mp4", frames, sound=[(0.0, tone(FRAMES / 25))])


@pytest.fixture(scope="module")
def weights(person, tmp_path_factory) -> Path:
    """Random ones."""
    file = tmp_path_factory.mktemp("weights") / "live.safetensors"
    causal_checkpoint(person).save(file)
    return file


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_a_streamed_file_has_a_row_for_each_frame_and_they_are_those_of_the_streamers_trace(person, weights, tmp_path):
    args = ["--out", str(tmp_path / "out.csv"), "--speed", "0", "--checkpoint", str(weights)]
    main(["stream", str(person), *args])
    media = Media(person)
    pieces = [*media.frames(), *media.sound(0.02)]
    pieces.sort(key=lambda piece: piece.end_s if isinstance(piece, Waveform) else piece.time_s)
    with Streamer(weights) as streamer:
        results = [result for piece in pieces for result in streamer.push(piece)] + streamer.finish()
        CsvWriter().write(streamer.trace(results), tmp_path / "whole.csv")
    streamed, whole = rows_of(tmp_path / "out.csv"), rows_of(tmp_path / "whole.csv")
    assert [row["time_s"] for row in streamed] == [f"{i / 25:.6f}" for i in range(FRAMES)]
    assert streamed[0].keys() == whole[0].keys()
    for name in set(streamed[0]) - {"weights"}:
        got, expected = (np.array([float(row[name] or "nan") for row in rows]) for rows in (streamed, whole))
        np.testing.assert_allclose(got, expected, atol=1e-4, err_msg=name)
    assert sum(row["face_present"] == "1" for row in streamed) > 15
    assert sum(row["valence"] != "" for row in streamed) > 15


@pytest.mark.long  # test_live.py does the same without a model
def test_a_file_in_the_cameras_place_has_a_row_for_each_frame(person, weights, tmp_path):
    args = ["--microphone", "none", "--out", str(tmp_path / "me.csv"), "--checkpoint", str(weights)]
    main(["live", "--camera", str(person), *args, "--seconds", "1"])
    rows = rows_of(tmp_path / "me.csv")
    assert rows
    assert {"time_s", "valence", "arousal", "face_present"} <= rows[0].keys()
    assert any(row["face_present"] == "1" for row in rows)


def test_the_example_of_the_docs_runs(person, monkeypatch, capsys):
    monkeypatch.chdir(person.parent)
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == FRAMES
    assert re.fullmatch(r"0\.00 s: ([+-]\d\.\d\d|\+?nan), \d\.\d\d s later", lines[0])


@pytest.mark.long  # starts a process
def test_a_stream_says_only_what_avgate_says(person, weights, tmp_path):
    args = ["--out", str(tmp_path / "out.csv"), "--checkpoint", str(weights), "--speed", "0"]
    command = [sys.executable, "-m", "avgate", "stream", str(person), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, *others = done.stderr.splitlines()
    assert first.startswith(f"interview.mp4: {FRAMES} frames -> ")
    assert all(line.startswith("  ") for line in others), done.stderr
