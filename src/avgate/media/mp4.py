"""Small MP4 files out: H.264 and AAC that browsers play, with every frame at its own time."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from avgate.core.files import atomic_write
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform

TICK = Fraction(1, 90_000)
"""Seconds per unit of the video's time stamps: fine enough for any frame rate."""

_AUDIO_BIT_RATE = 64_000
_SILENCE = 1 << 16  # samples per step when a gap is filled


class Mp4Writer:
    """Writes frames and sound to an MP4, as a context manager; the file appears, complete, when the block ends well.

    Frames and sound may be added in any order to each other: encoded packets (never raw pictures or samples) are held
    until both have come as far, or to the end when there is no sound. The same input gives the same bytes.

    Args:
        path: where to write; its folder must exist.
        width: pixels, even.
        height: pixels, even.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's preset, "ultrafast" to "veryslow".
        max_rate_hint: about how many frames per second there will be at most; it only guides the encoder.
        gop: frames from one key frame to the next at most.

    Raises:
        OutputError: the file can't be written there.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        *,
        crf: int = 23,
        preset: str = "ultrafast",
        max_rate_hint: int = 30,
        gop: int = 50,
    ):
        if width % 2 or height % 2 or width < 2 or height < 2:
            raise ValueError(f"width and height must be even and above 0, not {width}x{height}")
        self.path = Path(path)
        self._size = width, height
        self._options = {"crf": str(crf), "preset": preset, "threads": "1"}
        self._rate, self._gop = max_rate_hint, gop
        self._reformatter = VideoReformatter()
        self._audio: Any = None
        self._waiting: tuple[deque[Any], deque[Any]] = (deque(), deque())  # encoded video and audio
        self._last_pts: int | None = None
        self._heard = 0  # where the sound ends, in samples from time 0

    def __enter__(self) -> Mp4Writer:
        """Open the file beside its final place."""
        with contextlib.ExitStack() as scope:
            temporary = scope.enter_context(atomic_write(self.path))
            temporary.touch()  # a place that can't be written to shows now, not after the work
            # The edit list, which holds where a stream starts, counts in the movie's time scale: 1 ms by default.
            options = {"movflags": "+faststart", "movie_timescale": str(1 / TICK)}
            self._container = av.open(str(temporary), "w", format="mp4", container_options=options)
            self._video = self._container.add_stream("libx264", rate=self._rate, options=self._options)
            self._video.width, self._video.height = self._size
            self._video.pix_fmt, self._video.gop_size = "yuv420p", self._gop
            self._video.time_base = self._video.codec_context.time_base = TICK
            self._scope = scope.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and put it in its place; after an error, remove it."""
        if kind is None:
            with self._scope:
                self._finish()
            return
        with contextlib.suppress(av.FFmpegError):
            self._container.close()
        self._scope.__exit__(kind, error, trace)

    def add(self, frame: VideoFrame) -> None:
        """Encode a frame of any size, scaled to the file's; times must increase.

        Raises:
            OutputError: the disk is full or gone.
        """
        pts = round(frame.time_s / TICK)
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(
                f"the frame at {frame.time_s} s isn't later than the one before, at {float(self._last_pts * TICK)} s"
            )
        self._last_pts = pts
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
        picture = self._reformatter.reformat(picture, *self._size, "yuv420p", threads=1)
        picture.pts, picture.time_base = pts, TICK
        self._hold(self._video.encode(picture))

    def add_sound(self, piece: Waveform) -> None:
        """Encode a piece of sound at its own time: gaps become silence, what overlaps earlier sound is cut.

        Sound that starts later than 0 is preceded by 64 ms of silence in the file, the encoder's run-in.
        """
        start = round(piece.start_s * SAMPLE_RATE)
        if self._audio is None:
            self._audio = self._container.add_stream("aac", rate=SAMPLE_RATE, bit_rate=_AUDIO_BIT_RATE, layout="mono")
            self._heard = start
        while start > self._heard:
            self._encode_sound(np.zeros(min(_SILENCE, start - self._heard), np.float32))
        self._encode_sound(piece.samples[self._heard - start :])

    def _encode_sound(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None], np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._heard, Fraction(1, SAMPLE_RATE)
        self._heard += len(samples)
        self._hold(self._audio.encode(frame))

    def _hold(self, packets: list[Any]) -> None:
        """Keep packets until all streams have come as far; before there is sound, that isn't known."""
        for packet in packets:
            self._waiting[packet.stream_index].append(packet)
        if self._audio is not None:
            self._mux(all)

    def _mux(self, go_on: Callable[[Iterable[object]], bool]) -> None:
        while go_on(self._waiting):
            first = min(
                (queue for queue in self._waiting if queue), key=lambda queue: queue[0].dts * queue[0].time_base
            )
            self._container.mux_one(first.popleft())

    def _finish(self) -> None:
        if self._last_pts is None:
            raise ValueError(f"{self.path}: no frame was added")
        self._hold(self._video.encode(None))
        if self._audio is not None:
            self._hold(self._audio.encode(None))
        self._mux(any)
        self._container.close()
