"""Which of the faces in view belongs to the followed person, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from avgate.core.state import Stateful
from avgate.faces.engines import Engine, Face

SCAN_EVERY_S = 1.0
"""Interval in seconds at which the whole frame is scanned for other faces while the followed one is visible."""

MEMORY_S = 2.0
"""Seconds that a lost person is waited for at most; then the largest face in view is followed.

The wait is never longer than the person had been visible; otherwise a single false detection would block the track.
"""

SAME_FACE_IOU = 0.2
"""Boxes in neighbouring frames that overlap at least this much (intersection over union) are the same face."""

SIZE_CHANGE = 1.6
"""Largest plausible change of face size while the person is out of sight, as a ratio.

It allows for the detector's boxes being about a tenth larger than the mesh's.
"""


@dataclass(frozen=True)
class Start:
    """When and where a chosen person is first in view.

    Attributes:
        time_s: nobody is followed before.
        box: float [4], x0 y0 x1 y1 as fractions of the picture's width and height.
    """

    time_s: float
    box: np.ndarray


class _Ahead(NamedTuple):
    """A frame that was begun before its turn, or only announced."""

    shape: tuple[int, ...]
    face: Future[Face | None] | None


class Follower(Stateful):
    """Decides in every frame which face belongs to the followed person.

    mediapipe's one-face trackers follow the face from frame to frame, whoever else comes into view. They take turns:
    of two, one sees the frames 0, 2, 4, ... and the other 1, 3, 5, ..., so that two cores can work on one video. When a
    tracker loses the face, or jumps to another place, each frame is scanned for all faces until one is plausibly the
    same person's: near the last position, of about the same size, and none of the other people already seen. The
    tracker then restarts on a frame in which everything but that face is black. A tracker that follows no face while
    another does is shown that one's.

    A person who was chosen is waited for as long as it takes: nobody else is followed instead.

    What mediapipe's trackers remember can't be saved. So they begin anew where this is saved, and where it is restored;
    the next face found is judged as after a loss. Both go on alike, to the bit.

    Args:
        engines: the trackers that take turns, one or more.
        start: the person to follow; the largest face unless given.
    """

    STATE = ("_shape", "_box", "_since_s", "_seen_s", "_scanned_s", "_others")

    def __init__(self, engines: Sequence[Engine], start: Start | None = None):
        self._engines, self._start = engines, start
        self._following = [False for _ in engines]
        self._turn = 0
        self._ahead: deque[_Ahead] = deque()
        self._shape: tuple[int, ...] = (1, 1, 3)
        self._box: np.ndarray | None = None
        self._since_s = self._seen_s = self._scanned_s = 0.0
        self._others: list[np.ndarray] = []
        if start is not None:
            self._box, self._seen_s = start.box, start.time_s  # fractions are pixels of a picture of one pixel

    def state(self) -> dict[str, Any]:
        """See Stateful; the mesh trackers begin anew. No frame may have been announced."""
        self._begin_anew()
        return super().state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stateful."""
        super().restore(state)
        self._shape = tuple(self._shape)
        self._begin_anew()

    def announce(self, image: np.ndarray, time_s: float, pool: Executor) -> None:
        """Announce the frame after those that were announced before, or else after the last step.

        Where it is certain what its step will begin with, a thread begins with that now. The results are the same, to
        the bit, as without any announcement.

        Args:
            image: uint8 [h w 3], contiguous; step must be called with the same.
            time_s: as for step.
            pool: threads, one per engine.
        """
        at = (self._turn + len(self._ahead)) % len(self._engines)
        # An engine whose frame before this one waits for its step may lose the face there.
        free = len(self._ahead) < len(self._engines)
        steady = all(shape == self._shape for shape in (image.shape, *(ahead.shape for ahead in self._ahead)))
        certain = free and steady and all(self._following)
        face = pool.submit(self._engines[at].follow, image, time_s) if certain else None
        self._ahead.append(_Ahead(image.shape, face))

    def step(self, image: np.ndarray, time_s: float) -> tuple[Face | None, int]:
        """The followed person's face in the next frame, or None, and the number of other faces in view."""
        at, self._turn = self._turn, (self._turn + 1) % len(self._engines)
        begun = self._ahead.popleft().face if self._ahead else None
        if image.shape != self._shape:
            self._change_size(image.shape, time_s)
        if self._start is not None and time_s < self._start.time_s:
            return None, 0
        face = self._look(at, image, time_s, begun)
        if face is None:
            face = self._acquire(at, image, time_s)
        elif abs(time_s - self._scanned_s) >= SCAN_EVERY_S:
            self._note_others(self._engines[at].scan(image), self._box, time_s)
        return face, len(self._others)

    def _look(self, at: int, image: np.ndarray, time_s: float, begun: Future[Face | None] | None) -> Face | None:
        """The face as the engine follows it. One that follows none is shown, by another, where the face is now."""
        if self._following[at]:
            # Where it loses the face, no other can help: it may be ahead.
            return self._follow(at, image, time_s, self._box, begun)
        if not any(self._following):
            return None
        face = self._follow(self._following.index(True), image, time_s, self._box)
        if face is not None:
            self._follow(at, _only(image, box_of(face.mesh)), time_s, self._box)
        return face

    def _follow(
        self,
        at: int,
        image: np.ndarray,
        time_s: float,
        expected: np.ndarray | None,
        begun: Future[Face | None] | None = None,
    ) -> Face | None:
        face = self._engines[at].follow(image, time_s) if begun is None else begun.result()
        self._following[at] = face is not None
        if face is None:
            return None
        box = box_of(face.mesh)
        if iou(box, expected) < SAME_FACE_IOU:
            self._forget(at, time_s)
            return None
        self._box, self._seen_s = box, time_s
        return face

    def _acquire(self, at: int, image: np.ndarray, time_s: float) -> Face | None:
        boxes = self._engines[at].scan(image)
        chosen = self._choose(boxes, time_s)
        self._note_others(boxes, chosen, time_s)
        if chosen is None:
            return None
        return self._follow(at, image if len(boxes) == 1 else _only(image, chosen), time_s, chosen)

    def _choose(self, boxes: np.ndarray, time_s: float) -> np.ndarray | None:
        lost_s = abs(time_s - self._seen_s)
        wanted = self._start is not None or any(self._following)
        given_up = not wanted and lost_s > min(MEMORY_S, self._seen_s - self._since_s)
        if self._box is None or given_up:
            self._since_s = time_s
            return max(boxes, key=_size, default=None)
        costs = []
        for box in boxes:
            distance = np.linalg.norm(_centre(box) - _centre(self._box)) / _size(self._box)
            resize = abs(np.log(_size(box) / _size(self._box)))
            known = any(iou(box, other) > iou(box, self._box) for other in self._others)
            plausible = distance <= 1 + min(lost_s, MEMORY_S) and resize <= np.log(SIZE_CHANGE) and not known
            costs.append(distance + resize if plausible else np.inf)
        return boxes[np.argmin(costs)] if costs and min(costs) < np.inf else None

    def _note_others(self, boxes: np.ndarray, own: np.ndarray | None, time_s: float) -> None:
        self._others = [box for box in boxes if iou(box, own) < SAME_FACE_IOU]
        self._scanned_s = time_s

    def _change_size(self, shape: tuple[int, ...], time_s: float) -> None:
        for at, following in enumerate(self._following):
            if following:
                self._forget(at, time_s)
        scale = np.tile([shape[1] / self._shape[1], shape[0] / self._shape[0]], 2)
        self._box = None if self._box is None else self._box * scale
        self._others = [box * scale for box in self._others]
        self._shape = shape

    def _begin_anew(self) -> None:
        for engine in self._engines:
            engine.renew()
        self._following = [False for _ in self._engines]
        self._turn = 0

    def _forget(self, at: int, time_s: float) -> None:
        """Make a one-face tracker lose its face, by showing it a black image."""
        self._engines[at].follow(np.zeros(self._shape, np.uint8), time_s)
        self._following[at] = False


def box_of(mesh: np.ndarray) -> np.ndarray:
    """The smallest box around each mesh [... 478 3]: x0 y0 x1 y1 in its unit [... 4], NaN where it is NaN."""
    plane = np.ascontiguousarray(np.moveaxis(mesh[..., :2], -1, -2))
    return np.concatenate([plane.min(-1), plane.max(-1)], axis=-1)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _size(box: np.ndarray) -> float:
    """Square root of the area, in pixels, at least 1."""
    return float(max(1.0, np.sqrt(np.prod(box[2:] - box[:2]))))


def iou(a: np.ndarray, b: np.ndarray | None) -> float:
    """Intersection over union of two boxes; 0 if there is no second box."""
    if b is None:
        return 0.0
    ax0, ay0, ax1, ay1 = a.tolist()
    bx0, by0, bx1, by1 = b.tolist()
    overlap = max(min(ax1, bx1) - max(ax0, bx0), 0.0) * max(min(ay1, by1) - max(ay0, by0), 0.0)
    return overlap / max((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - overlap, 1e-6)


def _only(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The image, black outside the box and a margin of half a face: the detector needs the head's outline."""
    margin = _size(box) / 2
    height, width = image.shape[:2]
    x0, y0 = (box[:2] - margin).clip(0, (width, height)).astype(int)
    x1, y1 = (box[2:] + margin).clip(0, (width, height)).astype(int)
    out = np.zeros_like(image)
    out[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    return out
