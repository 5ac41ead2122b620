"""Who is followed where several people are in view: chosen by place, or by a moment and a point."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.types import VideoFrame
from avgate.faces import Person, find_person
from avgate.faces import person as module
from avgate.faces.engines import Face
from avgate.faces.following import Follower, Start

SIZE = (200, 100)
"""Width and height of the frames in pixels."""


class Scene:
    """An engine for made-up faces: `where` says by time which squares (x, y, side in pixels) are in view."""

    def __init__(self, where):
        self.where, self.time_s, self.scans = where, 0.0, 0

    def frames(self, seconds: float, rate: int = 25):
        for k in range(round(seconds * rate)):
            self.time_s = k / rate
            yield VideoFrame(self.time_s, np.ones((SIZE[1], SIZE[0], 3), np.uint8))

    def scan(self, image):
        self.scans += 1
        faces = self.where(self.time_s)
        return np.array([(x, y, x + side, y + side) for x, y, side in faces], np.float64).reshape(-1, 4)

    def follow(self, image, time_s):
        """The face in the part of the image that isn't black, or nothing."""
        boxes = [b for b in self.scan(image) if image[int(b[1]) : int(b[3]), int(b[0]) : int(b[2])].any()]
        if not boxes:
            return None
        corners = np.resize(boxes[0].reshape(2, 2), (478, 2))
        return Face(np.column_stack([corners, np.zeros(478)]).astype(np.float32))


ANA, BEA, CY = (10, 40, 20), (85, 30, 20), (150, 40, 30)


def found(monkeypatch, text: str, where, seconds: float = 6.0) -> Start:
    scene = Scene(where)
    monkeypatch.setattr(module, "open_engine", lambda *_: nullcontext(scene))
    monkeypatch.setattr(module, "find_face_model", lambda model: model)
    return find_person(Person.named(text), scene.frames(seconds), where="a.mp4")


def pixels(start: Start) -> list[float]:
    return (start.box * np.tile(SIZE, 2)).round().tolist()


def box(face: tuple[int, int, int]) -> list[float]:
    return [face[0], face[1], face[0] + face[2], face[1] + face[2]]


@pytest.mark.parametrize(
    ("text", "face"),
    [
        ("left", ANA),
        ("middle", BEA),
        ("right", CY),
        ("largest", CY),
        ("1", ANA),
        ("2", BEA),
        ("3", CY),
        ("2.5,0.1,0.5", ANA),
        ("2.5,95,40", BEA),
        ("0,0.8,0.5", CY),
    ],
)
def test_a_person_is_chosen_by_place_or_point(monkeypatch, text, face):
    start = found(monkeypatch, text, lambda time_s: [CY, ANA, BEA])
    assert (start.time_s, pixels(start)) == (0.0, box(face))


def test_a_face_that_is_missed_for_a_moment_still_counts_for_left_and_right(monkeypatch):
    start = found(monkeypatch, "left", lambda time_s: [ANA, CY] if time_s > 1 else [CY])
    assert pixels(start) == box(ANA)
    assert start.time_s == pytest.approx(1.0, abs=0.3)


def test_a_person_chosen_late_is_followed_from_where_they_came_in(monkeypatch):
    def walks(time_s: float):
        return [CY] if time_s < 1 else [CY, (round(10 + 10 * (time_s - 1)), 40, 20)]

    start = found(monkeypatch, "5,0.3,0.5", walks)
    assert start.time_s == pytest.approx(1.0, abs=0.3)
    assert pixels(start)[0] == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("4", "there is no person 4: at most 3 faces are in view", "--person 1 to 3"),
        ("2,0.5,0.9", "nobody is at x = 0.5, y = 0.9 at 2 s", "2,0.10,0.50; 2,0.47,0.40"),
        ("2,390,40", "nobody is at x = 390", "faces at that time"),
        ("60,0.5,0.5", "there is no frame at 60 s", "from 0.00 to 5.96 s"),
    ],
)
def test_where_nobody_is_there_the_error_says_who_is(monkeypatch, text, said, hint):
    with pytest.raises(UsageError, match=said) as caught:
        found(monkeypatch, text, lambda time_s: [ANA, BEA, CY])
    assert hint in str(caught.value)
    assert caught.value.where == "a.mp4"


def test_nobody_can_be_chosen_where_no_face_is_in_view(monkeypatch):
    with pytest.raises(UsageError, match="no face is in view"):
        found(monkeypatch, "left", lambda time_s: [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lefty",
        "0",
        "-1",
        "1.5",
        "1,2",
        "1,2,x",
        "nan,0,0",
        "-1,0.5,0.5",
        "1,2,3,4",
        "1_0,.5,.5",
        "\u0661",
        "\u0661,.5,.5",
    ],
)
def test_what_names_no_person_is_refused_with_what_does(text):
    with pytest.raises(UsageError, match="names no person") as caught:
        Person.named(text)
    assert "left, middle, right" in str(caught.value)


def test_the_chosen_person_is_waited_for_and_nobody_else_is_followed_instead():
    def away(time_s: float):
        return [CY] if 2 <= time_s < 8 else [ANA, CY]

    scene = Scene(away)
    follower = Follower([scene, scene], Start(1.0, np.array(box(ANA)) / np.tile(SIZE, 2)))
    faces = [follower.step(frame.image, frame.time_s)[0] for frame in scene.frames(9, 10)]
    seen = [None if face is None else float(face.mesh[:, 0].min()) for face in faces]
    assert seen[:10] == [None] * 10, "before the person is there, nobody is followed"
    assert seen[10:20] == [ANA[0]] * 10
    assert seen[20:80] == [None] * 60
    assert seen[80:] == [ANA[0]] * 10
