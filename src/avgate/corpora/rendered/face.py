"""Face renderer: expressions and head motion of one person to video frames."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from avgate.corpora.rendered.camera import Camera, Occluder
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.looks import Look
from avgate.corpora.rendered.portrait import FACE_CENTRE, FACE_SHARE
from avgate.corpora.rendered.trajectory import Mark
from avgate.corpora.rendered.units import Expression, Units

COARSE = 4
"""Pixels per cell of the displacement fields of head motion, which are smooth and so need few cells."""


class FaceRenderer:
    """Renders the face of one person.

    Nothing here uses BLAS, whose threads would compete for the cores on which other clips are rendered.

    Args:
        config: frame size and camera.
        units: the portrait's units of expression.
        look: the person's appearance.
    """

    def __init__(self, config: RenderConfig, units: Units, look: Look):
        self._config, self._units, self._look = config, units, look
        x0, y0, x1, y1 = units.box
        self._box_place = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(np.float32)
        self._poses = _pose_fields(config.size, look.mirrored)

    def frames(
        self, rng: np.random.Generator, expression: Expression, pose: np.ndarray, marks: list[Mark]
    ) -> Iterator[np.ndarray]:
        """The clip's frames, one by one.

        Args:
            rng: source of randomness for camera and occluders.
            expression: expression of each of n frames.
            pose: float64 [n 6], head poses in the order of `acting.POSES`.
            marks: those of kind "occluded" and "frozen" take effect here.

        Yields:
            RGB uint8 [s s 3]; the caller must not change it.
        """
        camera = Camera(rng, self._config)
        occluders = [Occluder(rng, self._config.size, m.start_s, m.end_s) for m in marks if m.kind == "occluded"]
        frozen = [m for m in marks if m.kind == "frozen"]
        image = None
        for i, (weights, turn) in enumerate(zip(self._units.weights(expression), pose, strict=True)):
            time_s = i / self._config.fps
            if image is None or not any(m.start_s <= time_s < m.end_s for m in frozen):
                image = self._scene(weights, turn)
                for occluder in occluders:
                    occluder.draw(image, time_s)
                image = camera.take(image)
            yield image

    def _scene(self, weights: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """The person before camera effects and occluders, uint8 [s s 3].

        Args:
            weights: float32 [k], weight of each of the units' fields.
            pose: float64 [6], in the order of `acting.POSES`.
        """
        source = self._box_place.copy()
        for k in np.flatnonzero(weights):
            cv2.scaleAdd(self._units.fields[k], float(weights[k]), source, dst=source)
        x0, y0, x1, y1 = self._units.box
        face = self._look.texture.copy()
        face[y0:y1, x0:x1] = cv2.remap(self._look.texture, source, None, cv2.INTER_LINEAR)

        turned = np.einsum("k,khwc->hwc", pose.astype(np.float32), self._poses)
        place = cv2.add(cv2.resize(turned, self._look.place.shape[1::-1]), self._look.place)
        return cv2.remap(face, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _pose_fields(size: int, mirrored: bool) -> np.ndarray:
    """Displacement in pixels per unit of each of POSES, float32 [6 c c 2]; full on the head, 0 at the frame's edge.

    Yaw and pitch move near points further than far ones, as on an ellipsoid: the nose moves more than the ears.
    """
    cells = (np.arange(size // COARSE) + 0.5) / (size // COARSE) - 0.5
    x, y = np.meshgrid(cells, cells)
    hold = np.clip((1 - 2 * np.hypot(x, y)) / 0.32, 0, 1)
    hold = hold**2 * (3 - 2 * hold)
    face_x, face_y = x - FACE_CENTRE[0] + 0.5, y - FACE_CENTRE[1] + 0.5
    near = np.sqrt(np.clip(1 - (face_x / (0.62 * FACE_SHARE)) ** 2 - (face_y / (0.8 * FACE_SHARE)) ** 2, 0, 1))
    none, one = np.zeros_like(x), np.ones_like(x)
    rows = [(one, none), (none, one), (-y, x), (near, none), (none, near), (x, y)]
    fields = -size * hold[..., None] * np.stack([np.stack(row, -1) for row in rows])
    if mirrored:
        fields[..., 0] *= -1
    return fields.astype(np.float32)
