"""Jobs in SQLite: one file that any thread and any process of this machine may use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from avgate.apps.serve.jobs import MOST_ATTEMPTS, Job, StoreError, StoreFullError
from avgate.apps.serve.stores.shared import COLUMNS, GIVEN_UP, GIVEN_UP_HINT, StoredJobs, ending_of, job_of, values_of
from avgate.core.errors import OutputError
from avgate.core.text import reason

_VERSION = 2
"""Of the tables; it stands in the file."""

_BUSY_S, _CHECK_S = 30.0, 2.0
"""Longest that a writer waits for the others, and one that only asks whether it could write."""

_MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError)
"""Errors that are this program's, and that no waiting mends."""

_TABLES = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, size INTEGER NOT NULL, options TEXT NOT NULL,
    state TEXT NOT NULL, stage TEXT NOT NULL, progress REAL NOT NULL, attempt INTEGER NOT NULL,
    created_s REAL NOT NULL, started_s REAL, ended_s REAL, duration_s REAL, error TEXT NOT NULL, hint TEXT NOT NULL,
    notes TEXT NOT NULL, results TEXT NOT NULL, beat_s REAL, owner TEXT NOT NULL DEFAULT '', change INTEGER NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, created_s, seq);
CREATE INDEX jobs_by_time ON jobs (created_s, seq);
CREATE INDEX jobs_by_change ON jobs (change);
CREATE TABLE changes (count INTEGER NOT NULL);
INSERT INTO changes VALUES (0);
"""


class SqliteJobs(StoredJobs):
    """A JobStore in a SQLite file, which is made where it is missing.

    A commit is on the disk when a method returns, and survives a power failure.

    Args:
        file: the database.

    Raises:
        OutputError: it can't be opened, is no database, or is that of a later version.
    """

    TABLE, LAST_CHANGE = "jobs", "SELECT count FROM changes"

    def __init__(self, file: Path):
        self._file, self._lock = file, threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        try:
            _keep_private(file)
            with self._write() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in filter(str.strip, _TABLES.split(";")):
                        connection.execute(statement)
                if version == 1:
                    connection.execute("ALTER TABLE jobs ADD COLUMN duration_s REAL")
                if version < _VERSION:
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
        except (StoreError, OSError) as error:
            hint, why = (
                "give another data folder, or move this file away",
                getattr(error, "what", None) or reason(error),
            )
            raise OutputError(f"this can't be the jobs' database ({why})", where=file, hint=hint) from error
        if version > _VERSION:
            what = "the jobs' database is of a later version of avgate"
            raise OutputError(what, where=file, hint="use that version, or give another data folder")

    def rows(self, query: str, *values: object) -> Sequence[Any]:
        """See StoredJobs."""
        with self._connection() as connection:
            return connection.execute(query, values).fetchall()

    def add(self, job: Job) -> None:
        """See JobStore. Without a time, a job is created now."""
        with self._write() as connection:
            if connection.execute("SELECT 1 FROM jobs WHERE id = ?", [job.id]).fetchone():
                return
            values = values_of(job) | {"state": "queued", "created_s": job.created_s or time.time()}
            values["change"] = _next_change(connection)
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", values)

    def claim(self, owner: str) -> Job | None:
        """See JobStore."""
        with self._connection() as connection:  # so that those who look often keep no writer waiting
            if connection.execute("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is None:
                return None
        now_s = time.time()
        with self._write() as connection:
            row = connection.execute(
                f"""UPDATE jobs SET state = 'running', stage = '', progress = 0, attempt = attempt + 1, owner = ?,
                    started_s = ?, beat_s = ?, change = ?
                WHERE seq = (SELECT seq FROM jobs WHERE state = 'queued' ORDER BY created_s, seq LIMIT 1)
                RETURNING {COLUMNS}""",
                [owner, now_s, now_s, _next_change(connection)],
            ).fetchone()
        return None if row is None else job_of(row)

    def beat(self, job: Job, stage: str, progress: float) -> bool:
        """See JobStore."""
        set_to = {"stage": stage, "progress": min(1.0, max(0.0, progress)), "beat_s": time.time()}
        return self._change_running(job, set_to)

    def end(self, job: Job, ended: Job) -> bool:
        """See JobStore."""
        return self._change_running(job, ending_of(ended))

    def cancel(self, job_id: str) -> Job | None:
        """See JobStore."""
        with self._write() as connection:
            connection.execute(
                """UPDATE jobs SET state = 'cancelled', stage = '', ended_s = ?, change = ?
                WHERE id = ? AND state IN ('queued', 'running')""",
                [time.time(), _next_change(connection), job_id],
            )
        return self.get(job_id)

    def delete(self, job_id: str) -> bool:
        """See JobStore."""
        with self._write() as connection:
            _next_change(connection)
            return connection.execute("DELETE FROM jobs WHERE id = ?", [job_id]).rowcount > 0

    def recover(self, silent_s: float) -> Sequence[Job]:
        """See JobStore."""
        now_s = time.time()
        with self._write() as connection:
            rows = connection.execute(
                f"""UPDATE jobs SET stage = '', progress = 0, change = :change,
                    state = CASE WHEN attempt < :most THEN 'queued' ELSE 'failed' END,
                    ended_s = CASE WHEN attempt < :most THEN NULL ELSE :now END,
                    error = CASE WHEN attempt < :most THEN '' ELSE :error END,
                    hint = CASE WHEN attempt < :most THEN '' ELSE :hint END
                WHERE state = 'running' AND beat_s <= :before RETURNING {COLUMNS}""",
                {
                    "change": _next_change(connection),
                    "most": MOST_ATTEMPTS,
                    "now": now_s,
                    "error": GIVEN_UP,
                    "hint": GIVEN_UP_HINT,
                    # A clock that was set back doesn't keep a job running for ever.
                    "before": now_s - silent_s if silent_s > 0 else float("inf"),
                },
            ).fetchall()
        return [job_of(row) for row in rows]

    def check(self) -> None:
        """See JobStore."""
        with self._connection() as connection:
            connection.execute(f"PRAGMA busy_timeout = {1000 * _CHECK_S:.0f}")
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            finally:
                connection.execute(f"PRAGMA busy_timeout = {1000 * _BUSY_S:.0f}")

    def close(self) -> None:
        """See JobStore."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _change_running(self, job: Job, set_to: dict[str, Any]) -> bool:
        """Change a job if this attempt of it is still the one that runs."""
        with self._write() as connection:
            columns = ", ".join(f"{name} = :{name}" for name in set_to)
            own = {"own_id": job.id, "own_attempt": job.attempt, "own_change": _next_change(connection)}
            where = "id = :own_id AND attempt = :own_attempt AND state = 'running'"
            done = connection.execute(f"UPDATE jobs SET {columns}, change = :own_change WHERE {where}", set_to | own)
            return done.rowcount > 0

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that no other writer is in."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; what the database refuses within the block is a StoreError."""
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        try:
            connection = idle or self._connect()
            try:
                yield connection
            finally:
                self._put_back(connection)
        except _MISTAKES:
            raise
        except sqlite3.Error as error:
            # Python 3.10 doesn't tell the error's number.
            kind = StoreFullError if "is full" in str(error) else StoreError
            raise kind(reason(error)) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _put_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            keep = not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()


def _keep_private(file: Path) -> None:
    """Let nobody but this user read the file; SQLite gives the files beside it the same permissions."""
    # An open file isn't closed here: with it, this process' locks on the database would go.
    if not file.exists():
        with contextlib.suppress(FileExistsError):  # another process was as quick
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # there is none, or it is somebody else's
            path.chmod(0o600)


def _next_change(connection: sqlite3.Connection) -> int:
    return int(connection.execute("UPDATE changes SET count = count + 1 RETURNING count").fetchone()[0])


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time. SQLite doesn't wait where several ask for it at once; we do."""
    until_s = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.01)
