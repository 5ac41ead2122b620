"""A cut `predict` goes on: what is there is passed over, and a long recording goes on at its last part, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import avgate.faces.tracker as tracker
from avgate.apps.predict.resume import FOLDER
from avgate.cli import main
from avgate.corpora.rendered import Rendered
from tests.clips import tone
from tests.recordings import write_sound

PREDICT = """
import sys
import avgate.faces.tracker as tracker
from avgate.cli import main
tracker.PART_S = 1.0
main(sys.argv[1:])
"""
"""avgate with parts of 1 s in place of 10 min."""


@pytest.fixture
def predict(checkpoint, tmp_path, capfd):
    """Run predict; returns what was said."""

    def run(*args: object, out: str = "out") -> str:
        main(["predict", *map(str, args), "--checkpoint", str(checkpoint), "--out", str(tmp_path / out), "--jobs", "1"])
        return " ".join(capfd.readouterr().err.split())

    return run


def stamps(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def sounds(tmp_path) -> list[Path]:
    """Two sound files of a second."""
    return [write_sound(tmp_path / f"{name}.wav", tone(1.0, 16_000, pitch)) for name, pitch in (("a", 200), ("b", 300))]


def test_recordings_whose_results_are_there_are_passed_over_and_only_those(sounds, predict, tmp_path):
    given = ("--no-report", "--formats", "csv", "eaf")
    predict(sounds[0], *given)
    before = stamps(tmp_path / "out")
    assert set(before) == {"a.csv", "a.eaf"}
    said = predict(*sounds, *given)
    assert "a.wav is there" in said
    assert "b.wav is there" not in said
    after = stamps(tmp_path / "out")
    assert set(after) == {"a.csv", "a.eaf", "b.csv", "b.eaf"}
    assert {name: after[name] for name in before} == before, "nothing of the first was touched"
    assert predict(*sounds, *given).count("is there") == 2


@pytest.mark.slow
def test_what_a_link_leads_to_and_what_others_put_beside_is_left_alone(sounds, predict, tmp_path):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    for folder in (out, theirs / "a"):
        folder.mkdir(parents=True)
    (theirs / "a" / "note.txt").write_text("mine")
    (theirs / "a.safetensors").write_text("mine")
    (out / FOLDER).symlink_to(theirs)
    for _ in range(2):
        said = predict(sounds[0], "--no-report")
        assert "it is a link, which isn't followed; the next run makes all anew" in said
    assert {path.name: path.read_text() for path in theirs.rglob("*.*")} == {
        "note.txt": "mine",
        "a.safetensors": "mine",
    }
    (out / FOLDER).unlink()
    (out / FOLDER / "a").mkdir(parents=True)
    (out / FOLDER / "a" / "note.txt").write_text("mine")
    predict(sounds[0], "--no-report")
    assert (out / FOLDER / "a" / "note.txt").read_text() == "mine"
    assert "a.wav is there" in predict(sounds[0], "--no-report")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_hold_nothing_up(sounds, predict, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "out" / FOLDER).mkdir(parents=True)
    os.mkfifo(tmp_path / "out" / FOLDER / "a.safetensors")
    with pytest.raises(SystemExit):
        predict(tmp_path / "pipe.mp4", sounds[0], "--no-report")
    assert (tmp_path / "out" / "a.csv").is_file()


def test_recordings_that_would_be_written_as_one_file_are_refused(sounds, predict, tmp_path, capfd):
    other = sounds[1].rename(tmp_path / "a.muse.valence.wav")
    with pytest.raises(SystemExit):
        predict(sounds[0], other, "--no-report", "--formats", "csv", "muse")
    assert "would both be written as a.muse.valence.csv" in " ".join(capfd.readouterr().err.split())
    assert not list((tmp_path / "out").glob("*.csv"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["--level=0.8", "--faces-every=2", "--anew", "an edited file", "a missing file", "another recording"]
)
def test_results_are_made_again_where_anything_else_is_asked_for_or_found(change, sounds, predict, tmp_path):
    out, more = tmp_path / "out", [change] if change.startswith("-") else []
    csv = out / "a.csv"
    predict(sounds[0], "--no-report")
    before = stamps(out)
    if change == "an edited file":
        csv.write_text(csv.read_text().replace("0.", "1.", 1))
    elif change == "a missing file":
        csv.unlink()
    elif change == "another recording":
        sounds[0].write_bytes(sounds[1].read_bytes())
    assert "is there" not in predict(sounds[0], "--no-report", *more)
    after = stamps(out)
    assert all(after[name] != before[name] for name in ("a.csv", "a.json"))
    assert "a.wav is there" in predict(sounds[0], "--no-report", *(option for option in more if option != "--anew"))


@pytest.mark.slow  # test_sides.py cuts an extraction
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_run_killed_in_the_middle_of_a_recording_goes_on_and_ends_with_the_same_bytes(
    corpus, checkpoint, predict, tmp_path, monkeypatch
):
    video = str(Rendered(corpus).clips()[0].video)
    monkeypatch.setattr(tracker, "PART_S", 1.0)
    predict(video, out="whole")
    out = tmp_path / "cut"
    command = [sys.executable, "-c", PREDICT, "predict", video, "--checkpoint", str(checkpoint), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    kept = out / FOLDER / Path(video).stem
    deadline = time.monotonic() + 300
    while not (kept / "faces-00001.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [file for file in out.iterdir() if not file.name.startswith(".")], "no result was there yet"
    looked = []
    row = tracker.LiveTracker.row
    monkeypatch.setattr(tracker.LiveTracker, "row", lambda self, frame: looked.append(frame.time_s) or row(self, frame))
    predict(video, out="cut")
    assert min(looked) >= 2.0, "the first parts weren't looked at again"
    assert contents(out) == contents(tmp_path / "whole")
    assert not kept.exists(), "what was kept is removed"
