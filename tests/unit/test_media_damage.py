from __future__ import annotations

import errno
import io
import os
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avgate.core.errors import MediaError
from avgate.media import Media
from avgate.media.container import _streams_now, open_container
from tests.clips import break_packet, cut, greys, make_clip, order, packet_places, tone
from tests.hostile import CONTENTS, FOLLOWED, content

INTRA = {"g": "1", "bf": "0", "crf": "5"}
"""x264 with key frames only, so that a broken packet costs one frame."""


def refused(path: Path | str) -> str:
    """The message that a file is refused with; it must say where and what to do next."""
    with pytest.raises(MediaError) as caught:
        Media(path)
    assert caught.value.where is not None
    assert caught.value.hint is not None
    return str(caught.value)


def test_files_that_arent_there_or_arent_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "no such file" in refused(tmp_path / "missing.mp4")
    assert "no such file" in refused("https://example.org/a.mp4")
    assert "can't be opened" in refused(str(tmp_path / "a\0.mp4"))
    assert "folder" in refused(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refused(tmp_path / "empty.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "pipe" in refused(tmp_path / "pipe.mp4")
    assert "device" in refused("/dev/zero")

    def forbidden(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = make_clip(tmp_path / "a.mp4", greys(3))
    monkeypatch.setattr(Path, "open", forbidden)
    assert "Permission denied" in refused(path)


def test_a_link_to_a_file_is_fine(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(3))
    (tmp_path / "link.mp4").symlink_to(path)
    assert len(list(Media(tmp_path / "link.mp4").frames())) == 3


def test_a_link_to_anything_else_is_refused(tmp_path: Path):
    for target, why in (
        (tmp_path, "folder"),
        ("/dev/zero", "device"),
        ("nowhere", "no such file"),
        ("a.mp4", "opened"),
    ):
        (tmp_path / "a.mp4").symlink_to(target)
        assert why in refused(tmp_path / "a.mp4")
        (tmp_path / "a.mp4").unlink()


def png() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "rgb24", Fraction(1)
    frame = av.VideoFrame.from_ndarray(greys(1)[0], format="rgb24")
    return bytes(encoder.encode(frame)[0])


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_isnt_a_video_file_is_refused(tmp_path: Path, kind: str):
    make_clip(tmp_path / "part.ts", greys(10))
    for name in ("a.mp4", FOLLOWED.get(kind, "a.ts")):
        (tmp_path / name).write_bytes(content(kind, "part.ts"))
        said = refused(tmp_path / name)
        assert "not a media file of a supported format" in said or "the file is empty" in said


def test_an_image_isnt_a_video_file(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(png())
    assert "not a media file of a supported format" in refused(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", FOLLOWED)
def test_ffmpeg_by_itself_would_follow_a_playlist(tmp_path: Path, kind: str):
    make_clip(tmp_path / "part.ts", greys(10))
    (tmp_path / FOLLOWED[kind]).write_bytes(content(kind, "part.ts"))
    with av.open(str(tmp_path / FOLLOWED[kind])) as container:
        assert len(list(container.decode(video=0))) == 10


def test_a_video_of_which_no_frame_decodes_is_refused(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(10))
    for number in range(10):
        break_packet(path, number)
    assert "no frame of its video can be decoded" in refused(path)


def test_an_mp4_that_lost_its_index_is_called_incomplete(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(30))
    whole = path.read_bytes()
    for end in (whole.index(b"moov") - 100, whole.index(b"moov") + 50):
        path.write_bytes(whole[:end])
        assert "incomplete: its index (moov)" in refused(path)


def test_an_index_that_lost_its_end_is_used_and_said(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(30), sound=[(0.0, tone(1.2))])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"trak") + 20])
    media = Media(path)
    assert len(list(media.frames())) == 30
    assert any("its index (moov) is cut" in note for note in media.notes)


@pytest.mark.parametrize(
    ("suffix", "options"), [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("avi", {}), ("flv", {})]
)
def test_a_truncated_file_yields_its_decodable_frames_and_a_note(tmp_path: Path, suffix: str, options: dict[str, str]):
    rng = np.random.default_rng(0)
    images = [np.clip(grey + rng.integers(-9, 9, grey.shape), 0, 255).astype(np.uint8) for grey in greys(50)]
    path = make_clip(tmp_path / f"a.{suffix}", images, video_options=INTRA, container_options=options)
    whole = [frame.time_s for frame in Media(path).frames()]
    cut(path, 0.6)
    media = Media(path)
    frames = list(media.frames())
    assert 25 <= len(frames) <= 32
    shown = order([frame.image for frame in frames])
    if any("Damaged frames, patched by the decoder: 1" in note for note in media.notes):
        shown[-1] = len(shown) - 1
    assert shown == list(range(len(shown)))
    np.testing.assert_allclose([frame.time_s for frame in frames], whole[: len(frames)], atol=1e-9)
    (note,) = (note for note in media.notes if "incomplete" in note)
    assert "but the container states 2.0" in note
    assert f"it ends at {frames[-1].time_s:.1f}"[:-1] in note


@pytest.mark.slow
def test_a_whole_file_is_never_called_incomplete(tmp_path: Path):
    sound = [(0.0, tone(1.0))]  # the sound ends before the video, and the other way round
    for i, images in enumerate((greys(50), greys(10))):
        for suffix in ("mp4", "mkv", "avi", "flv", "ts"):
            media = Media(make_clip(tmp_path / f"{i}.{suffix}", images, video_options=INTRA, sound=sound))
            assert len(list(media.frames())) == len(images)
            assert len(list(media.sound())) == 1
            assert [note for note in media.notes if "times start at" not in note] == []


def test_a_broken_packet_costs_its_frame_and_no_other_ones_time(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(30), video_options=INTRA)
    break_packet(path, 12)
    media = Media(path)
    frames = list(media.frames())
    kept = [i for i in range(30) if i != 12]
    assert order([frame.image for frame in frames]) == kept
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(kept) / 25, atol=1e-9)
    assert any(
        note.startswith("Video packets that can't be decoded") and note.endswith("1 (the first at 0.48 s).")
        for note in media.notes
    )


@pytest.mark.parametrize("broken", [5, 46, 48, 49])
def test_no_good_frame_is_lost_around_a_broken_packet_even_at_the_end(tmp_path: Path, broken: int):
    path = make_clip(tmp_path / "a.mp4", greys(50), video_options=INTRA)
    break_packet(path, broken)
    media = Media(path)
    frames = list(media.frames())
    assert order([frame.image for frame in frames]) == [i for i in range(50) if i != broken]
    assert any(note.endswith(f": 1 (the first at {broken / 25:.2f} s).") for note in media.notes)


def test_frames_that_the_decoder_had_to_patch_are_counted(tmp_path: Path):
    texture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = make_clip(tmp_path / "a.mp4", [texture] * 20, video_options=INTRA)
    position, size = packet_places(path)[7]
    content = bytearray(path.read_bytes())
    content[position + size // 2 : position + size] = b"\x5a" * (size - size // 2)
    path.write_bytes(content)
    media = Media(path)
    assert len(list(media.frames())) == 20
    assert "Damaged frames, patched by the decoder: 1 (the first at 0.28 s)." in media.notes


@pytest.mark.slow
def test_damage_is_patched_alike_on_every_machine(tmp_path: Path):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (320, 640, 3), np.uint8)
    images = [scene[:, 4 * i : 4 * i + 320] for i in range(60)]
    path = make_clip(tmp_path / "a.mp4", images, video_options={"g": "20", "bf": "0"})
    content = bytearray(path.read_bytes())
    position, size = packet_places(path)[10]
    content[position + size * 4 // 5 : position + size] = b"\x5a" * (size - size * 4 // 5)
    path.write_bytes(content)

    shown = [frame.image for frame in Media(path).frames()]
    with av.open(str(path)) as container:  # as one thread has it, however many cores there are
        container.streams.video[0].thread_type = "NONE"
        alone = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == len(alone)
    assert all(map(np.array_equal, shown, alone))


@pytest.mark.slow
def test_a_disk_that_fails_in_the_middle_ends_the_video_there_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (240, 320, 3), np.uint8) for _ in range(30)]
    path = make_clip(tmp_path / "a.mkv", images, video_options=INTRA)

    class Failing(io.FileIO):
        share = 0.5

        def read(self, size=-1):
            if self.tell() >= self.share * path.stat().st_size:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    media = Media(path)
    monkeypatch.setattr(Path, "open", lambda self, mode, buffering=0: Failing(self, "rb"))
    frames = list(media.frames())
    assert 5 < len(frames) < 25
    assert any("Reading stopped" in note and "Input/output error" in note for note in media.notes)
    Failing.share = 0.0
    assert "can't be read (Input/output error)" in refused(path)


def test_streams_that_appear_in_the_middle_are_left_out(tmp_path: Path):
    path = make_clip(tmp_path / "a.flv", greys(50), video_options=INTRA, sound=[(0.0, tone(2.0))])
    content = bytearray(path.read_bytes())
    position, _ = packet_places(path)[45]
    content[position + 11] = 0x22  # this one frame claims to be of another codec, and FFmpeg opens a stream for it
    path.write_bytes(content)
    media = Media(path)
    assert order([frame.image for frame in media.frames()]) == [i for i in range(50) if i != 45]
    assert "Further streams appear in the middle of the file; they were left out." in media.notes


@pytest.mark.slow
def test_damage_is_silent_while_other_files_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """At its end, a file is asked for streams that have appeared, while decoders of others may log."""
    noise = np.random.default_rng(0)
    path = make_clip(tmp_path / "a.ts", list(noise.integers(0, 255, (50, 96, 128, 3), np.uint8)), codec="mpeg2video")
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = 2000 + noise.choice(len(content) - 2000, len(content) // 100)
    content[places[places % 188 > 4]] = 0  # within packets
    path.write_bytes(content.tobytes())
    ended = threading.Event()

    def decode() -> None:
        while not ended.is_set():
            with av.open(str(path)) as container, suppress(av.FFmpegError):
                list(container.decode(video=0))

    others = [threading.Thread(target=decode) for _ in range(3)]
    for thread in others:
        thread.start()
    with open_container(path) as container:
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            assert _streams_now(container) == 1
    ended.set()
    for thread in others:
        thread.join()
    assert capfd.readouterr() == ("", "")


def test_damage_is_silent_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = make_clip(
        tmp_path / "a.mp4", greys(30), sound=[(0.0, tone(1.2))], container_options={"movflags": "faststart"}
    )
    break_packet(path, 5)
    break_packet(path, 9, "audio")
    cut(path, 0.8)
    media = Media(path)
    list(media.frames())
    list(media.sound())
    assert capfd.readouterr() == ("", "")
