from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import ModelFileError
from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.features.audio import vad
from avgate.features.audio.chunks import Chunks
from avgate.features.audio.vad import THRESHOLD, VoiceActivity
from tests.sounds import noise, speech, vowel


def heard(*pieces: Waveform, chunk_s: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Time in samples and probability of all that lies in the cores of the chunks."""
    chunks, activity = Chunks(chunk_s, 1), VoiceActivity()
    times, probabilities = [], []
    for chunk in [chunk for piece in pieces for chunk in chunks.push(piece)] + chunks.close():
        centre, probability = activity(chunk)
        inside = (chunk.start + centre >= chunk.core_start) & (chunk.start + centre < chunk.core_end)
        times.append((chunk.start + centre)[inside])
        probabilities.append(probability[inside])
    return np.concatenate(times), np.concatenate(probabilities)


def active(sound: np.ndarray) -> np.ndarray:
    return heard(Waveform(sound, 0.0))[1] >= THRESHOLD


def test_speech_is_heard_where_it_is():
    sound = noise(8.0, 1e-3)
    sound[3 * SAMPLE_RATE : 5 * SAMPLE_RATE] += speech(2.0)
    time, probability = heard(Waveform(sound, 0.0))
    speaking = (time >= 3.7 * SAMPLE_RATE) & (time < 4.8 * SAMPLE_RATE)
    silent = (time < 2.9 * SAMPLE_RATE) | (time >= 5.4 * SAMPLE_RATE)
    assert (probability >= THRESHOLD)[speaking].mean() > 0.9
    assert not (probability >= THRESHOLD)[silent].any()


def test_speech_is_heard_in_noise_of_half_its_level():
    sound = speech(6.0)
    assert active(sound + noise(6.0, sound.std() / 2))[70:].mean() > 0.8


@pytest.mark.parametrize(
    "sound",
    [noise(3.0, 5e-5), noise(3.0, 0.1), vowel(3.0, 100.0, 0.01) + noise(3.0, 1e-4)],
    ids=["faint noise", "noise", "hum"],
)
def test_what_is_no_voice_isnt_heard(sound):
    assert active(sound).mean() < 0.01


@pytest.mark.parametrize("chunk_s", [1, 3, 7])
def test_borders_of_chunks_dont_show(chunk_s):
    sound = speech(10.0) + noise(10.0, 0.01)
    whole, cut = heard(Waveform(sound, 0.4)), heard(Waveform(sound, 0.4), chunk_s=chunk_s)
    np.testing.assert_array_equal(cut[0], whole[0])
    np.testing.assert_allclose(cut[1], whole[1], atol=1e-5)


def test_after_a_gap_all_begins_anew():
    first, second = Waveform(speech(2.3), 0.0), Waveform(speech(3.0, 1), 4.0)
    both = heard(first, second)
    np.testing.assert_array_equal(both[0], np.concatenate([heard(first)[0], heard(second)[0]]))
    np.testing.assert_array_equal(both[1], np.concatenate([heard(first)[1], heard(second)[1]]))


@pytest.mark.parametrize("n", [1, 64, 65, 512, 513, SAMPLE_RATE, SAMPLE_RATE + 1])
def test_sound_of_any_length_is_covered_every_8_milliseconds(n):
    time, _ = heard(Waveform(np.full(n, 0.1, np.float32), 0.0), chunk_s=1)
    assert time.tolist() == list(range(64, n, 128))


def test_the_packages_own_code_which_sets_torch_to_one_thread_isnt_imported():
    active(noise(1.0, 0.1))
    assert "silero_vad" not in sys.modules


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="silero-vad"):
        vad._network.__wrapped__()


def test_speech_is_heard_and_music_and_pauses_arent_in_real_clips(clips_dir, monkeypatch):
    from avgate.media import Media

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    from vad import MUSIC, SPEECH_S

    for clip, spans in {**SPEECH_S, MUSIC: []}.items():
        time, probability = heard(*Media(clips_dir / clip).sound())
        time_s = time / SAMPLE_RATE
        speaking = np.zeros(len(time_s), bool)
        for start_s, end_s in spans:
            speaking |= (time_s >= start_s) & (time_s < end_s)
        voice = probability >= THRESHOLD
        assert not speaking.any() or voice[speaking].mean() > 0.85, clip
        assert voice[~speaking].mean() < 0.2, clip


def test_onnxruntime_is_loaded_without_the_database_of_its_telemetry(tmp_path):
    code = "from avgate.features.audio import vad; vad._network()"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"HOME": str(tmp_path)}, timeout=60)
    assert list(tmp_path.iterdir()) == []
