"""Recordings played by the clock, for benchmarks/live.py: how late results come, and whether they are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from run import CLIPS

from avgate.apps.pace import Playback
from avgate.apps.rows import Rows
from avgate.apps.running import Run
from avgate.core.types import SAMPLE_RATE, Trace, VideoFrame, Waveform
from avgate.features.tracks import extract_tracks
from avgate.inference.estimator import Estimator
from avgate.inference.predictor import Predictor
from avgate.inference.streaming import Streamer
from avgate.media import open_recording


@dataclass(frozen=True)
class Play:
    """A way to play a recording.

    Args:
        chunk_s: sound comes in pieces of this length.
        late_s: how much later sound comes than it was heard.
        missing: share of the frames that never come.
    """

    chunk_s: float = 0.02
    late_s: float = 0.0
    missing: float = 0.0


PLAYS = {
    "sound in pieces of 20 ms": Play(),
    "sound in pieces of 1 ms": Play(chunk_s=0.001),
    "sound in pieces of 3 s": Play(chunk_s=3.0),
    "sound 400 ms late": Play(late_s=0.4),
    "a tenth of the frames missing": Play(missing=0.1),
}


class Kept(Rows):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__(None)
        self.parts: list[Trace] = []

    def add(self, part: Trace) -> None:
        """See Rows."""
        self.parts.append(part)


class Came:
    """What came of a recording, as a recording of its own."""

    def __init__(self, name: str, frames: Sequence[VideoFrame], sound: Sequence[Waveform]):
        self.name, self.notes, self.has_frames = name, list[str](), bool(frames)
        self._frames, self._sound = frames, sound
        self.sound_end_s = sound[-1].end_s if sound else 0.0

    def frames(self) -> Iterator[VideoFrame]:
        """See Recording."""
        return iter(self._frames)

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return np.array([frame.time_s for frame in self._frames])

    def sound(self) -> Iterator[Waveform]:
        """See Recording."""
        return iter(self._sound)


def clips_of(count: int) -> list[Path]:
    """The first recordings in the folder; none where it is missing."""
    return sorted(path for path in CLIPS.glob("*.*") if path.suffix in (".mpg", ".mp4", ".mov"))[:count]


def play(estimator: Estimator, clips: Sequence[Path], way: Play) -> dict[str, Any]:
    """What became of all recordings: delays in ms [p50, p95, longest], frames, and the largest difference.

    Args:
        estimator: a causal model.
        clips: the recordings.
        way: how they are played.
    """
    delays, frames, lost, skipped, difference = list[float](), 0, 0, 0, 0.0
    predictor = Predictor(estimator)
    for number, clip in enumerate(clips):
        whole = open_recording(clip)
        rng = np.random.default_rng(number)
        came = Came(whole.name, [f for f in whole.frames() if rng.random() >= way.missing], [*whole.sound()])
        if number == 0:
            live(estimator, came, way, speed=0.0)  # what is used for the first time prepares itself, for seconds
        run, traces = live(estimator, came, way, speed=1.0)
        delays += run.delays_s
        frames, lost = frames + run.pace.frames, lost + run.pace.frames - run.results
        skipped += run.pace.skipped
        offline = predictor.trace(extract_tracks(came, predictor.backbones), came)
        difference = max(difference, apart(traces, offline))
    late_ms = [1000 * float(x) for x in (*np.percentile(delays, [50, 95]), max(delays))] if delays else [0.0] * 3
    return {"delay_ms": late_ms, "frames": frames, "lost": lost, "skipped": skipped, "difference": difference}


def live(estimator: Estimator, came: Came, way: Play, speed: float) -> tuple[Run, list[Trace]]:
    """One recording as `avgate stream` takes it."""
    rows, playback = Kept(), Playback(speed)
    with Streamer(estimator, sound=bool(came.sound_end_s), wait_s=1.0 + way.chunk_s) as streamer:
        run = Run(streamer, rows, playback.due_s)
        with run:
            for when_s, piece in coming(came, way):
                run.push(piece, playback.wait(when_s))
            run.finish()
    return run, rows.parts


def coming(came: Came, way: Play) -> list[tuple[float, VideoFrame | Waveform]]:
    """Frames and sound in the order in which they come, and when.

    Sound comes when its piece is complete. Where there is none, that is said, so that nothing waits for it.
    """
    sound = [*chunks(came, way.chunk_s)]
    found: list[tuple[float, int, VideoFrame | Waveform]] = [(frame.time_s, 1, frame) for frame in came.frames()]
    found += [(piece.end_s + way.late_s, 0, piece) for piece in sound]
    starts, ends = (np.array([getattr(piece, name) for piece in sound] or [0.0]) for name in ("start_s", "end_s"))
    for time_s in came.frame_times() if sound else ():
        at = int(np.searchsorted(starts, time_s, side="right")) - 1
        if at < 0 or time_s > ends[at] + 1e-3:
            found.append((time_s + way.late_s, 0, Waveform(np.zeros(0, np.float32), time_s)))
    return [(when_s, piece) for when_s, _, piece in sorted(found, key=lambda one: one[:2])]


def chunks(came: Came, chunk_s: float) -> Iterator[Waveform]:
    """The sound in pieces of one length, but for those before gaps."""
    size = max(1, round(chunk_s * SAMPLE_RATE))
    for piece in came.sound():
        for first in range(0, len(piece.samples), size):
            yield Waveform(piece.samples[first : first + size], piece.start_s + first / SAMPLE_RATE)


def apart(parts: Sequence[Trace], whole: Trace) -> float:
    """The largest difference of targets, intervals and gates; infinite where only one of the two is known."""
    worst = 0.0
    for name in ("targets", "raw", "low", "high", "gates"):
        for key, values in getattr(whole, name).items():
            found = np.concatenate([getattr(part, name)[key] for part in parts])
            if found.shape != values.shape or (np.isnan(found) != np.isnan(values)).any():
                return float("inf")
            worst = max(worst, float(np.nanmax(np.abs(found - values), initial=0.0)))
    return worst
