"""Faces measured in every n-th frame alone, and interpolated in the frames between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from avgate.core.types import VideoFrame
from avgate.faces.align import align_crop
from avgate.faces.engines import Face
from avgate.faces.following import SAME_FACE_IOU, box_of, iou


@dataclass(frozen=True)
class Row:
    """What is known of the face in one frame.

    Attributes:
        time_s: of the frame.
        size: width and height of the frame in pixels.
        face: the followed person's; None where it isn't found.
        crop: uint8 [112 112 3]; None where there is no face, or no crop is asked for.
        others: how many further faces are in view.
    """

    time_s: float
    size: tuple[int, int]
    face: Face | None
    crop: np.ndarray | None
    others: int

    @classmethod
    def of(cls, frame: VideoFrame, face: Face | None, others: int, crops: bool) -> Row:
        """That of a frame, with a crop where one is asked for."""
        image = frame.image
        crop = align_crop(image, face.mesh) if crops and face is not None else None
        return cls(frame.time_s, (image.shape[1], image.shape[0]), face, crop, others)


def rows_between(
    frames: Iterable[VideoFrame], every: int, crops: bool, measure: Callable[[Iterable[VideoFrame]], Generator[Row]]
) -> Generator[Row]:
    """A row of every frame, of which only every n-th and the last are measured.

    Mesh and blendshapes of the others are linear in time between the measured frames around them. Where one of these
    lacks the face, or they show another size or place, the face isn't known.

    Args:
        frames: a video's frames in order.
        every: n, 2 or more.
        crops: whether rows hold aligned crops.
        measure: gives a row of each of the frames that it is given, in order; it may read a few frames ahead.

    Yields:
        One row per frame; close the iterator before what measures.
    """
    # Frames that wait for the measured one after them; None stands for a measured one.
    waiting: deque[VideoFrame | None] = deque()

    def chosen() -> Iterator[VideoFrame]:
        for i, frame in enumerate(frames):
            measured = i % every == 0
            waiting.append(None if measured else frame)
            if measured:
                yield frame
        if waiting and (last := waiting[-1]) is not None:
            waiting[-1] = None
            yield last

    before: Row | None = None
    with closing(measure(chosen())) as measured:
        for after in measured:
            while (frame := waiting.popleft()) is not None:
                assert before is not None
                yield Row.of(frame, _face(frame, before, after), before.others, crops)
            yield after
            before = after


def _face(frame: VideoFrame, before: Row, after: Row) -> Face | None:
    """The face in a frame between two that were measured; None where it isn't known."""
    size = (frame.image.shape[1], frame.image.shape[0])
    if before.face is None or after.face is None or not before.size == size == after.size:
        return None
    if iou(box_of(before.face.mesh), box_of(after.face.mesh)) < SAME_FACE_IOU:
        return None
    lasts_s = after.time_s - before.time_s
    share = np.float32((frame.time_s - before.time_s) / lasts_s if lasts_s > 0 else 0.5)
    mesh = before.face.mesh + share * (after.face.mesh - before.face.mesh)
    if before.face.blendshapes is None or after.face.blendshapes is None:
        return Face(mesh)
    return Face(mesh, before.face.blendshapes + share * (after.face.blendshapes - before.face.blendshapes))
