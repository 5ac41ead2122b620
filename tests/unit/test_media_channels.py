from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from av import AudioFrame
from av.audio.resampler import AudioResampler

from avgate.core.errors import MediaError
from avgate.core.types import SAMPLE_RATE
from avgate.media import InMemory, Media
from avgate.media.channels import Mixer, mix_weights
from tests.clips import greys, make_clip, tone
from tests.recordings import write_sound
from tests.sounds import noise, speech

CANCELS = "The channels of the sound cancel each other out"


def mixed(path: Path, channels: np.ndarray, **options) -> tuple[np.ndarray, list[str]]:
    """What is heard of a clip with these channels [c n] at 16 kHz, and the notes."""
    given = {"sound_codec": "pcm_s16le", "sound_rate": SAMPLE_RATE, **options}
    media = Media(make_clip(path, greys(5), sound=[(0.0, channels)], **given))
    heard = np.concatenate([piece.samples for piece in media.sound()])
    return heard, media.notes


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_a_voice_in_the_middle_of_stereo_keeps_its_level(tmp_path: Path, codec: str):
    loud = tone(0.2, SAMPLE_RATE, 500.0, level=0.99)
    heard, notes = mixed(tmp_path / "a.mkv", np.stack([loud, loud]), sound_codec=codec)
    np.testing.assert_allclose(heard, loud, atol=1e-3)
    assert notes == []


@pytest.mark.parametrize("seconds", [1, 20], ids=("when all is read", "in the middle"))
def test_more_channels_than_can_be_mixed_are_an_error_that_says_so(tmp_path: Path, seconds: int):
    path = write_sound(tmp_path / "sound.aiff", tone(float(seconds), SAMPLE_RATE, 300.0))
    damaged = bytearray(path.read_bytes())
    at = damaged.index(b"COMM") + 8  # the number of channels, in AIFF
    damaged[at : at + 2] = (257).to_bytes(2, "big")
    path.write_bytes(damaged)
    with pytest.raises(MediaError, match="sound can't be mixed to mono") as error:
        list(Media(path).sound())
    assert "ffmpeg -ac 1" in error.value.hint


def framed(samples: np.ndarray, rate: int = SAMPLE_RATE) -> AudioFrame:
    """Stereo samples [2 n] as a decoded frame."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate
    return frame


@pytest.mark.parametrize(
    "kind", ["u8", "s16", "s32", "s64", "flt", "dbl", "u8p", "s16p", "s32p", "s64p", "fltp", "dblp"]
)
def test_samples_of_every_format_are_mixed_alike(kind: str):
    given = np.stack([tone(0.1, 48_000), 0.3 * tone(0.1, 48_000, 300.0)])
    (stored,) = AudioResampler(format=kind, layout="stereo", rate=48_000).resample(framed(given, 48_000))
    mixer = Mixer("stereo", 48_000)
    (block,) = mixer.push(stored) + mixer.close()
    np.testing.assert_allclose(block, given.mean(axis=0), atol=0.01 if kind.startswith("u8") else 1e-4)


def test_one_channel_of_two_counts_half(tmp_path: Path):
    loud = tone(0.2, SAMPLE_RATE, 500.0, level=0.99)
    heard, _ = mixed(tmp_path / "a.mkv", np.stack([loud, 0 * loud]))
    np.testing.assert_allclose(heard, loud / 2, atol=1e-3)


@pytest.mark.parametrize(("layout", "middle", "bass"), [("5.1", 2, 3), ("5.1(side)", 2, 3), ("7.1", 2, 3)])
def test_the_centre_channel_of_surround_sound_keeps_its_level(tmp_path: Path, layout: str, middle: int, bass: int):
    count = int(layout[0]) + 1
    channels = np.zeros((count, 9600))
    channels[middle] = tone(0.2, 48_000, 500.0)
    channels[bass] = tone(0.2, 48_000, 60.0)
    path = tmp_path / "a.mkv"
    heard, _ = mixed(path, channels, layout=layout, sound_rate=48_000)
    np.testing.assert_allclose(heard[80:-80], tone(0.2, SAMPLE_RATE, 500.0)[80:-80], atol=2e-3)


def test_surround_sound_stays_in_range(tmp_path: Path):
    loud = tone(0.2, 48_000, 500.0, level=1.0)
    heard, _ = mixed(tmp_path / "a.mkv", loud, layout="5.1", sound_rate=48_000)
    assert np.abs(heard).max() == pytest.approx(1.0, abs=0.01)


def test_weights_are_those_of_ffmpeg_but_for_their_scale():
    side = np.sqrt(0.5)
    np.testing.assert_allclose(mix_weights("stereo"), [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(mix_weights("quad"), [0.5, 0.5, side / 2, side / 2], atol=1e-6)
    np.testing.assert_allclose(mix_weights("5.1"), [side, side, 1, 0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(mix_weights("6 channels"), mix_weights("5.1"))  # as of a file that states no layout
    np.testing.assert_allclose(mix_weights("binaural"), [0.5, 0.5], atol=1e-6)  # FFmpeg refuses it


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_of_channels_that_cancel_out_the_louder_one_is_heard_and_told(tmp_path: Path, codec: str, gain: float):
    voice = speech(3.0) + noise(3.0, 1e-3)
    path = tmp_path / "a.mkv"
    heard, notes = mixed(path, np.stack([-gain * voice, voice]), sound_codec=codec)
    delay = np.argmax(np.abs(np.correlate(heard, voice[8000:24_000]))) - 8000
    likeness = np.corrcoef(heard[8000 + delay : 40_000 + delay], voice[8000:40_000])[0, 1]
    assert abs(likeness) > 0.95  # either of two equally loud ones
    assert likeness > 0 or gain == 1
    assert np.std(heard) == pytest.approx(np.std(voice), rel=0.1)
    assert [note for note in notes if note.startswith(CANCELS)]


def test_only_the_stretch_that_cancels_out_is_taken_from_one_channel(tmp_path: Path):
    voice = tone(4.0, SAMPLE_RATE, 100.0)
    sign = np.where(np.arange(len(voice)) < 2 * SAMPLE_RATE, 1, -1)
    heard, notes = mixed(tmp_path / "a.mkv", np.stack([voice, sign * voice]))
    fade = slice(2 * SAMPLE_RATE, 2 * SAMPLE_RATE + 160)
    np.testing.assert_allclose(np.delete(heard, fade), np.delete(voice, fade), atol=2e-3)
    assert f"{CANCELS}, as if one had the wrong sign: in 2.0 s, the loudest one alone is used." in notes


def test_wide_stereo_is_mixed(tmp_path: Path):
    left, right = noise(2.0, 0.1, 1), noise(2.0, 0.1, 2)
    channels = np.stack([left - 0.3 * right, right - 0.3 * left])  # correlation -0.55
    heard, notes = mixed(tmp_path / "a.mkv", channels)
    np.testing.assert_allclose(heard, channels.mean(0), atol=1e-3)
    assert notes == []


def test_blocks_dont_depend_on_the_sizes_of_frames():
    voice = speech(3.0)
    channels = np.stack([voice, np.where(np.arange(len(voice)) < 20_000, 0.5, -1) * voice]).astype(np.float32)

    def run(size: int) -> np.ndarray:
        mixer = Mixer("stereo", SAMPLE_RATE)
        blocks = [b for at in range(0, len(voice), size) for b in mixer.push(framed(channels[:, at : at + size]))]
        return np.concatenate(blocks + mixer.close())

    np.testing.assert_array_equal(run(441), run(len(voice)))


def test_stereo_in_memory_is_treated_as_in_files(tmp_path: Path):
    voice = np.clip(speech(2.0), -1, 1)
    channels = np.stack([voice, -voice])
    heard, _ = mixed(tmp_path / "a.mkv", channels)
    recording = InMemory(greys(5), np.arange(5) / 25, channels.T, SAMPLE_RATE)
    (piece,) = recording.sound()
    np.testing.assert_allclose(piece.samples, heard, atol=1e-3)
    assert any(note.startswith(CANCELS) for note in recording.notes)


def test_the_voice_of_a_real_clip_with_an_inverted_channel_is_heard(cases_dir: Path):
    media = Media(cases_dir / "media" / "right_channel_inverted.mov")
    heard = np.concatenate([piece.samples for piece in media.sound()])
    assert np.std(heard) > 0.02
    assert any(note.startswith(CANCELS) for note in media.notes)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -1e30])
def test_samples_that_no_recording_has_count_as_silence_and_are_told(tmp_path: Path, layout: str, broken: float):
    clean = tone(1.0, SAMPLE_RATE, 500.0)
    clean[8000:8100] = 0
    spoilt = clean.copy()
    spoilt[8000:8100] = broken
    channels = {"mono": 1, "stereo": 2}[layout]
    given = {"sound_codec": "pcm_f32le", "layout": layout}
    heard, notes = mixed(tmp_path / "a.mkv", np.tile(spoilt, (channels, 1)), **given)
    np.testing.assert_array_equal(heard, mixed(tmp_path / "b.mkv", np.tile(clean, (channels, 1)), **given)[0])
    what = f"{100 * channels} samples of the sound are NaN, Inf or over 100 times full scale, and count as silence."
    assert notes == [what]
