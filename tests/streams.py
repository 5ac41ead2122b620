"""A Streamer without a model, for tests of what plays, writes and shows a stream: it costs what the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from avgate.core.gates import Gate
from avgate.core.types import Trace, VideoFrame, Waveform
from avgate.inference.streaming import Result

STEP_S = 0.1


def make_result(time_s: float = 1.0, looked: bool = True, **changed: Any) -> Result:
    """A result with all that a model with intervals and gates gives."""
    values: dict[str, Any] = {
        "targets": {"valence": round(float(np.sin(time_s)), 6), "arousal": -0.5},
        "raw": {"valence": 0.25, "arousal": -0.25},
        "low": {"valence": -1.0, "arousal": -0.75},
        "high": {"valence": 1.0, "arousal": 0.0},
        "gates": {Gate("attended", "audio"): 0.25, Gate("attended", "video"): 1.0, Gate("iteration", "video", 1): 0.5},
        "present": {"audio": True, "face": looked, "voice": False},
        "delay_s": 0.08,
    }
    return Result(time_s=time_s, looked=looked, **(values | changed))


class FakeStreamer:
    """As Streamer: results come when the step of their frames has ended, or of sound alone when a step has.

    Args:
        video: whether frames come.
        spend: called with the seconds that a piece costs.
        face_s: seconds that a face costs.
    """

    def __init__(self, *, video: bool = True, spend: Callable[[float], object] = lambda s: None, face_s: float = 0.0):
        self.step_s = STEP_S
        self.notes = ["A note of the weights.", "A note of the stream."]  # as Streamer's, which has its weights' too
        self.pieces: list[VideoFrame | Waveform] = []
        self.closed = False
        self._video, self._spend, self._face_s = video, spend, face_s
        self._waiting: list[Result] = []
        self._steps = 0

    def __enter__(self) -> FakeStreamer:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def push(self, piece: VideoFrame | Waveform, *, look: bool = True, every: int = 1) -> list[Result]:
        self.pieces.append(piece)
        if isinstance(piece, Waveform):
            while not self._video and (self._steps + 1) * STEP_S <= piece.end_s + 1e-6:
                self._waiting.append(make_result(self._steps * STEP_S))
                self._steps += 1
            return [] if self._video else self.finish()
        self._spend(self._face_s if look else 0.001)
        ended = self._waiting and int(piece.time_s / STEP_S + 1e-6) > int(self._waiting[0].time_s / STEP_S + 1e-6)
        done = self.finish() if ended else []
        self._waiting.append(make_result(piece.time_s, look))
        return done

    def finish(self) -> list[Result]:
        done, self._waiting = self._waiting, []
        return done

    def trace(self, results: Sequence[Result]) -> Trace:
        def column(of: str) -> dict[Any, np.ndarray]:
            return {name: np.array([getattr(r, of)[name] for r in results]) for name in getattr(results[0], of)}

        kinds = {kind: column(kind) for kind in ("targets", "raw", "low", "high", "gates", "present")}
        return Trace(np.array([r.time_s for r in results]), **kinds, level=0.9)
