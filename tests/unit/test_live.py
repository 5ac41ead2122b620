"""A camera and a microphone in, rows and a picture in the terminal out; with a file as the camera."""

from __future__ import annotations

import io
import signal
import sys
import time

import numpy as np
import pytest

from avgate.apps import live as module
from avgate.apps import running
from avgate.apps.live import MOST_BLOCKS, MOST_FRAMES, Inbox, live
from avgate.cli import main
from avgate.core.console import Terminal
from avgate.core.errors import MediaError, OutputError, UsageError
from avgate.core.types import VideoFrame, Waveform
from tests.clips import greys, make_clip
from tests.microphones import FakeSounddevice
from tests.streams import FakeStreamer


@pytest.fixture
def clip(tmp_path):
    """0.4 s at 25 frames a second."""
    return make_clip(tmp_path / "clip.mp4", greys(10))


@pytest.fixture
def streamer(monkeypatch):
    """The Streamer that is made next; `options` are what it was made with."""
    made = FakeStreamer()
    monkeypatch.setattr(module, "open_streamer", lambda *_, **options: made.__dict__.update(options=options) or made)
    return made


@pytest.fixture
def sounddevice(monkeypatch):
    fake = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def at_frame(streamer, number, act):
    """Do something when this frame is pushed."""
    push, count = streamer.push, iter(range(10_000))

    def pushed(piece, **how):
        if isinstance(piece, VideoFrame) and next(count) == number:
            act()
        return push(piece, **how)

    streamer.push = pushed


def test_every_frame_of_a_camera_has_a_row_and_nothing_needs_a_microphone(
    streamer, clip, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    main(["live", "--camera", str(clip), "--microphone", "none", "--out", str(tmp_path / "me.csv")])
    rows = (tmp_path / "me.csv").read_text().splitlines()
    assert rows[0].startswith("time_s,valence,arousal,")
    times = [float(row.split(",")[0]) for row in rows[1:]]
    assert len(times) == 10
    assert (np.diff(times) > 0).all()
    assert times[-1] - times[0] > 0.34, "it is played at its own pace"
    assert streamer.options == {"sound": False}
    assert streamer.closed
    said = capsys.readouterr().err
    assert f"clip.mp4: 10 frames -> {tmp_path / 'me.csv'}" in said
    assert "results came " in said


@pytest.mark.slow
def test_beside_a_file_nothing_is_listened_to_unless_a_microphone_is_named(streamer, clip, sounddevice):
    live(str(clip))
    assert streamer.options == {"sound": False}
    assert not sounddevice.streams
    live(str(clip), "headset")
    assert streamer.options == {"sound": True}


@pytest.mark.slow
def test_sound_is_heard_on_the_clock_of_the_frames(streamer, clip, sounddevice, capsys):
    def hear():
        now_s = time.monotonic()
        sounddevice.streams[0].hear(np.full(320, 0.5), now_s - 0.03, now_s, overflow=True)

    at_frame(streamer, 5, hear)
    live(str(clip), "headset")
    assert streamer.options == {"sound": True}
    frames = [piece for piece in streamer.pieces if isinstance(piece, VideoFrame)]
    (sound,) = [piece for piece in streamer.pieces if isinstance(piece, Waveform)]
    assert len(frames) == 10
    assert (sound.samples == 0.5).all()
    assert frames[5].time_s - 0.031 < sound.start_s < frames[5].time_s + 1.0
    assert sounddevice.streams[0].closed
    assert "Some sound was lost" in capsys.readouterr().err


def test_ctrl_c_ends_it_as_the_end_of_the_camera_does(streamer, tmp_path, capsys):
    long = make_clip(tmp_path / "long.mp4", greys(50) * 20)
    before = signal.getsignal(signal.SIGINT)
    at_frame(streamer, 7, lambda: signal.raise_signal(signal.SIGINT))
    run = live(str(long), "none", tmp_path / "me.csv")
    assert 8 <= run.results < 1000
    assert len((tmp_path / "me.csv").read_text().splitlines()) == 1 + run.results
    assert "frames -> " in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once(streamer, clip):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_frame(streamer, 3, twice)
    with pytest.raises(KeyboardInterrupt):
        live(str(clip), "none")
    assert streamer.closed


@pytest.mark.slow
def test_it_ends_after_the_time_that_is_asked_for(streamer, tmp_path):
    long = make_clip(tmp_path / "long.mp4", greys(50) * 20)
    run = live(str(long), "none", seconds=0.3)
    assert 0 < run.results < 500


def test_a_microphone_that_is_unplugged_ends_it_with_an_error_after_the_rows(streamer, clip, sounddevice, tmp_path):
    at_frame(streamer, 4, lambda: setattr(sounddevice.streams[0], "active", False))
    with pytest.raises(MediaError, match="Built-in: it gives no more sound"):
        live(str(clip), "0", tmp_path / "me.csv")
    assert 5 <= len((tmp_path / "me.csv").read_text().splitlines()) <= 11


def test_what_is_wrong_is_said_before_a_model_is_loaded(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "open_streamer", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "mine.csv").write_text("my,own,work\n")
    with pytest.raises(OutputError, match="may be someone's work"):
        live(str(clip), "none", tmp_path / "mine.csv")
    with pytest.raises(MediaError, match="camera 99: there is no such camera"):
        live("99", "none")
    with pytest.raises(UsageError, match="neither the number of a camera nor a video file, and addresses of the netw"):
        live("http://example.org/", "none")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SystemExit) as ended:
        main(["live", "--camera", str(clip), "--microphone", "headset"])
    assert ended.value.code == UsageError.exit_code
    assert 'pip install "avgate[live]"' in capsys.readouterr().err


def test_a_microphone_that_is_busy_is_one_clear_error(streamer, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(busy=True))
    with pytest.raises(MediaError, match="Built-in: it can't be opened"):
        live(str(clip), "0")
    assert streamer.closed


def test_devices_are_listed_on_stdout(sounddevice, monkeypatch, capsys):
    monkeypatch.setattr(module, "cameras", lambda: {0: (640, 480)})
    main(["live", "--list"])
    listed = ["camera 0: 640x480", "microphone 0: Built-in", "microphone 1: USB headset"]
    assert capsys.readouterr().out.splitlines() == listed


def test_the_list_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(module, "cameras", dict)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    main(["live", "--list"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == "no camera was found; --camera also takes a video file"
    assert 'pip install "avgate[live]"' in second
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice(names=()))
    main(["live", "--list"])
    assert capsys.readouterr().out.splitlines()[1] == "no microphone was found"


@pytest.mark.slow
def test_a_terminal_shows_the_point_in_the_plane(streamer, clip, monkeypatch):
    screen = io.StringIO()
    terminal = Terminal(file=screen, width=80, height=24, force_terminal=True, color_system=None, legacy_windows=False)
    monkeypatch.setattr(running, "console", terminal)
    live(str(clip), "none")
    drawn = screen.getvalue()
    assert "●" in drawn
    assert "face in view, voice silent" in drawn
    assert "face_attended" in drawn, "all of it fits into 24 rows"


def frame(time_s):
    return VideoFrame(time_s, np.zeros((1, 1, 3), np.uint8))


def sound(start_s):
    return Waveform(np.zeros(1, np.float32), start_s)


def times(inbox):
    """Of all that waits, in the order in which it is taken."""
    pieces = []
    while not inbox.empty:
        pieces.append(inbox.take()[1])
    return [piece.time_s if isinstance(piece, VideoFrame) else piece.start_s for piece in pieces]


def test_what_waits_never_grows_and_the_oldest_goes_and_is_counted():
    inbox = Inbox()
    for i in range(MOST_FRAMES + 5):
        inbox.put(frame(i))
    assert inbox.lost_frames == 5
    assert times(inbox) == list(range(5, MOST_FRAMES + 5))
    for i in range(MOST_BLOCKS + 2):
        inbox.put(sound(i))
    assert (inbox.lost_frames, inbox.lost_blocks) == (5, 2)
    assert times(inbox) == list(range(2, MOST_BLOCKS + 2))


def test_pieces_are_taken_in_the_order_in_which_they_came_with_how_long_they_waited():
    now_s = [10.0]
    inbox = Inbox(lambda: now_s[0])
    for i, piece in enumerate([sound(1), frame(2), frame(3), sound(4), frame(5)]):
        now_s[0] = 10.0 + i
        inbox.put(piece)
    assert inbox.take()[0] == 4.0
    assert times(inbox) == [2, 3, 4, 5]
    assert inbox.take() is None, "it doesn't wait for ever"


@pytest.mark.slow
def test_frames_that_got_lost_are_said(streamer, clip, monkeypatch, capsys):
    monkeypatch.setattr(module, "MOST_FRAMES", 2)
    at_frame(streamer, 0, lambda: time.sleep(0.25))
    run = live(str(clip), "none")
    said = capsys.readouterr().err
    assert run.results < 10
    assert f"{10 - run.results} frames came while the machine was busy, and have no rows" in said
