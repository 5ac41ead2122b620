"""The photograph from which all faces are rendered, cropped around the head, with its face mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from avgate.core.errors import AvgateError
from avgate.core.types import VideoFrame
from avgate.faces import FaceTracker

FACE_SHARE = 0.43
"""Width of the face mesh as a share of the frame's side."""

FACE_CENTRE = (0.5, 0.575)
"""Centre of the face mesh in the frame, x and y as shares of the side."""


@dataclass(frozen=True)
class Portrait:
    """A photograph of a head in a square frame.

    Attributes:
        image: RGB uint8 [s s 3].
        mesh: float64 [478 3], x and y in pixels of `image`, z in the same unit (smaller is nearer).
        person: float32 [s s 1], 1 on the person, 0 on the background, soft in between.
    """

    image: np.ndarray
    mesh: np.ndarray
    person: np.ndarray

    @property
    def size(self) -> int:
        """Side of the frame in pixels."""
        return len(self.image)


@lru_cache(maxsize=2)
def load_portrait(size: int) -> Portrait:
    """NASA's public-domain portrait of Eileen Collins (scikit-image carries it), cut to a square of `size` pixels."""
    # matplotlib's own portrait (Grace Hopper) would spare scikit-image's 32 MB, but its hat and spectacles would bend
    # with brows and eyelids, and the default weights know the faces that this photograph makes.
    import skimage.data

    photo = skimage.data.astronaut()
    mesh = _find_mesh(photo)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    scale = FACE_SHARE * size / (high[0] - low[0])
    shift = np.multiply(FACE_CENTRE, size) - scale * (low + high) / 2
    to_frame = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    image = cv2.warpAffine(photo, to_frame, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    mesh = mesh * scale + np.append(shift, 0)
    return Portrait(image, mesh, _person(image, mesh))


def _find_mesh(photo: np.ndarray) -> np.ndarray:
    """Face mesh of the photograph, float64 [478 3] in its pixels."""
    large = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    (track,) = FaceTracker().track([VideoFrame(0.0, large)])
    if not track.present[0]:
        hint = "reinstall mediapipe, or the face model if you chose one"
        raise AvgateError("the face model finds no face in the portrait that the corpus is rendered from", hint=hint)
    return track.mesh[0].astype(np.float64) / 2


def _person(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Mask of the person, float32 [s s 1] in [0, 1], by a graph cut that starts from face, hair and collar."""
    size = len(image)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * size), round(y * size)

    area = np.full((size, size), cv2.GC_PR_BGD, np.uint8)
    cv2.ellipse(area, at(0.5, 0.46), at(0.36, 0.42), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.ellipse(area, at(0.4, 1.0), at(0.42, 0.3), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.fillConvexPoly(area, cv2.convexHull(mesh[:, :2].astype(np.int32)), cv2.GC_FGD)
    cv2.setRNGSeed(0)
    cv2.grabCut(image, area, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(area, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    soft = cv2.GaussianBlur(inside, (0, 0), size / 170)
    # Narrowed by about a pixel: otherwise the photograph's background would show as a halo around the hair.
    return np.clip(2 * soft - 0.9, 0, 1)[..., None]
