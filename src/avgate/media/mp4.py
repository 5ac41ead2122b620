"""Writes small MP4 files that browsers play: H.264 and AAC, with every frame at its own time."""

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
from av.video.reformatter import Interpolation, VideoReformatter

from avgate.core.files import atomic_write
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media.picture import has_padding

TICK = Fraction(1, 90_000)
"""Seconds per unit of the video's timestamps, fine enough for any frame rate."""

_STAYS = round(3600 / TICK)
"""Ticks after which a picture is repeated: MP4 can't hold one that stays for 2^31 of them, which are 6.6 hours."""

_SILENCE = 1 << 16  # samples per step when a gap is filled


class Mp4Writer:
    """Context manager that writes frames and sound to an MP4. The file appears when the block ends without error.

    Frames and sound may be added in any order. Encoded packets (never raw frames or samples) are kept in memory until
    both streams have reached their time; without sound, until the end. The same input gives the same bytes.

    Args:
        path: where to write; its folder must exist.
        width: width in pixels, even.
        height: height in pixels, even.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's preset, "ultrafast" to "veryslow".
        max_rate_hint: about the highest number of frames per second; a hint to the encoder.
        gop: most frames from one key frame to the next.
        audio_bit_rate: bits of sound per second.
        quick_sound: whether to encode sound in a fifth of the time, somewhat less exactly.

    Raises:
        OutputError: the file can't be written.
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
        audio_bit_rate: int = 64_000,
        quick_sound: bool = False,
    ):
        if width % 2 or height % 2 or width < 2 or height < 2:
            raise ValueError(f"width and height must be even and above 0, not {width}x{height}")
        self.path = Path(path)
        self._size = width, height
        self._options = {"crf": str(crf), "preset": preset, "threads": "1"}
        self._rate, self._gop, self._audio_bit_rate = max_rate_hint, gop, audio_bit_rate
        self._audio_options = {"aac_coder": "fast"} if quick_sound else {}
        self._reformatter = VideoReformatter()
        self._audio: Any = None
        self._waiting: tuple[deque[Any], deque[Any]] = (deque(), deque())  # encoded packets: video, audio
        self._last_pts: int | None = None
        self._last_s = 0.0
        self._picture: Any = None
        self._heard = 0  # end of the sound so far, in samples from time 0

    def __enter__(self) -> Mp4Writer:
        """Open a temporary file beside the final one."""
        with contextlib.ExitStack() as scope:
            temporary = scope.enter_context(atomic_write(self.path))
            temporary.touch()  # fail now rather than after the work, where the folder can't be written to
            # The edit list, which holds the start of each stream, counts in the movie's time scale, 1 ms by default.
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
        """Finish the file and move it to its final name; after an error, remove it."""
        if kind is None:
            with self._scope:
                self._finish()
            return
        with contextlib.suppress(av.FFmpegError):
            self._container.close()
        self._scope.__exit__(kind, error, trace)

    def add(self, frame: VideoFrame) -> None:
        """Encode a frame, scaled to the size of the file, at its time or one tick after the frame before.

        Raises:
            OutputError: the disk is full or gone.
        """
        pts = round(frame.time_s / TICK)
        if self._last_pts is not None:
            if frame.time_s <= self._last_s:
                raise ValueError(f"the frame at {frame.time_s} s isn't later than the one before, at {self._last_s} s")
            pts = max(pts, self._last_pts + 1)
            for between in range(self._last_pts + _STAYS, pts, _STAYS):
                self._encode(self._picture, between)
        image = np.ascontiguousarray(frame.image)
        give = av.VideoFrame.from_numpy_buffer if has_padding(image) else av.VideoFrame.from_ndarray
        picture = give(image, format="rgb24")
        scaling = (
            {} if (picture.width, picture.height) == self._size else {"interpolation": Interpolation.FAST_BILINEAR}
        )
        self._picture = self._reformatter.reformat(picture, *self._size, "yuv420p", threads=1, **scaling)
        self._encode(self._picture, pts)
        self._last_s, self._last_pts = frame.time_s, pts

    def _encode(self, picture: av.VideoFrame, pts: int) -> None:
        picture.pts, picture.time_base = pts, TICK
        self._hold(self._video.encode(picture))

    def add_sound(self, piece: Waveform) -> None:
        """Encode a piece of sound at its own time. Gaps become silence; sound that overlaps earlier sound is cut.

        Where sound starts later than 0, the encoder puts 64 ms of silence before it.
        """
        start = round(piece.start_s * SAMPLE_RATE)
        if self._audio is None:
            self._audio = self._container.add_stream(
                "aac", rate=SAMPLE_RATE, options=self._audio_options, bit_rate=self._audio_bit_rate, layout="mono"
            )
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
        """Keep packets until all streams have reached their time; write none before there is sound."""
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
