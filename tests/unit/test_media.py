from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from avgate.media import Media, probe
from tests.clips import bend_clock, greys, make_clip, order, packet_places, tone

PLAIN = {"bf": "0", "crf": "5"}
"""x264 without reordering, so that packets come in the order of display."""


def times_of(media: Media) -> np.ndarray:
    return np.array([frame.time_s for frame in media.frames()])


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "flv"])
def test_every_frame_comes_once_in_order_at_the_containers_time(tmp_path: Path, suffix: str):
    media = Media(make_clip(tmp_path / f"a.{suffix}", greys(30), rate=25))
    frames = list(media.frames())
    assert order([frame.image for frame in frames]) == list(range(30))
    times = np.array([frame.time_s for frame in frames])
    assert times[0] == media.info.video_start_s
    np.testing.assert_allclose(times - times[0], np.arange(30) / 25, atol=1e-9)
    for frame in frames:
        assert (frame.image.dtype, frame.image.shape) == (np.uint8, (48, 64, 3))
        assert frame.image.flags.c_contiguous
    assert media.notes == ["The file has no sound."]


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", "avi"), ("wmv2", "wmv"), ("libvpx", "webm")])
def test_other_containers_and_codecs_decode_too(tmp_path: Path, codec: str, suffix: str):
    media = Media(make_clip(tmp_path / f"a.{suffix}", greys(20), codec=codec, video_options={"b": "2000000"}))
    frames = list(media.frames())
    assert order([frame.image for frame in frames]) == list(range(20))
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.04, atol=1.1e-3)


def test_variable_rates_keep_every_frames_own_time(tmp_path: Path):
    given = np.cumsum(np.random.default_rng(0).uniform(0.005, 0.3, 40)).tolist()
    media = Media(make_clip(tmp_path / "a.mp4", greys(40), times=given, container_options={"movie_timescale": "90000"}))
    np.testing.assert_allclose(times_of(media), given, atol=1 / 90_000)
    assert media.info.video_start_s == pytest.approx(given[0], abs=1 / 90_000)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "flv", "mpg"])
@pytest.mark.parametrize("options", [{}, PLAIN], ids=["reordered", "plain"])
def test_times_of_frames_are_known_without_decoding(tmp_path: Path, suffix: str, options: dict[str, str]):
    codec, options = ("mpeg2video", {}) if suffix == "mpg" else ("libx264", options)
    times = None if suffix in ("avi", "flv", "mpg") else (np.arange(40) / 25 + np.arange(40) ** 2 * 1e-3).tolist()
    path = make_clip(tmp_path / f"a.{suffix}", greys(40), times=times, codec=codec, video_options=options)
    np.testing.assert_allclose(Media(path).frame_times(), times_of(Media(path)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(4500, 377), Fraction(7, 3), 120])
def test_odd_rates_are_exact(tmp_path: Path, rate: Fraction):
    media = Media(make_clip(tmp_path / "a.mp4", greys(20), rate=rate))
    np.testing.assert_allclose(times_of(media), [float(i / Fraction(rate)) for i in range(20)], atol=1e-9)
    assert media.info.average_rate == pytest.approx(float(rate))


def test_colours_come_back_as_red_green_and_blue(tmp_path: Path):
    image = np.zeros((48, 96, 3), np.uint8)
    for i in range(3):
        image[:, 32 * i : 32 * (i + 1), i] = 200
    frame = next(Media(make_clip(tmp_path / "a.mp4", [image] * 3, video_options=PLAIN)).frames())
    for i in range(3):
        np.testing.assert_allclose(frame.image[24, 16 + 32 * i], image[24, 16 + 32 * i], atol=6)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotated_and_mirrored_recordings_come_upright(tmp_path: Path, turns: int, mirrored: bool):
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32], stored[:24, 32:], stored[24:, :32] = 240, 160, 80
    degrees = (90 * turns + 180) % 360 - 180
    path = make_clip(
        tmp_path / "a.mp4",
        [stored] * 3,
        video_options=PLAIN,
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
    )
    upright = np.rot90(stored, turns)
    upright = upright[:, ::-1] if mirrored else upright
    media = Media(path)
    assert (media.info.height, media.info.width) == upright.shape[:2]
    if not mirrored:
        assert media.info.rotation == 90 * turns
    for frame in media.frames():
        assert frame.image.shape == upright.shape
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - upright).mean() < 3


def test_pixels_that_arent_square_are_widened_as_players_do(tmp_path: Path):
    def anamorphic(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    media = Media(make_clip(tmp_path / "a.mp4", greys(3, 88, 72), prepare=anamorphic))
    assert (media.info.width, media.info.height) == (128, 72)
    assert next(media.frames()).image.shape == (72, 128, 3)
    assert any("aren't square" in note for note in media.notes)


def test_h264_in_avi_which_has_no_display_times_comes_at_regular_times(tmp_path: Path):
    moving = [
        np.roll(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3), 5 * i, 1) // 4 + 4 * i for i in range(40)
    ]
    path = make_clip(tmp_path / "a.avi", moving, video_options={"bf": "3", "b_pyramid": "normal", "crf": "5"})
    media = Media(path)
    frames = list(media.frames())
    brightness = [float(frame.image.mean()) for frame in frames]
    assert len(frames) == 40
    assert brightness == sorted(brightness)
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.04, atol=1e-9)
    assert any("which were sorted" in note for note in media.notes)


def test_frames_without_a_time_come_between_their_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def bend(number, packet):
        if number in (3, 4):
            packet.pts = packet.dts = None

    media = Media(make_clip(tmp_path / "a.mp4", greys(10), video_options=PLAIN))
    bend_clock(monkeypatch, bend)
    np.testing.assert_allclose(times_of(media), np.arange(10) / 25, atol=1e-9)
    assert "Frames without a time, placed by their neighbours: 2 (the first at 0.12 s)." in media.notes


def test_frames_closer_than_a_tenth_of_a_millisecond_are_put_apart(tmp_path: Path):
    times = [0.0, 0.00005, 0.08, 0.12]
    options = {"video_track_timescale": "1000000"}
    path = make_clip(tmp_path / "a.mp4", greys(4), times=times, video_options=PLAIN, container_options=options)
    media = Media(path)
    expected = [0.0, 0.001, 0.08, 0.12]
    np.testing.assert_allclose(media.frame_times(), expected, atol=2e-5)
    np.testing.assert_allclose([frame.time_s for frame in media.frames()], expected, atol=2e-5)


def test_times_that_repeat_or_go_back_are_replaced_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ticks = 512  # of the 12,800 per second that the muxer takes for 25 frames per second

    def bend(number, packet):
        packet.pts = {4: 3 * ticks, 5: 2 * ticks}.get(number, packet.pts)

    media = Media(make_clip(tmp_path / "a.mp4", greys(10), video_options=PLAIN))
    bend_clock(monkeypatch, bend)
    frames = list(media.frames())
    assert order([frame.image for frame in frames]) == list(range(10))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / 25, atol=1e-9)
    what = "Frames with a time that those around them contradict, placed by their neighbours"
    assert f"{what}: 2 (the first at 0.16 s)." in media.notes


def test_times_that_lastingly_go_back_still_increase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def bend(number, packet):
        packet.pts -= 20 * 512 if number >= 25 else 0

    media = Media(make_clip(tmp_path / "a.mp4", greys(50), video_options=PLAIN))
    bend_clock(monkeypatch, bend)
    times = times_of(media)
    np.testing.assert_allclose(times[:25], np.arange(25) / 25, atol=1e-9)
    np.testing.assert_allclose(times[25:40], 0.96 + 1e-3 * np.arange(1, 16), atol=1e-9)
    assert np.diff(times).min() > 0
    assert any(note.startswith("Frames with a time not later than their predecessor's by") for note in media.notes)


def test_a_transport_streams_clock_counts_from_its_start(tmp_path: Path):
    options = {"output_ts_offset": "36000"}
    sound = [(0.0, tone(1.0))]
    media = Media(make_clip(tmp_path / "a.ts", greys(25), sound=sound, video_options=PLAIN, container_options=options))
    times = times_of(media)
    assert 0 <= times[0] < 0.1
    np.testing.assert_allclose(times - times[0], np.arange(25) / 25, atol=1e-4)
    assert -1e-6 < media.info.audio_start_s < 0.1
    assert any("times start at 35999." in note for note in media.notes)


def test_a_saved_live_stream_counts_from_its_start(tmp_path: Path):
    late = [1e6 + i / 25 for i in range(10)]
    media = Media(make_clip(tmp_path / "a.mkv", greys(10), times=late, video_options=PLAIN))
    np.testing.assert_allclose(times_of(media), np.arange(10) / 25, atol=1e-3)
    assert any("times start at 1000000.000 s" in note for note in media.notes)


def test_files_joined_end_to_end_go_on_where_the_clock_starts_over(tmp_path: Path):
    sound = [(0.0, tone(2.0))]
    part = make_clip(tmp_path / "a.mpg", greys(50), codec="mpeg1video", sound=sound, sound_codec="mp2")
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(part.read_bytes() * 3)
    media = Media(joined)
    frames = list(media.frames())
    assert order([frame.image for frame in frames]) == list(range(50)) * 3
    times = np.array([frame.time_s for frame in frames])
    np.testing.assert_allclose(times - times[0], np.arange(150) / 25, atol=0.03)
    assert sum("times jump (here at 2.0" in note for note in media.notes) == 1
    pieces = list(media.sound())
    assert pieces[-1].end_s == pytest.approx(times[-1] + 0.04, abs=0.1)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(pieces))


def test_one_absurd_time_doesnt_stretch_the_video(tmp_path: Path):
    path = make_clip(tmp_path / "a.flv", greys(30), video_options=PLAIN)
    content = bytearray(path.read_bytes())
    position, _ = packet_places(path)[10]
    content[position + 7] = 0x7F  # the highest byte of the tag's 32-bit time in milliseconds
    path.write_bytes(content)
    media = Media(path)
    np.testing.assert_allclose(times_of(media), np.arange(30) / 25, atol=1e-3)
    what = "Video packets with a time that those around them contradict, placed by these"
    assert f"{what}: 1 (the first at 0.40 s)." in media.notes


def test_frames_that_change_their_size_are_scaled_to_the_first(tmp_path: Path):
    joined = tmp_path / "joined.mpg"
    parts = [make_clip(tmp_path / f"{w}.mpg", greys(10, w, w), codec="mpeg2video") for w in (64, 96)]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    media = Media(joined)
    assert {frame.image.shape for frame in media.frames()} == {(64, 64, 3)}
    assert any(note.startswith("Frames of another size, scaled to that of the first: 10") for note in media.notes)


def test_info_says_what_the_container_says(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(50, 98, 70), sound=[(0.0, tone(2.0, 48_000))], sound_rate=48_000)
    info = probe(str(path))
    assert (info.path, info.width, info.height, info.rotation) == (path, 98, 70, 0)
    assert (info.video_codec, info.audio_codec, info.audio_rate) == ("h264", "aac", 48_000)
    assert (info.average_rate, info.frames_hint, info.video_start_s) == (25.0, 50, 0.0)
    assert (info.duration_s, info.audio_start_s, info.audio_duration_s) == pytest.approx((2.0, 0.0, 2.0))


@pytest.mark.slow
def test_times_of_real_frames_are_known_without_decoding(clips_dir: Path):
    for path in sorted(clips_dir.glob("*.m*")):
        if path.suffix != ".md":
            np.testing.assert_allclose(Media(path).frame_times(), times_of(Media(path)), rtol=0, atol=1e-9)


def test_real_clips_have_their_documented_frames(clips_dir: Path):
    documented = {
        "grid_bbaf2n.mpg": (360, 288, 75, 3.0),
        "obama_speech.mp4": (320, 240, 105, 8.7),
        "face_noface.mov": (960, 540, 169, 6.4),
    }
    for name, (width, height, n, seconds) in documented.items():
        media = Media(clips_dir / name)
        times = times_of(media)
        assert (media.info.width, media.info.height, len(times)) == (width, height, n)
        assert np.diff(times).min() > 0
        assert times[-1] + np.median(np.diff(times)) == pytest.approx(seconds, abs=0.06)
        assert not media.notes


def test_frames_and_sound_can_run_in_two_threads_and_again(tmp_path: Path):
    media = Media(make_clip(tmp_path / "a.mp4", greys(50), sound=[(0.0, tone(2.0))]))
    results: dict[str, list] = {}

    def run(name):
        results[name] = list(getattr(media, name)())

    threads = [threading.Thread(target=run, args=(name,)) for name in ("frames", "sound")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for frame, again in zip(results["frames"], media.frames(), strict=True):
        assert frame.time_s == again.time_s
        np.testing.assert_array_equal(frame.image, again.image)
    for piece, again in zip(results["sound"], media.sound(), strict=True):
        assert piece.start_s == again.start_s
        np.testing.assert_array_equal(piece.samples, again.samples)


def test_the_file_is_closed_when_a_reader_stops_early(tmp_path: Path):
    media = Media(make_clip(tmp_path / "a.mp4", greys(50), sound=[(0.0, tone(2.0))]))
    frames, sound = media.frames(), media.sound(0.1)
    next(frames), next(sound)
    frames.close()
    sound.close()
    assert str(media.path) not in [file.path for file in psutil.Process().open_files()]
