"""Appearance of a rendered person: colours, light, proportions, position in the frame, background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avgate.corpora.rendered.portrait import FACE_CENTRE, FACE_SHARE, Portrait


@dataclass(frozen=True)
class Look:
    """Appearance of one person, with a background.

    Attributes:
        texture: RGB uint8 [s s 3], the portrait in this person's colours.
        place: float32 [s s 2], for every pixel of the frame, x and y of the texture pixel that it shows at rest.
        mirrored: whether left and right are swapped.
    """

    texture: np.ndarray
    place: np.ndarray
    mirrored: bool


def draw_look(rng: np.random.Generator, portrait: Portrait) -> Look:
    """Draw a person at random."""
    mirrored = bool(rng.random() < 0.5)
    return Look(_texture(rng, portrait), _place(rng, portrait, mirrored), mirrored)


def _texture(rng: np.random.Generator, portrait: Portrait) -> np.ndarray:
    """The portrait, uint8 [s s 3], with random colours of skin and hair, light, background and sharpness."""
    size = portrait.size
    image = portrait.image.astype(np.float32) / 255
    skin = _skin(portrait)
    tone = np.array([1.0, 1.0, 1.0]) + rng.uniform(-1, 1) * np.array([0.02, -0.03, -0.1]) + rng.uniform(-0.04, 0.04, 3)
    face = image ** rng.uniform(0.85, 1.9) * tone
    hair_colour = np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.2, 0.2) * np.array([1.0, -0.1, -0.9])
    hair = image ** rng.uniform(0.8, 1.4) * rng.uniform(0.35, 1.1) * hair_colour
    person = skin * face + (1 - skin) * hair

    coarse = rng.uniform(-1, 1, (6, 6, 3)) * 0.04 + rng.uniform(-1, 1, (6, 6, 1)) * 0.12
    coarse += rng.uniform(0.25, 0.75) + rng.uniform(-0.15, 0.15, 3)
    background = cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    scene = portrait.person * person + (1 - portrait.person) * background

    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.8, 1.1) * (1 + rng.uniform(0.05, 0.35) * (np.cos(angle) * x + 0.6 * np.sin(angle) * y))
    scene = cv2.GaussianBlur((scene * light[..., None]).astype(np.float32), (0, 0), size / 256 * rng.uniform(0.2, 0.9))
    return (255 * np.clip(scene, 0, 1)).astype(np.uint8)


def _skin(portrait: Portrait) -> np.ndarray:
    """Skin mask, float32 [s s 1] in [0, 1]: the hull of the face, and pixels of the same colour around it."""
    size = portrait.size
    hull = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(hull, cv2.convexHull(portrait.mesh[:, :2].astype(np.int32)), 1.0)
    lab = cv2.cvtColor(portrait.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    centre = np.median(lab[hull > 0], axis=0)
    alike = np.exp(-0.5 * (((lab - centre) / (22, 7, 9)) ** 2).sum(-1))
    near = cv2.GaussianBlur(hull, (0, 0), size / 14)
    skin = np.maximum(cv2.erode(hull, np.ones((size // 40, size // 40))), np.clip(3 * alike * near, 0, 1))
    return cv2.GaussianBlur(skin.astype(np.float32), (0, 0), size / 128)[..., None]


def _place(rng: np.random.Generator, portrait: Portrait, mirrored: bool) -> np.ndarray:
    """Map from frame to texture, float32 [s s 2]: size and position of the head, then changes of its proportions."""
    size = portrait.size
    width, height = FACE_SHARE * size, float(np.ptp(portrait.mesh[:, 1]))
    centre = np.multiply(FACE_CENTRE, size)
    frame = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    if mirrored:
        frame[..., 0] = size - 1 - frame[..., 0]
    zoom = rng.uniform(1.0, 1.15)
    # Limited by the zoom, so that the frame shows nothing outside the texture.
    offset = rng.uniform(-0.4, 0.4, 2) * (zoom - 1) * size
    place = centre + (frame - centre - offset) / zoom

    x, y = (place[..., 0] - centre[0]) / width, (place[..., 1] - centre[1]) / height
    around = np.exp(-0.5 * ((x / 0.55) ** 4 + (y / 0.6) ** 4))
    jaw, length, eyes, nose, brows, mouth = rng.uniform(-1, 1, 6) * (0.1, 0.07, 0.035, 0.05, 0.03, 0.05)
    dx = jaw * x / (1 + np.exp(-8 * (y - 0.15)))
    dx -= eyes * np.sin(np.pi * np.clip(x, -1, 1)) * np.exp(-(((y + 0.2) / 0.22) ** 2))
    dx += mouth * x * np.exp(-(((y - 0.25) / 0.15) ** 2) - (x / 0.3) ** 2)
    dy = length * y + nose * np.exp(-(((y - 0.05) / 0.2) ** 2) - (x / 0.35) ** 2)
    dy += brows * np.exp(-(((y + 0.33) / 0.12) ** 2) - (x / 0.4) ** 2)
    place += around[..., None] * np.stack([dx * width, dy * height], -1)
    return place.astype(np.float32)
