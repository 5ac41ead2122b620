"""Several machines over one PostgreSQL and one data folder: whatever becomes of one of them, each job ends once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from functools import partial

from avgate.apps.serve.jobs import Job, JobStore, Options
from avgate.cli import main
from tests.clips import make_clip, tone
from tests.e2e.test_serve_http import ask
from tests.few import few
from tests.postgres import new_database, postgres
from tests.serving import Site, hashed
from tests.waiting import wait_until
from tests.web_server import BYTES, TUS, coded, free_port, wait_until_ready

pytestmark = [
    pytest.mark.slow,  # starts servers
    pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does"),
]

KILLS = int(os.environ.get("SERVE_KILLS", "1"))
"""At how many moments machines are killed."""

WORK = "from avgate.apps.serve.settings import Settings; from avgate.apps.serve.work import work; work(Settings.load())"
"""A program that works as a machine without a server."""

SERVE = """
import sys
from pathlib import Path
import uvicorn
from avgate.apps.serve import api
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.work import open_place
from avgate.apps.serve.workers.crew import Crew
from tests.serving import pretend

api.CLEAN_S = 1.0
settings = Settings(data=Path(sys.argv[1]), database=sys.argv[2], workers=1, silent_s=2.0, requests_per_minute=100_000)
folder, store = open_place(settings)
app = api.create_app(settings, store, folder, Crew(store, folder, settings, work=pretend))
uvicorn.run(app, port=int(sys.argv[3]), http="h11", log_level="warning")
"""
"""A program that serves as a machine, whose workers only pretend."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> str:
    return new_database(server, f"cluster_{time.time_ns()}")


@pytest.fixture
def scope() -> Iterator[ExitStack]:
    """What is put on it ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def site(tmp_path: Path, database: str, scope: ExitStack) -> Site:
    """What a server's other part sees: it works at nothing itself."""
    made = Site(tmp_path / "data", database=database)
    scope.callback(made.store.close)
    return made


class Machine:
    """A process that stands for a machine: a crew with one worker."""

    def __init__(self, scope: ExitStack, *command: str, **environ: str):
        self.process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **environ}
        )
        scope.callback(self.kill)
        self.pid = self.process.pid

    def all(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self) -> None:
        """As when the power fails."""
        if self.process.poll() is None:
            left = self.all()
            self.process.kill()
            self.process.communicate()
            assert not psutil.wait_procs(left[1:], timeout=30)[1]


def pretending(scope: ExitStack, site: Site) -> Machine:
    """A machine whose workers only pretend; it has begun to look at the queue."""
    machine = Machine(scope, "-m", "tests.serving", str(site.folder.root), "pretend", site.settings.database)
    assert machine.process.stdout is not None
    assert machine.process.stdout.readline() == b"ready\n"
    return machine


def busy(site: Site, machine: Machine) -> list[str]:
    """The jobs that a machine works at."""
    import psycopg

    with psycopg.connect(site.settings.database) as connection:
        look = "SELECT id FROM avgate_jobs WHERE state = 'running' AND stage <> '' AND owner LIKE %s"
        return [row[0] for row in connection.execute(look, [f"{machine.pid}-%"]).fetchall()]


wait = partial(wait_until, longest_s=60)


class Watch:
    """What is told of jobs, as a page would see it."""

    def __init__(self, store: JobStore):
        self._store, self._count = store, 0
        self.ends: dict[str, set[tuple[object, ...]]] = {}

    def all_ended(self, jobs: list[Job]) -> bool:
        self._count, changed = self._store.changes(self._count)
        for job in changed:
            if job.ended_s is not None:
                self.ends.setdefault(job.id, set()).add((job.state, job.attempt, job.ended_s))
        return len(self.ends) == len(jobs)


@pytest.mark.long
@pytest.mark.parametrize("moment", range(KILLS))
def test_a_machine_that_is_killed_at_any_moment_loses_no_job_and_none_is_done_twice(
    site: Site, scope: ExitStack, moment: int
):
    contents = [f"{0.05 * (i % 5)} {i}" for i in range(24)]
    jobs = [site.send(content) for content in contents]
    first, _ = pretending(scope, site), pretending(scope, site)
    watch = Watch(site.store)
    end_s = time.monotonic() + random.Random(moment).uniform(0.0, 1.0)
    wait(lambda: watch.all_ended(jobs) or time.monotonic() > end_s)
    first.kill()
    wait(lambda: watch.all_ended(jobs))
    time.sleep(0.5)
    watch.all_ended(jobs)
    for job, content in zip(jobs, contents, strict=True):
        ((state, attempt, _),) = watch.ends[job.id]
        assert (state, attempt <= 2) == ("done", True)
        assert site.text(job) == hashed(content)
        assert site.parts(job) == ["input", "results"]
    assert sum(attempt == 2 for ((_, attempt, _),) in watch.ends.values()) <= 1


def send(address: str, name: str, content: bytes) -> str:
    """Send a recording in one request; its job's id."""
    status, _, said = ask(address, "POST", f"/api/jobs?name={name}", content)
    assert status == 201, said
    return json.loads(said)["id"]


def send_in_parts(addresses: list[str], name: str, content: bytes) -> str:
    """Send a recording in parts, each to the next server that is there; its job's id."""
    about = TUS | {"Upload-Length": str(len(content)), "Upload-Metadata": coded(filename=name)}
    place, turn = "", 0
    while True:
        address, turn = addresses[turn % len(addresses)], turn + 1
        try:
            place = place or ask(address, "POST", "/api/uploads/", None, about)[1]["location"]
            status, headers, _ = ask(address, "HEAD", place, None, TUS)
            if status == 404:  # complete, but the server was killed before it could say so
                return place.rpartition("/")[2]
            at = int(headers["upload-offset"])
            about_part = TUS | BYTES | {"Upload-Offset": str(at)}
            status, headers, _ = ask(address, "PATCH", place, content[at : at + 2], about_part)
            assert status in (204, 423)  # the latter where what was sent before isn't over
            if "avgate-job" in headers:
                return headers["avgate-job"]
        except (OSError, HTTPException):  # it was killed
            time.sleep(0.05)


@pytest.mark.parametrize("victim", few(["worker", "server"], 1, pytest.mark.long))
@pytest.mark.parametrize("moment", range(KILLS))
def test_two_servers_and_two_workers_of_which_one_is_killed_lose_no_job_and_do_none_twice(
    site: Site, scope: ExitStack, moment: int, victim: str
):
    ports = [free_port(), free_port()]
    program = [str(site.folder.root), site.settings.database]
    servers = [Machine(scope, "-c", SERVE, *program, str(port)) for port in ports]
    machines = [pretending(scope, site) for _ in range(2)]
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    for address, server in zip(addresses, servers, strict=True):
        wait_until_ready(address, server.process)
    contents = {f"{i}.mp4": f"{0.05 * (i % 5)} {i}".encode() for i in range(24)}
    whole, parts = list(contents)[::2], list(contents)[1::2]
    watch = Watch(site.store)
    with ThreadPoolExecutor(4) as pool:
        sent = {name: pool.submit(send_in_parts, addresses, name, contents[name]) for name in parts}
        # The server that is killed answers no more: what it was sent as a whole may be there or not.
        to = addresses[1:] if victim == "server" else addresses
        sent |= {name: pool.submit(send, to[i % len(to)], name, contents[name]) for i, name in enumerate(whole)}
        if victim == "worker":
            wait(lambda: busy(site, machines[0]) or site.store.count()["done"] > len(contents) / 2)
        time.sleep(random.Random(moment).uniform(0.0, 1.0))
        (machines if victim == "worker" else servers)[0].kill()
        accepted = {name: done.result() for name, done in sent.items()}
    jobs = [Job(job_id, name, len(contents[name]), Options()) for name, job_id in accepted.items()]
    wait(lambda: watch.all_ended(jobs), longest_s=120)
    time.sleep(0.5)
    watch.all_ended(jobs)
    assert watch.ends.keys() == set(accepted.values())
    for job in jobs:
        ((state, attempt, _),) = watch.ends[job.id]
        assert (state, attempt <= 2) == ("done", True)
        assert site.text(job, f"{Path(job.name).stem}.csv") == hashed(contents[job.name].decode())
        assert site.parts(job) == ["input", "results"]
        assert ask(addresses[1], "GET", f"/api/jobs/{job.id}/input")[2] == contents[job.name]
    assert sum(attempt == 2 for ((_, attempt, _),) in watch.ends.values()) <= 1
    left = {path.stem for path in site.folder.uploads.iterdir()}
    assert not left & watch.ends.keys()
    assert victim == "server" or not left  # one may have been begun without that its sender heard of it


@pytest.mark.long
def test_a_machine_that_was_away_for_a_while_changes_nothing_of_what_another_did(site: Site, scope: ExitStack):
    away, job = pretending(scope, site), site.send("1.5")
    wait(lambda: busy(site, away))
    stopped = away.all()
    for process in stopped:
        process.suspend()
    pretending(scope, site)
    ended = site.until(job)
    assert (ended.state, ended.attempt) == ("done", 2)
    written = site.folder.result(job.id, "clip.csv")
    assert written is not None
    before = written.stat()
    for process in stopped:
        process.resume()
    other = [site.send(f"0.1 {i}") for i in range(6)]
    assert {site.until(job).state for job in other} == {"done"}
    time.sleep(2)  # it has long found out
    assert site.store.get(job.id) == ended
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert site.parts(job) == ["input", "results"]


@pytest.mark.long
def test_machines_go_on_when_the_database_was_away(site: Site, scope: ExitStack, server: str):
    import psycopg

    machine, job = pretending(scope, site), site.send("1")
    wait(lambda: busy(site, machine))
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
    name = site.settings.database.rpartition("/")[2]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        assert connection.execute(cut, [name]).fetchone()[0] > 1
    ended, later = site.until(job), site.until(site.send("0"))
    assert (ended.state, ended.attempt, later.state) == ("done", 1, "done")


def test_results_stay_where_the_store_could_not_be_told_at_once(site: Site, monkeypatch: pytest.MonkeyPatch):
    left, end = [OSError("gone"), OSError("gone")], site.store.end

    def fail(job: Job, ended: Job) -> bool:
        if left:
            raise left.pop()
        return end(job, ended)

    monkeypatch.setattr(site.store, "end", fail)
    with site.crew:
        job = site.send("0")
        ended = site.until(job)
    assert (ended.state, ended.results, left) == ("done", ("clip.csv",), [])
    assert site.text(job) == hashed("0")


def test_results_of_another_machine_stay_when_one_comes_late(site: Site, monkeypatch: pytest.MonkeyPatch):
    end, done = site.store.end, []

    def away(job: Job, ended: Job) -> bool:
        """Another machine does the whole job before this one can say that it has done it."""
        if done:
            return end(job, ended)
        site.store.recover(0)
        again = site.store.claim("another")
        assert again is not None
        (site.folder.begin(again.id, again.attempt) / "theirs.csv").touch()
        assert end(again, replace(again, state="done", results=site.folder.finish(again.id, again.attempt)))
        done.append(again)
        return end(job, ended)

    monkeypatch.setattr(site.store, "end", away)
    with site.crew:
        first, second = site.send("0"), site.send("0 next")
        assert site.until(second).state == "done"
    ended = site.store.get(first.id)
    assert ended is not None
    assert (ended.results, ended.attempt) == (("theirs.csv",), 2)
    assert site.folder.result(first.id, "theirs.csv") is not None


def test_a_job_is_cancelled_wherever_it_is(site: Site, scope: ExitStack):
    machine = pretending(scope, site)
    job = site.send("hang")
    wait(lambda: busy(site, machine))
    site.store.cancel(job.id)
    assert site.until(site.send("0")).state == "done"
    wait(lambda: site.parts(job) == ["input"])


@pytest.mark.long
def test_recordings_are_estimated_once_and_alike_wherever_they_are(site: Site, scope: ExitStack, tmp_path: Path):
    clip = make_clip(tmp_path / "tone.wav", sound=[(0.0, tone(6.0))], sound_codec="pcm_s16le")
    jobs: list[Job] = []
    environ = {
        "AVGATE_SERVE_DATA": str(site.folder.root),
        "AVGATE_SERVE_DATABASE": site.settings.database,
        "AVGATE_SERVE_WORKERS": "1",
        "AVGATE_SERVE_SILENT_S": "3",
    }
    first, second = Machine(scope, "-c", WORK, **environ), Machine(scope, "-c", WORK, **environ)

    def both_at_work() -> bool:
        """What the machine that is ready first does meanwhile counts, too."""
        if not site.store.count()["queued"]:
            jobs.append(site.send(clip.read_bytes(), clip.name, report=False))
        return bool(busy(site, first) and busy(site, second))

    watch = Watch(site.store)
    wait(both_at_work)
    jobs.append(site.send(clip.read_bytes(), clip.name, report=False))
    wait(lambda: watch.all_ended(jobs) or busy(site, first))
    cut = busy(site, first)
    first.kill()
    wait(lambda: watch.all_ended(jobs))
    second.process.terminate()
    out, _ = second.process.communicate(timeout=30)
    assert second.process.returncode == 0, out
    main(["predict", str(clip), "--out", str(tmp_path / "expected"), "--no-report"])
    expected = (tmp_path / "expected" / "tone.csv").read_text()
    for job in jobs:
        ((state, attempt, _),) = watch.ends[job.id]
        assert (state, attempt) == ("done", 2 if job.id in cut else 1)
        assert site.text(job, "tone.csv") == expected
    assert {path.name for path in site.folder.jobs.iterdir()} == {job.id for job in jobs}
