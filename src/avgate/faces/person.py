"""Whom to follow where several people are in view: by place, or by a moment and a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.text import number
from avgate.core.types import VideoFrame
from avgate.faces.engines import open_engine
from avgate.faces.following import SAME_FACE_IOU, Start, iou
from avgate.faces.model_file import find_face_model

PLACES = ("left", "middle", "right", "largest")

SCAN_EVERY_S = 0.25
"""Interval in seconds at which frames are searched for faces."""

LOOK_S = 2.0
"""Seconds from the first face on within which as many faces as possible are looked for, before one is left or right."""

_HINT = f"use {', '.join(PLACES)}, a number from the left (1, 2, ...), or time,x,y"


@dataclass(frozen=True)
class Person:
    """Who is meant.

    Attributes:
        text: as it was written.
        place: one of PLACES, or a number from the left, from 1 on; None where a point is given.
        point: seconds, x and y; x and y are fractions of the picture where both are at most 1, else pixels.
    """

    text: str
    place: str | int | None
    point: tuple[float, float, float] | None = None

    @classmethod
    def named(cls, text: str) -> Person:
        """Who is meant by `left`, `2` or `12.5,0.3,0.4`; UsageError where that is nobody."""
        if text in PLACES:
            return cls(text, text)
        if text.isascii() and text.isdecimal() and 1 <= int(text) <= 99:
            return cls(text, int(text))
        numbers = [x for part in text.split(",") if (x := number(part.strip())) is not None and x >= 0]
        if len(numbers) != 3 or text.count(",") != 2:
            raise UsageError(f"'{text[:40]}' names no person", where="--person", hint=_HINT)
        return cls(text, None, (numbers[0], numbers[1], numbers[2]))


@dataclass(frozen=True)
class _Seen:
    """The faces in one frame: boxes float [faces 4], fractions of the picture, from left to right."""

    time_s: float
    boxes: np.ndarray
    size: tuple[int, int]


def find_person(
    person: Person, frames: Iterable[VideoFrame], model: str | Path | None = None, where: str = ""
) -> Start:
    """When a person is first in view, and where.

    Frames are searched four times a second, until it is clear who is meant. From there the person is followed back.

    Args:
        person: who is meant.
        frames: a video's frames in order.
        model: a face_landmarker.task file; without one, see `find_face_model`.
        where: the recording, for messages.

    Raises:
        UsageError: nobody is there; the hint says who is.
        ModelFileError: see `find_face_model`.
    """
    seen: list[_Seen] = []
    end_s = -math.inf
    with open_engine(find_face_model(model)) as engine:
        for frame in frames:
            end_s = frame.time_s
            if not _due(person, seen, end_s):
                continue
            size = frame.image.shape[1], frame.image.shape[0]
            boxes = engine.scan(np.ascontiguousarray(frame.image)).reshape(-1, 4) / np.tile(size, 2)
            seen.append(_Seen(end_s, boxes[np.argsort(boxes[:, [0, 2]].mean(1))], size))
            if _enough(person, seen):
                break
    return _first(seen, *_chosen(person, seen, end_s, where))


def _due(person: Person, seen: Sequence[_Seen], time_s: float) -> bool:
    """Whether a frame is to be searched: now and then, and always near the moment that is asked for."""
    near = person.point is not None and abs(time_s - person.point[0]) <= SCAN_EVERY_S
    return near or not seen or time_s - seen[-1].time_s >= SCAN_EVERY_S


def _enough(person: Person, seen: Sequence[_Seen]) -> bool:
    if person.point is not None:
        return seen[-1].time_s > person.point[0] + SCAN_EVERY_S
    if isinstance(person.place, int):
        return len(seen[-1].boxes) >= person.place
    first = next((s.time_s for s in seen if len(s.boxes)), math.inf)
    return seen[-1].time_s >= first + LOOK_S


def _chosen(person: Person, seen: Sequence[_Seen], end_s: float, where: str) -> tuple[int, np.ndarray]:
    """Which of `seen` shows the person, and the box there."""
    most = max((len(s.boxes) for s in seen), default=0)
    if not most:
        raise UsageError("no face is in view, so nobody can be chosen", where=where, hint="leave --person out")
    if person.point is not None:
        return _at_point(person.point, seen, end_s, where)
    if isinstance(person.place, int):
        if most < person.place:
            what = (
                f"there is no person {person.place}: at most {most} {'face is' if most == 1 else 'faces are'} in view"
            )
            raise UsageError(f"{what} at once", where=where, hint=f"use --person 1{f' to {most}' if most > 1 else ''}")
        at = next(i for i, s in enumerate(seen) if len(s.boxes) >= person.place)
        return at, seen[at].boxes[person.place - 1]
    if person.place == "largest":
        every = [(i, box) for i, s in enumerate(seen) for box in s.boxes]
        return max(every, key=lambda found: float((found[1][2:] - found[1][:2]).prod()))
    at = next(i for i, s in enumerate(seen) if len(s.boxes) == most)
    middle = int(np.argmin(np.abs(seen[at].boxes[:, [0, 2]].mean(1) - 0.5)))
    return at, seen[at].boxes[{"left": 0, "right": most - 1}.get(str(person.place), middle)]


def _at_point(
    point: tuple[float, float, float], seen: Sequence[_Seen], end_s: float, where: str
) -> tuple[int, np.ndarray]:
    time_s, x, y = point
    order = sorted(range(len(seen)), key=lambda i: abs(seen[i].time_s - time_s))
    near = [i for i in order if abs(seen[i].time_s - time_s) <= SCAN_EVERY_S]
    if not near:
        what = f"there is no frame at {time_s:g} s"
        raise UsageError(what, where=where, hint=f"it goes from {seen[0].time_s:.2f} to {end_s:.2f} s")
    for i in near:
        boxes = seen[i].boxes
        at = np.array([x, y]) / (1 if x <= 1 and y <= 1 else np.array(seen[i].size))
        # A detector's box ends at the eyebrows: hair and chin count too.
        margin = (boxes[:, 2:] - boxes[:, :2]) / 2
        inside = ((boxes[:, :2] - margin <= at) & (at <= boxes[:, 2:] + margin)).all(1)
        if inside.any():
            away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - at, axis=1)
            return i, boxes[np.argmin(np.where(inside, away, np.inf))]
    centres = (seen[near[0]].boxes[:, :2] + seen[near[0]].boxes[:, 2:]) / 2
    there = "; ".join(f"{time_s:g},{a:.2f},{b:.2f}" for a, b in centres.tolist())
    hint = f"faces at that time: {there}" if there else "no face is in view at that time"
    raise UsageError(f"nobody is at x = {x:g}, y = {y:g} at {time_s:g} s", where=where, hint=hint)


def _first(seen: Sequence[_Seen], at: int, box: np.ndarray) -> Start:
    """Follow a face back through the frames that were searched, as long as it is about where it was."""
    for i in range(at - 1, -1, -1):
        overlaps = [iou(box, other) for other in seen[i].boxes]
        if max(overlaps, default=0.0) < SAME_FACE_IOU:
            break
        at, box = i, seen[i].boxes[int(np.argmax(overlaps))]
    return Start(seen[at].time_s, box)
