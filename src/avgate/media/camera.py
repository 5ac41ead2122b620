"""Cameras, through OpenCV: frames as they come, each with the time at which it was grabbed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.console import quiet_native
from avgate.core.errors import MediaError, UsageError
from avgate.core.files import is_file
from avgate.core.text import reason
from avgate.core.types import VideoFrame
from avgate.media.reader import probe

LISTED = 10
"""How many device numbers are tried to list the cameras."""

_STALE = 4
"""Pictures that a camera's driver may have kept since it was opened."""

_PATIENCE_S = 2.0
"""Seconds that a camera gets to end its last grab; one that hangs is left to itself."""


class Camera:
    """A camera, or a video file in its place, that is read in a thread of its own.

    Args:
        source: number of the device ("0"), or a video file, which is played at its own pace. Nothing else is opened: no
            address, and no device by its path.

    Attributes:
        name: for messages.
        size: width and height of the pictures in pixels.
        ended: whether no more frames will come.
        failure: why, where that is a fault.

    Raises:
        UsageError: the source is neither a number nor a file.
        MediaError: there is no such camera, it can't be opened or gives no picture; or the file can't be decoded.
    """

    def __init__(self, source: str):
        import cv2

        self._cv2, self._played = cv2, is_played(source)
        self.name = Path(source).name if self._played else f"camera {int(source)}"
        if self._played:
            _refuse_others(source)
        with quiet_native():
            opened = cv2.VideoCapture(source, cv2.CAP_FFMPEG) if self._played else cv2.VideoCapture(int(source))
            # Else pictures may be several frames old when they are grabbed.
            opened.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            there, picture = opened.read() if opened.isOpened() else (False, None)
        self._capture, self._first = opened, picture
        if picture is None or not there:
            worked = opened.isOpened()
            opened.release()
            raise _no_picture(self.name, source, worked)
        self.size = picture.shape[1], picture.shape[0]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: MediaError | None = None
        self.ended = False

    def start(
        self,
        take: Callable[[VideoFrame], None],
        clock: Callable[[], float],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Begin to read.

        Args:
            take: called with every frame, from the camera's thread.
            clock: gives the time of a frame in seconds.
            wait: waits for so many seconds between a file's frames; None is by the wall clock, until `close`.
        """
        args = (take, clock, wait or self._stop.wait)
        self._thread = threading.Thread(target=self._read, args=args, name="camera", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and let the camera go."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        if self._thread is None or not self._thread.is_alive():  # releasing it within a grab crashes
            self._capture.release()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(
        self, take: Callable[[VideoFrame], None], clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        try:
            self._grab(take, clock, wait)
            if not self._played and not self._stop.is_set():
                raise MediaError("it gives no more pictures", where=self.name, hint="look whether it was unplugged")
        except MediaError as error:
            self.failure = error
        except self._cv2.error as error:
            self.failure = MediaError(f"its pictures can't be read ({reason(error)})", where=self.name)
        finally:
            self.ended = True

    def _grab(
        self, take: Callable[[VideoFrame], None], clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        """Give frames until there are no more, or until `close`."""
        capture, began_s = self._capture, clock()
        # A file's first picture was read to see that there is one; a camera's is old by now, as others in its buffers.
        if self._played:
            take(VideoFrame(began_s, self._upright(self._first)))
        else:
            for _ in range(_STALE):
                capture.grab()
        self._first = None
        while not self._stop.is_set() and capture.grab():
            if self._played:
                wait(max(0.0, began_s + capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000 - clock()))
            time_s = clock()
            there, picture = capture.retrieve()
            if there:
                take(VideoFrame(time_s, self._upright(picture)))

    def _upright(self, picture: Any) -> np.ndarray:
        return np.asarray(self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB))


def is_played(source: str) -> bool:
    """Whether a camera's source is meant as a file, because it is no number."""
    return not source.isascii() or not source.isdecimal()


def cameras() -> dict[int, tuple[int, int]]:
    """Number of each camera that can be opened -> width and height of its pictures in pixels."""
    import cv2

    found = {}
    with quiet_native():
        for number in range(LISTED):
            capture = cv2.VideoCapture(number)
            if capture.isOpened():
                sides = (capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
                width, height = (round(side) for side in sides)
                found[number] = (width, height)
            capture.release()
    return found


def _refuse_others(source: str) -> None:
    """Refuse what is no video file, before OpenCV sees it: it would open addresses, playlists and series of images."""
    if not is_file(source):
        what = "this is neither the number of a camera nor a video file"
        if "://" in source:
            what += ", and addresses of the network aren't taken"
        raise UsageError(what, where=f"--camera {source}", hint="avgate live --list shows the numbers; 0 is the first")
    if probe(source).video_codec is None:
        raise MediaError("there is no picture in it", where=source, hint="give a video")


def _no_picture(name: str, source: str, opened: bool) -> MediaError:
    hint = "avgate live --list shows the cameras; close other programs that use it, and allow this one to"
    if opened:
        return MediaError("it gives no picture", where=name, hint=hint)
    there = Path(f"/dev/video{source}").exists()
    what = "it can't be opened: another program uses it, or this one may not" if there else "there is no such camera"
    return MediaError(what, where=name, hint=hint)
