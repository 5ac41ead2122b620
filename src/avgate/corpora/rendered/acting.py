"""Facial behaviour: a trajectory of valence and arousal to expressions and head motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.trajectory import Mark, mark_level, slow_noise
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
"""Unit of expression -> its change per unit of shown valence and of shown arousal."""

POSES = ("x", "y", "roll", "yaw", "pitch", "nearness")
"""Degrees of freedom of the head. x and y: shift as a share of the frame's side. roll: radians. yaw and pitch: shift of
the nose against the face's outline, as a share of the side. nearness: share of the distance to the camera."""

SWAY = np.array([0.012, 0.010, 0.035, 0.018, 0.014, 0.02])
"""Standard deviation of each of POSES at arousal 0."""


@dataclass(frozen=True)
class Temperament:
    """How one person shows valence and arousal in the face.

    Attributes:
        gain: float64 [8], expressiveness of each unit in SIGNS, above 0.
        rest: float64 [8], value of each unit in SIGNS at rest.
        blinks: blinks per second at arousal 0.
    """

    gain: np.ndarray
    rest: np.ndarray
    blinks: float

    @classmethod
    def draw(cls, rng: np.random.Generator, config: RenderConfig) -> Temperament:
        """Draw a person at random."""
        gain = 1 + config.difficulty.gain_spread * rng.standard_normal(len(SIGNS))
        rest = config.difficulty.face_rest * rng.standard_normal(len(SIGNS))
        return cls(np.maximum(gain, 0.2), rest, rng.uniform(0.2, 0.4))


def act(
    rng: np.random.Generator,
    config: RenderConfig,
    person: Temperament,
    trajectory: np.ndarray,
    marks: list[Mark],
    speech: np.ndarray,
) -> tuple[Expression, np.ndarray]:
    """Expressions and head poses of a clip.

    Args:
        rng: source of randomness.
        config: strengths and nuisances.
        person: how the person shows feelings.
        trajectory: float64 [n 2] in [-1, 1], valence and arousal of each frame.
        marks: in those of kind "contradicting", the face shows the opposite of the trajectory.
        speech: float64 [n] in [0, 1], loudness of the speech.

    Returns:
        Expressions of n frames, and head poses float64 [n 6] in the order of POSES.
    """
    n, difficulty = len(trajectory), config.difficulty
    time_s = np.arange(n) / config.fps

    def slow(channels: int) -> np.ndarray:
        return slow_noise(rng, n, channels, config.fps, config.time_constant_s)

    sincerity = 1 - 2 * mark_level(marks, "contradicting", time_s)
    strength = np.array([difficulty.face_valence, difficulty.face_arousal])
    shown = sincerity[:, None] * trajectory * strength + difficulty.face_shared * slow(2)
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
    """The value, smoothly limited to (-limit, limit)."""
    return limit * np.tanh(value / limit)


def _blinks(rng: np.random.Generator, arousal: np.ndarray, per_second: float, fps: float) -> np.ndarray:
    """Lid closure of each frame, float64 [n] in [0, 1]: blinks of 0.25 s, more often at high arousal."""
    closed = np.zeros(len(arousal))
    starts = np.flatnonzero(rng.random(len(arousal)) < per_second * np.exp(0.8 * arousal) / fps)
    shape = np.sin(np.pi * np.linspace(0, 1, max(3, round(0.25 * fps)) + 2)[1:-1]) ** 2
    for start in starts:
        end = min(start + len(shape), len(closed))
        closed[start:end] = np.maximum(closed[start:end], shape[: end - start])
    return closed
