"""Frames and sound in memory are a recording like any other; what doesn't fit together is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.types import SAMPLE_RATE
from avgate.media import InMemory

FRAMES = np.zeros((3, 8, 6, 3), np.uint8)
TIMES = (0.0, 0.04, 0.1)


def heard(sound: np.ndarray, rate: int) -> np.ndarray:
    pieces = list(InMemory(FRAMES, TIMES, sound, rate).sound())
    assert pieces[0].start_s == 0
    return np.concatenate([piece.samples for piece in pieces])


def test_frames_keep_their_own_times():
    recording = InMemory(FRAMES, TIMES)
    assert [frame.time_s for frame in recording.frames()] == list(TIMES)
    assert recording.frame_times().tolist() == list(TIMES)
    assert list(recording.sound()) == []
    assert recording.notes == ["There is no sound."]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_sound_of_any_rate_comes_at_16_khz_on_the_same_clock(rate):
    time_s = np.arange(5 * rate) / rate
    samples = heard(0.5 * np.sin(2 * np.pi * 440 * time_s), rate)
    assert len(samples) == pytest.approx(5 * SAMPLE_RATE, abs=20)
    middle = np.arange(SAMPLE_RATE, 4 * SAMPLE_RATE)
    expected = 0.5 * np.sin(2 * np.pi * 440 * middle / SAMPLE_RATE)
    assert np.corrcoef(samples[middle], expected)[0, 1] > 0.999


def test_stereo_is_mixed_like_a_files():
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    left = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    samples = heard(np.stack([left, 0 * left], 1), SAMPLE_RATE)
    assert samples[100:-100] == pytest.approx(left[100:-100] / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((FRAMES, TIMES[:2]), "3 frames and times of shape (2,)"),
        ((FRAMES[:0], ()), "0 frames"),
        ((FRAMES, (0.0, 0.1, 0.1)), "times don't increase"),
        ((FRAMES, (0.0, np.nan, 0.1)), "times don't increase"),
        ((FRAMES, (0.0, 1e-9, 2e-9)), "times don't increase"),
        ((FRAMES, (-1.0, 0.0, 0.1)), "go from -1 to 0.1 s"),
        ((FRAMES, (1.7e9, 1.7e9 + 1, 1.7e9 + 2)), "go from 1.7e+09"),
        ((FRAMES, ("a", "b", "c")), "don't belong together"),
        ((FRAMES, (True, False, True)), "don't belong together"),
        ((FRAMES, np.arange(3).astype("timedelta64[s]")), "don't belong together"),
        ((FRAMES, ((0.0,), (0.1, 0.2), (0.3,))), "don't belong together"),
        ((iter(FRAMES), TIMES), "frames are a"),
        ((None, TIMES), "frames are a NoneType"),
        ((b"abc", TIMES), "frames are a bytes"),
        ((FRAMES, TIMES, np.zeros(10)), "rate in samples per second, not None"),
        ((FRAMES, TIMES, np.zeros(10), 0), "rate in samples per second, not 0"),
        ((FRAMES, TIMES, np.zeros(10), "16000"), "rate in samples per second, not '16000'"),
        ((FRAMES, TIMES, np.zeros(10), np.nan), "rate in samples per second, not nan"),
        ((FRAMES, TIMES, [[0.0], [0.1, 0.2]], 16_000), "object"),
        ((FRAMES, TIMES, np.zeros(10, np.int16), 16_000), "int16 of shape (10,)"),
        ((FRAMES, TIMES, np.zeros((10, 6)), 16_000), "shape (10, 6)"),
        ((FRAMES, TIMES, np.full(10, np.nan), 16_000), "NaN or Inf"),
        ((FRAMES, TIMES, np.full(10, 20_000.0), 16_000), "reaches 20000"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(given, named):
    with pytest.raises(UsageError) as caught:
        InMemory(*given)
    assert named in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 6), np.uint8), np.zeros((8, 6, 3)), np.zeros((8, 6, 4), np.uint8), None, [[1]]]
)
def test_a_frame_that_is_no_picture_is_refused_by_its_number(frame):
    with pytest.raises(UsageError, match="frame 1 is"):
        list(InMemory([FRAMES[0], frame], TIMES[:2]).frames())
