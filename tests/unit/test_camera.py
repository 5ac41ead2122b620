"""Cameras: a video file in a camera's place, cameras that misbehave, and what is refused before OpenCV sees it."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from avgate.core.errors import MediaError, UsageError
from avgate.media import camera as module
from avgate.media.camera import Camera, cameras
from tests.clips import greys, make_clip, order, tone
from tests.recordings import write_sound


class Device:
    """A camera of OpenCV's: pictures [h w 3] of blue, green and red; one that is None can't be read."""

    def __init__(self, pictures=(), opened=True):
        self._pictures, self._opened, self._next, self.released = list(pictures), opened, None, False

    def isOpened(self):
        return self._opened

    def set(self, *_):
        return True

    def get(self, which):
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}[which]

    def grab(self):
        if not self._pictures:
            return False
        self._next = self._pictures.pop(0)
        return True

    def retrieve(self):
        return self._next is not None, self._next

    def read(self):
        return self.retrieve() if self.grab() else (False, None)

    def release(self):
        self.released = True


def plug_in(monkeypatch, **devices):
    """These are the only cameras: c0=Device(...) is number 0."""
    monkeypatch.setattr(cv2, "VideoCapture", lambda number, *_: devices.get(f"c{number}", Device(opened=False)))


def frames_of(camera, most=100, seconds=10.0):
    """All frames until the camera ends."""
    frames, began = [], time.monotonic()
    with camera:
        camera.start(frames.append, time.monotonic, lambda seconds: None)
        while not camera.ended and time.monotonic() - began < seconds and len(frames) < most:
            time.sleep(0.005)
    return frames


def test_a_video_file_in_a_cameras_place_gives_its_frames_upright_and_in_colour(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    clip = make_clip(tmp_path / "clip.mp4", [*greys(9), red])
    camera = Camera(str(clip))
    assert (camera.name, camera.size) == ("clip.mp4", (64, 48))
    frames = frames_of(camera)
    assert order([frame.image for frame in frames[:9]]) == list(range(9))
    assert frames[9].image.mean((0, 1)) == pytest.approx([200, 0, 0], abs=12)
    assert camera.failure is None, "a file may end"
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()


def test_a_file_is_played_at_its_own_pace(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", greys(10), rate=50)
    hands = [100.0]

    def wait(seconds):
        hands[0] += seconds

    frames = []
    with Camera(str(clip)) as camera:
        camera.start(frames.append, lambda: hands[0], wait)
        camera._thread.join(10)
    np.testing.assert_allclose([frame.time_s for frame in frames], 100 + np.arange(10) / 50, atol=0.002)


def test_pictures_that_a_cameras_driver_kept_are_left_out(monkeypatch):
    plug_in(monkeypatch, c0=Device([*greys(1 + module._STALE + 3)]))
    camera = Camera("0")
    assert (camera.name, camera.size) == ("camera 0", (64, 48))
    frames = frames_of(camera)
    assert order([frame.image for frame in frames]) == [5, 6, 7]


def test_a_camera_that_is_unplugged_is_noticed_and_what_came_before_is_there(monkeypatch):
    plug_in(monkeypatch, c1=Device(greys(10)))
    camera = Camera("1")
    frames = frames_of(camera)
    assert len(frames) == 5
    assert isinstance(camera.failure, MediaError)
    assert "camera 1: it gives no more pictures" in str(camera.failure)


def test_one_picture_that_cannot_be_read_costs_no_other(monkeypatch):
    pictures = greys(10)
    pictures[7] = None
    plug_in(monkeypatch, c0=Device(pictures))
    assert order([frame.image for frame in frames_of(Camera("0"))]) == [5, 6, 8, 9]


def test_pictures_of_a_kind_that_opencv_cannot_convert_end_the_camera_with_an_error(monkeypatch):
    pictures = [*greys(6), np.zeros((48, 64, 2), np.uint8)]
    plug_in(monkeypatch, c0=Device(pictures))
    camera = Camera("0")
    assert len(frames_of(camera)) == 1
    assert "camera 0: its pictures can't be read" in str(camera.failure)


def test_closing_stops_the_reading_and_lets_the_camera_go(monkeypatch):
    device = Device(greys(6) * 10_000)
    plug_in(monkeypatch, c0=device)
    assert len(frames_of(Camera("0"), most=3)) >= 3
    assert device.released
    assert device._pictures, "it wasn't read to its end"


def test_a_camera_that_is_missing_busy_or_dark_is_one_clear_error(monkeypatch):
    dark = Device()
    plug_in(monkeypatch, c3=dark)
    with pytest.raises(MediaError, match="camera 3: it gives no picture") as caught:
        Camera("3")
    assert "--list" in str(caught.value)
    assert dark.released
    with pytest.raises(MediaError, match="camera 77: there is no such camera"):
        Camera("77")
    monkeypatch.setattr(module, "Path", lambda path: SimpleNamespace(exists=lambda: True))
    with pytest.raises(MediaError, match="camera 5: it can't be opened: another program uses it"):
        Camera("5")


def test_addresses_devices_folders_and_what_is_no_video_never_reach_opencv(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("it was opened"))
    os.mkfifo(tmp_path / "pipe")
    others = ["http://example.org/a.mp4", "rtsp://10.0.0.1/", "/dev/null", str(tmp_path), str(tmp_path / "pipe"), "-1"]
    for source in [*others, "0.5", "", "²", str(tmp_path / "none.mp4"), str(tmp_path / "img_%03d.png")]:
        with pytest.raises(UsageError, match="neither the number of a camera nor a video file"):
            Camera(source)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.org/a.ts\n")
    with pytest.raises(MediaError, match="not a media file"):
        Camera(str(tmp_path / "list.m3u8"))
    with pytest.raises(MediaError, match="there is no picture in it"):
        Camera(str(write_sound(tmp_path / "sound.wav", tone(0.2, 16_000))))


def test_cameras_are_listed_with_the_size_of_their_pictures(monkeypatch):
    plug_in(monkeypatch, c0=Device(greys(1)), c2=Device(greys(1)))
    assert cameras() == {0: (64, 48), 2: (64, 48)}


def test_looking_for_cameras_says_nothing(capfd):
    cameras()
    assert capfd.readouterr() == ("", "")
