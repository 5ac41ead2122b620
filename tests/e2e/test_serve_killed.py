"""`avgate serve` as it comes, killed again and again with recordings queued, running and on their way."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.jobs import ENDED, MOST_ATTEMPTS
from avgate.cli import main
from tests.clips import make_clip, tone
from tests.e2e.test_serve_http import ask
from tests.web_server import BYTES, TUS, coded, free_port, wait_until_ready

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("any_face_model"),
    pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does"),
]

KILLS = int(os.environ.get("SERVE_KILLS", "1"))
"""How often the server is killed."""

LOADING_S = 5.0
"""Seconds after its start, of which its workers load for the most, within which every second kill comes."""


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Sounds of different lengths."""
    return [
        make_clip(tmp_path / f"{i}.wav", sound=[(0.0, tone(1.0 + 0.5 * i))], sound_codec="pcm_s16le") for i in range(3)
    ]


class Sender:
    """Sends recordings, and knows what was accepted.

    Attributes:
        accepted: the id of a job -> its recording.
        places: the addresses of uploads that aren't complete -> their recording.
    """

    def __init__(self, recordings: list[Path]):
        self._recordings, self._sent = recordings, 0
        self.accepted: dict[str, Path] = {}
        self.places: dict[str, Path] = {}
        self._lines: list[socket.socket] = []

    def _next(self) -> Path:
        self._sent += 1
        return self._recordings[self._sent % len(self._recordings)]

    def send(self, address: str) -> None:
        """One in one request."""
        path = self._next()
        status, _, said = ask(address, "POST", f"/api/jobs?name={path.name}&report=false", path.read_bytes())
        assert status == 201
        self.accepted[json.loads(said)["id"]] = path

    def begin(self, address: str) -> None:
        """Begin one in parts."""
        path = self._next()
        about = {
            "Upload-Length": str(path.stat().st_size),
            "Upload-Metadata": coded(filename=path.name, report="false"),
        }
        self.places[ask(address, "POST", "/api/uploads/", None, TUS | about)[1]["location"]] = path

    def go_on(self, address: str, most: int) -> None:
        """Send so many bytes of each that isn't complete, from where the server has it."""
        for place, path in list(self.places.items()):
            at = int(ask(address, "HEAD", place, None, TUS)[1]["upload-offset"])
            part = path.read_bytes()[at : at + most]
            status, headers, _ = ask(address, "PATCH", place, part, TUS | BYTES | {"Upload-Offset": str(at)})
            assert status == 204
            assert headers["upload-offset"] == str(at + len(part))
            if "avgate-job" in headers:
                self.accepted[headers["avgate-job"]] = self.places.pop(place)

    def stay(self, address: str) -> None:
        """Send half of a further part of each upload, and of one in one request, and no more."""
        netloc = urllib.parse.urlsplit(address).netloc
        heads = {}
        for place, path in self.places.items():
            at = int(ask(address, "HEAD", place, None, TUS)[1]["upload-offset"])
            about = TUS | BYTES | {"Upload-Offset": str(at), "Content-Length": "20000"}
            heads[f"PATCH {place}"] = about, path.read_bytes()[at : at + 10_000]
        heads["POST /api/jobs"] = {"Content-Length": "20000"}, b"x" * 10_000
        for line, (about, part) in heads.items():
            lines = [f"{line} HTTP/1.1", f"Host: {netloc}", *(f"{name}: {value}" for name, value in about.items())]
            self._lines.append(socket.create_connection(tuple(netloc.split(":"))))
            self._lines[-1].sendall("\r\n".join([*lines, "", ""]).encode() + part)

    def hang_up(self) -> None:
        for line in self._lines:
            line.close()
        self._lines = []


@contextmanager
def serving(data: Path, log: Path, port: int) -> Iterator[tuple[str, subprocess.Popen]]:
    """`avgate serve` with one worker, in a process of its own."""
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(data)]
    environ = os.environ | {"AVGATE_SERVE_WORKERS": "1"}
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environ) as running:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", running)
            yield f"http://127.0.0.1:{port}", running
        finally:
            kill(running)


def kill(running: subprocess.Popen) -> None:
    """Kill it; its workers end by themselves."""
    left = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
    running.kill()
    running.wait()
    assert not psutil.wait_procs(left, timeout=30)[1]


def listed(address: str) -> dict[str, dict]:
    return {job["id"]: job for job in json.loads(ask(address, "GET", "/api/jobs?limit=500")[2])}


def of(jobs: dict[str, dict], *states: str) -> list[dict]:
    """The jobs in these states."""
    return [job for job in jobs.values() if job["state"] in states]


def wait_for(address: str, true) -> None:
    until_s = time.monotonic() + 120 + 10 * KILLS
    while not true(listed(address)):
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.mark.timeout(300 + 30 * KILLS)
def test_every_accepted_recording_ends_once_and_with_the_right_bytes(tmp_path: Path, recordings: list[Path]):
    dice, sender, data, port = random.Random(19), Sender(recordings), tmp_path / "data", free_port()
    main(["predict", *map(str, recordings), "--out", str(tmp_path / "expected"), "--no-report"])
    done: dict[str, dict] = {}
    cut = {"queued": 0, "running": 0, "sent": 0}
    for number in range(KILLS):
        with serving(data, tmp_path / "log", port) as (address, running):
            now = listed(address)
            assert now.keys() == sender.accepted.keys()
            assert {job_id: now[job_id] for job_id in done} == done
            sender.send(address)
            sender.go_on(address, 100_000)
            while len(sender.places) < 2:
                sender.begin(address)
            sender.stay(address)
            if number % 2:
                time.sleep(dice.uniform(0, LOADING_S))
            else:
                wait_for(address, lambda jobs: of(jobs, "running") or not of(jobs, "queued"))
                time.sleep(dice.uniform(0, 0.5))
            # One that is cut so often is given up.
            wait_for(address, lambda jobs: all(job["attempt"] < MOST_ATTEMPTS for job in of(jobs, "running")))
            now = listed(address)
            kill(running)
            sender.hang_up()
        done = {job["id"]: job for job in of(now, "done")}
        for state in ("queued", "running"):
            cut[state] += len(of(now, state))
        cut["sent"] += len(sender.places)
    print(f"\n{KILLS} kills: {cut}, {len(done)} done before the last one")

    with serving(data, tmp_path / "log", port) as (address, running):
        while sender.places:
            sender.go_on(address, 100_000)
        wait_for(address, lambda jobs: len(of(jobs, *ENDED)) == len(jobs))
        now = listed(address)
        assert now.keys() == sender.accepted.keys()
        assert {job_id: now[job_id] for job_id in done} == done
        for job_id, path in sender.accepted.items():
            assert now[job_id]["state"] == "done", now[job_id]
            assert ask(address, "GET", f"/api/jobs/{job_id}/input")[2] == path.read_bytes()
            for name in now[job_id]["results"]:
                found = ask(address, "GET", f"/api/jobs/{job_id}/results/{name}")[2]
                assert found == (tmp_path / "expected" / name).read_bytes()
            assert sorted(part.name for part in (data / "jobs" / job_id).iterdir()) == ["input", "results"]
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    assert {path.name for path in (data / "jobs").iterdir()} == sender.accepted.keys()
    assert not list((data / "uploads").iterdir())
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said, said
    assert " ERROR " not in said, said
