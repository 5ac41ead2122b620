from __future__ import annotations

import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest

from avgate.core.errors import OutputError
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media import Media, Mp4Writer
from avgate.media.picture import has_padding
from tests.clips import greys, make_clip, order, tone
from tests.tiny import disk_full_after

TIMES = list(accumulate(np.random.default_rng(0).uniform(0.004, 0.2, 40).tolist()))
SOUND = Waveform(tone(3.0, SAMPLE_RATE).astype(np.float32))


def frames() -> list[VideoFrame]:
    return [VideoFrame(time_s, image) for time_s, image in zip(TIMES, greys(40), strict=True)]


def halves(piece: Waveform) -> list[Waveform]:
    n = len(piece.samples) // 2
    return [Waveform(piece.samples[:n], piece.start_s), Waveform(piece.samples[n:], piece.start_s + n / SAMPLE_RATE)]


def write(path: Path, *items: VideoFrame | Waveform, **options) -> Path:
    with Mp4Writer(path, 64, 48, **options) as writer:
        for item in items:
            (writer.add if isinstance(item, VideoFrame) else writer.add_sound)(item)
    return path


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_frames_and_sound_come_back_at_their_times(tmp_path: Path, preset: str):
    media = Media(write(tmp_path / "a.mp4", *frames(), SOUND, preset=preset))
    back = list(media.frames())
    assert order([frame.image for frame in back]) == list(range(40))
    np.testing.assert_allclose([frame.time_s for frame in back], TIMES, atol=1 / 90_000)
    (sound,) = media.sound()
    assert sound.start_s == 0
    assert sound.end_s == pytest.approx(3.0, abs=0.07)
    np.testing.assert_allclose(sound.samples[1600:46_400], SOUND.samples[1600:46_400], atol=0.03)
    assert media.notes == []


def test_pictures_of_any_size_are_scaled_to_the_files_and_keep_their_colours(tmp_path: Path):
    image = np.zeros((90, 300, 3), np.uint8)
    for i in range(3):
        image[:, 100 * i : 100 * (i + 1), i] = 200
    frame = next(Media(write(tmp_path / "a.mp4", VideoFrame(0.0, image), crf=5)).frames())
    assert frame.image.shape == (48, 64, 3)
    for i in range(3):
        np.testing.assert_allclose(frame.image[24, 10 + 21 * i], image[0, 50 + 100 * i], atol=8)


def test_a_late_start_of_the_sound_is_kept(tmp_path: Path):
    late = Waveform(SOUND.samples, 1.37)
    media = Media(write(tmp_path / "a.mp4", *frames(), late))
    (piece,) = media.sound()
    run_in = 1024 / SAMPLE_RATE
    assert piece.start_s == pytest.approx(1.37 - run_in, abs=1e-4)
    samples = piece.samples[round((1.37 - piece.start_s) * SAMPLE_RATE) :]
    np.testing.assert_allclose(samples[1600:46_400], SOUND.samples[1600:46_400], atol=0.03)
    assert np.abs(piece.samples[: round(run_in * SAMPLE_RATE) - 200]).max() < 0.02


def test_gaps_in_the_sound_become_silence_and_overlaps_are_cut(tmp_path: Path):
    first, second = halves(SOUND)
    gap = Waveform(second.samples, second.start_s + 5.0)
    again = Waveform(SOUND.samples[:8000], first.end_s - 0.5)
    (piece,) = Media(write(tmp_path / "a.mp4", *frames(), first, again, gap)).sound()
    assert piece.end_s == pytest.approx(8.0, abs=0.07)
    np.testing.assert_allclose(piece.samples[1600:23_000], first.samples[1600:23_000], atol=0.05)
    assert np.abs(piece.samples[26_000:102_000]).max() < 0.01
    np.testing.assert_allclose(piece.samples[104_500:127_000], second.samples[500:23_000], atol=0.05)


@pytest.mark.slow
def test_packets_lie_in_the_order_of_time_however_they_were_added(tmp_path: Path):
    early, late = halves(Waveform(np.tile(SOUND.samples, 7)))
    # Twenty seconds and more: FFmpeg's muxer waits for another stream no longer than ten.
    slow = [VideoFrame(5 * frame.time_s, frame.image) for frame in frames()]
    orders = {
        "video first": [*slow, early, late],
        "sound first": [early, late, *slow],
        "by turns": [*slow[:10], early, *slow[10:30], late, *slow[30:]],
    }
    contents = set()
    for name, items in orders.items():
        path = write(tmp_path / f"{name}.mp4", *items)
        contents.add(path.read_bytes())
        with av.open(str(path)) as container:
            packets = [(p.pos, p.dts * p.time_base, p.stream.type) for p in container.demux() if p.dts is not None]
        _, times, kinds = zip(*sorted(packets), strict=True)
        assert set(kinds) == {"video", "audio"}
        assert list(times) == sorted(times)
    assert len(contents) == 1


def test_the_file_plays_in_browsers_from_its_first_bytes(tmp_path: Path):
    path = write(tmp_path / "a.mp4", *frames(), SOUND)
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        video, audio = container.streams
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", SAMPLE_RATE)
        keys = [packet.is_keyframe for packet in container.demux(video) if packet.size]
    assert keys[0]


def test_gop_bounds_the_distance_of_key_frames(tmp_path: Path):
    with av.open(str(write(tmp_path / "a.mp4", *frames(), gop=8))) as container:
        keys = [i for i, packet in enumerate(container.demux(video=0)) if packet.size and packet.is_keyframe]
    assert keys[:2] == [0, 8]
    assert max(np.diff(keys)) <= 8


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_text("old")

    class Interrupting:
        def __array__(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, SOUND, *frames(), VideoFrame(9.0, Interrupting()))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cant_be_written_to_are_said_before_the_work(tmp_path: Path):
    for path in (tmp_path / "missing" / "a.mp4", tmp_path):
        with pytest.raises(OutputError), Mp4Writer(path, 64, 48):
            pytest.fail("the block was entered")


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path):
    rng = np.random.default_rng(0)
    noise = [VideoFrame(i / 25, rng.integers(0, 255, (48, 64, 3), np.uint8)) for i in range(50)]
    with pytest.raises(OutputError, match=r"a\.mp4"), disk_full_after(30_000):
        write(tmp_path / "a.mp4", *noise, SOUND, crf=5)
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="even"):
        Mp4Writer(tmp_path / "a.mp4", 63, 48)
    with pytest.raises(ValueError, match="isn't later"):
        write(tmp_path / "a.mp4", frames()[0], frames()[0])
    with pytest.raises(ValueError, match="no frame"):
        write(tmp_path / "a.mp4", SOUND)
    assert list(tmp_path.iterdir()) == []


def test_frames_closer_than_a_tick_follow_each_other(tmp_path: Path):
    times = [0.0, 5e-7, 1e-6, 0.04]
    media = Media(write(tmp_path / "a.mp4", *(VideoFrame(t, image) for t, image in zip(times, greys(4), strict=True))))
    back = list(media.frames())
    assert order([frame.image for frame in back]) == [0, 1, 2, 3]
    np.testing.assert_allclose([frame.time_s for frame in back], times, atol=3e-3)
    assert np.all(np.diff([frame.time_s for frame in back]) > 0)


def test_a_picture_that_stays_for_days_is_repeated_so_that_the_next_one_keeps_its_time(tmp_path: Path):
    times = [0.0, 1.0, 200_000.0, 200_001.0]
    media = Media(write(tmp_path / "a.mp4", *(VideoFrame(t, image) for t, image in zip(times, greys(4), strict=True))))
    seen = dict(zip(media.frame_times().tolist(), order([frame.image for frame in media.frames()]), strict=True))
    assert [seen[t] for t in times] == [0, 1, 2, 3]
    assert all(seen[t] == 1 for t in seen if 1 < t < 200_000)
    assert np.diff(list(seen)).max() <= 3600


AT_THE_END_OF_MEMORY = """
import ctypes, mmap, sys
import numpy as np
from avgate.core.types import VideoFrame
from avgate.media.mp4 import Mp4Writer

width, height, page = 340, 300, mmap.PAGESIZE
size = width * height * 3
pages = -(-size // page) * page
memory = mmap.mmap(-1, pages + page)
end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), page, 0) == 0  # who reads on is ended by the system
image = np.frombuffer(memory, np.uint8, size, pages - size).reshape(height, width, 3)
image[:] = 128
with Mp4Writer(sys.argv[1], width, height) as writer:
    writer.add(VideoFrame(0.0, image))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects memory as Linux does")
def test_nothing_is_read_past_the_end_of_an_image(tmp_path):
    """FFmpeg reads on where a row is no multiple of what it takes at once, into memory that nobody may own."""
    command = [sys.executable, "-c", AT_THE_END_OF_MEMORY, str(tmp_path / "a.mp4")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "a.mp4")) as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (340, 300)


@pytest.mark.parametrize("turned", [0, 90, 180])
def test_decoded_images_are_given_back_as_they_lie_in_memory(turned, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", greys(2, 70, 50), prepare=lambda stream: stream.set_display_rotation(turned))
    images = [frame.image for frame in Media(clip).frames()]
    assert all(map(has_padding, images))
    assert not any(has_padding(image.copy()) for image in images)
    assert not has_padding(images[0][:, ::-1])
    several = np.zeros((2, 50, 70, 3), np.uint8)
    assert [has_padding(image) for image in several] == [True, False], "what comes after one is the other"
