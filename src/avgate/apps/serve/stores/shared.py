"""What is the same in every database: a job's row, and the questions that change nothing."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, get_args

from avgate.apps.serve.jobs import ENDED, MOST_ATTEMPTS, Job, Options, State

GIVEN_UP = f"the server stopped {MOST_ATTEMPTS} times while it worked on it"
GIVEN_UP_HINT = "try a short part of the recording; the server's log may say more"
"""Why a job isn't begun again."""

_NAMES = [field.name for field in fields(Job)]
COLUMNS = ", ".join(_NAMES)
"""A job's columns, in the order of `job_of`."""


class StoredJobs(ABC):
    """The part of a JobStore that only reads. A database says what its tables are called, and how it is asked."""

    TABLE: ClassVar[str]
    """The table of jobs."""

    LAST_CHANGE: ClassVar[str]
    """A query for the number of the last change."""

    @abstractmethod
    def rows(self, query: str, *values: object) -> Sequence[Any]:
        """What a query finds, whose values have the mark ? in it."""

    def get(self, job_id: str) -> Job | None:
        """See JobStore."""
        found = self._jobs("WHERE id = ?", job_id)
        return found[0] if found else None

    def list(self, limit: int = 100, before_s: float | None = None) -> Sequence[Job]:
        """See JobStore."""
        if before_s is None:
            return self._jobs("ORDER BY created_s DESC, seq DESC LIMIT ?", limit)
        return self._jobs("WHERE created_s < ? ORDER BY created_s DESC, seq DESC LIMIT ?", before_s, limit)

    def count(self) -> dict[State, int]:
        """See JobStore; states that no job is in are 0."""
        found = dict(self.rows(f"SELECT state, count(*) FROM {self.TABLE} GROUP BY state"))
        return {state: found.get(state, 0) for state in get_args(State)}

    def expired(self, before_s: float) -> Sequence[Job]:
        """See JobStore."""
        return self._jobs("WHERE state IN ('done', 'failed', 'cancelled') AND ended_s < ? ORDER BY seq", before_s)

    def changes(self, since: int) -> tuple[int, Sequence[Job]]:
        """See JobStore."""
        ((count,),) = self.rows(self.LAST_CHANGE)
        if count == since:
            return count, []
        # Those that change in between come now, and once more the next time.
        return count, self._jobs("WHERE change > ? ORDER BY change", since)

    def _jobs(self, where: str, *values: object) -> Sequence[Job]:
        return [job_of(row) for row in self.rows(f"SELECT {COLUMNS} FROM {self.TABLE} {where}", *values)]


def values_of(job: Job) -> dict[str, Any]:
    """A job's columns -> values; what isn't plain is JSON."""
    plain = asdict(job)
    return plain | {name: json.dumps(plain[name]) for name in ("options", "notes", "results")}


def ending_of(job: Job) -> dict[str, Any]:
    """The columns that JobStore.end sets. A job that is queued is put back, with its attempt as the last one."""
    values, done = values_of(job), job.state in ENDED
    progress = 1.0 if job.state == "done" else job.progress if done else 0.0
    set_to = {name: values[name] for name in ("state", "error", "hint", "notes", "results", "attempt", "duration_s")}
    return set_to | {"ended_s": (job.ended_s or time.time()) if done else None, "stage": "", "progress": progress}


def job_of(row: Sequence[Any]) -> Job:
    """The job in a row of COLUMNS."""
    values = dict(zip(_NAMES, row, strict=True))
    options = json.loads(values["options"])
    values["options"] = Options(**options | {"formats": tuple(options["formats"])})
    return Job(**values | {name: tuple(json.loads(values[name])) for name in ("notes", "results")})
