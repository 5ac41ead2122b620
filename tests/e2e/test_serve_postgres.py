"""What is particular to jobs in PostgreSQL: the queue beside them, and folders and databases that don't fit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from avgate.apps.serve.jobs import Job, Options, StoreError
from avgate.core.errors import OutputError, UsageError
from tests.postgres import new_database, postgres

if TYPE_CHECKING:
    from avgate.apps.serve.stores.postgres import PostgresJobs

pytestmark = pytest.mark.slow  # starts a server

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    return new_database(server, f"postgres_{time.time_ns()}")


@pytest.fixture
def store(url: str) -> Iterator[PostgresJobs]:
    from avgate.apps.serve.stores.postgres import PostgresJobs

    opened = PostgresJobs(url)
    yield opened
    opened.close()


def ask(url: str, query: str) -> Any:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else None


def entries(url: str) -> list[tuple[str, str]]:
    return ask(url, "SELECT args ->> 'job_id', status::text FROM procrastinate_jobs ORDER BY priority DESC, id")


def job(job_id: str = ONE, **more: Any) -> Job:
    return replace(Job(job_id, "clip.mp4", 10, Options()), **more)


def test_the_queue_holds_what_waits_and_keeps_nothing_else(store: PostgresJobs, url: str):
    store.add(job(ONE))
    store.add(job(TWO))
    store.add(job(TWO))
    assert entries(url) == [(ONE, "todo"), (TWO, "todo")]
    begun = store.claim("me")
    assert begun is not None
    assert entries(url) == [(TWO, "todo")]
    store.end(begun, replace(begun, state="queued"))
    assert entries(url) == [(ONE, "todo"), (TWO, "todo")]
    begun = store.claim("me")
    assert begun is not None
    store.end(begun, replace(begun, state="done"))
    store.cancel(TWO)
    assert store.claim("me") is None
    assert entries(url) == []
    assert ask(url, "SELECT count(*) FROM procrastinate_events") == [(0,)]


def test_a_job_that_is_forgotten_and_added_again_is_begun_once(store: PostgresJobs):
    store.add(job())
    store.delete(ONE)
    store.add(job())
    assert store.claim("me") is not None
    assert store.claim("me") is None


def test_what_the_queue_lost_is_queued_again(store: PostgresJobs, url: str):
    store.add(job(ONE))
    store.add(job(TWO))
    # As a worker of procrastinate's own would do, which can't work at them.
    ask(url, "UPDATE procrastinate_jobs SET status = 'failed' WHERE queueing_lock LIKE '1%'")
    ask(url, "DELETE FROM procrastinate_jobs WHERE queueing_lock LIKE '2%'")
    assert store.claim("me") is None
    assert list(store.recover(60)) == []
    assert {begun.id for begun in (store.claim("me"), store.claim("me")) if begun} == {ONE, TWO}


def test_an_error_that_is_no_text_for_the_database_ends_its_job(store: PostgresJobs):
    store.add(job())
    begun = store.claim("me")
    assert begun is not None
    assert store.end(begun, replace(begun, state="failed", error="a\0b \udcff", notes=("c\0 \udcff",)))
    found = store.get(ONE)
    assert found is not None
    assert (found.error, found.notes) == ("ab ?", ("c\0 \udcff",))


def test_a_database_belongs_to_one_data_folder(store: PostgresJobs, url: str, tmp_path: Path):
    from avgate.apps.serve.stores.postgres import PostgresJobs

    mark, other = tmp_path / "mark", tmp_path / "other"
    mark.touch()
    other.touch()
    for _ in range(2):
        PostgresJobs(url, mark).close()
    assert mark.read_text()
    with pytest.raises(UsageError, match="mount the folder"):  # such as one that isn't mounted
        PostgresJobs(url, other)
    assert not other.read_text()
    other.write_text("of another database")
    with pytest.raises(UsageError, match="mount the folder"):
        PostgresJobs(url, other)


def test_a_database_of_a_later_version_is_refused(store: PostgresJobs, url: str):
    from avgate.apps.serve.stores.postgres import PostgresJobs

    ask(url, "UPDATE avgate_server SET version = 99")
    with pytest.raises(OutputError, match="later version"):
        PostgresJobs(url)


def test_a_database_of_an_earlier_version_is_brought_up_to_date(store: PostgresJobs, url: str):
    from avgate.apps.serve.stores.postgres import PostgresJobs

    store.add(Job("1" * 32, "a.mp4", 1, Options()))
    ask(url, "ALTER TABLE avgate_jobs DROP COLUMN duration_s")  # which the first version hadn't
    ask(url, "UPDATE avgate_server SET version = 1")
    for _ in range(2):  # once it is, nothing is left to do
        other = PostgresJobs(url)
        (job,) = other.list()
        assert (job.name, job.duration_s) == ("a.mp4", None)
        other.close()


def test_a_queue_of_another_version_is_refused(store: PostgresJobs, url: str):
    from avgate.apps.serve.stores.postgres import PostgresJobs

    ask(url, "DROP FUNCTION procrastinate_fetch_job_v2")
    with pytest.raises(OutputError, match="migrations"):
        PostgresJobs(url)


@pytest.mark.long
def test_a_database_that_is_away_is_said_and_used_again_when_it_is_back(store: PostgresJobs, server: str, url: str):
    name = url.rpartition("/")[2]
    store.add(job())
    ask(f"{server}/postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    ask(f"{server}/postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    began_s = time.monotonic()
    with pytest.raises(StoreError):
        store.check()
    assert time.monotonic() - began_s < 5
    with pytest.raises(StoreError):
        store.get(ONE)
    ask(f"{server}/postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    until_s = time.monotonic() + 60
    while True:
        try:
            store.check()
            break
        except StoreError:
            assert time.monotonic() < until_s
    assert store.get(ONE) is not None


@pytest.mark.long
def test_a_database_that_is_locked_or_can_only_be_read_is_said(store: PostgresJobs, url: str):
    import psycopg

    store.check()
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM avgate_server FOR UPDATE")
        with pytest.raises(StoreError):
            store.check()
        assert store.count()["queued"] == 0
    store.check()
    ask(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = true")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    ask(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    for ask_it in (store.check, lambda: store.add(job())):
        with pytest.raises(StoreError):
            ask_it()
