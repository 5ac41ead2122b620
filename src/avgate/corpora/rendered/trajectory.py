"""Content of a clip: the trajectory of valence and arousal, and stretches of time in which a modality misleads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from avgate.core.types import Modality
from avgate.corpora.rendered.config import RenderConfig

KINDS: dict[Modality, tuple[str, ...]] = {
    "video": ("occluded", "frozen", "contradicting"),
    "audio": ("silent", "drowned", "neutral"),
}
"""Modality -> how it can mislead.

occluded: an object covers the face. frozen: the picture stands still. contradicting: the face shows the opposite of
valence and arousal. silent: the voice can't be heard. drowned: noise or music is louder than the voice. neutral: the
voice shows valence and arousal of 0.
"""


@dataclass(frozen=True)
class Mark:
    """A stretch of time in which one modality is missing or contradicts the labels.

    Attributes:
        start_s: start in seconds.
        end_s: end in seconds.
        modality: the modality that misleads.
        kind: one of KINDS.
    """

    start_s: float
    end_s: float
    modality: Modality
    kind: str


FADE_S = 0.25
"""Seconds in which a mark fades in, and in which it fades out."""


def slow_noise(
    rng: np.random.Generator, n: int, channels: int, rate: float, time_constant_s: float, smooth_s: float = 0.35
) -> np.ndarray:
    """Draw independent Ornstein-Uhlenbeck processes through a second-order low-pass, with mean 0 and variance 1.

    Args:
        rng: source of randomness.
        n: number of steps.
        channels: number of processes.
        rate: steps per second.
        time_constant_s: time constant of the processes, in seconds.
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


def draw_trajectory(rng: np.random.Generator, config: RenderConfig) -> np.ndarray:
    """Draw valence and arousal of every frame, float64 [n 2] in (-1, 1).

    Each clip is standardised, so that a long clip covers most of the plane.
    """
    latent = slow_noise(rng, config.frames, 2, config.fps, config.time_constant_s)
    spread = np.maximum(latent.std(0), 0.5)
    centred = (latent - latent.mean(0)) / spread
    return np.tanh(1.1 * (centred + 0.25 * rng.standard_normal(2)))


def plan_marks(rng: np.random.Generator, config: RenderConfig) -> list[Mark]:
    """Draw marks that together last `marked_share` of the clip, alternately for audio and video, with kinds in turn.

    In a share of them (`both_share`), the other modality misleads, too, in the second half. A clip that is too short
    for a mark has none.
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


def mark_level(marks: list[Mark], kind: str, time_s: np.ndarray) -> np.ndarray:
    """Level of one kind of marks at each time: 1 inside a mark, 0 outside, with a linear fade of FADE_S.

    Args:
        marks: marks of a clip.
        kind: the kind, see KINDS.
        time_s: float64 [n] seconds.

    Returns:
        float64 [n] in [0, 1].
    """
    level = np.zeros(len(time_s))
    for mark in marks:
        if mark.kind == kind:
            inside = np.minimum(time_s - mark.start_s, mark.end_s - time_s)
            level = np.maximum(level, np.clip(inside / FADE_S, 0, 1))
    return level
