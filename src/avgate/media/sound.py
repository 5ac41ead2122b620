"""From decoded audio frames of any kind to mono pieces at 16 kHz that keep the clock."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.audio.resampler import AudioResampler

from avgate.core.types import SAMPLE_RATE, Waveform

SLACK_S = 0.02
"""How far timestamps may be off the running count of samples before the clock is set right."""

GAP_S = 0.1
"""Gaps from this length on start a new piece; shorter ones are filled with silence."""


class Pieces:
    """Mixes down, resamples and cuts a stream of audio frames.

    Args:
        longest: samples per piece at most.

    Attributes:
        cut_s: seconds of sound that were cut because they overlap earlier sound.
    """

    def __init__(self, longest: int):
        self.cut_s = 0.0
        self._longest = longest
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None  # of the frames that the resampler takes
        self._due_s = 0.0  # when the next frame should start
        self._start_s = 0.0  # when the present run of gapless sound started
        self._given = 0  # its samples that are out
        self._ready: list[np.ndarray] = []  # its samples that aren't
        self._waiting = 0  # how many those are
        self._drop = 0  # samples still to come that are to be cut

    def push(self, frame: Any) -> list[Waveform]:
        """Take the next decoded frame; the pieces that are complete with it."""
        time_s = self._due_s if frame.time is None else frame.time
        off_s = time_s - self._due_s
        done = []
        if self._kind is None:
            self._start_s = self._due_s = time_s
        elif abs(off_s) > SLACK_S:
            self._drain()
            if off_s >= GAP_S:
                done = self._take(self._waiting)
                self._start_s, self._given = time_s, 0
            elif off_s > 0:
                end_s = self._start_s + (self._given + self._waiting) / SAMPLE_RATE
                self._keep(np.zeros(max(0, round((time_s - end_s) * SAMPLE_RATE)), np.float32))
            else:
                self._drop += round(-off_s * SAMPLE_RATE)
                self.cut_s -= off_s
            self._due_s = time_s
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            self._drain()
            self._kind = kind
        if self._resampler is None:
            # On the way to an integer format FFmpeg scales the weights of the mix to a sum of 1; to float it doesn't.
            self._resampler = AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE)
        self._resample(self._resampler, frame)
        self._due_s += frame.samples / frame.sample_rate
        while self._waiting >= self._longest:
            done += self._take(self._longest)
        return done

    def close(self) -> list[Waveform]:
        """The pieces that are left."""
        self._drain()
        done = []
        while self._waiting:
            done += self._take(min(self._longest, self._waiting))
        return done

    def _drain(self) -> None:
        if self._resampler is not None:
            self._resample(self._resampler, None)
            self._resampler = None

    def _resample(self, resampler: AudioResampler, frame: Any) -> None:
        for out in resampler.resample(frame):
            self._keep((out.to_ndarray()[0] / 2.0**31).astype(np.float32))

    def _keep(self, samples: np.ndarray) -> None:
        cut = min(self._drop, len(samples))
        self._drop -= cut
        self._ready.append(samples[cut:])
        self._waiting += len(samples) - cut

    def _take(self, n: int) -> list[Waveform]:
        if n == 0:
            return []
        ready = np.concatenate(self._ready)
        piece = Waveform(ready[:n], self._start_s + self._given / SAMPLE_RATE)
        self._ready, self._given, self._waiting = [ready[n:]], self._given + n, len(ready) - n
        return [piece]
