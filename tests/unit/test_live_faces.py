"""A face followed frame by frame: as in a whole video, and saved and restored in the middle to the bit."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from avgate.core.state import pack, unpack
from avgate.core.types import FaceTrack, VideoFrame
from avgate.faces import FaceTracker, engines
from avgate.faces.tracker import ENGINES
from avgate.media import Media

FIELDS = ("time_s", "present", "mesh", "box", "crop", "others", "blendshapes")


@pytest.fixture(params=["bundled", pytest.param("task file", marks=pytest.mark.slow)])
def tracker(request) -> FaceTracker:
    bundled = request.param == "bundled"
    model = request.getfixturevalue("bundled_mesh" if bundled else "face_model")
    return FaceTracker(model, crops=True, blendshapes=not bundled)


@pytest.fixture(scope="module")
def frames(clips_dir) -> list[VideoFrame]:
    """A real person; from the ninth to the twelfth frame the camera gives half the size."""
    found = list(itertools.islice(Media(clips_dir / "grid_bbaf2n.mpg").frames(), 16))
    small = [cv2.resize(f.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for f in found[8:12]]
    return found[:8] + [VideoFrame(f.time_s, i) for f, i in zip(found[8:12], small, strict=True)] + found[12:]


def same(one: FaceTrack, other: FaceTrack) -> None:
    assert one.frame_size == other.frame_size
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), field)


def test_frame_by_frame_gives_what_the_whole_video_gives(tracker, frames):
    with tracker.live() as live:
        rows = [live.look(frame) for frame in frames]
    whole = list(tracker.track(frames, block=1))
    assert all(row.present.all() for row in rows)
    for row, track in zip(rows, whole, strict=True):
        same(row, track)
    assert [len(track.time_s) for track in tracker.track(frames)] == [8, 4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("middle", [5, 10, 0, 8])
def test_a_saved_and_a_restored_tracker_go_on_alike_to_the_bit(tracker, frames, middle):
    """Before the first frame, among others, where the size has just changed or is about to."""
    with tracker.live() as live, tracker.live() as restored:
        for frame in frames[:middle]:
            live.look(frame)
        restored.look(frames[-1])  # what it saw before is forgotten
        saved = pack(live.state())
        restored.restore(unpack(saved))
        after = [(live.look(frame), restored.look(frame)) for frame in frames[middle:]]
    for one, other in after:
        same(one, other)
    unsaved = np.concatenate([track.mesh for track in tracker.track(frames, block=1)][middle:])
    assert np.abs(np.concatenate([one.mesh for one, _ in after])[..., :2] - unsaved[..., :2]).max() < 5


@pytest.mark.slow
def test_a_restored_tracker_still_waits_for_its_person(any_face_model):
    ana = astronaut()[:230, 110:340]
    left, right = np.full((360, 640, 3), 90, np.uint8), np.full((360, 640, 3), 90, np.uint8)
    left[60:290, 40:270] = ana
    right[100:290, 400:590] = cv2.resize(ana[:, ::-1], (190, 190), interpolation=cv2.INTER_AREA)
    film = [VideoFrame(i / 12.5, image) for i, image in enumerate([left] * 15 + [right] * 4 + [left] * 2)]
    with FaceTracker().live() as live, FaceTracker().live() as restored:
        for frame in film[:17]:
            live.look(frame)
        restored.restore(unpack(pack(live.state())))
        rows = [restored.look(frame) for frame in film[17:]]
    assert [bool(row.present[0]) for row in rows] == [False, False, True, True]
    assert [int(row.others[0]) for row in rows] == [1, 1, 0, 0]


def test_saving_writes_nothing_to_the_terminal(tracker, frames, capfd):
    with tracker.live() as live:
        live.look(frames[0])
        live.state()
        live.look(frames[1])
    assert capfd.readouterr() == ("", "")


def opened_and_closed(monkeypatch) -> tuple[list[object], list[object]]:
    from mediapipe.tasks.python import vision

    opened, closed = [], []
    create, close = vision.FaceLandmarker.create_from_options, vision.FaceLandmarker.close

    def counted_create(options):
        opened.append(create(options))
        return opened[-1]

    def counted_close(self):
        closed.append(self)
        close(self)

    monkeypatch.setattr(vision.FaceLandmarker, "create_from_options", counted_create)
    monkeypatch.setattr(vision.FaceLandmarker, "close", counted_close)
    return opened, closed


@pytest.mark.slow
def test_every_model_that_saving_opens_is_closed(monkeypatch, face_model, frames):
    opened, closed = opened_and_closed(monkeypatch)
    engines._trigger_first_messages.cache_clear()
    with FaceTracker(face_model).live() as live:
        live.look(frames[0])
        live.state()
        live.state()
        assert len(opened) == len(closed) + ENGINES
    assert sorted(map(id, opened)) == sorted(map(id, closed))
    assert len(opened) == 1 + 3 * ENGINES


@pytest.mark.slow
def test_models_are_closed_where_a_new_one_cannot_be_opened(monkeypatch, face_model, frames):
    opened, closed = opened_and_closed(monkeypatch)

    def fails(self):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"), FaceTracker(face_model).live() as live:  # noqa: PT012 (the block is what is tested)
        live.look(frames[0])
        monkeypatch.setattr(engines.TaskEngine, "_open_mesh", fails)
        live.state()
    assert sorted(map(id, opened)) == sorted(map(id, closed))


def test_the_state_of_something_else_is_refused(any_face_model):
    with FaceTracker().live() as live, pytest.raises(ValueError, match="state of a LiveTracker"):
        live.restore({"x": 1})
