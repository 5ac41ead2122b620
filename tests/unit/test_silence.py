from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.features.registry import build_backbones
from avgate.features.steps import features_of
from avgate.features.tracks import Extracted, extract_tracks
from avgate.media import InMemory, Media
from tests.clips import greys, make_clip
from tests.sounds import noise, speech

THROUGHOUT = "The sound is digital silence throughout (zero, but for dither), and counts as no sound."


def extracted(recording: Media | InMemory) -> Extracted:
    return extract_tracks(recording, build_backbones(["egemaps", "logmel", "waveform"], 10.0))


def muted(seconds: float, *stretches: tuple[float, float]) -> np.ndarray:
    """Speech over quiet noise that is zero in these stretches of seconds; float32 [n]."""
    sound = 0.5 * speech(seconds) + noise(seconds, 1e-3)
    for first, last in stretches:
        sound[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)] = 0
    return sound.astype(np.float32)


def clip(path: Path, sound: np.ndarray, codec: str = "pcm_s16le") -> Media:
    images = greys(50)[: round(len(sound) / SAMPLE_RATE * 25)]
    return Media(make_clip(path, images, sound=[(0.0, sound)], sound_codec=codec, sound_rate=SAMPLE_RATE))


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_muted_track_is_absent_and_told(tmp_path: Path, codec: str):
    found = extracted(clip(tmp_path / "a.mkv", np.zeros(2 * SAMPLE_RATE), codec))
    for track in found.tracks:
        assert not track.present.any()
    assert found.notes == (THROUGHOUT,)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("codec", ["aac", "flac"])
def test_dither_of_one_step_of_16_bits_is_silence(tmp_path: Path, codec: str, rate: int):
    dither = np.random.default_rng(0).integers(-1, 2, (2, 2 * rate)) / 32767
    sound = [(0.0, dither)]
    found = extracted(Media(make_clip(tmp_path / "a.mkv", sound=sound, sound_rate=rate, sound_codec=codec)))
    assert not any(track.present.any() for track in found.tracks)
    assert found.notes == (THROUGHOUT,)


def test_a_muted_array_is_absent_and_told():
    recording = InMemory(greys(50), np.arange(50) / 25, np.zeros((2 * 44_100, 2)), 44_100)
    found = extracted(recording)
    assert not any(track.present.any() for track in found.tracks)
    assert found.notes == (THROUGHOUT,)


def silent_steps(track: FeatureTrack) -> list[int]:
    return np.flatnonzero(~track.present).tolist()


@pytest.mark.parametrize("source", ["file", "array"])
def test_steps_of_digital_silence_are_absent_in_all_backbones(tmp_path: Path, source: str):
    sound = muted(2.0, (0.5, 0.8), (1.5, 2.0))
    if source == "file":
        recording: Media | InMemory = clip(tmp_path / "a.mkv", sound)
    else:
        recording = InMemory(greys(50), np.arange(50) / 25, sound, SAMPLE_RATE)
    found = extracted(recording)
    for track in found.tracks:
        assert silent_steps(track) == [5, 6, 7, 15, 16, 17, 18, 19], track.backbone
    assert found.notes == ("0.8 s of sound are digital silence (zero, but for dither), and count as no sound.",)


@pytest.mark.parametrize("seconds", [0.04, 1.02, 31.0])
def test_a_muted_track_of_any_length_is_absent_and_told(tmp_path: Path, seconds: float):
    sound = [(0.0, np.zeros(round(seconds * SAMPLE_RATE)))]
    found = extracted(Media(make_clip(tmp_path / "a.mka", sound=sound, sound_rate=SAMPLE_RATE, sound_codec="flac")))
    assert not any(track.present.any() for track in found.tracks)
    assert found.notes == (THROUGHOUT,)


def test_pauses_of_less_than_a_tenth_of_a_second_are_sound(tmp_path: Path):
    found = extracted(clip(tmp_path / "a.mkv", muted(2.0, (0.5, 0.58), (1.0, 1.09))))
    for track in found.tracks:
        assert track.present.all()
    assert found.notes == ()


@pytest.mark.parametrize("name", ["face_and_muted_track.mp4", "black_and_muted.mp4"])
def test_real_clips_with_a_muted_track_have_no_sound(cases_dir: Path, name: str):
    found = extracted(Media(cases_dir / "media" / name))
    assert not any(track.present.any() for track in found.tracks)
    assert THROUGHOUT in found.notes


CAUSAL = ["egemaps?causal=true", "logmel?causal=true", "waveform?causal=true"]


def steps_of(name: str, sound: np.ndarray, piece: int) -> list[int]:
    """Steps with features, where sound comes in pieces of so many samples."""
    (backbone,) = build_backbones([name], 10.0)
    pieces = [Waveform(sound[i : i + piece], i / SAMPLE_RATE) for i in range(0, len(sound), piece)]
    return np.flatnonzero(features_of(backbone, pieces, len(sound) / SAMPLE_RATE).present).tolist()


@pytest.mark.parametrize("name", [pytest.param(CAUSAL[0], marks=pytest.mark.slow), *CAUSAL[1:]])
@pytest.mark.parametrize("piece", [100_000, 160])
def test_live_digital_silence_is_known_when_it_has_lasted_for_a_tenth_of_a_second(name: str, piece: int):
    # The one from 1.46 s on is still quiet sound when the step in which it begins ends.
    absent = set(range(20)) - set(steps_of(name, muted(2.0, (0.5, 0.8), (1.46, 1.75)), piece))
    assert absent == {5, 6, 7, 15, 16}


@pytest.mark.parametrize("name", CAUSAL[1:])
def test_live_a_muted_track_is_absent_once_that_is_known(name: str):
    assert steps_of(name, np.zeros(2 * SAMPLE_RATE, np.float32), 1024) == []
    assert steps_of(name, np.concatenate([np.zeros(800), muted(1.0)]).astype(np.float32), 1024) == [*range(11)]
