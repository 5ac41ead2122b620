"""The crew of the server: whatever becomes of workers and of the server itself, each job ends once, as it should."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from avgate.apps.serve.jobs import MOST_ATTEMPTS, Job
from tests.serving import Site, hashed

pytestmark = [
    pytest.mark.slow,  # starts processes
    pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does"),
]

KILLS = int(os.environ.get("SERVE_KILLS", "1"))
"""At how many moments servers are killed."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "data")
    with made.crew:
        yield made
        made.crew.stop(0)
    made.store.close()


def running(job: Job) -> bool:
    return job.state == "running" and job.stage != ""


def workers(of: int | None = None) -> list[psutil.Process]:
    found = psutil.Process(of).children()
    return [process for process in found if "resource_tracker" not in " ".join(process.cmdline())]


def busy(site: Site) -> int:
    """The process of the worker that has a job."""
    pid = next(worker.process.pid for worker in site.crew._processes if worker.job is not None)
    assert pid is not None
    return pid


def test_jobs_end_in_their_order_with_results_and_notes(site: Site):
    jobs = [site.send(f"0.05 {i}") for i in range(4)]
    ended = [site.until(job) for job in jobs]
    assert [job.state for job in ended] == ["done"] * 4
    assert [job.started_s for job in ended] == sorted(job.started_s or 0 for job in ended)
    assert [site.text(job) for job in jobs] == [hashed(f"0.05 {i}") for i in range(4)]
    assert (ended[0].results, ended[0].notes, ended[0].attempt) == (("clip.csv",), ("a note",), 1)
    assert [job.duration_s for job in ended] == [2.0] * len(ended)
    assert site.parts(jobs[0]) == ["input", "results"]
    figures = site.crew.figures
    assert figures.ended == {"done": 4}
    assert figures.recording_s == 8.0
    assert figures.stages_s == {"pretending": 4.0}
    assert figures.factor is not None
    assert 0.01 < figures.factor < 5


def test_no_more_jobs_run_than_may_and_one_more_worker_is_warm(site: Site):
    jobs = [site.send("hang") for _ in range(3)]
    site.until(jobs[0], running)
    time.sleep(0.5)
    assert site.store.count()["running"] == 1
    assert len(workers()) == 2


def unready(connection: object, limits: object) -> None:
    """A worker that never has loaded everything."""
    time.sleep(1e6)


def test_the_one_more_worker_comes_after_those_that_recordings_wait_for(tmp_path: Path):
    site = Site(tmp_path / "data", work=unready)
    with site.crew:
        end_s = time.monotonic() + 30
        while not workers() and time.monotonic() < end_s:
            time.sleep(0.05)
        time.sleep(0.6)
        assert len(workers()) == 1


def test_a_job_that_fails_says_why_and_the_next_goes_on(site: Site):
    bad, good = site.send("fail"), site.send("0")
    ended = site.until(bad)
    assert (ended.state, ended.error, ended.hint) == ("failed", "it is bad", "make it better")
    assert site.parts(bad) == ["input"]
    assert site.until(good).state == "done"


def test_a_killed_worker_costs_its_own_job_a_moment(site: Site):
    job, other = site.send("1.5"), site.send("0")
    site.until(job, running)
    os.kill(busy(site), signal.SIGKILL)
    ended = site.until(job)
    assert (ended.state, ended.attempt) == ("done", 2)
    assert site.text(job) == hashed("1.5")
    assert site.parts(job) == ["input", "results"]
    assert site.until(other).attempt == 1
    assert site.crew.figures.died == 1


@pytest.mark.parametrize("content", ["die", "nonsense", "no outcome"])
def test_a_recording_that_ends_all_its_workers_fails_and_the_others_do_not(site: Site, content: str):
    bad, good = site.send(content), site.send("0")
    ended = site.until(bad)
    assert (ended.state, ended.attempt) == ("failed", MOST_ATTEMPTS)
    assert f"died {MOST_ATTEMPTS} times" in ended.error
    assert "memory_mb" in ended.hint
    assert site.until(good).state == "done"


def test_an_idle_worker_that_dies_is_replaced(site: Site):
    site.until(site.send("0"))
    for process in workers():
        process.kill()
    assert site.until(site.send("0")).state == "done"


def test_a_running_job_is_cancelled_at_once(site: Site):
    job, other = site.send("hang"), site.send("0")
    site.until(job, running)
    pid, began_s = busy(site), time.monotonic()
    site.store.cancel(job.id)
    site.crew.wake()
    assert site.until(other).state == "done"
    assert time.monotonic() - began_s < 5
    assert site.until(job).state == "cancelled"
    assert site.parts(job) == ["input"]
    assert not psutil.pid_exists(pid)
    assert site.crew.figures.ended["cancelled"] == 1


def test_a_running_job_is_deleted_with_all_its_files(site: Site):
    job, other = site.send("hang"), site.send("0")
    site.until(job, running)
    site.store.delete(job.id)
    site.crew.wake()
    assert site.until(other).state == "done"
    assert site.parts(job) == []


def test_a_job_that_began_elsewhere_meanwhile_is_left_to_that_one(site: Site):
    job, other = site.send("hang"), site.send("0")
    site.until(job, running)
    site.store.recover(0)
    again = site.store.claim("another")
    assert again is not None
    assert site.until(other).state == "done"
    assert site.store.get(job.id) == again


def test_a_recording_that_is_gone_fails(site: Site):
    job = site.keep("0")
    site.folder.remove(job.id)
    site.queue(job)
    assert "its file is gone" in site.until(job).error


def test_a_job_over_its_time_fails_and_names_the_setting(tmp_path: Path):
    site = Site(tmp_path / "data", max_job_s=1)
    with site.crew:
        job, other = site.send("hang"), site.send("0")
        ended = site.until(job)
        assert ended.state == "failed"
        assert ended.attempt == 1
        assert "max_job_s" in ended.error
        assert "1 s" in ended.error
        assert site.until(other).state == "done"


def test_a_job_over_its_memory_fails_and_names_the_setting(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("avgate.apps.serve.workers.process.resident_mb", lambda pid: 5000.0)
    ended = site.until(site.send("hang"))
    assert ended.state == "failed"
    assert ended.attempt == 1
    assert "4096 MiB, the setting memory_mb" in ended.error


def test_workers_that_cannot_start_are_not_started_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = Site(tmp_path / "data", work=sys.exit)
    with site.crew:
        job = site.send("0")
        end_s = time.monotonic() + 30
        while not site.crew.figures.problem and time.monotonic() < end_s:
            time.sleep(0.05)
        assert "memory_mb" in site.crew.figures.problem
        time.sleep(1)
        assert site.crew._failures <= 4
        now = site.store.get(job.id)
        assert now is not None
        assert now.state == "queued"


def test_an_orderly_end_lets_short_jobs_end_and_queues_long_ones_again(tmp_path: Path):
    site = Site(tmp_path / "data", workers=2)
    site.crew.start()
    short, long, waiting = site.send("1"), site.send("hang"), site.send("0")
    for job in (short, long):
        site.until(job, running)
    site.crew.stop(2)
    assert not workers()
    found = {job.id: job for job in site.store.list()}
    assert found[short.id].state == "done"
    assert (found[long.id].state, found[long.id].attempt) == ("queued", 0)
    assert found[waiting.id].state == "queued"
    assert site.parts(long) == ["input"]
    site.store.cancel(long.id)
    with site.crew:  # it starts again
        assert site.until(waiting).state == "done"


def test_what_ended_long_ago_is_removed(tmp_path: Path):
    site = Site(tmp_path / "data", keep_h=1)
    old, new = site.send("0"), site.send("0")
    for ended_s in (time.time() - 3700, time.time()):
        job = site.store.claim("me")
        assert job is not None
        site.store.end(job, replace(job, state="failed", ended_s=ended_s))
    with site.crew:
        end_s = time.monotonic() + 30
        while site.store.get(old.id) is not None and time.monotonic() < end_s:
            time.sleep(0.05)
    assert (site.parts(old), site.parts(new)) == ([], ["input"])
    assert site.store.get(new.id) is not None


def test_a_recording_that_was_cut_before_it_was_accepted_is_swept(tmp_path: Path):
    site = Site(tmp_path / "data")
    known = site.send("0")
    site.folder.upload("3" * 32).touch()
    site.folder.accept("3" * 32, "a.mp4", site.folder.upload("3" * 32))
    assert list(site.crew.recover()) == []
    assert [path.name for path in site.folder.jobs.iterdir()] == [known.id]


def serve(root: Path, *more: str) -> subprocess.Popen[str]:
    """A server that works off what is in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving", str(root), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a server; its workers end by themselves."""
    left = workers(process.pid)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert not psutil.wait_procs(left, timeout=30)[1]


@pytest.mark.parametrize("moment", range(KILLS))
def test_a_server_that_is_killed_at_any_moment_loses_no_job_and_does_none_twice(tmp_path: Path, moment: int):
    site = Site(tmp_path / "data")
    contents = [f"{0.02 * (i % 5)} {i}" for i in range(8)]
    jobs = [site.send(content) for content in contents[:5]]
    chance = random.Random(moment)
    process = serve(site.folder.root, "pretend")
    time.sleep(chance.uniform(0.0, 1.5))
    jobs += [site.send(content) for content in contents[5:]]
    kill(process)
    before = {job.id: job for job in site.store.list() if job.state == "done"}
    process = serve(site.folder.root, "pretend")
    try:
        for job, content in zip(jobs, contents, strict=True):
            ended = site.until(job)
            assert (ended.state, ended.results) == ("done", ("clip.csv",))
            assert site.text(job) == hashed(content)
            assert site.parts(job) == ["input", "results"]
            if job.id in before:
                assert ended == before[job.id]  # it wasn't done again
    finally:
        kill(process)
    assert site.store.count()["done"] == len(jobs)
    site.store.close()
