"""Measuring what avgate makes of a file: where pulses are, what a command says, and what it takes."""

from __future__ import annotations

import contextlib
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from avgate.apps.labels import labels
from avgate.core.console import console
from avgate.core.errors import AvgateError
from avgate.core.types import SAMPLE_RATE, LabelTrack
from avgate.labels.formats import read_labels
from avgate.media import Media

ENOUGH_S = 60.0
"""Seconds after which something is ended that should take one."""

ENOUGH_BYTES = 6 << 30


Found = tuple[str, bool | None]
"""What was found, and whether it is right; None where that can't be told."""


@dataclass(frozen=True)
class Case:
    """A file that users had trouble with.

    Attributes:
        room: its folder.
        name: its name, or that of a folder.
        right: what is right, in words.
        look: from the room's folder to what is found.
    """

    room: str
    name: str
    right: str
    look: Callable[[Path], Found]

    def look_in(self, folder: Path) -> Found:
        """What is found in the folder of all rooms; a missing file is told, and whatever is raised is not right."""
        if not (folder / self.room / self.name).exists():
            return "there is no such file", None
        try:
            found, holds = self.look(folder / self.room)
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}", False
        return found, holds


@dataclass
class Measured:
    """What happened: a result or an error, what was printed, and what it took.

    Attributes:
        result: what was returned.
        error: the AvgateError, or anything else that was raised.
        said: what avgate printed.
        seconds: of processor time.
        memory: bytes of resident memory that it took beyond what there was.
    """

    result: object = None
    error: BaseException | None = None
    said: str = ""
    seconds: float = 0.0
    memory: int = 0

    @property
    def clear(self) -> bool:
        """Whether it ended in a result or in one clear error."""
        return self.error is None or isinstance(self.error, AvgateError)

    def __str__(self) -> str:
        if self.error is None:
            return f"a result in {self.seconds:.1f} s"
        kind = type(self.error).__name__
        first = str(self.error).partition("\n")[0].rpartition(": ")[2] or str(self.error)
        return f"{kind} in {self.seconds:.1f} s ({first[:90]})"


def measured(work: Callable[[], object]) -> Measured:
    """Do something that may fail, take very long or ask for too much."""
    found = Measured()
    _forget_peak()
    before = _peak()
    with _bounded(), console.capture() as printed:
        start = time.process_time()
        try:
            found.result = work()
        except Exception as error:
            found.error = error
        found.seconds = time.process_time() - start
    found.memory = max(0, _peak() - before)
    found.said = " ".join(printed.get().split())
    return found


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """End what takes too long or too much, as an error."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"it took more than {ENOUGH_S:g} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, ENOUGH_S)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ENOUGH_BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def converted(files: list[Path], **options: object) -> Measured:
    """`avgate labels FILES --out o.csv`; the result is what the new file holds."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "o.csv"

        def work() -> LabelTrack:
            labels(files, out, **options)
            return read_labels(out)

        return measured(work)


def at(track: LabelTrack, target: str, *times_s: float) -> list[float]:
    """A target's labels at some times, NaN where there are none."""
    values, column = [], track.targets.index(target)
    for time_s in times_s:
        row = np.searchsorted(track.time_s, time_s, side="right") - 1
        until_s = np.inf if track.until_s is None else track.until_s[row]
        values.append(float(track.values[row, column]) if row >= 0 and time_s < until_s else np.nan)
    return values


def flashes(media: Media) -> list[float]:
    """When the picture turns from dark to bright, in seconds."""
    before, found = 255.0, []
    for frame in media.frames():
        now = float(frame.image.mean())
        if now > 200 and before < 60:
            found.append(frame.time_s)
        before = now
    return found


def clicks(media: Media) -> list[float]:
    """When the sound begins to be loud, in seconds."""
    found: list[float] = []
    last_s = -np.inf
    for piece in media.sound():
        loud = np.flatnonzero(np.abs(piece.samples) > 0.1) / SAMPLE_RATE + piece.start_s
        for time_s in loud.tolist():
            if time_s - last_s > 0.2:
                found.append(time_s)
            last_s = time_s
    return found


def kept(found: list[float], expected: list[float], slack_s: float) -> int:
    """How many of the expected times are among those found."""
    return sum(any(abs(one - time_s) <= slack_s for one in found) for time_s in expected)
