"""Measure the server from another process: uploads, requests, streams, memory; write docs/benchmarks-serve.md.

make bench            # or: python benchmarks/serve.py [--requests 200] [--seconds 30] [--minutes 60]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from run import ROOT, git_commit, machine, make_video
from serve_streams import CORES, on_cores, played

from avgate.apps.serve.settings import Settings

UPLOADS, AT_ONCE = 4, 8
"""Uploads at once, and other clients beside them."""

PIECE = 4 << 20
"""Bytes of an upload in each request, as the page sends them."""

WARM = 4
"""Jobs before memory is first read: by then every worker has had one, as a rule."""

LONGEST_S = 3600.0
"""Seconds for which a job is waited for."""

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
READ = ("/", "/web/main.js", "/api/jobs", "/api/formats", "/health/ready", "/metrics")


def main() -> None:
    """Run each part in a process of its own, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="how many others there are beside four uploads")
    parser.add_argument("--megabytes", type=int, default=200, help="size of each of these uploads")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 10], help="live streams at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of these")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of all recordings before and after memory")
    parser.add_argument("--recording", type=float, default=30.0, help="length of one recording in seconds")
    parser.add_argument("--rest", type=float, default=5.0, help="seconds before each time that memory is read")
    parser.add_argument("--part", help="measure this part and print it as JSON")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-serve.md")
    given = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "requests": lambda: requests(given.requests, given.megabytes, given.recording),
        **{f"{count} streams": lambda count=count: streams(count, given.seconds) for count in given.streams},
        "memory": lambda: memory(given.minutes, given.recording, given.rest),
    }
    if given.part is not None:
        print(json.dumps(parts[given.part]()))
        return
    found = {part: in_own_process(part) for part in parts}
    lines = [
        "# The server",
        "",
        f"Made by `{' '.join(['python benchmarks/serve.py', *sys.argv[1:]])}` (`make bench`), which measured all this.",
        "",
        machine(),
        f"Python {platform.python_version()}.",
        f"avgate {git_commit()}, the weights that come with it.",
        f"`avgate serve` has {CORES} cores; its clients are another process on the same machine.",
        "",
        *requests_lines(found["requests"]),
        *streams_lines([found[f"{count} streams"] for count in given.streams], given.seconds),
        *memory_lines(found["memory"]),
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def requests_lines(found: Mapping[str, Any]) -> list[str]:
    """How long requests took while uploads came and recordings were estimated."""
    rows = [
        f"| {what} | {len(of['ms'])} | {' | '.join(f'{x:.0f}' for x in spread(of['ms']))} | {counted(of['answers'])} |"
        for what, of in found["kinds"].items()
    ]
    return [
        "## Requests beside uploads",
        "",
        f"{UPLOADS} recordings of {found['megabytes']} MB are sent at once (tus, pieces of {PIECE >> 20} MB), while",
        f"{AT_ONCE} other clients do {found['requests']} things, one after the other, among them uploads that break",
        "off or are cancelled, and files that are no recordings. Meanwhile, what has come is estimated.",
        "",
        "| request | how many | p50, ms | p95 | longest | answers |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"The uploads took {found['uploads_s']:.1f} s; {found['right']} of {UPLOADS} were estimated and are the same, "
        f"bit for bit. All jobs: {counted(found['states'])}.",
        f"Once all were deleted, {found['left']} files of theirs were left on the disk.",
        "",
    ]


def streams_lines(found: Sequence[Mapping[str, Any]], seconds: float) -> list[str]:
    """How late results came, and what was left out."""
    rows = [
        f"| {of['streams']} | {' | '.join(f'{1000 * x:.0f}' for x in of['late_s'])} | {of['images']:,} "
        f"| {of['results']:,} | {of['dropped']:,} | {of['skipped']:,} | {of['cores']:.2f} | {counted(of['ended'])} |"
        for of in found
    ]
    return [
        "## Live streams",
        "",
        f"Images of 640x360 as JPEG, 25 a second, and sound in pieces of 50 ms, for {seconds:g} s by the clock. A",
        "result is late by the time from its image's moment until the client has it. An image that is dropped has no",
        "result; where a face is skipped, the result rests on the voice and on earlier faces.",
        "",
        "| streams | late p50, ms | p95 | longest | images | results | dropped | faces skipped | cores used | ended |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def memory_lines(found: Mapping[str, Any]) -> list[str]:
    """What the server's processes held after so many recordings."""
    first, rest_s = found["rows"][0], found["rest_s"]
    rows = [
        f"| {row['jobs']} | {row['jobs'] * found['recording_s'] / 60:.1f} | {row['server']:.0f} | {row['workers']:.0f} "
        f"| {100 * ((row['server'] + row['workers']) / (first['server'] + first['workers']) - 1):+.1f} % |"
        for row in found["rows"]
    ]
    return [
        "## Memory",
        "",
        f"Recordings of {found['recording_s']:g} s, one after the other; each is deleted when it is done. Resident",
        f"memory {rest_s:g} s after the last one, of the server and of its workers ({found['processes']} processes,",
        "one of them spare). Pages that processes share are counted for each.",
        "",
        "| jobs | minutes of recordings | server, MB | workers, MB | both, against the first row |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Jobs: {counted(found['states'])}. {found['left']} files of theirs were left on the disk.",
        "",
    ]


def counted(counts: Mapping[str, int]) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"


def spread(ms: Sequence[float]) -> list[float]:
    """The median, the 95th percentile and the largest."""
    return [*np.percentile(ms, [50, 95]), max(ms)]


def in_own_process(part: str) -> Any:
    """What a part finds in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{part}: it failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class Server:
    """A running server.

    Attributes:
        port: where it listens, on this machine.
        data: its folder.
        process: it.
    """

    port: int
    data: Path
    process: psutil.Process

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """One request on a connection of its own: its status, headers and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: bytes | None = None) -> Any:
        """A request's answer; an error where it wasn't done."""
        status, _, data = self.ask(method, path, body)
        if status >= 400:
            raise SystemExit(f"{method} {path}: {status} {data.decode()}")
        return json.loads(data or "null")

    def cut(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send half of a body, and go away."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self.port), 120) as sender:
            sender.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body[: len(body) // 2])

    def jobs(self) -> list[dict[str, Any]]:
        """The newest 500 jobs."""
        return self.json("GET", "/api/jobs?limit=500")

    def ended(self) -> dict[str, int]:
        """Wait until no job waits or runs; how many there are in each state."""
        end_s = time.monotonic() + LONGEST_S
        while any(job["state"] in ("queued", "running") for job in self.jobs()):
            if time.monotonic() > end_s:
                raise SystemExit("jobs don't end")
            time.sleep(0.25)
        return dict(Counter(job["state"] for job in self.jobs()))

    def clear(self) -> int:
        """Delete all jobs; how many files are left of recordings, uploads and results."""
        while found := self.jobs():
            for job in found:
                self.json("DELETE", f"/api/jobs/{job['id']}")
        time.sleep(1.0)
        return sum(path.is_file() for part in ("uploads", "jobs") for path in (self.data / part).rglob("*"))

    def memory(self, rest_s: float) -> tuple[float, list[float]]:
        """Resident MB of the server, and of each of its workers, after a rest."""
        time.sleep(rest_s)
        found = [self.process, *self.process.children(recursive=True)]
        own, *others = [process.memory_info().rss / 2**20 for process in found]
        return own, [mb for mb in others if mb > 50]  # what watches multiprocessing's resources is no worker


@contextmanager
def server(**settings: Any) -> Iterator[Server]:
    """`avgate serve` in a process of its own, with an empty folder; it has ended afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = {"requests_per_minute": 1_000_000, **settings}
    given = {f"AVGATE_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(data)]
        with (Path(scratch) / "log").open("w+") as log:
            running = subprocess.Popen(command, env=os.environ | given, stdout=log, stderr=log, preexec_fn=on_cores)
            found = Server(port, data, psutil.Process(running.pid))
            try:
                wait_until_ready(found, running)
                yield found
            finally:
                running.send_signal(signal.SIGTERM)
                running.wait(60)


def wait_until_ready(found: Server, running: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers and all of its workers have loaded everything."""
    for _ in range(1200):
        if running.poll() is not None:
            raise SystemExit("the server has ended; is the extra 'serve' installed?")
        with suppress(OSError):
            told = found.ask("GET", "/metrics")[2].decode()
            counts = dict(line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))
            if float(counts.get("avgate_workers_ready", 0)) > Settings().workers:  # the one more, too
                return
        time.sleep(0.1)
    raise SystemExit("the server doesn't get ready")


def requests(count: int, megabytes: int, recording_s: float) -> dict[str, Any]:
    """What became of requests that come beside uploads; see `requests_lines`."""
    with tempfile.TemporaryDirectory() as scratch, server(max_jobs=10_000) as found:
        video = Path(scratch) / "video.mp4"
        make_video(video, recording_s / 60)
        small = video.read_bytes()
        room = max(8, (megabytes << 20) - len(small))
        large = (
            small + room.to_bytes(4, "big") + b"free" + bytes(room - 8)
        )  # a box of MP4 that every reader passes over
        done = found.json("POST", "/api/jobs?name=done.mp4", small)["id"]
        found.ended()
        kinds: dict[str, Any] = defaultdict(lambda: {"ms": [], "answers": Counter()})

        def timed(kind: str, *request: Any) -> Any:
            began = time.perf_counter()
            status, headers, body = found.ask(*request)
            kinds[kind]["ms"].append(1000 * (time.perf_counter() - began))
            kinds[kind]["answers"][str(status)] += 1
            return status, headers, body

        def begun(length: int) -> str:
            headers = TUS | {"Upload-Length": str(length), "Upload-Metadata": "filename YS5tcDQ="}
            return str(timed("begin an upload", "POST", "/api/uploads/", None, headers)[1]["Location"])

        def upload(_: int) -> str:
            place, headers = begun(len(large)), {}
            for at in range(0, len(large), PIECE):
                piece = BYTES | {"Upload-Offset": str(at)}
                headers = timed("a piece of the uploads", "PATCH", place, large[at : at + PIECE], piece)[1]
            return str(headers["Avgate-Job"])

        def broken() -> None:
            place = begun(len(small))
            found.cut("PATCH", place, small, BYTES | {"Upload-Offset": "0"})
            time.sleep(0.1)
            timed("ask how far a broken upload came", "HEAD", place, None, TUS)
            timed("cancel an upload", "DELETE", place, None, TUS)

        def cancelled() -> None:
            job = json.loads(timed("send a recording", "POST", "/api/jobs?name=a.mp4", small)[2])["id"]
            timed("cancel a job", "POST", f"/api/jobs/{job}/cancel")
            timed("delete a job", "DELETE", f"/api/jobs/{job}")

        actions: list[Callable[[], object]] = [
            *(lambda path=path: timed("read", "GET", path) for path in READ),
            lambda: timed("read the list of models", "GET", "/api/models"),
            lambda: timed("read a result", "GET", f"/api/jobs/{done}/results/done.html"),
            lambda: timed("send what is no recording", "POST", "/api/jobs?name=a.mp4", b"no video" * 999),
            lambda: timed("ask for what can't be", "POST", "/api/jobs?formats=nonsense", small),
            lambda: found.cut("POST", "/api/jobs?name=a.mp4", small, {}),
            broken,
            cancelled,
        ]
        chosen = random.Random(0).choices(actions, k=count)
        with ThreadPoolExecutor(UPLOADS) as senders, ThreadPoolExecutor(AT_ONCE) as others:
            began = time.perf_counter()
            sent = senders.map(upload, range(UPLOADS))
            doing = [others.submit(action) for action in chosen]
            sent_ids = list(sent)
            uploads_s = time.perf_counter() - began
            for action in doing:
                action.result()
        states, whole = found.ended(), hashlib.sha256(large).digest()
        right = sum(
            found.json("GET", f"/api/jobs/{job}")["state"] == "done"
            and hashlib.sha256(found.ask("GET", f"/api/jobs/{job}/input")[2]).digest() == whole
            for job in sent_ids
        )
        more = {"requests": count, "megabytes": megabytes, "uploads_s": uploads_s, "right": right, "states": states}
        return {"kinds": kinds, **more, "left": found.clear()}


def streams(count: int, seconds: float) -> dict[str, Any]:
    """How so many streams fare; see `streams_lines`."""
    with tempfile.TemporaryDirectory() as scratch, server(max_streams=max(1, count)) as found:
        video = Path(scratch) / "video.mp4"
        make_video(video, seconds / 60)
        return played(video, f"ws://127.0.0.1:{found.port}/api/live", count, found.process)


def memory(minutes: float, recording_s: float, rest_s: float) -> dict[str, Any]:
    """Memory and files after so many minutes of recordings; see `memory_lines`."""
    with tempfile.TemporaryDirectory() as scratch, server() as found:
        video = Path(scratch) / "video.mp4"
        make_video(video, recording_s / 60)
        data, count = video.read_bytes(), max(2, round(60 * minutes / recording_s))
        looks = {min(WARM, count), *(max(1, round(count * share)) for share in (0.25, 0.5, 0.75, 1.0))}
        rows, states, workers = [], Counter[str](), []
        for number in range(1, count + 1):
            job = found.json("POST", "/api/jobs?name=a.mp4", data)["id"]
            states.update(found.ended())
            found.json("DELETE", f"/api/jobs/{job}")
            if number in looks:
                own, workers = found.memory(rest_s)
                rows.append({"jobs": number, "server": own, "workers": sum(workers)})
        more = {"recording_s": recording_s, "rest_s": rest_s, "processes": len(workers), "states": states}
        return {"rows": rows, **more, "left": found.clear()}


if __name__ == "__main__":
    main()
