from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from avgate.media import Media, reader
from avgate.media.display import timed
from tests.clips import greys, make_clip
from tests.few import few

SLOW = pytest.mark.slow


def moving(n: int) -> list[np.ndarray]:
    """Pictures with motion, for which encoders use all kinds of frames."""
    texture = np.random.default_rng(0).integers(0, 255, (48, 96, 3)).astype(np.uint8)
    return [np.roll(texture, 3 * i, 1)[:, :64] // 2 + 2 * i % 90 for i in range(n)]


def copy(source: Path, target: Path, first: int) -> Path:
    """The video's packets from number `first` on, in another file."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size and number >= first:
                packet.stream = stream
                out.mux(packet)
    return target


def full_range(stream) -> None:
    """For make_clip's `prepare`: the pixels that MJPEG wants."""
    stream.pix_fmt = "yuvj420p"


def exact(path: Path) -> np.ndarray:
    """Checks that the times are those of the decoded frames, and returns them."""
    times = [frame.time_s for frame in Media(path).frames()]
    np.testing.assert_array_equal(Media(path).frame_times(), times)
    return np.array(times)


OPEN_GOP = {
    "g": "12",
    "bf": "2",
    "x264-params": "open-gop=1:keyint=12",
    "x265-params": "open-gop=1:keyint=12:log-level=0",
}


def test_hidden_frames_of_vp8_arent_counted(tmp_path: Path):
    path = make_clip(tmp_path / "a.webm", moving(30), codec="libvpx")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for number in (4, 17):
        content[content.index(bytes(packets[number]))] &= ~0x10  # the flag show_frame
    path.write_bytes(content)
    np.testing.assert_allclose(exact(path), [i / 25 for i in range(30) if i not in (4, 17)], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("first", [0, 5, 13])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_videos_that_are_cut_between_key_frames(tmp_path: Path, suffix: str, first: int, codec: str):
    whole = make_clip(tmp_path / f"whole.{suffix}", moving(40), codec=codec, video_options=OPEN_GOP)
    assert len(exact(copy(whole, tmp_path / f"a.{suffix}", first))) <= 40 - first


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg1video", "mpg"), ("mpeg2video", "ts"), ("mpeg4", "avi")])
def test_codecs_whose_packets_arent_trusted(tmp_path: Path, codec: str, suffix: str):
    assert len(exact(make_clip(tmp_path / f"a.{suffix}", moving(40), codec=codec, video_options={"bf": "2"}))) == 40


@pytest.mark.parametrize("times", [None, (np.arange(20) ** 2 * 0.01).tolist()])
def test_common_videos_are_counted_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times):
    for suffix, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("mov", "mjpeg")):
        path = make_clip(tmp_path / f"a.{suffix}", greys(20), codec=codec, times=times, prepare=full_range)
        if times is None:
            exact(path)
            media = Media(path)
            monkeypatch.setattr(reader, "timed", None)
            assert len(media.frame_times()) == 20
            monkeypatch.undo()
        else:
            exact(path)


def test_fields_that_may_be_packets_of_their_own_arent_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = make_clip(tmp_path / "a.mp4", moving(20), video_options={"x264-params": "interlaced=1"})
    assert len(exact(path)) == 20
    media = Media(path)
    monkeypatch.setattr(reader, "timed", lambda *args: iter(()))
    assert len(media.frame_times()) == 0


def in_ms(stream) -> None:
    """For make_clip's `prepare`: a unit of time that MPEG-4 can have."""
    stream.codec_context.time_base = Fraction(1, 1000)


def decoded(path: Path) -> list[float]:
    """Times of the frames in seconds as the decoder gives them; in MPEG-TS, after the first one."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    return [time - times[0] for time in times] if path.suffix == ".ts" else times


def untouched(path: Path) -> None:
    """Checks that the frames have their own times, and that nothing is said against these."""
    np.testing.assert_allclose(exact(path), decoded(path), rtol=0, atol=1e-6)
    media = Media(path)
    list(media.frames())
    assert not [note for note in media.notes if "start at" not in note and "no sound" not in note]


FRAME_S = 1 / 30
STEPS = {
    "one pause": [FRAME_S] * 20 + [2.0] + [FRAME_S] * 20,
    "one long pause": [FRAME_S] * 20 + [30.0] + [FRAME_S] * 20,
    "pauses": ([FRAME_S] * 9 + [0.6]) * 4,
    "a pause of two hours": [FRAME_S] * 20 + [7200.0] + [FRAME_S] * 20,
    "early pauses": [3.0, 12.0, 3.0, 0.5, 0.1, 0.5, 0.5] + [0.04] * 20,
    "a late last frame": [FRAME_S] * 20 + [5.0],
    "frames on change": np.random.default_rng(5).choice([FRAME_S, 0.1, 0.5, 1, 3], 50, p=[0.6, 0.2, 0.1, 0.07, 0.03]),
    "dropped frames": np.random.default_rng(5).choice([1 / 15, 2 / 15, 3 / 15, 0.4], 50),
    "any": np.random.default_rng(5).exponential(0.3, 50) + 0.002,
}
"""Seconds between frames of videos at a variable rate."""


@pytest.mark.parametrize("suffix", few(["mp4", "mkv", "ts", "mov", "flv"], 1))
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("bf", few(["3", "0", "2"], 1, pytest.mark.long))
def test_frames_of_a_whole_file_keep_their_times_however_long_the_picture_stands_still(
    tmp_path: Path, suffix: str, steps: str, bf: str
):
    # In MPEG-TS, times leap like that where they start over; in FLV, FFmpeg takes times off after hours.
    longest_s = {"ts": 9.0, "flv": 60.0}.get(suffix, np.inf)
    times = np.round(np.cumsum([0.0, *np.minimum(STEPS[steps], longest_s)]), 3).tolist()
    options = {"bf": bf, "x264-params": "b-adapt=0:threads=1"}
    untouched(make_clip(tmp_path / f"a.{suffix}", moving(len(times)), times=times, video_options=options))


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("mkv", marks=SLOW), pytest.param("ts", marks=SLOW)])
def test_so_do_those_of_mpeg_4(tmp_path: Path, suffix: str):
    times = np.round(np.cumsum([0.0, *STEPS["frames on change"]]), 3).tolist()
    given = {"codec": "mpeg4", "video_options": {"bf": "2"}, "prepare": in_ms}
    untouched(make_clip(tmp_path / f"a.{suffix}", moving(len(times)), times=times, **given))


@pytest.mark.parametrize("scale_s", [1e-5, 1e-3, 0.04, 10.0])
def test_whatever_the_stamps_times_increase_by_a_tenth_of_a_millisecond_or_more(scale_s: float):
    random = np.random.default_rng(0)
    for _ in range(50):
        stamps = np.arange(40) * 0.04 * random.integers(0, 2) + np.round(random.normal(0, 1, 40) * scale_s, 5)
        frames = [SimpleNamespace(time=None if random.random() < 0.1 else stamp) for stamp in stamps.tolist()]
        placed = [(time_s, frame) for time_s, frame, _ in timed(frames, 0.04, 0.0)]
        assert [frame for _, frame in placed] == frames
        assert np.diff([time_s for time_s, _ in placed]).min() > 0.99e-4
