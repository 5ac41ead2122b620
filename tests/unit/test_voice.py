from __future__ import annotations

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE
from avgate.features.audio.vad import CONTEXT_S, HOP, voice_activity
from tests.sounds import babble, noise, vowel


def active(sound: np.ndarray) -> np.ndarray:
    return voice_activity(sound)[1]


def with_pauses(tone: np.ndarray) -> np.ndarray:
    """On for 0.5 s, off for 0.7 s."""
    return tone * (np.arange(len(tone)) / SAMPLE_RATE % 1.2 < 0.5)


@pytest.mark.parametrize("f0", [70, 120, 220, 450])
def test_a_voice_is_heard_while_it_sounds_and_not_in_its_pauses(f0):
    sound = with_pauses(vowel(4.8, f0)) + noise(4.8, 1e-3)
    centre, heard = voice_activity(sound)
    sounding = centre / SAMPLE_RATE % 1.2 < 0.5
    assert heard[sounding].mean() > 0.95
    assert heard[~sounding].mean() < 0.1


def test_a_voice_is_heard_whatever_the_recording_level():
    sound = with_pauses(vowel(3.6)) + noise(3.6, 1e-3)
    loud = active(sound)
    np.testing.assert_array_equal(active(sound * np.float32(0.01)), loud)


def test_short_pauses_belong_to_the_speech():
    assert active(babble(5.0))[:-50].mean() > 0.95


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(3 * SAMPLE_RATE, np.float32),
        noise(3.0, 0.1),
        with_pauses(noise(3.6, 0.1)),
        vowel(3.0, 100.0, 0.01) + noise(3.0, 1e-4),
        with_pauses(vowel(3.6, level=1e-6)),
    ],
    ids=["silence", "noise", "bursts of noise", "hum", "rounding"],
)
def test_what_is_no_voice_isnt_heard(sound):
    assert active(sound).mean() < 0.01


def test_decisions_depend_on_two_seconds_of_context_only():
    sound = np.concatenate([babble(8.0), noise(3.0, 0.02, 1), vowel(2.0, 90), babble(8.0, 2)])
    whole = active(sound)
    for cut_s in (3, 8, 12):
        first, last = (cut_s - CONTEXT_S) * SAMPLE_RATE, (cut_s + 1 + CONTEXT_S) * SAMPLE_RATE
        part = active(sound[max(0, first) : last])
        skip = (cut_s * SAMPLE_RATE - max(0, first)) // HOP
        np.testing.assert_array_equal(part[skip : skip + 100], whole[cut_s * 100 : cut_s * 100 + 100])


@pytest.mark.parametrize("n", [0, 1, 80, 81, 400])
def test_every_centre_lies_within_sound_of_any_length(n):
    centre, heard = voice_activity(np.zeros(n, np.float32))
    assert len(centre) == len(heard) == (n + HOP // 2 - 1) // HOP
    assert (centre < n).all()


SPEECH_S = {
    "grid_bbaf2n.mpg": [(0.97, 2.1)],
    "grid_lbax4n.mpg": [(0.45, 1.97)],
    "grid_lrwp9a.mpg": [(0.58, 2.25)],
    "grid_pwij3p.mpg": [(0.5, 2.12)],
    "grid_swiz3n.mpg": [(0.62, 2.77)],
    "obama_speech.mp4": [(1.02, 1.6), (2.02, 3.65), (4.2, 5.28), (5.65, 7.38), (8.0, 8.72)],
    "face_noface.mov": [],
}
"""Where people speak in the real clips, read off their level and pitch by eye; the last one is music."""


@pytest.mark.parametrize("clip", SPEECH_S)
def test_speech_is_heard_and_music_and_pauses_arent_in_real_clips(clips_dir, clip):
    from avgate.media import Media

    for piece in Media(clips_dir / clip).sound():
        centre, heard = voice_activity(piece.samples)
        time_s = piece.start_s + centre / SAMPLE_RATE
        speech = np.zeros(len(time_s), bool)
        for start_s, end_s in SPEECH_S[clip]:
            speech |= (time_s >= start_s) & (time_s < end_s)
        assert not speech.any() or heard[speech].mean() > 0.8
        assert heard[~speech].mean() < 0.1
