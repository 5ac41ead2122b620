"""What happens in a clip: the path of valence and arousal, slow nuisances, and marks where a modality misleads."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from avgate.core.types import Modality
from avgate.corpora.base import Mark
from avgate.corpora.rendered.config import RenderConfig

KINDS: dict[Modality, tuple[str, ...]] = {
    "video": ("occluded", "frozen", "contradicting"),
    "audio": ("silent", "drowned", "neutral"),
}
"""What can be wrong with each modality.

occluded: something covers the face. frozen: the picture stands still. contradicting: the face shows the opposite of the
path. silent: the voice isn't heard. drowned: noise or music is louder than it. neutral: the voice speaks as at (0, 0).
"""

FADE_S = 0.25
"""How long a stretch takes to set in and to end, in seconds."""


def slow_noise(
    rng: np.random.Generator, n: int, channels: int, rate: float, time_constant_s: float, smooth_s: float = 0.35
) -> np.ndarray:
    """Independent Ornstein-Uhlenbeck processes through a second-order low-pass, of mean 0 and variance 1.

    Args:
        rng: source of randomness.
        n: how many steps.
        channels: how many processes.
        rate: steps per second.
        time_constant_s: how long a process remembers, in seconds.
        smooth_s: time constant of both poles of the low-pass, in seconds.

    Returns:
        float64 [n channels].
    """
    poles = np.exp([-1 / (rate * time_constant_s), -1 / (rate * smooth_s), -1 / (rate * smooth_s)])
    denominator = np.poly(poles)
    settle = round(8 * time_constant_s * rate)
    response = lfilter([1.0], denominator, np.eye(1, settle)[0])
    white = rng.standard_normal((settle + n, channels))
    return lfilter([1.0], denominator, white, axis=0)[settle:] / np.sqrt((response**2).sum())


def draw_path(rng: np.random.Generator, config: RenderConfig) -> np.ndarray:
    """Valence and arousal at every frame, float64 [n 2] in (-1, 1); a clip of many time constants spans the plane."""
    latent = slow_noise(rng, config.frames, 2, config.fps, config.time_constant_s)
    spread = np.maximum(latent.std(0), 0.5)
    centred = (latent - latent.mean(0)) / spread
    return np.tanh(1.1 * (centred + 0.25 * rng.standard_normal(2)))


def plan_marks(rng: np.random.Generator, config: RenderConfig) -> list[Mark]:
    """Stretches that together last `marked_share` of the clip: audio and video in turn, their kinds in turn.

    In a share of them (`both_share`) the other modality misleads as well, for the second half. A clip that is too short
    for a stretch has none.
    """
    difficulty = config.difficulty
    total = difficulty.marked_share * config.seconds
    count = round(2 * total / (difficulty.stretch_min_s + difficulty.stretch_max_s))
    if count == 0 and total >= difficulty.stretch_min_s:
        count = 1
    if count == 0:
        return []
    mean = total / count
    room = min(mean - difficulty.stretch_min_s, difficulty.stretch_max_s - mean)
    wobble = rng.uniform(-1, 1, count) * max(room, 0.0)
    lengths = mean + (wobble - wobble.mean()) / 2
    gaps = rng.dirichlet(np.full(count + 1, 3.0)) * (config.seconds - total)
    modalities: list[Modality] = ["audio", "video"] if rng.random() < 0.5 else ["video", "audio"]
    order = {modality: [str(kind) for kind in rng.permutation(kinds)] for modality, kinds in KINDS.items()}
    marks = []
    start = 0.0
    for i, (gap, length) in enumerate(zip(gaps, lengths, strict=False)):
        modality, other = modalities[i % 2], modalities[1 - i % 2]
        start += gap
        end = start + length
        turn = i // 2 % len(order[modality])
        marks.append(Mark(start, end, modality, order[modality][turn]))
        if rng.random() < difficulty.both_share:
            marks.append(Mark((start + end) / 2, end, other, order[other][turn]))
        start = end
    return marks


def presence(marks: list[Mark], kind: str, time_s: np.ndarray) -> np.ndarray:
    """How far a kind of stretch has set in at each time, float64 [n] in [0, 1]; it fades over FADE_S."""
    level = np.zeros(len(time_s))
    for mark in marks:
        if mark.kind == kind:
            inside = np.minimum(time_s - mark.start_s, mark.end_s - time_s)
            level = np.maximum(level, np.clip(inside / FADE_S, 0, 1))
    return level
