"""A server for tests: its HTTP interface over real jobs and folders, with a crew that does what a test tells it to."""

from __future__ import annotations

import base64
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi.testclient import TestClient

from avgate.apps.serve.api import AppServer, create_app
from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import Figures, Job
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.stores.sqlite import SqliteJobs
from avgate.core.errors import AvgateError

HERE = "http://127.0.0.1:8042"
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
REPORT = "<!doctype html><title>report</title>"


class StillCrew:
    """A crew that does nothing by itself."""

    def __init__(self, store: SqliteJobs, folder: DataFolder):
        self.store, self.folder, self.woken = store, folder, 0

    figures = Figures(1, 1, 0, 0, {"done": 1}, {"looking": 2.0}, 10.0, 0.5, "", 2, 3.0)

    def recover(self):
        self.folder.sweep(lambda job_id: self.store.get(job_id) is not None)

    def start(self):
        pass

    def stop(self):
        pass

    def wake(self):
        self.woken += 1

    def do(self, notes: tuple[str, ...] = ()) -> Job:
        """Do the oldest job: it has a result of each kind."""
        job = self.store.claim("tests")
        assert job is not None
        out = self.folder.begin(job.id, job.attempt)
        for name in ("a.csv", "a.json", "a.html", "a.png", "a.eaf", "a.annotation~"):
            (out / name).write_text(REPORT if name == "a.html" else f"{job.id} {name}")
        results = self.folder.finish(job.id, job.attempt)
        assert self.store.end(job, replace(job, state="done", results=results, notes=notes))
        done = self.store.get(job.id)
        assert done is not None
        return done


class QuickCrew(StillCrew):
    """A crew that does each job at once."""

    def start(self):
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while True:
            with suppress(OSError, AvgateError, AssertionError):  # it was cancelled or deleted meanwhile
                while self.store.count()["queued"]:
                    self.do()
            time.sleep(0.02)


@dataclass
class Server:
    """A server and its parts.

    Attributes:
        web: a client of it.
    """

    settings: Settings
    store: SqliteJobs
    folder: DataFolder
    crew: StillCrew
    web: TestClient

    def send(self, data: bytes = b"recording", name: str = "a.mp4") -> str:
        """Send a recording; its job's id."""
        answer = self.web.post("/api/jobs", params={"name": name}, content=data)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def begin(self, length: int, name: str = "a.mp4", **metadata: str) -> str:
        """Begin an upload; its address."""
        headers = TUS | {"Upload-Length": str(length), "Upload-Metadata": coded(filename=name, **metadata)}
        answer = self.web.post("/api/uploads/", headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def add(self, place: str, offset: int, data: bytes):
        """Add bytes to an upload; the answer."""
        return self.web.patch(place, headers=TUS | BYTES | {"Upload-Offset": str(offset)}, content=data)

    def watched(self, job_id: str, meanwhile: Callable[[], None]):
        """The answer to one who watches a job until it ends, while something is done beside."""
        other = threading.Thread(target=meanwhile)
        other.start()
        answer = self.web.get(f"/api/jobs/{job_id}/events")
        other.join()
        return answer

    def left(self) -> list[str]:
        """The files in its folder, but the database."""
        files = (path for path in self.folder.root.rglob("*") if path.is_file())
        names = (str(path.relative_to(self.folder.root)) for path in files)
        return sorted(name for name in names if not name.startswith(("jobs.sqlite3", "avgate-data")))


def coded(**values: str) -> str:
    """Metadata of an upload as tus writes it."""
    pairs = (
        (name, base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()) for name, value in values.items()
    )
    return ",".join(f"{name} {value}" for name, value in pairs)


@contextmanager
def serving(data: Path, base: str = HERE, errors: bool = True, **settings) -> Iterator[Server]:
    """A server over a folder.

    Args:
        data: the folder.
        base: the address that the client calls.
        errors: whether the client raises what the server doesn't catch.
        settings: what isn't the default.
    """
    chosen = Settings(data=data, **({"models": {"live": None}} | settings))
    folder = DataFolder(data, chosen.is_shared)
    store = SqliteJobs(folder.database)
    crew = StillCrew(store, folder)
    try:
        app = create_app(chosen, store, folder, crew)
        with TestClient(app, base_url=base, follow_redirects=False, raise_server_exceptions=errors) as web:
            yield Server(chosen, store, folder, crew, web)
    finally:
        store.close()


def scope(method: str, path: str, headers: Mapping[str, str] | None = None) -> dict[str, object]:
    """A request as a server hands it to an app."""
    pairs = [
        (name.lower().encode(), value.encode()) for name, value in {"host": "127.0.0.1", **(headers or {})}.items()
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": pairs,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8042),
        "state": {},
    }


def main(data: str, port: str, settings: str) -> None:
    """Serve in this process, for tests that end it."""
    chosen = Settings(data=Path(data), models={"live": None}, **json.loads(settings))
    folder = DataFolder(data)
    store = SqliteJobs(folder.database)
    app = create_app(chosen, store, folder, QuickCrew(store, folder))
    logging.basicConfig(level=logging.WARNING)
    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as listener:
        AppServer(app, chosen).run(sockets=[listener])


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def process(data: Path, log: Path, port: int | None = None, **settings) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server in a process of its own: its address and the process."""
    port = port or free_port()
    command = [sys.executable, "-m", "tests.web_server", str(data), str(port), json.dumps(settings)]
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as running:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, running)
            yield address, running
        finally:
            running.kill()


def wait_until_ready(address: str, running: subprocess.Popen) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert running.poll() is None, "the server has ended"
        with suppress(OSError), urllib.request.urlopen(f"{address}/health/ready", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError("the server doesn't answer")


if __name__ == "__main__":
    main(*sys.argv[1:])
