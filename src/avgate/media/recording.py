"""The interface of a recording, and recordings in memory: frames and sound with times in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from av import AudioFrame

from avgate.core.errors import UsageError
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media.sound import Pieces

_BLOCK = 1 << 16
"""Samples that are resampled at once."""

_LOUDEST = 1.5
"""Loudest sample that is accepted: resampling may overshoot 1 a little, but more means another scale."""


class Recording(Protocol):
    """Frames and sound of one recording. Both can be read repeatedly, and at the same time.

    Attributes:
        notes: what the user must know, one sentence each; complete after `frames` and `sound` have run to their end.
    """

    notes: list[str]

    @property
    def name(self) -> str:
        """Its name in messages."""

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame once, in the order of time."""

    def frame_times(self) -> np.ndarray:
        """Times of all frames in seconds, float64 [n]."""

    def sound(self) -> Iterator[Waveform]:
        """The sound as mono pieces, in order and without overlap; no piece without sound."""


class InMemory:
    """A recording in memory.

    Args:
        frames: upright RGB frames, uint8 [n h w 3], or a sequence of n frames [h w 3].
        time_s: float [n], time of each frame in seconds, increasing.
        sound: float [m] mono or [m 2] stereo in [-1, 1], starting at 0 s; None where there is none.
        rate: samples of the sound per second.

    Raises:
        UsageError: a shape, type, range or time is wrong.
    """

    name = "frames in memory"

    def __init__(
        self,
        frames: np.ndarray | Sequence[np.ndarray],
        time_s: np.ndarray | Sequence[float],
        sound: np.ndarray | None = None,
        rate: int | None = None,
    ):
        self.notes: list[str] = []
        self._frames, self._time_s = frames, np.asarray(time_s, np.float64)
        if not len(frames) or self._time_s.shape != (len(frames),):
            what = f"{len(frames)} frames and times of shape {self._time_s.shape} don't belong together"
            raise UsageError(what, where=self.name, hint="give at least one frame, and one time in seconds for each")
        if not np.isfinite(self._time_s).all() or (np.diff(self._time_s) <= 0).any():
            raise UsageError("the frames' times don't increase", where=self.name, hint="sort them; no two may be equal")
        self._sound, self._rate = self._checked(sound, rate)

    def frames(self) -> Iterator[VideoFrame]:
        """See Recording; UsageError for a frame that isn't RGB uint8."""
        for i, (time_s, frame) in enumerate(zip(self._time_s.tolist(), self._frames, strict=True)):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
                what = f"frame {i} is {frame.dtype} of shape {frame.shape}"
                raise UsageError(what, where=self.name, hint="give RGB pictures, uint8 of shape [height width 3]")
            yield VideoFrame(time_s, np.ascontiguousarray(frame))

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return self._time_s

    def sound(self) -> Iterator[Waveform]:
        """See Recording; resampled to 16 kHz in the same way as the sound of files."""
        if self._sound is None:
            return
        pieces = Pieces(30 * SAMPLE_RATE)
        for first in range(0, self._sound.shape[1], _BLOCK):
            part = np.ascontiguousarray(self._sound[:, first : first + _BLOCK])
            frame = AudioFrame.from_ndarray(part, format="fltp", layout=("mono", "stereo")[len(part) - 1])
            frame.sample_rate = self._rate
            yield from pieces.push(frame)
        yield from pieces.close()

    def _checked(self, sound: np.ndarray | None, rate: int | None) -> tuple[np.ndarray | None, int]:
        """The sound as float32 [channels m], and its rate."""
        if sound is None:
            self.notes.append("There is no sound.")
            return None, SAMPLE_RATE
        sound = np.asarray(sound)
        if rate is None or rate != int(rate) or not 1000 <= rate <= 384_000:
            what = f"sound needs its rate in samples per second, not {rate}"
            raise UsageError(what, where=self.name, hint="such as 16000 or 48000")
        if sound.dtype.kind != "f" or sound.ndim not in (1, 2) or (sound.ndim == 2 and sound.shape[1] not in (1, 2)):
            what = f"the sound is {sound.dtype} of shape {sound.shape}"
            raise UsageError(what, where=self.name, hint="give floats in [-1, 1], of shape [samples] or [samples 2]")
        if not np.isfinite(sound).all():
            raise UsageError("the sound holds NaN or Inf", where=self.name, hint="give floats in [-1, 1]")
        if sound.size and np.abs(sound).max() > _LOUDEST:
            what = f"the sound reaches {np.abs(sound).max():g}"
            raise UsageError(what, where=self.name, hint="give floats in [-1, 1]; divide 16-bit samples by 32768")
        return np.atleast_2d(sound.T).astype(np.float32), int(rate)
