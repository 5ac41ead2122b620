from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE
from avgate.media import Media
from tests.clips import break_packet, greys, make_clip, tone


def heard(path: Path) -> np.ndarray:
    """All sound of a file whose sound has no gap."""
    pieces = list(Media(path).sound())
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(pieces))
    return np.concatenate([piece.samples for piece in pieces])


def loudest_frequency(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * SAMPLE_RATE / len(samples)


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("rate", [44_100, 8_000])
def test_stereo_of_any_rate_comes_as_the_same_tone_in_mono_at_16_khz(tmp_path: Path, codec: str, rate: int):
    path = make_clip(
        tmp_path / "a.mov", greys(50), sound=[(0.0, tone(2.0, rate, 440.0))], sound_rate=rate, sound_codec=codec
    )
    (piece,) = Media(path).sound()
    assert piece.samples.dtype == np.float32
    assert (piece.start_s, piece.end_s) == pytest.approx((0.0, 2.0), abs=0.15 if codec == "aac" else 1e-3)
    assert loudest_frequency(piece.samples) == pytest.approx(440.0, abs=1.0)
    inner = slice(1600, 30_400)
    np.testing.assert_allclose(piece.samples[inner], tone(2.0, SAMPLE_RATE, 440.0)[inner], atol=0.02)


def test_a_click_stays_at_its_time(tmp_path: Path):
    click = np.zeros(88_200)
    click[44_100:44_104] = 0.9
    path = make_clip(tmp_path / "a.mov", greys(50), sound=[(0.0, click)], sound_codec="pcm_s16le")
    assert np.argmax(np.abs(heard(path))) / SAMPLE_RATE == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("chunk_s", [0.01, 0.7])
def test_pieces_join_to_the_whole_and_are_no_longer_than_asked_for(tmp_path: Path, chunk_s: float):
    path = make_clip(tmp_path / "a.mp4", greys(50), sound=[(0.0, tone(2.0))])
    (whole,) = Media(path).sound()
    pieces = list(Media(path).sound(chunk_s))
    assert {len(piece.samples) for piece in pieces[:-1]} == {round(chunk_s * SAMPLE_RATE)}
    assert all(a.end_s == pytest.approx(b.start_s, abs=1e-9) for a, b in pairwise(pieces))
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), whole.samples)
    with pytest.raises(ValueError, match="chunk_s"):
        next(Media(path).sound(0.0))


def test_a_file_without_sound_gives_none_and_says_so(tmp_path: Path):
    media = Media(make_clip(tmp_path / "a.mp4", greys(5)))
    assert list(media.sound()) == []
    assert media.info.audio_codec is media.info.audio_start_s is None
    assert media.notes == ["The file has no sound."]


def elst_empty_s(content: bytes, timescale: int) -> list[float]:
    """How long the empty edit at the start of each track is, in seconds, straight from the `elst` atoms."""
    found, at = [], 0
    while (at := content.find(b"elst", at + 1)) > 0:
        length, media_time, _ = struct.unpack(">Iii", content[at + 12 : at + 24])
        found.append(length / timescale if media_time == -1 else 0.0)
    return found


def test_sound_that_an_edit_list_delays_starts_at_its_time_on_the_videos_clock(clips_dir: Path):
    content = (clips_dir / "face_noface.mov").read_bytes()
    at = content.index(b"mvhd")
    (timescale,) = struct.unpack(">I", content[at + 16 : at + 20])
    audio_s, video_s = elst_empty_s(content, timescale)
    assert audio_s == pytest.approx(2.43, abs=0.01)
    assert video_s == 0
    media = Media(clips_dir / "face_noface.mov")
    (piece,) = media.sound()
    assert piece.start_s == pytest.approx(audio_s, abs=1e-4)
    assert media.info.audio_start_s == pytest.approx(audio_s, abs=1e-4)
    assert piece.end_s - piece.start_s == pytest.approx(3.97, abs=0.01)


def test_a_gap_starts_a_new_piece_at_its_own_time(tmp_path: Path):
    sound = [(0.0, tone(0.5)), (1.25, tone(0.5))]
    pieces = list(Media(make_clip(tmp_path / "a.mkv", greys(50), sound=sound, sound_codec="pcm_s16le")).sound())
    assert [(p.start_s, p.end_s) for p in pieces] == [
        pytest.approx((0.0, 0.5), abs=2e-3),
        pytest.approx((1.25, 1.75), abs=2e-3),
    ]
    for piece in pieces:
        np.testing.assert_allclose(piece.samples[160:7800], tone(0.5, SAMPLE_RATE)[160:7800], atol=0.02)


def test_a_short_gap_is_filled_with_silence(tmp_path: Path):
    sound = [(0.0, tone(0.5)), (0.56, tone(0.5))]
    (piece,) = Media(make_clip(tmp_path / "a.mkv", greys(50), sound=sound, sound_codec="pcm_s16le")).sound()
    assert piece.end_s == pytest.approx(1.06, abs=2e-3)
    assert np.abs(piece.samples[int(0.505 * SAMPLE_RATE) : int(0.555 * SAMPLE_RATE)]).max() < 1e-3
    after = piece.samples[int(0.58 * SAMPLE_RATE) : int(1.0 * SAMPLE_RATE)]
    assert np.sqrt(np.mean(after**2)) == pytest.approx(0.5 / np.sqrt(2), abs=0.01)


def test_sound_that_overlaps_earlier_sound_is_cut_and_said(tmp_path: Path):
    sound = [(0.0, tone(0.5, frequency=440)), (0.3, tone(0.5, frequency=880))]
    media = Media(make_clip(tmp_path / "a.mkv", greys(50), sound=sound, sound_codec="pcm_s16le"))
    pieces = list(media.sound())
    assert [(p.start_s, p.end_s) for p in pieces] == [pytest.approx((0.0, 0.8), abs=5e-3)]
    samples = pieces[0].samples
    assert loudest_frequency(samples[: int(0.49 * SAMPLE_RATE)]) == pytest.approx(440, abs=3)
    assert loudest_frequency(samples[int(0.51 * SAMPLE_RATE) :]) == pytest.approx(880, abs=4)
    assert "0.20 s of sound overlap earlier sound and were cut." in media.notes


def test_a_format_that_changes_in_the_middle_keeps_its_pitch_and_time(tmp_path: Path):
    parts = [
        make_clip(
            tmp_path / f"{rate}.mpg", greys(50), sound=[(0.0, tone(2.0, rate))], sound_rate=rate, sound_codec="mp2"
        )
        for rate in (44_100, 32_000)
    ]
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples = heard(joined)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4.0, abs=0.1)
    for start_s in (0.2, 2.3):
        part = samples[int(start_s * SAMPLE_RATE) :][:SAMPLE_RATE]
        assert loudest_frequency(part) == pytest.approx(440, abs=1)


def test_a_broken_audio_packet_costs_its_own_time_only(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", greys(50), sound=[(0.0, tone(2.0))])
    (before,) = Media(path).sound()
    break_packet(path, 40, "audio")
    media = Media(path)
    after = np.concatenate([piece.samples for piece in media.sound()])
    assert any(note.startswith("Audio packets that can't be decoded") for note in media.notes)
    assert len(after) == pytest.approx(len(before.samples), abs=32)
    lost = slice(int(38 / 43.07 * SAMPLE_RATE), int(43 / 43.07 * SAMPLE_RATE))
    different = np.abs(after[: len(before.samples)] - before.samples[: len(after)]) > 0.05
    assert different.any()
    assert not different[: lost.start].any()
    assert not different[lost.stop :].any()
