"""Camera effects: noise, brightness flicker, and objects that cover the face."""

from __future__ import annotations

import cv2
import numpy as np

from avgate.corpora.rendered.config import RenderConfig


class Camera:
    """Camera noise and flicker.

    Each frame's noise is a random part of one larger field, which is ten times faster than new noise.

    Args:
        rng: source of randomness.
        config: frame size and noise levels.
    """

    SPARE = 64
    """Pixels by which the noise field is wider and higher than a frame."""

    def __init__(self, rng: np.random.Generator, config: RenderConfig):
        self._rng, self._size, self._flicker = rng, config.size, config.difficulty.flicker
        side = config.size + self.SPARE
        grain = rng.standard_normal((side, side, 1)) + 0.4 * rng.standard_normal((side, side, 3))
        self._grain = np.clip(128 + config.difficulty.camera_noise * grain, 0, 255).astype(np.uint8)

    def take(self, image: np.ndarray) -> np.ndarray:
        """One frame, uint8 [s s 3], from the scene uint8 [s s 3]."""
        x, y = self._rng.integers(0, self.SPARE, 2)
        grain = self._grain[y : y + self._size, x : x + self._size]
        return cv2.addWeighted(image, 1 + self._flicker * self._rng.standard_normal(), grain, 1.0, -128.0)


class Occluder:
    """A hand or a board that slides in front of the face, stays there and slides away.

    Args:
        rng: source of randomness.
        size: side of the frame in pixels.
        start_s: time in seconds at which it begins to slide in.
        end_s: time in seconds at which it is gone.
    """

    SLIDE_S = 0.3
    """Seconds that it takes to slide in, and to slide away."""

    def __init__(self, rng: np.random.Generator, size: int, start_s: float, end_s: float):
        self._start_s, self._end_s, self._size = start_s, end_s, size
        self._colour, self._alpha = _hand(rng, size) if rng.random() < 0.5 else _board(rng, size)
        middle = size * (np.array([0.5, 0.58]) + rng.uniform(-0.03, 0.03, 2))
        self._goal = middle - len(self._alpha) / 2
        angle = rng.uniform(0.1, 0.9) * np.pi
        self._away = 1.1 * size * np.array([np.cos(angle), np.sin(angle)])
        self._drift = rng.uniform(0, 2 * np.pi, 2)

    def draw(self, image: np.ndarray, time_s: float) -> None:
        """Paint it into the image uint8 [s s 3], in place."""
        inside = min(time_s - self._start_s, self._end_s - time_s) / self.SLIDE_S
        if inside <= 0:
            return
        still = np.sin(time_s * np.array([2.1, 1.7]) + self._drift) * 0.01 * self._size
        x, y = np.round(self._goal + still + self._away * (1 - min(inside, 1)) ** 2).astype(int)
        height, width = self._alpha.shape[:2]
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, self._size), min(y + height, self._size)
        if left >= right or top >= bottom:
            return
        piece = np.s_[top - y : bottom - y, left - x : right - x]
        below = image[top:bottom, left:right]
        below[:] = cv2.blendLinear(self._colour[piece], below, self._alpha[piece], 1 - self._alpha[piece])


def _hand(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A palm with fingers in a skin colour: RGB uint8 [h w 3] and opacity float32 [h w] in [0, 1]."""
    side = round(0.75 * size)
    alpha = np.zeros((side, side), np.float32)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * side), round(y * side)

    cv2.ellipse(alpha, at(0.5, 0.7), at(0.35, 0.26), 0, 0, 360, 1.0, -1)
    shade = alpha.copy()
    for finger, reach in enumerate((0.2, 0.14, 0.14, 0.2)):
        foot, tip = at(0.24 + 0.173 * finger, 0.66), at(0.2 + 0.2 * finger, reach)
        cv2.line(alpha, foot, tip, 1.0, round(0.185 * side))
        cv2.line(shade, foot, tip, 1.0, round(0.15 * side))
    skin = np.array([205, 160, 135]) * rng.uniform(0.4, 1.1)
    return _shaded(rng, skin, shade, 0.1), cv2.GaussianBlur(alpha, (0, 0), size / 200)


def _board(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A board or book with stripes: RGB uint8 [h w 3] and opacity float32 [h w] in [0, 1]."""
    side = round(0.68 * size)
    alpha = np.zeros((side, side), np.float32)
    corners = cv2.boxPoints(((side / 2, side / 2), (0.84 * side, 0.8 * side), rng.uniform(-12, 12)))
    cv2.fillConvexPoly(alpha, corners.astype(np.int32), 1.0)
    colour = _shaded(rng, rng.uniform(30, 225, 3), alpha, 0.1)
    for row in range(round(0.25 * side), round(0.75 * side), round(0.08 * side)):
        end = round(rng.uniform(0.5, 0.8) * side)
        cv2.line(colour, (round(0.2 * side), row), (end, row), rng.uniform(0, 255, 3).tolist(), 2)
    return colour, cv2.GaussianBlur(alpha, (0, 0), size / 250)


def _shaded(rng: np.random.Generator, colour: np.ndarray, body: np.ndarray, depth: float) -> np.ndarray:
    """A rough surface of one colour, uint8 [h w 3]; darker outside `body` float [h w], rougher with `depth`."""
    side = len(body)
    coarse = cv2.resize(rng.standard_normal((5, 5)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    edge = cv2.GaussianBlur(body, (0, 0), side / 30)
    shade = (0.5 + 0.5 * edge) * (1 + depth * coarse) + 0.03 * rng.standard_normal((side, side))
    return np.clip(shade[..., None] * colour, 0, 255).astype(np.uint8)
