"""Measure by how much `chunk_s` of egemaps changes its features, and print a table.

python benchmarks/chunks.py
"""

from __future__ import annotations

import numpy as np

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.voice import Speaker, voice
from avgate.features.audio.egemaps import COLUMNS, Egemaps, EgemapsConfig
from avgate.features.steps import features_of

SECONDS = 120
NOTICEABLE = 0.1
"""Standard deviations of a column over the sound."""


def main() -> None:
    """Compare short chunks with one chunk for the whole sound."""
    print("| sound | chunk_s | steps that move by over 0.1 deviations | columns that move |")
    print("|---|---|---|---|")
    for name, sound in (("speech", speech()), ("one unbroken vowel", vowel())):
        whole = features(sound, SECONDS)
        deviation = whole.std(axis=0)
        for chunk_s in (30, 10):
            moved = np.abs(features(sound, chunk_s) - whole) > NOTICEABLE * deviation
            columns = [column for column, some in zip(COLUMNS, moved.any(axis=0), strict=True) if some]
            print(f"| {name} | {chunk_s} | {moved.any(axis=1).mean():.0%} | {', '.join(columns) or 'none'} |")


def features(sound: np.ndarray, chunk_s: int) -> np.ndarray:
    """Features at 10 steps a second, float32 [steps 51]."""
    backbone = Egemaps(EgemapsConfig(10.0, chunk_s=chunk_s))
    return features_of(backbone, [Waveform(sound)], len(sound) / SAMPLE_RATE).values


def speech() -> np.ndarray:
    """A rendered person's speech, float32 [n]."""
    config = RenderConfig()
    random = np.random.default_rng(0)
    return voice(random, config, Speaker.draw(random, config), np.zeros((SECONDS * config.fps, 2)), [])[0].samples


def vowel() -> np.ndarray:
    """A vowel whose pitch glides and whose cycles differ by about 1 %, over quiet noise; float32 [n]."""
    random = np.random.default_rng(0)
    time_s = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    knots = np.arange(0, SECONDS + 1, 0.01)
    jitter = 0.01 * np.interp(time_s, knots, random.standard_normal(len(knots)))
    f0 = 140 * 2 ** (0.4 * np.sin(2 * np.pi * 0.23 * time_s) + jitter)
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 21))
    return (0.08 * harmonics + 1e-3 * random.standard_normal(len(time_s))).astype(np.float32)


if __name__ == "__main__":
    main()
