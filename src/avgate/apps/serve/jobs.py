"""Jobs: recordings that were sent to be estimated, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from avgate.core.errors import OutputError
from avgate.models.intervals import DEFAULT_LEVEL

State = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
"""States that a job keeps."""

MOST_ATTEMPTS = 3
"""How often a job is begun whose worker died, before it fails."""


@dataclass(frozen=True)
class Options:
    """What to make of a recording.

    Attributes:
        model: name of the weights, as in Settings.models.
        level: share of the true values that intervals are made to hold.
        formats: names of label formats to write beside CSV and JSON.
        report: whether to write the HTML and PNG reports.
    """

    model: str = "default"
    level: float = DEFAULT_LEVEL
    formats: tuple[str, ...] = ()
    report: bool = True


@dataclass(frozen=True)
class Job:
    """One recording's way through the server.

    Attributes:
        id: 32 hexadecimal digits, made by the server.
        name: the file's name as its owner calls it, shortened and made printable.
        size: bytes of the file.
        options: what to make of it.
        state: where it stands.
        stage: what is being done, in a word or two.
        progress: share that is done, in [0, 1].
        attempt: how often it was begun.
        created_s: when it was accepted, in seconds since 1970.
        started_s: when its last attempt began; None before.
        ended_s: when it ended; None before.
        duration_s: length of the recording; None before it is done.
        error: what is wrong, without a path of this machine; empty where nothing is.
        hint: what to do next; may be empty.
        notes: what must be known of the result, one sentence each.
        results: names of the files that can be fetched, once it is done.
    """

    id: str
    name: str
    size: int
    options: Options
    state: State = "queued"
    stage: str = ""
    progress: float = 0.0
    attempt: int = 0
    created_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None
    duration_s: float | None = None
    error: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """What a crew has done so far, for metrics.

    Attributes:
        workers: processes.
        ready: those of them that have loaded everything.
        running: jobs that are being estimated.
        died: workers that ended by themselves or were killed by the system.
        ended: state -> jobs that came to it here.
        stages_s: stage -> seconds spent in it, over all jobs that are done.
        recording_s: seconds of all recordings that are done.
        factor: seconds of work per second of recording, a running mean over recordings; None before the first.
        problem: why no worker can start; empty where some can.
        begun: jobs that were begun here for the first time.
        waited_s: for how many seconds these had waited, in all.
    """

    workers: int
    ready: int
    running: int
    died: int
    ended: Mapping[str, int]
    stages_s: Mapping[str, float]
    recording_s: float
    factor: float | None
    problem: str
    begun: int = 0
    waited_s: float = 0.0


class StoreError(OutputError):
    """The store can't be reached, or can't write now; the same may be asked again later."""


class StoreFullError(StoreError):
    """The store has no room; deleting files may give it some."""


class JobStore(Protocol):
    """Where jobs are kept; every method is one transaction, and may be called from any thread or process.

    All of them raise StoreError where the database is away, locked for too long, or has no room.

    Writes of a worker name the attempt that they belong to. Of an attempt that isn't the job's running one any more
    (it was cancelled, deleted, or begun again elsewhere), they change nothing and return False.
    """

    def add(self, job: Job) -> None:
        """Accept a job; it is queued. Adding it again changes nothing."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def list(self, limit: int = 100, before_s: float | None = None) -> Sequence[Job]:
        """The newest jobs, newest first; with before_s, only those created before that time."""

    def count(self) -> dict[State, int]:
        """How many jobs there are in each state."""

    def claim(self, owner: str) -> Job | None:
        """Begin the oldest queued job: it is running, its attempt one more. None where nothing is queued."""

    def beat(self, job: Job, stage: str, progress: float) -> bool:
        """Say how far a running job is, and that its worker is alive."""

    def end(self, job: Job, ended: Job) -> bool:
        """Put a running job into the state `ended` has, with its results, notes and error.

        One that is queued waits to be begun again, and `ended.attempt` is how often it was begun so far.
        """

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job that hasn't ended; the job as it is then, or None where there is none."""

    def delete(self, job_id: str) -> bool:
        """Forget a job; its worker finds out by its next beat. Whether there was one."""

    def recover(self, silent_s: float) -> Sequence[Job]:
        """Queue running jobs again whose worker has been silent for so long; those begun MOST_ATTEMPTS times fail.

        Returns:
            The jobs that were cut, as they are now.
        """

    def expired(self, before_s: float) -> Sequence[Job]:
        """Jobs that ended before that time."""

    def changes(self, since: int) -> tuple[int, Sequence[Job]]:
        """What changed: cheap, so that it can be asked several times a second.

        Args:
            since: the number that the last call returned; 0 at first.

        Returns:
            The number of the last change, and the jobs that changed after `since`, as they are now, in the order of
            their changes. Where a job was deleted, the number is higher and the job isn't there any more.
        """

    def check(self) -> None:
        """StoreError where no job could be added now; it is found out soon, unlike by adding one."""

    def close(self) -> None:
        """Let go of what is open; nothing may be asked afterwards."""
