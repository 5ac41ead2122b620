"""Synthetic sound for tests: speech without words, and what a pitch tracker takes for a voice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.voice import Speaker, voice


def vowel(seconds: float, f0: float = 120.0, level: float = 0.1) -> np.ndarray:
    """Twenty harmonics that fall off by 6 dB an octave; float32 [n]."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 21))).astype(np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """White noise with that standard deviation; float32 [n]."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Vowels of 0.3 s at changing pitch with pauses of 0.2 s over quiet noise; float32 [n]."""
    rng = np.random.default_rng(seed)
    out = noise(seconds, 1e-3, seed)
    for start in range(0, len(out) - SAMPLE_RATE * 3 // 10, SAMPLE_RATE // 2):
        syllable = vowel(0.3, rng.uniform(90, 260), rng.uniform(0.02, 0.2))
        out[start : start + len(syllable)] += syllable
    return out


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """A rendered person's speech, with consonants, melody and pauses, the first of them of 0.5 s; float32 [n]."""
    config = RenderConfig()
    speaker = Speaker.draw(np.random.default_rng(seed), config)
    path = np.zeros((round(seconds * config.fps), 2))
    return voice(np.random.default_rng(seed), config, speaker, path, [])[0].samples


def pieces(samples: np.ndarray, sizes: list[int], start_s: float = 0.0) -> Iterator[Waveform]:
    """The sound in pieces of the given sizes, which are taken in turn."""
    at = turn = 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        yield Waveform(samples[at : at + size], start_s + at / SAMPLE_RATE)
        at, turn = at + size, turn + 1
