"""A server's jobs without its HTTP: a place with store, folder and crew; workers that only pretend; and a program.

`python -m tests.serving FOLDER [pretend] [shared | postgresql://...]` works off what is in a data folder until it is
killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import ENDED, Job, JobStore, Options
from avgate.apps.serve.names import shown_name
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.stores.sqlite import SqliteJobs
from avgate.apps.serve.workers.crew import Crew
from avgate.apps.serve.workers.process import Limits
from avgate.core.processes import end_with_parent

LONGEST_S = 120.0
"""For which anything is waited for."""


def pretend(connection: Connection, limits: Limits) -> None:
    """A worker whose recordings say how long they take: "0.2", or "die" or "hang" at once; the result is their hash."""
    threading.Thread(target=end_with_parent, daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        connection.send_bytes(json.dumps(message).encode())

    try:
        while True:
            message = json.loads(connection.recv_bytes())
            if "warm" in message:
                send({"ready": True})
                continue
            source = Path(message["input"])
            content = source.read_text()
            send({"stage": "pretending", "progress": 0.5})
            if content == "die":
                os._exit(3)
            if content == "nonsense":
                connection.send_bytes(b"\x80 no JSON")
            if content == "no outcome":
                send({"done": {"notes": 5}})
            if content == "fail":
                send({"failed": {"error": "it is bad", "hint": "make it better"}})
                continue
            time.sleep(1e6 if content in ("hang", "nonsense", "no outcome") else float(content.split()[0]))
            (Path(message["out"]) / f"{source.stem}.csv").write_text(hashed(content))
            send({"done": {"results": [], "notes": ["a note"], "recording_s": 2.0, "stages_s": {"pretending": 1.0}}})
    except EOFError:
        pass


def hashed(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


class Site:
    """A data folder with its store; the crew is started by its user."""

    def __init__(
        self, root: Path, *, work: Callable[..., None] | None = pretend, shared: bool = False, **settings: Any
    ):
        self.settings = Settings(data=root, **{"workers": 1, **settings})
        self.folder = DataFolder(root, shared or self.settings.is_shared)
        self.store: JobStore
        if self.settings.database:
            from avgate.apps.serve.stores.postgres import PostgresJobs

            self.store = PostgresJobs(self.settings.database, self.folder.mark)
        else:
            self.store = SqliteJobs(self.folder.database)
        self.crew = Crew(self.store, self.folder, self.settings, work=work)

    def send(self, content: bytes | str, name: str = "clip.mp4", **options: Any) -> Job:
        """A recording is accepted as a job."""
        job = self.keep(content, name, **options)
        self.queue(job)
        return job

    def keep(self, content: bytes | str, name: str = "clip.mp4", **options: Any) -> Job:
        """A recording lies in its folder, and nobody knows of it as yet."""
        data = content.encode() if isinstance(content, str) else content
        job = Job(uuid.uuid4().hex, shown_name(name), len(data), Options(**options))
        self.folder.upload(job.id).write_bytes(data)
        self.folder.accept(job.id, name, self.folder.upload(job.id))
        return job

    def queue(self, job: Job) -> None:
        """A recording that is kept waits for its turn."""
        self.store.add(job)
        self.crew.wake()

    def until(self, job: Job, true: Callable[[Job], bool] = lambda job: job.state in ENDED) -> Job:
        """Wait until something is true of a job; the job as it is then."""
        end_s = time.monotonic() + LONGEST_S
        while (now := self.store.get(job.id)) is None or not true(now):
            assert time.monotonic() < end_s, now
            time.sleep(0.01)
        return now

    def parts(self, job: Job) -> list[str]:
        """What lies in a job's folder."""
        place = self.folder.jobs / job.id
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def text(self, job: Job, name: str = "clip.csv") -> str:
        """A result."""
        found = self.folder.result(job.id, name)
        assert found is not None
        return found.read_text()


if __name__ == "__main__":
    more: dict[str, Any] = {"database": sys.argv[-1], "silent_s": 2.0} if "://" in sys.argv[-1] else {}
    if "shared" in sys.argv:
        more = {"shared": True, "silent_s": 2.0}
    site = Site(Path(sys.argv[1]), work=pretend if "pretend" in sys.argv else None, **more)
    # What is killed lets go of its folder with its last thread.
    for _ in range(100):
        try:
            site.folder.hold()
            break
        except Exception:
            time.sleep(0.05)
    site.crew.recover()
    site.crew.start()
    print("ready", flush=True)
    time.sleep(1e6)
