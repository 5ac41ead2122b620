"""Jobs in PostgreSQL: for several machines that share one data folder.

The queue is procrastinate's, which is chosen because it lies in the same database: a job's row and its entry in the
queue change in one transaction, so that neither is there without the other, and no second server is needed, as RQ needs
Redis. An entry carries a job's id and nothing else; the table of jobs is the truth. An entry is removed in the
transaction that begins its job, so procrastinate never has a stalled job to retry: `recover` queues again what was cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate import sql as queries
from procrastinate.schema import SchemaManager
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from avgate.apps.serve.jobs import MOST_ATTEMPTS, Job, StoreError, StoreFullError
from avgate.apps.serve.settings import PREFIX
from avgate.apps.serve.stores.shared import COLUMNS, GIVEN_UP, GIVEN_UP_HINT, StoredJobs, ending_of, job_of, values_of
from avgate.core.errors import OutputError, UsageError
from avgate.core.text import reason

queue = App(connector=PsycopgConnector(conninfo=os.environ.get(f"{PREFIX}DATABASE", "")))
"""For procrastinate's own tools: `procrastinate --app avgate.apps.serve.stores.postgres.queue shell`."""

QUEUE = "avgate"
"""The queue of recordings."""


@queue.task(name="avgate.recording", queue=QUEUE)
def recording(job_id: str) -> None:
    """An entry of the queue; the job of that id waits."""
    raise RuntimeError("recordings are estimated by the workers of `avgate serve` and `avgate work` alone")


_VERSION = 2
"""Of the tables; it stands in the database."""

_LOCK = 0x61766761
"""The number of the lock that a program holds while it makes the tables."""

_PATIENCE: dict[str, Any] = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 30_000}
"""So that nobody waits for ever for a database that is gone."""

_IDLE = "SET idle_in_transaction_session_timeout = '30s'"
"""So that a machine that is gone doesn't make the others wait for ever."""

_CONNECTIONS = 8
"""Most connections of one process."""

_WAIT_S, _CHECK_S = 10.0, 2.0
"""Longest that one waits for a connection, and that one waits who only asks whether it could write."""

_MISTAKES = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)
"""Errors that are this program's, and that no waiting mends."""

_TABLES = """
CREATE TABLE avgate_jobs (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    size BIGINT NOT NULL, options TEXT NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL,
    progress DOUBLE PRECISION NOT NULL, attempt INTEGER NOT NULL, created_s DOUBLE PRECISION NOT NULL,
    started_s DOUBLE PRECISION, ended_s DOUBLE PRECISION, duration_s DOUBLE PRECISION,
    error TEXT NOT NULL, hint TEXT NOT NULL, notes TEXT NOT NULL, results TEXT NOT NULL, beat_s DOUBLE PRECISION,
    owner TEXT NOT NULL DEFAULT '', change BIGINT NOT NULL
);
CREATE INDEX avgate_jobs_by_state ON avgate_jobs (state, created_s, seq);
CREATE INDEX avgate_jobs_by_time ON avgate_jobs (created_s, seq);
CREATE INDEX avgate_jobs_by_change ON avgate_jobs (change);
CREATE TABLE avgate_server (version INTEGER NOT NULL, changes BIGINT NOT NULL, folder TEXT NOT NULL);
"""

_NOW = "extract(epoch FROM clock_timestamp())::float8"
"""The database's clock, which is the same for all machines."""


class PostgresJobs(StoredJobs):
    """A JobStore in a PostgreSQL database, where its tables and the queue's are made if they are missing.

    Jobs that were begun before are begun again before new ones. After a connection is lost, a method may raise
    StoreError; the next one connects anew.

    Args:
        url: the database, as postgresql://USER:PASSWORD@HOST/NAME.
        mark: a file in the data folder, by which machines are known to share that; it is written if it is empty. None
            where no files are meant.

    Raises:
        OutputError: the database can't be used, or is that of a later version.
        UsageError: the URL is none, or the data folder isn't the one that the database's jobs have their files in.
    """

    TABLE, LAST_CHANGE = "avgate_jobs", "SELECT changes FROM avgate_server"

    def __init__(self, url: str, mark: Path | None = None):
        try:
            how = {**_PATIENCE, **conninfo_to_dict(url)}
        except psycopg.Error:  # whose message may hold the password
            hint = "give postgresql://USER:PASSWORD@HOST/NAME; characters such as @ in a password as %40"
            raise UsageError("this is no address of a database", where="database", hint=hint) from None
        try:
            with psycopg.connect("", **how) as connection:
                version = _make(connection)
                # Of another version of procrastinate, this doesn't exist.
                connection.execute(queries.queries["fetch_job"], {"queues": [], "worker_id": None})
                if mark is not None:
                    _bind(connection, mark)
        except psycopg.Error as error:
            what = f"the jobs' database can't be used ({reason(error)})"
            hint = "see that it runs and that its address is right; after an update apply procrastinate's migrations"
            raise OutputError(what, where="database", hint=hint) from error
        if version > _VERSION:
            what = "the jobs' database is of a later version of avgate"
            raise OutputError(what, where="database", hint="use that version, or give another database")
        self._pool = ConnectionPool(
            "",
            kwargs=how,
            min_size=1,
            max_size=_CONNECTIONS,
            configure=_prepare,
            check=ConnectionPool.check_connection,
            timeout=_WAIT_S,
            open=True,
        )

    def rows(self, query: str, *values: object) -> Sequence[Any]:
        """See StoredJobs."""
        with self._connection() as connection:
            return connection.execute(query.replace("?", "%s"), values).fetchall()

    def add(self, job: Job) -> None:
        """See JobStore. Without a time, a job is created now, by the database's clock."""
        with self._write() as (connection, change):
            if connection.execute("SELECT 1 FROM avgate_jobs WHERE id = %s", [job.id]).fetchone():
                return
            values = _clean(values_of(job)) | {"state": "queued", "change": change}
            marks = {name: f"%({name})s" for name in values}
            if not job.created_s:
                marks["created_s"] = _NOW
            columns, made = ", ".join(marks), ", ".join(marks.values())
            connection.execute(f"INSERT INTO avgate_jobs ({columns}) VALUES ({made})", values)
            _queue(connection, job.id)

    def claim(self, owner: str) -> Job | None:
        """See JobStore."""
        with self._connection() as connection:  # so that those who look often keep no writer waiting
            look = "SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = %s LIMIT 1"
            if connection.execute(look, [QUEUE]).fetchone() is None:
                return None
        with self._write() as (connection, change):
            while (job_id := _next_entry(connection)) is not None:
                row = connection.execute(
                    f"""UPDATE avgate_jobs SET state = 'running', stage = '', progress = 0, attempt = attempt + 1,
                        owner = %s, started_s = {_NOW}, beat_s = {_NOW}, change = %s
                    WHERE id = %s AND state = 'queued' RETURNING {COLUMNS}""",
                    [owner, change, job_id],
                ).fetchone()
                if row is not None:  # or it was cancelled or deleted meanwhile
                    return job_of(row)
        return None

    def beat(self, job: Job, stage: str, progress: float) -> bool:
        """See JobStore."""
        with self._write() as (connection, change):
            set_to = {"stage": stage, "progress": min(1.0, max(0.0, progress))}
            return _change_running(connection, change, job, set_to)

    def end(self, job: Job, ended: Job) -> bool:
        """See JobStore."""
        with self._write() as (connection, change):
            changed = _change_running(connection, change, job, ending_of(ended))
            if changed and ended.state == "queued":
                _queue(connection, job.id)
            return changed

    def cancel(self, job_id: str) -> Job | None:
        """See JobStore."""
        with self._write() as (connection, change):
            connection.execute(
                f"""UPDATE avgate_jobs SET state = 'cancelled', stage = '', ended_s = {_NOW}, change = %s
                WHERE id = %s AND state IN ('queued', 'running')""",
                [change, job_id],
            )
        return self.get(job_id)

    def delete(self, job_id: str) -> bool:
        """See JobStore."""
        with self._write() as (connection, _):
            return connection.execute("DELETE FROM avgate_jobs WHERE id = %s", [job_id]).rowcount > 0

    def recover(self, silent_s: float) -> Sequence[Job]:
        """See JobStore. What waits and has no entry in the queue gets one, such as after procrastinate lost it."""
        with self._write() as (connection, change):
            rows = connection.execute(
                f"""UPDATE avgate_jobs SET stage = '', progress = 0, change = %(change)s,
                    state = CASE WHEN attempt < %(most)s THEN 'queued' ELSE 'failed' END,
                    ended_s = CASE WHEN attempt < %(most)s THEN NULL ELSE {_NOW} END,
                    error = CASE WHEN attempt < %(most)s THEN '' ELSE %(error)s END,
                    hint = CASE WHEN attempt < %(most)s THEN '' ELSE %(hint)s END
                WHERE state = 'running' AND (%(silent)s::float8 <= 0 OR beat_s <= {_NOW} - %(silent)s::float8)
                RETURNING {COLUMNS}""",
                {
                    "change": change,
                    "most": MOST_ATTEMPTS,
                    "error": GIVEN_UP,
                    "hint": GIVEN_UP_HINT,
                    "silent": silent_s,
                },
            ).fetchall()
            _queue(connection)
        return [job_of(row) for row in rows]

    def check(self) -> None:
        """See JobStore. The lock is what every writer waits for; a database that can only be read gives none."""
        with self._connection(_CHECK_S) as connection:
            connection.execute(f"SET LOCAL lock_timeout = {1000 * _CHECK_S:.0f}")
            connection.execute("SELECT 1 FROM avgate_server FOR UPDATE")

    def close(self) -> None:
        """See JobStore."""
        self._pool.close()

    @contextlib.contextmanager
    def _connection(self, wait_s: float = _WAIT_S) -> Iterator[psycopg.Connection]:
        """A connection in a transaction; what the database refuses within the block is a StoreError."""
        try:
            with self._pool.connection(wait_s) as connection:
                yield connection
        except _MISTAKES:
            raise
        except psycopg.errors.DiskFull as error:
            raise StoreFullError(reason(error)) from error
        except psycopg.Error as error:
            raise StoreError(reason(error)) from error

    @contextlib.contextmanager
    def _write(self) -> Iterator[tuple[psycopg.Connection, int]]:
        """A connection in a transaction that no other writer is in, and the number of its change.

        Those who write wait for each other here, so that no change becomes visible after one with a higher number.
        """
        with self._connection() as connection:
            yield connection, _one(connection, "UPDATE avgate_server SET changes = changes + 1 RETURNING changes")


def _one(connection: psycopg.Connection, command: str) -> Any:
    """The only value of the only row."""
    row = connection.execute(command).fetchone()
    assert row is not None
    return row[0]


def _make(connection: psycopg.Connection) -> int:
    """Make the tables that are missing; the version of those that are there."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    if _one(connection, "SELECT to_regclass('procrastinate_jobs')") is None:
        connection.execute(SchemaManager.get_schema())
    if _one(connection, "SELECT to_regclass('avgate_server')") is None:
        connection.execute(_TABLES)
        connection.execute("INSERT INTO avgate_server VALUES (%s, 0, '')", [_VERSION])
    if _one(connection, "SELECT version FROM avgate_server") == 1:
        connection.execute("ALTER TABLE avgate_jobs ADD COLUMN duration_s DOUBLE PRECISION")
        connection.execute("UPDATE avgate_server SET version = 2")
    return int(_one(connection, "SELECT version FROM avgate_server"))


def _bind(connection: psycopg.Connection, mark: Path) -> None:
    """Find out whether the data folder is the one that the database's jobs have their files in."""
    known = _one(connection, "SELECT folder FROM avgate_server")
    try:
        found = mark.read_text("ascii").strip()
        if not known:
            known = found or secrets.token_hex(16)
            connection.execute("UPDATE avgate_server SET folder = %s", [known])
            if not found:
                mark.write_text(f"{known}\n", "ascii")
                found = known
    except (OSError, ValueError) as error:
        raise OutputError(f"can't be read or written ({reason(error)})", where=mark) from error
    if found != known:
        what = "the files of the database's jobs aren't in this folder"
        hint = "mount the folder that the other machines use, or give another database"
        raise UsageError(what, where="data", hint=hint)


def _prepare(connection: psycopg.Connection) -> None:
    connection.execute(_IDLE)
    connection.commit()


def _queue(connection: psycopg.Connection, job_id: str | None = None) -> None:
    """Give jobs that wait an entry in the queue where they have none; all, or the one of that id."""
    rows = connection.execute(
        """SELECT id, started_s FROM avgate_jobs AS job WHERE state = 'queued' AND (%(id)s::text IS NULL OR id = %(id)s)
            AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = job.id AND status = 'todo')
        ORDER BY created_s, seq""",
        {"id": job_id},
    ).fetchall()
    for waiting, started_s in rows:
        priority = 0 if started_s is None else 1
        entry = recording.configure(connection=connection, queueing_lock=waiting, priority=priority)
        entry.defer(job_id=waiting)


def _next_entry(connection: psycopg.Connection) -> str | None:
    """Take the next entry from the queue; the id of its job, or None where there is none."""
    found = connection.execute(queries.queries["fetch_job"], {"queues": [QUEUE], "worker_id": None}).fetchone()
    if found is None or found[0] is None:
        return None
    entry = {"job_id": found[0], "status": "succeeded", "delete_job": True}
    connection.execute(queries.queries["finish_job"], entry)
    return str(found[6]["job_id"])


def _change_running(connection: psycopg.Connection, change: int, job: Job, set_to: dict[str, Any]) -> bool:
    """Change a job if this attempt of it is still the one that runs."""
    columns = ", ".join(f"{name} = %({name})s" for name in set_to)
    own = {"own_id": job.id, "own_attempt": job.attempt, "own_change": change}
    done = connection.execute(
        f"""UPDATE avgate_jobs SET {columns}, beat_s = {_NOW}, change = %(own_change)s
        WHERE id = %(own_id)s AND attempt = %(own_attempt)s AND state = 'running'""",
        _clean(set_to) | own,
    )
    return done.rowcount > 0


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    """Values without what PostgreSQL's text can't hold."""
    return {
        name: value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in values.items()
    }
