"""A server without workers, and `avgate work` in other processes of its machine: they share SQLite and the folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from avgate import cli
from avgate.apps.serve.jobs import Job
from tests.clips import make_clip, tone
from tests.serving import Site, hashed

pytestmark = [
    pytest.mark.slow,  # starts processes
    pytest.mark.skipif(os.name != "posix", reason="kills and locks as POSIX does"),
]


@pytest.fixture
def scope() -> Iterator[ExitStack]:
    """What is put on it ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def site(tmp_path: Path, scope: ExitStack) -> Site:
    """A server's jobs; its crew has nobody to do them."""
    made = Site(tmp_path / "data", workers=0, silent_s=2.0)
    made.folder.hold()
    made.crew.recover()
    scope.enter_context(made.crew)
    scope.callback(made.store.close)
    return made


def started(scope: ExitStack, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    scope.callback(ended, process)
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    """End it as when the power fails."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        psutil.wait_procs(children, timeout=30)


def pretending(scope: ExitStack, site: Site) -> subprocess.Popen[bytes]:
    process = started(scope, "tests.serving", str(site.folder.root), "pretend", "shared")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.long
def test_jobs_wait_until_somebody_works_and_the_server_starts_nobody(site: Site, scope: ExitStack):
    jobs = [site.send(f"0.1 {i}") for i in range(6)]
    time.sleep(1)
    assert site.crew.figures.workers == 0
    assert site.store.count()["queued"] == len(jobs)
    pretending(scope, site), pretending(scope, site)
    for i, job in enumerate(jobs):
        now = site.until(job)
        assert (now.state, now.attempt) == ("done", 1)
        assert site.text(job) == hashed(f"0.1 {i}")
        assert site.parts(job) == ["input", "results"]


def test_the_job_of_a_process_that_was_killed_is_begun_again_by_another(site: Site, scope: ExitStack):
    first, job = pretending(scope, site), site.send("1.5")
    site.until(job, lambda job: job.stage == "pretending")
    ended(first)
    pretending(scope, site)
    now = site.until(job)
    assert (now.state, now.attempt) == ("done", 2)


@pytest.mark.long
def test_a_server_that_starts_anew_leaves_running_jobs_alone(site: Site, scope: ExitStack):
    pretending(scope, site)
    job = site.send("2")
    site.until(job, lambda job: job.stage == "pretending")
    site.crew.stop()
    site.folder.release()
    again = Site(site.folder.root, workers=0, silent_s=2.0)
    scope.callback(again.store.close)
    again.folder.hold()
    assert list(again.crew.recover()) == []
    with again.crew:
        now: Job = again.until(job)
    assert (now.state, now.attempt) == ("done", 1)


def test_a_job_is_cancelled_in_another_process(site: Site, scope: ExitStack):
    pretending(scope, site)
    job = site.send("hang")
    site.until(job, lambda job: job.stage == "pretending")
    site.store.cancel(job.id)
    assert site.until(site.send("0")).state == "done"


def test_the_verb_estimates_what_a_server_of_its_machine_accepted(site: Site, scope: ExitStack, tmp_path: Path):
    sound = make_clip(tmp_path / "a.wav", sound=[(0.0, tone(2.0))], sound_codec="pcm_s16le")
    job = site.send(sound.read_bytes(), sound.name, report=False)
    process = started(scope, "avgate", "work", "--data", str(site.folder.root), "--workers", "1")
    now = site.until(job)
    assert now.state == "done", (now.error, now.hint)
    assert site.text(job, f"{sound.stem}.csv").startswith("time_s")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["work", "--data", str(tmp_path), "--workers", "0"])
    said = capsys.readouterr()
    assert "--workers" in said.out + said.err
