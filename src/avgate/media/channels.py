"""Sound of several channels to mono: mixed by their layout, or one of them where they cancel out."""

from __future__ import annotations

from functools import cache

import av
import numpy as np
from av import AudioFrame
from av.audio.resampler import AudioResampler

BLOCK_S = 0.5
"""Seconds of sound that are mixed with the same weights, counted from the start of a run of sound."""

OPPOSITE = -0.8
"""Channels whose correlation is below this cancel out. Wide stereo music reaches -0.3 or so."""

_LOUDER = 4.0
"""By how much a channel's power must exceed that of the channel in use for a change: each one sounds different."""

_LEAST_S = 0.1
"""A last block of less than this many seconds is mixed as the one before it: too little to tell."""

_FADE_S = 0.01


@cache
def mix_weights(layout: str) -> np.ndarray:
    """Weight of each channel in the mono mix, float32 [channels].

    FFmpeg's own weights, scaled so that a voice in the middle keeps its level: in the centre channel where there is
    one, else the same in left and right. FFmpeg guesses the layout of files that state none, and so do these weights.
    A layout that FFmpeg can't mix gives the mean.
    """
    count = av.AudioLayout(layout).nb_channels
    # FFmpeg doesn't tell its weights, but it mixes unit impulses.
    impulses = AudioFrame.from_ndarray(np.eye(count, dtype=np.float32).reshape(1, -1), format="flt", layout=layout)
    impulses.sample_rate = 48_000
    try:
        mixed = AudioResampler(format="flt", layout="mono", rate=48_000).resample(impulses)
    except (av.FFmpegError, ValueError):
        return np.full(count, 1 / count, np.float32)
    weights = np.concatenate([frame.to_ndarray()[0] for frame in mixed])
    # FFmpeg gives the centre channel weight 1, and left and right 0.71 each.
    middle = 1.0 if weights.max() > 0.99 else weights[:2].sum()
    return (weights / middle).astype(np.float32)


class Mixer:
    """Mixes a run of sound without gaps to mono, block by block. The result doesn't depend on the frames' sizes.

    In a block in which the channels cancel out, as where one of two has the wrong sign, the loudest one alone is taken.
    Between blocks of different weights, the weights fade within 10 ms.

    Args:
        layout: FFmpeg's name of the channels' layout.
        rate: samples per second.

    Attributes:
        cancelled_s: seconds of sound in which the channels cancel out.
    """

    def __init__(self, layout: str, rate: int):
        self.cancelled_s = 0.0
        self._mix = mix_weights(layout)
        self._weights: np.ndarray | None = None  # those of the previous block
        self._alone: int | None = None  # the channel that was last used alone
        self._rate, self._block = rate, round(BLOCK_S * rate)
        self._to_float = AudioResampler(format="flt", layout=layout, rate=rate)
        self._held: list[np.ndarray] = []
        self._waiting = 0

    def push(self, frame: AudioFrame) -> list[np.ndarray]:
        """Take the next frame, and return the blocks that it completes, each float32 [m]."""
        for converted in self._to_float.resample(frame):
            samples = converted.to_ndarray().reshape(-1, len(self._mix)).T
            self._held.append(samples)
            self._waiting += samples.shape[1]
        if self._waiting < self._block:
            return []
        held = np.concatenate(self._held, axis=1)
        whole = held.shape[1] // self._block * self._block
        self._held, self._waiting = [held[:, whole:]], held.shape[1] - whole
        return [self._mixed(held[:, at : at + self._block]) for at in range(0, whole, self._block)]

    def close(self) -> list[np.ndarray]:
        """End the run, and return its last block."""
        if not self._waiting:
            return []
        held = np.concatenate(self._held, axis=1)
        self._held, self._waiting = [], 0
        return [self._mixed(held)]

    def _mixed(self, samples: np.ndarray) -> np.ndarray:
        weights = self._mix if self._weights is None else self._weights
        if samples.shape[1] >= _LEAST_S * self._rate:
            weights = self._alone_or_mix(samples)
        if weights is not self._mix:
            self.cancelled_s += samples.shape[1] / self._rate
        mixed = weights @ samples
        if self._weights is not None and not np.array_equal(weights, self._weights):
            fading = min(round(_FADE_S * self._rate), len(mixed))
            new = np.arange(fading, dtype=np.float32) / fading
            mixed[:fading] = new * mixed[:fading] + (1 - new) * (self._weights @ samples[:, :fading])
        self._weights = weights
        return mixed

    def _alone_or_mix(self, samples: np.ndarray) -> np.ndarray:
        """Weights for these samples."""
        if _correlation(samples * self._mix[:, None]) >= OPPOSITE:
            return self._mix
        power = np.mean(np.square(samples, dtype=np.float64), axis=1) * (self._mix > 0)
        loudest = int(np.argmax(power))
        if self._alone is None or power[loudest] > _LOUDER * power[self._alone]:
            self._alone = loudest
        return np.eye(len(power), dtype=np.float32)[self._alone]


def _correlation(samples: np.ndarray) -> float:
    """Correlation of channels [c n], averaged over all pairs by the product of their levels; 0 without sound."""
    power = np.mean(np.square(samples, dtype=np.float64), axis=1)
    alone = power.sum()
    together = np.mean(np.square(samples.sum(axis=0, dtype=np.float64)))
    pairs = np.sqrt(power).sum() ** 2 - alone
    return float((together - alone) / pairs) if pairs > 1e-15 else 0.0
