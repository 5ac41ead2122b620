"""The voice detector of avgate 0.1.0, by pitch and level; kept for the comparison that tools/vad.py makes."""

from __future__ import annotations

import numpy as np

from avgate.core.types import SAMPLE_RATE

HOP = SAMPLE_RATE // 100
"""Samples from one decision to the next (10 ms)."""

_WINDOW = 4 * HOP
"""40 ms: two periods of the lowest voice and more."""

_BAND_HZ = (60, 3000)
"""Where voiced sound has its energy; leaves out rumble and most of what hisses."""

_PITCH_HZ = (60, 500)

_PERIODIC, _CLEAR = 0.5, 0.85
"""Normalised autocorrelation of a voiced frame, and the one that a voiced stretch has to reach somewhere near it."""

_RISE_DB, _SILENCE_DB = 10, -80
"""How far voice stands above the noise floor, and the level (dB re full scale) below which nothing counts."""

_FLOOR_S, _FLOOR_PERCENTILE = 1.5, 10
_CLEAR_S, _PAUSE_S = 0.15, 0.3
_BLOCK = 256


def voice_activity(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decide for every 10 ms whether a voice is heard.

    A frame is voiced when it is periodic at 60 to 500 Hz (autocorrelation divided by that of the window, Boersma
    1993), with a clearly periodic one near it, and stands 10 dB above the noise floor, the 10th percentile of the level
    within 1.5 s: speech dips that often, at stops and pauses, while machines and most music hold their level. Voiced
    stretches of under 30 ms are dropped; pauses of up to 0.3 s between voiced frames belong to the speech (stops and
    unvoiced consonants).

    What it can't hear: whispering, a tone held for 3 s and more, speech in noise that is nearly as loud. Music with
    the dynamics of speech counts as voice.

    Args:
        samples: float32 [n] at 16 kHz.

    Returns:
        The decisions' centres in samples from the first one, int64 [m], and float32 [m], 1 with voice and 0 without.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d, percentile_filter

    level, periodicity = _measure(samples)
    centre = np.arange(len(level)) * HOP + HOP // 2
    if len(level) == 0:
        return centre, np.zeros(0, np.float32)
    floor = percentile_filter(level, _FLOOR_PERCENTILE, size=2 * _frames(_FLOOR_S) + 1, mode="reflect")
    voiced = (periodicity >= _PERIODIC) & (level >= np.maximum(floor + _RISE_DB, _SILENCE_DB))
    clear = (voiced & (periodicity >= _CLEAR)).astype(np.uint8)
    near_clear = maximum_filter1d(clear, 2 * _frames(_CLEAR_S) + 1, mode="constant")
    voiced = voiced.astype(np.uint8) & near_clear
    lasting = maximum_filter1d(minimum_filter1d(voiced, 3, mode="constant"), 3, mode="constant")
    pause = _frames(_PAUSE_S) + 1
    joined = minimum_filter1d(maximum_filter1d(lasting, pause, mode="constant"), pause, mode="constant", cval=1)
    return centre, joined.astype(np.float32)


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / HOP)


def _measure(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level in dB re full scale and highest autocorrelation peak at a voice's periods; float32 [m] each."""
    from scipy import fft

    n = (len(samples) + HOP // 2 - 1) // HOP  # frames whose centre lies within the sound; zeros stand outside
    level, periodicity = np.empty(n, np.float32), np.empty(n, np.float32)
    padded = np.pad(np.asarray(samples, np.float32), ((_WINDOW - HOP) // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:n]
    size = fft.next_fast_len(_WINDOW + SAMPLE_RATE // _PITCH_HZ[0] + 2, real=True)
    hz = fft.rfftfreq(size, 1 / SAMPLE_RATE)
    outside = (hz < _BAND_HZ[0]) | (hz > _BAND_HZ[1])
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    window_acf = fft.irfft(np.abs(fft.rfft(window, size)) ** 2, size)
    lags = slice(SAMPLE_RATE // _PITCH_HZ[1] - 1, SAMPLE_RATE // _PITCH_HZ[0] + 2)
    for first in range(0, n, _BLOCK):
        power = np.abs(fft.rfft(frames[first : first + _BLOCK] * window, size)) ** 2
        power[:, outside] = 0
        acf = fft.irfft(power, size)
        energy = np.maximum(acf[:, 0], 1e-12)
        level[first : first + _BLOCK] = 10 * np.log10(energy / np.sum(window**2))
        shape = acf[:, lags] / energy[:, None] / (window_acf[lags] / window_acf[0])
        inner = shape[:, 1:-1]
        peak = (inner >= shape[:, :-2]) & (inner >= shape[:, 2:])
        periodicity[first : first + _BLOCK] = np.where(peak, inner, 0).max(axis=1)
    return level, periodicity
