"""What a report shows of a recording: a small copy of a video, a waveform with its sound, or a still image."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from avgate.core.errors import OutputError
from avgate.core.scratch import no_room
from avgate.core.text import reason
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media import Images, Media, Mp4Writer

HEIGHT = 240
"""Height in pixels of the small copy of a video that its report carries."""

FASTEST_FPS = 15.0
"""Most frames a second of that copy: encoding all of them takes a tenth of the time of a prediction."""

MOST_PICTURES = 45_000
"""Pictures in that copy, about: 50 min of so many a second. A longer video's copy has fewer a second, evenly."""

BIT_RATE, LONG_BIT_RATE = 64_000, 32_000
"""Bits of sound per second in the copy, and in that of such a long video."""

STILL_HEIGHT = 480
"""Greatest height in pixels of a still image in its report."""

_JITTER = 0.1
"""Share of a frame's time by which a frame may come early."""

LONGEST_PAUSE_S = 3600.0
"""After a longer pause in it, sound is left out of the copy: silence takes time to encode, about 2 s an hour."""

WAVE_SIZE = 480, 160
"""Width and height in pixels of the picture of a waveform."""

WAVE_COLOUR = (12, 111, 103)
"""The colour of the voice's strips."""


class Envelope:
    """The loudest sample in every 20 ms of a recording's sound."""

    RATE = 50

    def __init__(self) -> None:
        self._peaks, self._count = np.zeros(0, np.float32), 0

    def add(self, piece: Waveform) -> None:
        """Take the next piece of sound."""
        size = SAMPLE_RATE // self.RATE
        cell = np.maximum(round(piece.start_s * SAMPLE_RATE) + np.arange(len(piece.samples)), 0) // size
        if len(cell):
            self._count = max(self._count, int(cell[-1]) + 1)
            if self._count > len(self._peaks):  # doubling, so that growing piece by piece copies little
                more = max(self._count, 2 * len(self._peaks)) - len(self._peaks)
                self._peaks = np.append(self._peaks, np.zeros(more, np.float32))
            np.maximum.at(self._peaks, cell, np.abs(piece.samples))

    @property
    def end_s(self) -> float:
        """When the sound ends, in seconds."""
        return self._count / self.RATE

    def bars(self, n: int) -> np.ndarray:
        """Height of each of n bars, float64 [n] in [0, 1]: 1 is the loudest moment of the recording."""
        edges = np.linspace(0, self._count, n + 1)
        first = np.minimum(edges[:-1].astype(int), max(0, self._count - 1))
        last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
        heights = np.array([self._peaks[: self._count][a:b].max(initial=0.0) for a, b in zip(first, last, strict=True)])
        return heights / max(float(heights.max(initial=0.0)), 1e-6)

    def picture(self) -> np.ndarray:
        """The waveform drawn, RGB uint8 [160 480 3]."""
        width, height = WAVE_SIZE
        half = np.maximum(self.bars(width) * 0.45 * height, 0.5)
        inside = np.abs(np.arange(height)[:, None] + 0.5 - height / 2) <= half
        return np.where(inside[..., None], WAVE_COLOUR, 255).astype(np.uint8)


class Shown:
    """Collects what a report shows, in the pass in which features are extracted. A context manager.

    Frames and sound may come from different threads. Where the copy can't be written, the block goes on without it.

    Args:
        recording: what is shown.
        folder: where the copy is written, a temporary one; None where there is none.
        failure: why there is no folder.

    Attributes:
        video: an MP4 that browsers play, once the block has ended: of a video or several images their small copy, of
            sound alone a picture of its waveform with the sound. None for a still image.
        still: the still image, RGB uint8; None for everything else.
        sound: the envelope of sound alone; None for everything else.
        failure: why the copy that should be there isn't; None otherwise.
        notes: what else the user must know of the copy.
    """

    def __init__(self, recording: Media | Images, folder: Path | None, failure: OutputError | None = None):
        single = isinstance(recording, Images) and recording.single
        self.video = None if single or folder is None else folder / "shown.mp4"
        self.still: np.ndarray | None = None
        self.failure = None if single else failure
        self.notes: list[str] = []
        self._heard_s, self._shown_s, self._unheard = 0.0, -math.inf, False
        self._left_out: VideoFrame | None = None
        self.sound = None if recording.has_frames else Envelope()
        self._apart_s = _apart_s(recording) if recording.has_frames else 0.0
        if self._apart_s and not single:
            self.notes.append(f"The report shows {1 / self._apart_s:.1f} pictures a second of this long video.")
        self._single, self._lock = single, threading.Lock()
        self._size = recording.size if recording.has_frames else WAVE_SIZE
        self._scope = ExitStack()

    def __enter__(self) -> Shown:
        """Begin the copy."""
        self._copy(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the copy; after an error, remove it."""
        if kind is not None:
            self._scope.__exit__(kind, error, trace)
            return
        if self._left_out is not None:  # the copy ends with the recording
            self._copy(partial(self._add, self._left_out))
        if self.sound is not None:
            picture = self.sound.picture()
            for time_s in (0.0, max(0.02, self.sound.end_s - 0.02)):  # the picture stays until the sound ends
                self._copy(partial(self._add, VideoFrame(time_s, picture)))
        self._copy(self._scope.close)

    def add(self, frame: VideoFrame) -> None:
        """Take the next frame."""
        if self._single:
            self.still = _shrunk(frame.image)
        elif frame.time_s - self._shown_s > (1 - _JITTER) * max(1 / FASTEST_FPS, self._apart_s):
            self._shown_s, self._left_out = frame.time_s, None
            self._copy(partial(self._add, frame))
        else:
            self._left_out = frame

    def add_sound(self, piece: Waveform) -> None:
        """Take the next piece of sound."""
        if self.sound is not None:
            self.sound.add(piece)
        if piece.start_s - self._heard_s <= LONGEST_PAUSE_S:
            self._heard_s = piece.end_s
            self._copy(partial(self._add_sound, piece))
        elif not self._unheard:
            self._unheard = True
            what = f"What is heard after {self._heard_s:,.0f} s can't be played in the report"
            self.notes.append(
                f"{what}: a pause of {(piece.start_s - self._heard_s) / 3600:,.1f} hours comes before it."
            )

    def _begin(self) -> None:
        width, height = self._size
        low = max(2, min(HEIGHT, height) // 2 * 2)
        assert self.video is not None
        wide, bit_rate = max(2, round(width * low / height / 2) * 2), LONG_BIT_RATE if self._apart_s else BIT_RATE
        self._writer = Mp4Writer(self.video, wide, low, audio_bit_rate=bit_rate, quick_sound=True)
        self._scope.enter_context(self._writer)

    def _add(self, frame: VideoFrame) -> None:
        self._writer.add(VideoFrame(frame.time_s, _fitted(frame.image, self._size)))

    def _add_sound(self, piece: Waveform) -> None:
        self._writer.add_sound(piece)

    def _copy(self, step: Callable[[], object]) -> None:
        """Take a step of writing the copy, and give it up where its disk is full or gone."""
        with self._lock:
            if self.video is None:
                return
            try:
                step()
            except (OSError, OutputError) as error:
                why = error.what if isinstance(error, OutputError) else reason(error)
                self.failure = no_room(f"the report's copy of the recording can't be written there ({why})")
                self.video = None
                with suppress(OSError, OutputError):
                    self._scope.__exit__(type(error), error, error.__traceback__)


def show(recording: Media | Images, folder: Path) -> Shown:
    """What a report shows of a recording, in a pass of its own; arguments as for Shown."""
    with Shown(recording, folder) as shown:
        for frame in recording.frames():
            shown.add(frame)
        for piece in recording.sound():
            shown.add_sound(piece)
    return shown


def _apart_s(recording: Media | Images) -> float:
    """Seconds between the pictures of a copy that has MOST_PICTURES of a longer video; 0 where it has all of them."""
    if isinstance(recording, Images):
        times = recording.frame_times()
        count, lasts_s = float(len(times)), float(times[-1] - times[0])
    else:
        info = recording.info
        lasts_s = info.duration_s
        count = info.frames_hint or (info.average_rate or 0.0) * lasts_s
    return lasts_s / MOST_PICTURES if min(count, FASTEST_FPS * lasts_s) > MOST_PICTURES else 0.0


def _shrunk(image: np.ndarray) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    if height <= STILL_HEIGHT:
        return image
    size = (max(1, round(width * STILL_HEIGHT / height)), STILL_HEIGHT)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image of another shape than the others, with bars of black around it instead of being stretched."""
    import cv2

    height, width = image.shape[:2]
    across, down = max(0, round(height * size[0] / size[1]) - width), max(0, round(width * size[1] / size[0]) - height)
    if across < 2 and down < 2:
        return image
    return cv2.copyMakeBorder(
        image, down // 2, down - down // 2, across // 2, across - across // 2, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
