"""Playing a file as a stream, by a clock of the test's own: what is pushed when, written, shown and said."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from avgate.apps import running
from avgate.apps import stream as module
from avgate.apps.plane import Plane
from avgate.apps.rows import STDOUT, Rows
from avgate.apps.running import Run
from avgate.apps.stream import CHUNK_S, stream
from avgate.cli import main
from avgate.core.console import Terminal
from avgate.core.errors import MediaError, OutputError, UsageError
from avgate.core.types import VideoFrame, Waveform
from avgate.media import Media
from avgate.report.writers.csv import CsvWriter
from tests.clips import greys, make_clip, tone
from tests.disks import disk
from tests.recordings import write_image, write_sound
from tests.streams import FakeStreamer, make_result


class Hands:
    """A clock that goes on only when somebody sleeps or works; it remembers every sleep."""

    def __init__(self) -> None:
        self.now_s, self.slept_s = 50.0, []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def spend(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clip(tmp_path):
    """One second at 25 frames a second, with sound."""
    return make_clip(tmp_path / "clip.mp4", greys(25), sound=[(0.0, tone(1.0))])


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def streamer(monkeypatch, hands):
    """The Streamer that is made next."""
    made = FakeStreamer(spend=hands.spend)
    monkeypatch.setattr(module, "open_streamer", lambda *_, **options: made.__dict__.update(options=options) or made)
    return made


@pytest.fixture
def play(streamer, hands):
    return partial(stream, clock=hands, sleep=hands.sleep)


def whole(streamer, clip, tmp_path) -> bytes:
    """What CsvWriter writes of the whole trace."""
    fake = FakeStreamer()
    results = [r for frame in Media(clip).frames() for r in fake.push(frame)] + fake.finish()
    CsvWriter().write(fake.trace(results), tmp_path / "whole.csv")
    return (tmp_path / "whole.csv").read_bytes()


def test_the_file_holds_in_the_end_what_the_writer_would_write_of_the_trace(play, streamer, clip, tmp_path):
    play(clip, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == whole(streamer, clip, tmp_path)
    assert streamer.closed


def test_frames_and_sound_come_when_their_time_has_come(play, streamer, hands, clip, tmp_path):
    came = []
    push = streamer.push
    streamer.push = lambda piece, look=True, **how: came.append((hands(), piece, look)) or push(piece, look=look, **how)
    play(clip, tmp_path / "out.csv", speed=2.0)
    began_s = came[0][0]
    known_s = [piece.end_s if isinstance(piece, Waveform) else piece.time_s for _, piece, _ in came]
    assert known_s == sorted(known_s)
    frames = [(at_s, piece) for at_s, piece, _ in came if isinstance(piece, VideoFrame)]
    assert len(frames) == 25
    for at_s, piece in frames:
        assert at_s - began_s == pytest.approx(piece.time_s / 2, abs=0.01)
    sound = [piece for _, piece, _ in came if isinstance(piece, Waveform)]
    assert max(len(piece.samples) for piece in sound) == round(CHUNK_S * 16_000)
    assert all(len(piece.samples) for piece in sound), "nowhere is there no sound"
    assert sum(len(piece.samples) for piece in sound) == pytest.approx(16_000, abs=800)
    assert all(look for _, _, look in came)


def test_where_there_is_no_sound_it_is_told_that_none_will_come(play, streamer, tmp_path):
    clip = make_clip(
        tmp_path / "gap.mkv", greys(50), sound=[(0.0, tone(0.5)), (1.5, tone(0.2))], sound_codec="pcm_s16le"
    )
    play(clip, tmp_path / "out.csv")
    heard_s, told = 0.0, []
    for piece in streamer.pieces:
        if isinstance(piece, VideoFrame):
            assert heard_s > piece.time_s - CHUNK_S - 1e-3
        elif len(piece.samples):
            assert piece.start_s > heard_s - 1e-3, "none came where none was said to come"
            heard_s = piece.end_s
        else:
            heard_s = piece.start_s
            told.append(heard_s)
    assert [t for t in told if not (0.5 < t < 1.501 or t > 1.7)] == []
    assert len(told) == pytest.approx(32, abs=2)


def test_rows_are_in_the_file_as_soon_as_they_are_known(play, streamer, clip, tmp_path):
    counts = []
    push = streamer.push

    def look_into(piece, **how):
        results = push(piece, **how)
        file = tmp_path / "out.csv"
        counts.append(file.read_text().count("\n") if file.exists() else 0)
        return results

    streamer.push = look_into
    play(clip, tmp_path / "out.csv")
    assert len({*counts}) > 8, "it grew step by step"


def test_at_speed_0_nobody_sleeps_and_the_summary_says_how_long_it_took(play, hands, clip, tmp_path, capsys):
    run = play(clip, tmp_path / "out.csv", speed=0)
    assert hands.slept_s == []
    assert not len(run.delays_s)
    said = capsys.readouterr().err
    assert "clip.mp4: 25 frames -> " in said
    assert "it took " in said
    assert "p95" not in said


def test_the_summary_says_delays_by_the_clock_and_every_note_once(play, clip, tmp_path, capsys):
    run = play(clip, tmp_path / "out.csv")
    assert len(run.delays_s) == 25
    assert 0.03 < np.median(run.delays_s) < 0.12, "a frame waits for the end of its step"
    said = capsys.readouterr().err
    assert "results came " in said
    assert "(p95)" in said
    assert said.count("A note of the stream.") == said.count("A note of the weights.") == 1
    assert "skipped" not in said


def test_a_slow_machine_skips_faces_loses_no_frame_and_says_so(streamer, play, hands, tmp_path, capsys):
    streamer._face_s = 0.08
    clip = make_clip(tmp_path / "long.mp4", greys(50) * 3)
    run = play(clip, tmp_path / "out.csv")
    looked = [line.split(",")[10] == "1" for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert len(looked) == 150
    assert run.pace.skipped == looked.count(False) > 50
    assert max(run.delays_s) < 0.5, "nothing piles up"
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(running.TOO_SLOW) == 1
    assert f"{run.pace.skipped} of 150 faces were skipped" in said


def test_a_file_that_cannot_be_followed_is_stopped_and_that_is_said(streamer, play, clip, tmp_path, capsys):
    streamer._face_s = 2.5
    play(clip, tmp_path / "out.csv")
    assert "the playing stopped for " in capsys.readouterr().err


def test_sound_alone_has_rows_by_step_and_a_video_without_sound_waits_for_none(monkeypatch, play, hands, tmp_path):
    made = []

    def make(*_, video, sound):
        made.append((video, sound, FakeStreamer(video=video)))
        return made[-1][2]

    monkeypatch.setattr(module, "open_streamer", make)
    play(write_sound(tmp_path / "voice.wav", tone(1.0, 16_000)), tmp_path / "voice.csv")
    assert len((tmp_path / "voice.csv").read_text().splitlines()) == 1 + 10
    play(make_clip(tmp_path / "mute.mp4", greys(5)), tmp_path / "mute.csv")
    assert [options[:2] for options in made] == [(False, True), (True, False)]


def test_ctrl_c_keeps_what_is_written_and_exits_with_130(streamer, clip, tmp_path, monkeypatch, capsys):
    push, count = streamer.push, iter(range(1000))

    def interrupted(piece, **how):
        if next(count) == 60:
            raise KeyboardInterrupt
        return push(piece, **how)

    streamer.push = interrupted
    with pytest.raises(SystemExit) as ended:
        main(["stream", str(clip), "--out", str(tmp_path / "out.csv"), "--speed", "0"])
    assert ended.value.code == 130
    assert "the rows until now are kept" in capsys.readouterr().err
    rows = (tmp_path / "out.csv").read_bytes()
    assert 1 < rows.count(b"\n") < 26
    assert whole(streamer, clip, tmp_path).startswith(rows)
    assert streamer.closed


def test_rows_go_to_stdout_unless_a_file_is_named_and_messages_never_do(streamer, clip, tmp_path, capsys):
    main(["stream", str(clip), "--speed", "0"])
    captured = capsys.readouterr()
    assert captured.out.encode() == whole(streamer, clip, tmp_path)
    assert "clip.mp4: 25 frames\n" in captured.err
    main(["stream", str(clip), "--out", "-", "--speed", "0"])
    assert capsys.readouterr().out == captured.out


@pytest.mark.parametrize("videos", [[], ["a.mp4", "b.mp4"]], ids=["none", "two"])
def test_it_takes_one_recording_at_a_time_and_says_so(videos, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["stream", *videos])
    assert ended.value.code == UsageError.exit_code
    assert "one recording at a time" in capsys.readouterr().err


def test_images_are_sent_to_predict(play, tmp_path):
    with pytest.raises(UsageError, match="images have no pace") as caught:
        play(write_image(tmp_path / "face.png", greys(1)[0]))
    assert "avgate predict" in str(caught.value)
    with pytest.raises(UsageError, match="images have no pace"):  # whatever else would be missing
        play(tmp_path)


def test_an_output_that_cannot_be_is_refused_before_anything_is_opened(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_recording", lambda _: pytest.fail("it was opened"))
    monkeypatch.setattr(module, "open_streamer", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "mine.csv").write_text("my,own,work\n")
    with pytest.raises(OutputError, match="may be someone's work"):
        stream(clip, tmp_path / "mine.csv")
    with pytest.raises(OutputError, match="create the folder"):
        stream(clip, tmp_path / "none" / "out.csv")
    with pytest.raises(UsageError, match=r"let it end in \.csv"):
        stream(clip, tmp_path / "out.txt")
    csv = clip.rename(tmp_path / "clip.csv")
    with pytest.raises(UsageError, match="it is an input"):
        stream(csv, csv)
    assert (tmp_path / "mine.csv").read_text() == "my,own,work\n"


def test_a_recording_without_anything_in_it_is_refused_as_by_predict(play, tmp_path):
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(MediaError, match=r"empty\.wav: no sound in it could be decoded\n  -> copy or record it again"):
        play(tmp_path / "empty.wav", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_earlier_rows_stay_where_the_recording_cannot_be_read_and_are_replaced_else(play, clip, tmp_path):
    play(clip, tmp_path / "out.csv")
    before = (tmp_path / "out.csv").read_bytes()
    with pytest.raises(MediaError):
        play(tmp_path / "none.mp4", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == before
    play(clip, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == before


def test_a_disk_that_fills_up_is_named(tmp_path):
    fake = FakeStreamer()
    fake._waiting = [make_result(0.04 * i) for i in range(500)]
    with disk(tmp_path / "small", "size=4k") as small:
        with (
            pytest.raises(OutputError, match=r"out\.csv: can't be written \(No space"),
            Rows(small / "out.csv") as rows,
        ):
            Run(fake, rows).finish()
        assert (small / "out.csv").read_text().startswith("time_s,valence")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_under_stdout_is_named_and_no_reader_blamed(play, clip, monkeypatch):
    with Path("/dev/full").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(OutputError, match=r"stdout: can't be written \(No space.*\n.*free space on the disk"):
            play(clip)


def test_a_reader_that_goes_away_ends_the_stream_with_one_clear_error(play, clip, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(OutputError, match=r"stdout: can't be written \(Broken pipe\)"):
            play(clip)
        stdout.flush()  # as Python does when it ends


def test_a_stdout_that_is_closed_is_one_clear_error(play, clip, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="stdout: it is closed"):
        play(clip)


SCRIPT = """
import sys
from avgate.apps import stream
from avgate.cli import main
from tests.streams import FakeStreamer
stream.open_streamer = lambda *_, **__: FakeStreamer()
main(sys.argv[1:])
"""


@pytest.mark.long  # starts two processes
@pytest.mark.skipif(os.name != "posix", reason="closes POSIX pipes")
def test_processes_whose_stdout_is_closed_say_nothing_else(clip):
    command = [sys.executable, "-c", SCRIPT, "stream", str(clip), "--speed", "0"]
    reading, writing = os.pipe()
    os.close(reading)
    gone = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    os.close(writing)
    assert gone.returncode == OutputError.exit_code
    assert gone.stderr.startswith("error: stdout: can't be written (Broken pipe)")
    assert len(gone.stderr.splitlines()) == 2, gone.stderr
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&- <&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert closed.returncode == OutputError.exit_code
    assert closed.stderr.startswith("error: stdout: it is closed")


def shown(monkeypatch):
    screen = io.StringIO()
    terminal = Terminal(file=screen, width=120, force_terminal=True, color_system=None, legacy_windows=False)
    monkeypatch.setattr(running, "console", terminal)
    return screen


def test_a_terminal_shows_the_newest_result_on_one_line(play, clip, tmp_path, monkeypatch):
    screen = shown(monkeypatch)
    play(clip, tmp_path / "out.csv")
    assert screen.getvalue().count(" ms late   valence ") >= 8
    assert "0.9 s" in screen.getvalue()


def test_a_terminal_that_shows_the_rows_shows_no_line(play, clip, monkeypatch):
    screen = shown(monkeypatch)
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", out)
    play(clip, STDOUT)
    assert out.getvalue().count("\n") == 26
    assert "ms late" not in screen.getvalue()


def test_results_without_an_estimate_are_drawn_and_written_as_unknown(tmp_path, monkeypatch):
    screen = shown(monkeypatch)
    fake = FakeStreamer()
    fake._waiting = [make_result(0.0, targets={"valence": math.nan, "arousal": math.nan})]
    with Rows(tmp_path / "out.csv") as rows, Run(fake, rows, draw=Plane) as run:
        run.finish()
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("0.000000,,,")
    assert "valence         unknown" in screen.getvalue()
