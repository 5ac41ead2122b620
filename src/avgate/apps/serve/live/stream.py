"""One live stream: messages in, results out."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avgate.apps.pace import Pace
from avgate.apps.serve.live.decoding import Ear, read_jpeg
from avgate.apps.serve.live.messages import Hello, Limits, Piece
from avgate.core.files import json_values
from avgate.core.types import VideoFrame

if TYPE_CHECKING:  # which loads torch
    from avgate.inference.streaming import Result, Streamer

_DECIMALS, _BOX_DECIMALS = 6, 4


class LiveStream:
    """A client's Streamer and what decodes for it. From any thread, but one call at a time; `close` waits for that.

    Args:
        hello: what comes.
        streamer: open; closed with this.
        limits: max_pixels counts here.
        clock: gives the time in seconds.

    Attributes:
        pace: counts images, and faces that were skipped.
    """

    def __init__(self, hello: Hello, streamer: Streamer, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.hello, self.streamer, self.pace = hello, streamer, Pace(streamer.step_s)
        self._limits, self._clock, self._lock = limits, clock, threading.Lock()
        with contextlib.ExitStack() as opened:
            opened.callback(streamer.close)
            self._ear = Ear(hello) if hello.sound else None
            opened.pop_all()

    def ready(self) -> dict[str, Any]:
        """What the client is told before anything comes."""
        estimator = self.streamer.estimator
        gates = [gate.name for gate in estimator.step_program.gates]
        more = {"step_s": self.streamer.step_s, "gates": gates, "notes": self.streamer.notes}
        more |= {"demonstration": estimator.checkpoint.demonstration}
        more |= {"provenance": json_values(estimator.provenance)}
        return {"ready": True, "targets": list(estimator.targets)} | more

    def take(self, pieces: Sequence[Piece]) -> tuple[list[dict[str, Any]], float]:
        """Estimate what came.

        Returns:
            The results that have become known, as the client gets them, and for how many seconds the last had waited.

        Raises:
            Refused: an image or sound can't be decoded.
            UsageError: a time isn't possible.
        """
        results: list[dict[str, Any]] = []
        queue_s = 0.0
        with self._lock:
            for piece in pieces:
                queue_s = max(0.0, self._clock() - piece.came_s)
                if not piece.is_image:
                    assert self._ear is not None
                    sound = self._ear.hear(piece)
                    every = self.pace.every(sound.end_s - sound.start_s, queue_s)
                    found = self.streamer.push(sound, every=every)
                else:
                    look = self.pace.looks(piece.time_s, queue_s)
                    found = self.streamer.push(VideoFrame(piece.time_s, self._image(piece, look)), look=look)
                results += map(_plain, found)
        return results, queue_s

    def finish(self) -> list[dict[str, Any]]:
        """End the stream; returns the remaining results."""
        with self._lock:
            return [_plain(result) for result in self.streamer.finish()]

    def notes(self, dropped: int) -> list[str]:
        """What the client must know of the whole stream, one sentence each."""
        notes = []
        if self.pace.skipped:
            skipped = f"{self.pace.skipped} of {self.pace.frames} faces were skipped"
            notes.append(f"{skipped}: looking for them takes the server too long.")
        if dropped:
            notes.append(f"{dropped} images came while the server was busy, and have no results.")
        return [*notes, *self.streamer.notes]

    def close(self) -> None:
        """Free the face model, once a call that still runs is over."""
        with self._lock:
            self.streamer.close()

    def _image(self, piece: Piece, look: bool) -> np.ndarray:
        """The pixels; of an image that nobody looks at, but whether it could be one."""
        if self.hello.image == "jpeg":
            return read_jpeg(piece.payload, piece.time_s, self._limits, look)
        pixels = np.frombuffer(piece.payload, np.uint8)
        return pixels.reshape(self.hello.height, self.hello.width, 3)


def _plain(result: Result) -> dict[str, Any]:
    """A result for JSON; what isn't known is None."""
    columns = {name: _rounded(getattr(result, name)) for name in ("targets", "raw", "low", "high")}
    gates = _rounded({gate.name: value for gate, value in result.gates.items()})
    present = {name: bool(here) for name, here in result.present.items()}
    delay_s = round(result.delay_s, _DECIMALS)
    box = None if result.face_box is None else [round(x, _BOX_DECIMALS) for x in result.face_box]
    more = {"gates": gates, "present": present, "face_box": box, "others": result.others, "delay_s": delay_s}
    return {"time_s": result.time_s, **columns, **more, "looked": bool(result.looked), "heard": bool(result.heard)}


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: round(float(x), _DECIMALS) if math.isfinite(x) else None for name, x in values.items()}
