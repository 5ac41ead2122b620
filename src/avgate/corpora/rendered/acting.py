"""How a person shows valence and arousal in the face: from the path to expression and head motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.corpora.base import Mark
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.paths import presence, slow_noise
from avgate.corpora.rendered.units import SMOOTH_UNITS, Expression

SIGNS = {
    "smile": (1.0, 0.0),
    "lids": (0.0, 0.9),
    "inner_brow": (-0.4, 0.7),
    "outer_brow": (0.0, 0.9),
    "brow_lower": (-0.9, 0.1),
    "cheek": (0.9, 0.0),
    "nose": (-0.6, 0.0),
    "stretch": (0.3, 0.2),
}
"""How each unit answers to shown valence and arousal."""

POSES = ("x", "y", "roll", "yaw", "pitch", "nearness")
"""Head motion: shifts in shares of the frame's side, roll in radians, yaw and pitch as the nose's shift against the
face's outline in shares of the side, nearness as a share of the distance."""

SWAY = np.array([0.012, 0.010, 0.035, 0.018, 0.014, 0.02])
"""Standard deviation of each of POSES at arousal 0."""


@dataclass(frozen=True)
class Temperament:
    """One person's way of showing feelings.

    Attributes:
        gain: float64 [8], expressiveness per sign in SIGNS, above 0.
        rest: float64 [8], resting expression per sign in SIGNS.
        blinks: per second at arousal 0.
    """

    gain: np.ndarray
    rest: np.ndarray
    blinks: float

    @classmethod
    def draw(cls, rng: np.random.Generator, config: RenderConfig) -> Temperament:
        """A person at random."""
        gain = 1 + config.difficulty.gain_spread * rng.standard_normal(len(SIGNS))
        rest = config.difficulty.face_rest * rng.standard_normal(len(SIGNS))
        return cls(np.maximum(gain, 0.2), rest, rng.uniform(0.2, 0.4))


def act(
    rng: np.random.Generator,
    config: RenderConfig,
    person: Temperament,
    path: np.ndarray,
    marks: list[Mark],
    speech: np.ndarray,
) -> tuple[Expression, np.ndarray]:
    """A clip's expressions and head poses.

    Args:
        rng: source of randomness.
        config: strengths and nuisances.
        person: whose face it is.
        path: float64 [n 2], valence and arousal.
        marks: in "contradicting" ones the face shows the opposite of the path.
        speech: float64 [n] in [0, 1], how loud the person speaks.

    Returns:
        Expressions of n frames, and float64 [n 6], the head's motion along POSES.
    """
    n, difficulty = len(path), config.difficulty
    time_s = np.arange(n) / config.fps

    def slow(channels: int) -> np.ndarray:
        return slow_noise(rng, n, channels, config.fps, config.time_constant_s)

    sincerity = 1 - 2 * presence(marks, "contradicting", time_s)
    strength = np.array([difficulty.face_valence, difficulty.face_arousal])
    shown = sincerity[:, None] * path * strength + difficulty.face_shared * slow(2)
    signs = person.gain * (shown @ np.array(list(SIGNS.values())).T) + person.rest
    signs += difficulty.face_each * slow(len(SIGNS))
    unit = dict(zip(SIGNS, signs.T, strict=True))

    jaw = difficulty.speech_jaw * speech + 0.12 * np.maximum(shown[:, 1], 0)
    lids = (0.92 + 0.25 * unit["lids"]) * (1 - _blinks(rng, shown[:, 1], person.blinks, config.fps))
    smooth = np.column_stack([_bounded(unit[name], 1.3) for name in SMOOTH_UNITS])
    expression = Expression(_bounded(unit["smile"], 1.0), jaw, lids, smooth)

    energy = np.exp(0.9 * shown[:, 1])
    sway = slow_noise(rng, n, len(POSES), config.fps, 0.8, smooth_s=0.15) * energy[:, None] + 0.7 * slow(len(POSES))
    return expression, 2 * SWAY * np.tanh(sway / 2)


def _bounded(value: np.ndarray, limit: float) -> np.ndarray:
    """The value, bent smoothly into (-limit, limit)."""
    return limit * np.tanh(value / limit)


def _blinks(rng: np.random.Generator, arousal: np.ndarray, per_second: float, fps: float) -> np.ndarray:
    """How far the lids are closed in each frame, float64 [n] in [0, 1]: blinks of 0.25 s, more at high arousal."""
    closed = np.zeros(len(arousal))
    starts = np.flatnonzero(rng.random(len(arousal)) < per_second * np.exp(0.8 * arousal) / fps)
    shape = np.sin(np.pi * np.linspace(0, 1, max(3, round(0.25 * fps)) + 2)[1:-1]) ** 2
    for start in starts:
        end = min(start + len(shape), len(closed))
        closed[start:end] = np.maximum(closed[start:end], shape[: end - start])
    return closed
