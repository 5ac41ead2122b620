"""`avgate live`: valence and arousal of the person in front of a camera, drawn in the terminal."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from avgate.apps.plane import Plane
from avgate.apps.rows import Rows
from avgate.apps.running import Run, open_streamer
from avgate.core.errors import AvgateError
from avgate.core.types import VideoFrame, Waveform
from avgate.media.camera import Camera, cameras, is_played
from avgate.media.microphone import Microphone, microphones
from avgate.models.intervals import DEFAULT_LEVEL

NO_MICROPHONE = "none"
"""As the microphone: there is none."""

MOST_FRAMES, MOST_BLOCKS = 30, 1500
"""Frames (about one second) and blocks of sound (half a minute) that may wait."""

_NOTHING_S = 0.05
"""Seconds for which a new piece is waited for before anything else is looked at."""


class Inbox:
    """What cameras and microphones bring until it is taken; the oldest frame goes where there is no room.

    Args:
        clock: gives the time in seconds.

    Attributes:
        lost_frames: frames for which there was no room.
        lost_blocks: blocks of sound for which there was none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.lost_frames = self.lost_blocks = 0
        self._clock, self._came = clock, threading.Condition()
        self._frames: deque[tuple[float, VideoFrame]] = deque()
        self._sound: deque[tuple[float, Waveform]] = deque()

    def put(self, piece: VideoFrame | Waveform) -> None:
        """Add a piece; from any thread."""
        with self._came:
            if isinstance(piece, VideoFrame):
                if len(self._frames) == MOST_FRAMES:
                    self._frames.popleft()
                    self.lost_frames += 1
                self._frames.append((self._clock(), piece))
            else:
                if len(self._sound) == MOST_BLOCKS:
                    self._sound.popleft()
                    self.lost_blocks += 1
                self._sound.append((self._clock(), piece))
            self._came.notify()

    def take(self) -> tuple[float, VideoFrame | Waveform] | None:
        """What came first of all that waits, and for how many seconds it has; None where nothing comes for a moment."""
        with self._came:
            if self.empty:
                self._came.wait(_NOTHING_S)
            waiting = [queue for queue in (self._sound, self._frames) if queue]
            if not waiting:
                return None
            came_s, piece = min(waiting, key=lambda queue: queue[0][0]).popleft()
            return self._clock() - came_s, piece

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._frames and not self._sound


def live(
    camera: str = "0",
    microphone: str | None = None,
    out: Path | None = None,
    *,
    seconds: float | None = None,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    level: float = DEFAULT_LEVEL,
) -> Run:
    """Estimate from a camera and a microphone until Ctrl-C, the time is over, or the camera ends.

    Args:
        camera: number of a device, or a video file in its place.
        microphone: part of a device's name, or its number; None takes the default one, or none beside a video file;
            NO_MICROPHONE takes none.
        out: CSV file, rows.STDOUT, or None.
        seconds: how long; None has no end.
        checkpoint: None takes the weights for live use that come with avgate.
        face_model: as for Predictor.
        level: share of the true values that intervals are made to hold.

    Returns:
        What it counted.

    Raises:
        UsageError: a device isn't one, or its library is missing.
        OutputError: `out` can't be written, or would replace a file that avgate didn't write.
        MediaError: a device can't be opened, or stops.
    """
    rows = Rows(out, [Path(camera)])
    deaf = is_played(camera) if microphone is None else microphone.lower() == NO_MICROPHONE
    with rows, Camera(camera) as eye, nullcontext() if deaf else Microphone(microphone) as ear:
        with (
            open_streamer(checkpoint, face_model, level, sound=not deaf) as streamer,
            _until_interrupted() as interrupted,
        ):
            began_s, inbox = time.monotonic(), Inbox()

            def clock() -> float:
                return time.monotonic() - began_s

            def over() -> bool:
                ended = eye.ended and inbox.empty
                return interrupted.is_set() or ended or (seconds is not None and clock() >= seconds)

            run = Run(streamer, rows, lambda time_s: time_s, None if rows.on_terminal else Plane, clock)
            failure = None
            with run:
                eye.start(inbox.put, clock)
                if ear is not None:
                    ear.start(inbox.put, clock)
                while not over() and failure is None:
                    if (taken := inbox.take()) is not None:
                        run.push(taken[1], late_s=taken[0])
                    failure = ear.failure if ear is not None else None
                run.finish()
        more = []
        if inbox.lost_frames:
            more.append(f"{inbox.lost_frames} frames came while the machine was busy, and have no rows.")
        if inbox.lost_blocks or (ear is not None and ear.lost):
            more.append("Some sound was lost while the machine was busy.")
        run.say(eye.name, more)
        if failure := failure or eye.failure:
            raise failure
    return run


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that the stream ends between two pieces; a second one interrupts as usual."""
    interrupted = threading.Event()

    def once(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, once)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def devices() -> list[str]:
    """What there is to see and to hear with, a line each."""
    lines = [f"camera {number}: {width}x{height}" for number, (width, height) in cameras().items()]
    lines = lines or ["no camera was found; --camera also takes a video file"]
    try:
        found = microphones()
    except AvgateError as error:
        return [*lines, f"microphones can't be listed: {error.what}; {error.hint}"]
    return [
        *lines,
        *([f"microphone {number}: {name}" for number, name in found.items()] or ["no microphone was found"]),
    ]
