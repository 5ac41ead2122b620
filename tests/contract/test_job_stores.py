"""What every JobStore must do; a new one adds how it is opened to STORES."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from avgate.apps.serve.jobs import ENDED, MOST_ATTEMPTS, Job, JobStore, Options
from avgate.apps.serve.stores.sqlite import SqliteJobs
from tests.postgres import new_database, postgres


def open_postgres(where: str) -> JobStore:
    from avgate.apps.serve.stores.postgres import PostgresJobs

    return PostgresJobs(where)


STORES: dict[str, Callable[[str], JobStore]] = {
    "sqlite": lambda where: SqliteJobs(Path(where)),
    "postgres": open_postgres,
}
"""Name -> opens the store at a place, which a test or another process names."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])  # which starts a server
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The name of a store and where it is."""
    if request.param == "postgres":
        return request.param, new_database(request.getfixturevalue("server"), f"jobs_{uuid.uuid4().hex}")
    return request.param, str(tmp_path / "jobs")


@pytest.fixture
def store(place: tuple[str, str]) -> Iterator[JobStore]:
    opened = STORES[place[0]](place[1])
    yield opened
    opened.close()


def made(name: str = "clip.mp4", **more: object) -> Job:
    return replace(Job(uuid.uuid4().hex, name, 10, Options()), **more)


def added(store: JobStore, count: int = 1) -> list[Job]:
    jobs = [made(f"{i}.mp4", created_s=1000.0 + i) for i in range(count)]
    for job in jobs:
        store.add(job)
    return jobs


def running(store: JobStore) -> Job:
    added(store)
    job = store.claim("me")
    assert job is not None
    return job


def test_a_job_comes_back_as_it_was_added(store: JobStore):
    options = Options("mine", 0.8, ("elan", "textgrid"), report=False)
    job = made("Zo\u00e9 \u5f20 'x'; --.mp4", size=1 << 40, options=options, created_s=1234.5678)
    store.add(job)
    assert store.get(job.id) == job
    assert store.get("0" * 32) is None


def test_a_job_without_a_time_is_created_now(store: JobStore):
    before_s = time.time()
    job = made()
    store.add(job)
    found = store.get(job.id)
    assert found is not None
    assert before_s <= found.created_s <= time.time()


def test_adding_again_changes_nothing(store: JobStore):
    job = running(store)
    store.add(replace(job, name="other.mp4"))
    assert store.get(job.id) == job
    assert store.count()["running"] == 1


def test_what_is_added_waits_whatever_it_says(store: JobStore):
    job = made(state="done")
    store.add(job)
    found = store.get(job.id)
    assert found is not None
    assert found.state == "queued"


def test_jobs_are_listed_newest_first_in_pages(store: JobStore):
    jobs = added(store, 5)[::-1]
    assert list(store.list()) == jobs
    assert list(store.list(2)) == jobs[:2]
    assert list(store.list(2, before_s=jobs[1].created_s)) == jobs[2:4]
    assert list(store.list(2, before_s=jobs[4].created_s)) == []


def test_all_states_are_counted(store: JobStore):
    added(store, 3)
    store.claim("me")
    assert store.count() == {"queued": 2, "running": 1, "done": 0, "failed": 0, "cancelled": 0}


def test_the_oldest_is_begun_first(store: JobStore):
    jobs = added(store, 3)
    begun = [store.claim("me") for _ in range(4)]
    assert begun[3] is None
    assert [job.id for job in begun[:3] if job] == [job.id for job in jobs]
    first = begun[0]
    assert first is not None
    assert (first.state, first.attempt) == ("running", 1)
    assert first.started_s is not None
    assert store.get(first.id) == first


def test_progress_is_kept(store: JobStore):
    job = running(store)
    assert store.beat(job, "reading", 0.5)
    assert store.get(job.id) == replace(job, stage="reading", progress=0.5)


def test_progress_is_a_share(store: JobStore):
    job = running(store)
    assert store.beat(job, "", 1.5)
    found = store.get(job.id)
    assert found is not None
    assert found.progress == 1.0


def test_a_job_ends_with_its_results(store: JobStore):
    job = running(store)
    store.beat(job, "writing", 0.9)
    assert store.end(
        job, replace(job, state="done", results=("a.csv", "a.json"), notes=("one; 'two'",), duration_s=7.5)
    )
    found = store.get(job.id)
    assert found is not None
    assert (found.state, found.progress, found.stage) == ("done", 1.0, "")
    assert found.results == ("a.csv", "a.json")
    assert (found.notes, found.duration_s) == (("one; 'two'",), 7.5)
    assert found.ended_s is not None


def test_a_job_fails_with_its_error(store: JobStore):
    job = running(store)
    assert store.end(job, replace(job, state="failed", error="no sound", hint="record again", progress=0.3))
    found = store.get(job.id)
    assert found is not None
    assert (found.state, found.error, found.hint, found.progress) == ("failed", "no sound", "record again", 0.3)


def test_a_job_that_is_put_back_is_begun_again_first(store: JobStore):
    jobs = added(store, 2)
    job = store.claim("me")
    assert job is not None
    assert store.end(job, replace(job, state="queued"))
    found = store.get(job.id)
    assert found is not None
    assert (found.state, found.progress, found.ended_s) == ("queued", 0.0, None)
    again = store.claim("me")
    assert again is not None
    assert (again.id, again.attempt) == (jobs[0].id, 2)


def test_an_attempt_that_does_not_count_is_put_back_as_if_it_never_was(store: JobStore):
    job = running(store)
    assert store.end(job, replace(job, state="queued", attempt=0))
    again = store.claim("me")
    assert again is not None
    assert again.attempt == 1


@pytest.mark.parametrize("how", ["cancelled", "deleted", "begun again", "ended"])
def test_writes_of_an_attempt_that_is_over_change_nothing(store: JobStore, how: str):
    job = running(store)
    if how == "cancelled":
        store.cancel(job.id)
    elif how == "deleted":
        store.delete(job.id)
    elif how == "ended":
        store.end(job, replace(job, state="failed", error="first"))
    else:
        store.recover(0)
        store.claim("another")
    before = store.get(job.id)
    assert not store.beat(job, "late", 0.7)
    assert not store.end(job, replace(job, state="done", results=("late.csv",)))
    assert not store.end(job, replace(job, state="queued"))
    assert store.get(job.id) == before


def test_a_job_that_waits_cannot_end(store: JobStore):
    (job,) = added(store)
    assert not store.beat(job, "", 0.5)
    assert not store.end(job, replace(job, state="done"))
    assert store.get(job.id) == job


def test_a_queued_and_a_running_job_are_cancelled_and_never_begun(store: JobStore):
    added(store, 2)
    job = store.claim("me")
    for known in store.list():
        found = store.cancel(known.id)
        assert found is not None
        assert found.state == "cancelled"
        assert found.ended_s is not None
        assert store.cancel(known.id) == found  # again
    assert job is not None
    assert store.claim("me") is None


def test_what_has_ended_is_not_cancelled(store: JobStore):
    job = running(store)
    store.end(job, replace(job, state="done"))
    found = store.cancel(job.id)
    assert found is not None
    assert found.state == "done"
    assert store.cancel("0" * 32) is None


def test_a_job_is_forgotten_once(store: JobStore):
    (job,) = added(store)
    assert store.delete(job.id)
    assert not store.delete(job.id)
    assert store.get(job.id) is None
    assert store.claim("me") is None


def test_jobs_whose_worker_is_silent_are_begun_again(store: JobStore):
    job = running(store)
    assert list(store.recover(60)) == []
    store.beat(job, "reading", 0.5)
    time.sleep(0.05)
    (cut,) = store.recover(0.02)
    assert (cut.id, cut.state, cut.stage, cut.progress, cut.attempt) == (job.id, "queued", "", 0.0, 1)
    assert store.get(job.id) == cut


def test_a_job_that_ended_its_workers_too_often_fails(store: JobStore):
    running(store)
    for attempt in range(1, MOST_ATTEMPTS):
        (cut,) = store.recover(0)
        assert cut.state == "queued"
        again = store.claim("me")
        assert again is not None
        assert again.attempt == attempt + 1
    (cut,) = store.recover(0)
    assert cut.state == "failed"
    assert cut.error
    assert cut.hint
    assert cut.ended_s is not None
    assert store.claim("me") is None
    assert list(store.recover(0)) == []


def test_those_expire_that_ended_before_a_time(store: JobStore):
    jobs = added(store, 3)
    for state in ENDED:
        job = store.claim("me")
        assert job is not None
        store.end(job, replace(job, state=state, ended_s=100.0))
    added(store)
    assert [job.id for job in store.expired(100.1)] == [job.id for job in jobs]
    assert list(store.expired(100.0)) == []


def test_changes_are_told_once_and_in_order(store: JobStore):
    count, jobs = store.changes(0)
    assert list(jobs) == []
    added(store, 3)
    now, jobs = store.changes(count)
    assert now > count
    assert [job.name for job in jobs] == ["0.mp4", "1.mp4", "2.mp4"]
    assert store.changes(now) == (now, [])
    job = store.claim("me")
    assert job is not None
    store.beat(job, "reading", 0.25)
    store.cancel("0" * 32)  # nothing
    later, jobs = store.changes(now)
    assert list(jobs) == [replace(job, stage="reading", progress=0.25)]
    store.delete(job.id)
    last, jobs = store.changes(later)
    assert last > later
    assert list(jobs) == []


def test_another_process_sees_the_changes(place: tuple[str, str], store: JobStore):
    count, _ = store.changes(0)
    other = STORES[place[0]](place[1])
    (job,) = added(other)
    other.close()
    assert list(store.changes(count)[1]) == [job]


def _claim_all(name: str, where: str, threads: int, stop: int) -> list[tuple[str, int]]:
    """Claim until `stop` jobs have ended in all, some put back on the way; what was begun and ended."""
    store = STORES[name](where)

    def work(number: int) -> list[tuple[str, int]]:
        done = []
        deadline_s = time.monotonic() + 100
        while store.count()["done"] < stop and time.monotonic() < deadline_s:
            job = store.claim(f"{number}")
            if job is None:
                time.sleep(0.001)
                continue
            if job.attempt == 1 and job.id < "4":
                assert store.end(job, replace(job, state="queued"))
                continue
            assert store.beat(job, "at work", 0.5)
            assert store.end(job, replace(job, state="done"))
            done.append((job.id, job.attempt))
        return done

    with ThreadPoolExecutor(threads) as pool:
        found = [pair for part in pool.map(work, range(threads)) for pair in part]
    store.close()
    return found


def test_many_threads_claim_each_job_once(place: tuple[str, str], store: JobStore):
    jobs = added(store, 30)
    found = _claim_all(*place, threads=8, stop=30)
    assert Counter(job_id for job_id, _ in found) == Counter(job.id for job in jobs)


@pytest.mark.long  # many threads do the same in less time
def test_many_processes_claim_each_job_once(place: tuple[str, str], store: JobStore):
    jobs = [made() for _ in range(300)]
    with get_context("spawn").Pool(4) as pool:
        parts = [pool.apply_async(_claim_all, (*place, 4, len(jobs))) for _ in range(4)]
        for job in jobs:  # while they claim
            store.add(job)
        found = [pair for part in parts for pair in part.get(120)]
    assert Counter(job_id for job_id, _ in found) == Counter(job.id for job in jobs)
    assert {attempt for job_id, attempt in found if job_id < "4"} == {2}
    assert store.count()["done"] == len(jobs)


def _open_and_add(name: str, where: str) -> None:
    store = STORES[name](where)
    store.add(made())
    store.close()


def test_many_open_a_new_store_at_once(place: tuple[str, str]):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _open_and_add(*place), range(16)))
    store = STORES[place[0]](place[1])
    assert store.count()["queued"] == 16
    store.close()


def test_a_store_that_can_take_a_job_says_so(store: JobStore):
    added(store)
    store.check()
    assert store.count()["queued"] == 1
