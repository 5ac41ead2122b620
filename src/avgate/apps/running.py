"""What `avgate stream` and `avgate live` share: pieces go in, and results are written, shown and counted."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import RenderableType
from rich.live import Live

from avgate.apps.pace import Pace
from avgate.apps.plane import AXES, Point, Shown
from avgate.apps.rows import STDOUT, Rows
from avgate.core.console import console
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.inference.estimator import Estimator
from avgate.inference.streaming import Result, Streamer

_DRAWN_S = 0.08
"""Seconds between two drawings in the terminal."""

_TRAIL_S = 2.0
"""Seconds of results that the trail shows."""

_SOME = 10
"""So many faces that are skipped are worth a message at once; fewer are a moment's delay."""

TOO_SLOW = "Looking for the face in every frame takes this machine too long; some are skipped."


def open_streamer(
    checkpoint: Estimator | Path | None,
    face_model: Path | None,
    level: float,
    *,
    video: bool = True,
    sound: bool = True,
) -> Streamer:
    """A Streamer whose first results come as fast as all others; arguments as for Streamer.

    Libraries load and prepare themselves at their first use, which takes seconds: so another Streamer of the same model
    works a little before.
    """
    with Streamer(checkpoint, face_model, level, video=video, sound=sound) as other:
        if video:
            other.push(VideoFrame(0.0, np.zeros((128, 128, 3), np.uint8)))
        if sound:
            other.push(Waveform(np.random.default_rng(0).uniform(-0.1, 0.1, SAMPLE_RATE).astype(np.float32)))
        other.finish()
    return Streamer(other.estimator, face_model, video=video, sound=sound)


class Run:
    """One stream's way through a Streamer. Within its `with` block, the terminal shows the newest result.

    Args:
        streamer: open.
        rows: where results go.
        due_s: when something of that time happened, on the clock; None where the stream isn't played by the clock.
        draw: what the terminal shows; None shows nothing.
        clock: gives the time in seconds.

    Attributes:
        pace: counts frames, and faces that were skipped.
        results: how many there were.
        delays_s: how long after its frame each result came, by the clock.
    """

    def __init__(
        self,
        streamer: Streamer,
        rows: Rows,
        due_s: Callable[[float], float] | None = None,
        draw: Callable[[Shown], RenderableType] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.streamer, self.rows, self.pace = streamer, rows, Pace(streamer.step_s)
        self.results, self.delays_s = 0, array("d")
        self._due_s, self._draw, self._clock = due_s, draw, clock
        self._trail: deque[Point] = deque(maxlen=max(1, round(_TRAIL_S / streamer.step_s)))
        self._drawn_s, self._began_s = -float("inf"), clock()
        self._screen: Live | None = None
        if draw is not None and console.is_terminal and not console.quiet:
            # Rows that go to stdout stay as they are.
            self._screen = Live(
                console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )

    def __enter__(self) -> Run:
        if self._screen is not None:
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen is not None:
            self._screen.stop()

    def push(self, piece: VideoFrame | Waveform, late_s: float) -> None:
        """Take the next piece, which has been waiting for so many seconds."""
        if isinstance(piece, VideoFrame):
            look = self.pace.looks(piece.time_s, late_s)
            if not look and self.pace.skipped == _SOME:
                console.say((TOO_SLOW, "yellow"))
            self._take(self.streamer.push(piece, look=look))
        else:
            every = self.pace.every(piece.end_s - piece.start_s, late_s)
            self._take(self.streamer.push(piece, every=every))

    def finish(self) -> None:
        """Take what is left after the last piece."""
        self._take(self.streamer.finish())

    def _take(self, results: Sequence[Result]) -> None:
        if not results:
            return
        self.rows.add(self.streamer.trace(results))
        self.results += len(results)
        now_s = self._clock()
        newest = results[-1]
        if self._due_s is not None:
            self.delays_s.extend(now_s - self._due_s(result.time_s) for result in results)
        if self._screen is not None and self._draw is not None and now_s - self._drawn_s >= _DRAWN_S:
            self._drawn_s = now_s
            delay_s = self.delays_s[-1] if self.delays_s else newest.delay_s
            self._screen.update(self._draw(Shown(newest, delay_s, self.pace.skipped, tuple(self._trail))), refresh=True)
        self._trail.append((newest.targets.get(AXES[0], np.nan), newest.targets.get(AXES[1], np.nan)))

    def say(self, name: str, more: Sequence[str] = ()) -> None:
        """Print what became of the stream: one line, and what the user must know.

        Args:
            name: the stream's.
            more: further sentences.
        """
        rows = ("frame" if self.pace.frames else "row") + "s" * (self.results != 1)
        where = "" if self.rows.path in (None, STDOUT) else f" -> {self.rows.path}"
        console.say((name, "bold"), f": {self.results} {rows}{where}")
        if self._due_s is None:
            console.say(f"  it took {self._clock() - self._began_s:.1f} s")
        elif len(self.delays_s):
            half, most = 1000 * np.percentile(self.delays_s, [50, 95])
            after = "their frames" if self.pace.frames else "their steps began"
            console.say(f"  results came {half:.0f} ms after {after} (p50), {most:.0f} ms (p95)")
        if self.pace.skipped:
            skipped = f"{self.pace.skipped} of {self.pace.frames} faces were skipped"
            more = [f"{skipped}: looking for them takes this machine too long.", *more]
        for note in dict.fromkeys((*more, *self.streamer.notes)):
            console.say((f"  {note}", "yellow"))
