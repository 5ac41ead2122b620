"""A worker process as the one that started it sees it: its limits, what it does, and what it says."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any

from avgate.apps.serve.jobs import Job
from avgate.core.errors import MediaError
from avgate.core.processes import resident_mb, start

_LONGEST_MESSAGE = 1 << 20
"""Bytes of a message of a worker's; longer ones are no worker's."""


@dataclass(frozen=True)
class Limits:
    """What one worker may use.

    Attributes:
        memory_mb: memory in MiB.
        job_s: time for one recording in seconds.
        duration_s: length of a recording in seconds.
        threads: threads of one library.
    """

    memory_mb: int
    job_s: float
    duration_s: float
    threads: int = 1

    @property
    def no_memory(self) -> dict[str, str]:
        """What to say where the memory wasn't enough."""
        error = f"it needs more memory than a recording may have ({self.memory_mb} MiB, the setting memory_mb)"
        return {"error": error, "hint": "cut it into parts, or make its picture smaller; or raise memory_mb"}

    @property
    def too_slow(self) -> dict[str, str]:
        """What to say where the time wasn't enough."""
        error = f"it took longer than a recording may ({self.job_s:g} s, the setting max_job_s)"
        return {"error": error, "hint": "cut it into parts, or raise max_job_s"}

    def too_long(self, what: str) -> MediaError:
        """The error for a recording that is too long, or says that it is."""
        error = f"{what}, and recordings may last {self.duration_s:g} s (the setting max_duration_s)"
        return MediaError(error, hint="cut it into parts, or raise max_duration_s")


Work = Callable[[Connection, Limits], None]
"""What a worker process runs."""


class Process:
    """A worker as its parent sees it; it starts at once.

    Messages are JSON, which can't make their reader do anything, unlike a pickle: a worker that a recording took over
    stays alone.

    Args:
        limits: what it may use.
        weights: of the model to load; None takes what comes with avgate.
        work: what it runs, as `worker.main`.

    Attributes:
        ready: whether it has loaded everything.
        model: name of the model that it keeps; empty for the one that it was started with.
        jobs: how many it was given.
        job: what it does; None where it is idle.
        outcome: its last answer to the job, {"done": ...} or {"failed": ...}.
        stage: what is being done.
        progress: share of the job that is done.
        began_s: when it was given the job, by the monotonic clock.
        beat_s, beat_stage: when, and in which stage, its parent last said in the store that it lives.
        ended: whether it has ended.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, limits: Limits, weights: str | None, work: Work):
        self.limits = limits
        self.ready, self.ended, self.model, self.jobs = False, False, "", 0
        self.stage, self.progress, self.began_s, self.beat_s, self.beat_stage = "", 0.0, 0.0, 0.0, ""
        self.job: Job | None = None
        self.outcome: dict[str, Any] | None = None
        self.pipe, other = Pipe()
        self.process = get_context("spawn").Process(target=work, args=(other, limits), name="worker", daemon=True)
        try:
            start(self.process)
        except OSError:
            self.pipe.close()
            raise
        finally:
            other.close()
        self._send({"warm": weights})

    def give(self, job: Job, task: Mapping[str, Any]) -> None:
        """Let it do a job; its message as for `main`."""
        self.take(job)
        self._send(task)

    def take(self, job: Job, outcome: dict[str, Any] | None = None) -> None:
        """Have a job, whose outcome may be known already."""
        self.job, self.outcome, self.stage, self.progress = job, outcome, "", 0.0
        self.began_s = self.beat_s = time.monotonic()
        self.beat_stage = ""
        self.model, self.jobs = job.options.model, self.jobs + 1

    def listen(self) -> None:
        """Take what it has said, and find out whether it has ended."""
        try:
            while not self.ended and self.pipe.poll():
                message = json.loads(self.pipe.recv_bytes(_LONGEST_MESSAGE))
                if "ready" in message:
                    self.ready = True
                elif self.job is not None and ("done" in message or "failed" in message):
                    self.outcome = _checked(message)
                elif self.outcome is None:
                    self.stage, self.progress = str(message["stage"]), float(message["progress"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            self.kill()

    def over(self) -> dict[str, str] | None:
        """What to say where it is over a limit."""
        if time.monotonic() - self.began_s > self.limits.job_s:
            return self.limits.too_slow
        return self.limits.no_memory if resident_mb(self.process.pid) > self.limits.memory_mb else None

    def kill(self) -> None:
        """End it now."""
        if not self.ended:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.ended = True

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has died, which is found out when it is listened to
            self.pipe.send_bytes(json.dumps(message).encode())


def _checked(message: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome in a message, with all that its readers need; ValueError, KeyError or TypeError where it is none."""
    if "failed" in message:
        failed = message["failed"]
        said = {name: _text(failed[name]) for name in ("error", "hint", "log") if name in failed or name != "log"}
        return {"failed": said}
    done = message["done"]
    if not isinstance(done["notes"], list):
        raise TypeError("notes aren't a list")
    stages_s = {_text(stage): _amount(seconds) for stage, seconds in dict(done["stages_s"]).items()}
    notes = [_text(note) for note in done["notes"]]
    return {"done": {"notes": notes, "stages_s": stages_s, "recording_s": _amount(done["recording_s"])}}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is none")
    return value


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError("an amount is none")
    return float(value)
