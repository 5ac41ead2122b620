"""The server as a process of its own: hostile requests, a machine's tests of its interface, and its sudden end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.api import PING_S, PONG_S
from tests.web_server import BYTES, TUS, coded, free_port, process, wait_until_ready

pytestmark = pytest.mark.slow

MUTATIONS = int(os.environ.get("AVGATE_MUTATIONS", "60"))
"""How many mutated requests are sent; the server must stand thousands."""

EXAMPLES = int(os.environ.get("AVGATE_SCHEMA_EXAMPLES", "5"))
"""With how many requests each operation is tried."""

KILLS = int(os.environ.get("SERVE_KILLS", "2"))
"""At how many moments the server is killed."""

ANNOTATION = "/api/jobs/{job_id}/annotations/{annotation}"
WIDE = {"requests_per_minute": 1_000_000, "max_jobs": 1_000_000, "max_upload_mb": 1}


def ask(address, method, path, body=None, headers=None, timeout=20):
    """Send one request; status, headers and body of the answer."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def left(data):
    """What lies in a data folder, folders and links too."""
    return [path for part in ("uploads", "jobs") for path in (data / part).rglob("*")]


HOOKS = """
import schemathesis
from hypothesis import strategies as st

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.serializer("text/csv")
def as_it_is(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@st.composite
def tables(draw):
    "That the times of a table increase, and that no target is called as such a column, no schema says."
    names = draw(st.lists(st.from_regex("x[A-Za-z0-9_-]{0,59}", fullmatch=True), min_size=1, max_size=8, unique=True))
    times = sorted(draw(st.sets(st.integers(0, 14_400_000), min_size=1, max_size=9)))
    values = st.floats(-1, 1).map("{:.4f}".format)
    rows = [[f"{time / 1000:.3f}", *(draw(values) for _ in names)] for time in times]
    return "\\n".join(map(",".join, [["time_s", *names], *rows])).encode()


schemathesis.openapi.media_type("text/csv", tables())


@schemathesis.hook
def before_load_schema(context, schema):
    "A kind of content whose examples are made here may have none of its own."
    for operation in schema["paths"].values():
        operation.get("put", {}).get("requestBody", {}).get("content", {}).get("text/csv", {}).pop("example", None)


@schemathesis.hook
def filter_case(context, case):
    "Every server takes headers that it doesn't know."
    return "x-schemathesis-unknown-property" not in (case.headers or {})
"""

RULES = """
[checks.missing_required_header]
expected-statuses = [400, 412, 415]  # 412 is tus' own answer to a request without its version
[checks.negative_data_rejection]
expected-statuses = [400, 409, 412, 413, 415, 422]
[[operations]]
include-path = "/api/events"  # which never ends
request-timeout = 1
"""


def test_schemathesis_finds_nothing(tmp_path):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.is_file():
        pytest.skip("schemathesis isn't installed")
    (tmp_path / "hooks.py").write_text(HOOKS)
    with process(tmp_path / "data", tmp_path / "log", **WIDE | {"max_upload_mb": 4}) as (address, _):
        job_id = json.loads(ask(address, "POST", "/api/jobs?name=a.mp4", b"x")[2])["id"]
        headers = TUS | {"Upload-Length": "4000000"}
        upload_id = ask(address, "POST", "/api/uploads/", None, headers)[1]["location"].rpartition("/")[2]
        put = json.loads(ask(address, "GET", "/api/openapi.json")[2])["paths"][ANNOTATION]["put"]
        table = put["requestBody"]["content"]["text/csv"]["example"].encode()
        place = f"/api/jobs/{job_id}/annotations/anna"
        assert ask(address, "PUT", place, table, {"Content-Type": "text/csv"})[0] == 204
        assert ask(address, "GET", "/api/models")[0] == 200  # the first time takes seconds
        known = {"job_id": job_id, "upload_id": upload_id, "name": "a.csv", "annotation": "anna"}
        (tmp_path / "known.toml").write_text(
            RULES + "[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
        )
        (tmp_path / "rules.toml").write_text(RULES)
        each = ["--phases", "examples,coverage,fuzzing"]
        for config, more in (
            ("known.toml", [*each, "--exclude-method", "DELETE"]),  # or what is known would be gone
            ("known.toml", [*each, "--include-method", "DELETE"]),
            ("rules.toml", ["--phases", "stateful"]),
        ):
            command = [program, "--config-file", tmp_path / config, "run", f"{address}/api/openapi.json", *more]
            found = subprocess.run(
                [*command, "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"],
                cwd=tmp_path,
                env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=120 + EXAMPLES,
            )
            print(found.stdout)
            assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log, log[-4000:]


def mutated(dice, request):
    """A request's bytes with some of them changed, doubled, cut out or cut off."""
    data = bytearray(request)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at : at + dice.randint(1, 20)]
        elif kind == 2:
            data[at:at] = data[at : at + dice.randint(1, 40)]
        elif kind == 3:
            data[at:at] = dice.choice(
                [
                    b"\0",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"../",
                    b"%2e%2e%2f",
                    b"%00",
                    b"\xff",
                    b"-",
                    b"9" * 30,
                    b"A" * 10_000,
                    "ü".encode(),
                ]
            )
        elif kind == 4 and dice.random() < 0.3:
            del data[at:]
        else:
            lines = bytes(data).split(b"\r\n")
            lines.insert(dice.randrange(len(lines)), dice.choice(lines))
            data = bytearray(b"\r\n".join(lines))
    return bytes(data) or b"\r\n"


def told(netloc, request):
    """What is answered to these very bytes, after which the sender goes away."""
    with socket.create_connection(tuple(netloc.split(":")), timeout=20) as line:
        answer = b""
        try:
            line.sendall(request)
            line.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                answer = line.recv(1 << 16)
            line.settimeout(20)
            line.shutdown(socket.SHUT_WR)  # it may wait for more
            while part := line.recv(1 << 16):
                answer += part
        except ConnectionError:  # the server needn't hear it out
            pass
    return answer


def test_mutated_requests_neither_break_nor_hang_the_server_and_leave_nothing(tmp_path, monkeypatch):
    dice = random.Random(5)
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with process(data, tmp_path / "log", **WIDE) as (address, running):
        netloc = urllib.parse.urlsplit(address).netloc
        upload = ask(address, "POST", "/api/uploads/", None, TUS | {"Upload-Length": "9"})[1]["location"]
        job_id = json.loads(ask(address, "POST", "/api/jobs", b"x")[2])["id"]

        def raw(method, path, body=b"", **headers):
            lines = [f"{method} {path} HTTP/1.1", f"Host: {netloc}", "Connection: close"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            lines += [f"Content-Length: {len(body)}"] if body else []
            return "\r\n".join([*lines, "", ""]).encode() + body

        version = {"Tus_Resumable": "1.0.0"}
        metadata = coded(filename="../a.mp4", model="default", level="0.9", formats="elan", report="true")
        seeds = [
            raw("POST", "/api/uploads/", Upload_Length="9", Upload_Metadata=metadata, **version),
            raw("POST", "/api/uploads/", b"123", Upload_Length="9", Content_Type=BYTES["Content-Type"], **version),
            raw("PATCH", upload, b"456", Upload_Offset="0", Content_Type=BYTES["Content-Type"], **version),
            raw("HEAD", upload, **version),
            raw("POST", "/api/jobs?name=../a.mp4&level=0.9&formats=elan&report=true", b"recording"),
            raw("GET", f"/api/jobs/{job_id}/input", Range="bytes=0-0"),
            raw("GET", "/api/jobs?limit=3&before=2026-01-31T12:00:00Z"),
            raw("POST", f"/api/jobs/{job_id}/cancel", Origin=address),
            raw("PUT", f"/api/jobs/{job_id}/annotations/anna", b"time_s,valence\n0,1\n", Content_Type="text/csv"),
            raw("GET", f"/api/jobs/{job_id}/annotations/anna?format=elan"),
            raw("GET", f"/api/jobs/{job_id}/results/a.csv", Range="bytes=0-3,5-9,-2", If_Range='"x"'),
            raw("GET", f"/api/jobs/{job_id}/events", Accept="text/event-stream"),
            raw("GET", "/web/main.js", If_None_Match='"x"', Cookie="avgate=x"),
            raw("POST", "/login", b"token=secret", Content_Type="application/x-www-form-urlencoded"),
        ]
        server, seen = psutil.Process(running.pid), set()
        open_files = server.num_fds()
        for _ in range(MUTATIONS):
            request = mutated(dice, dice.choice(seeds))
            began = time.monotonic()
            answer = told(netloc, request)
            assert time.monotonic() - began < 10, request
            status = answer.partition(b" ")[2][:3]
            assert not status.startswith(b"5"), (request, answer)
            assert str(data).encode() not in answer
            seen.add(status)
        assert {b"400", b"201"} < seen  # some were understood, some weren't

        while jobs := json.loads(ask(address, "GET", "/api/jobs?limit=500")[2]):
            for job in jobs:
                assert ask(address, "DELETE", f"/api/jobs/{job['id']}")[0] == 204
        for path in (data / "uploads").glob("*.json"):
            assert ask(address, "DELETE", f"/api/uploads/{path.stem}", None, TUS)[0] == 204
        assert left(data) == []
        assert list(scratch.iterdir()) == []
        assert server.children() == []
        until = time.monotonic() + 10
        while server.num_fds() > open_files + 4:  # with each request that it handled at once, it opened the database
            assert time.monotonic() < until
            time.sleep(0.1)
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log, log[-4000:]


def test_a_server_that_is_killed_at_any_moment_goes_on_with_every_upload_and_job(tmp_path):
    dice, port, data = random.Random(3), free_port(), tmp_path / "data"
    # More than come between all kills.
    recordings = {f"{k}.mp4": dice.randbytes(300_000) for k in range(4 + 2 * KILLS)}
    places, jobs, kills = {}, {}, 0
    while len(jobs) < len(recordings):
        with process(data, tmp_path / "log", port, **WIDE) as (address, running):
            parts = dice.randint(0, 6)
            while len(jobs) < len(recordings) and (parts > 0 or kills >= KILLS):
                parts -= 1
                name = dice.choice([name for name in recordings if name not in jobs][:4])
                content = recordings[name]
                if name not in places:
                    headers = TUS | {"Upload-Length": str(len(content)), "Upload-Metadata": coded(filename=name)}
                    places[name] = ask(address, "POST", "/api/uploads/", None, headers)[1]["location"]
                status, headers, _ = ask(address, "HEAD", places[name], None, TUS)
                if status == 404:
                    jobs[name] = places[name].rpartition("/")[2]
                    continue
                at = int(headers["upload-offset"])
                headers = TUS | BYTES | {"Upload-Offset": str(at)}
                headers = ask(address, "PATCH", places[name], content[at : at + 40_000], headers)[1]
                if "avgate-job" in headers:
                    jobs[name] = headers["avgate-job"]
            if kills < KILLS:
                # It is in the middle of a part.
                netloc = urllib.parse.urlsplit(address).netloc
                for name, place in places.items():
                    if name not in jobs:
                        at = (data / "uploads" / place.rpartition("/")[2]).stat().st_size
                        more = recordings[name][at : at + 50_000]
                        line = socket.create_connection(tuple(netloc.split(":")))
                        head = f"PATCH {place} HTTP/1.1\r\nHost: {netloc}\r\nTus-Resumable: 1.0.0\r\n"
                        head += f"Upload-Offset: {at}\r\n"
                        head += f"Content-Type: {BYTES['Content-Type']}\r\nContent-Length: {len(more)}\r\n\r\n"
                        line.sendall(head.encode() + more[: len(more) // 2])
                kills += 1
                running.send_signal(signal.SIGKILL)
                running.wait()
    assert kills == KILLS
    with process(data, tmp_path / "log", port, **WIDE) as (address, _):
        listed = json.loads(ask(address, "GET", "/api/jobs")[2])
        assert sorted(job["id"] for job in listed) == sorted(jobs.values())
        for name, job_id in jobs.items():
            assert ask(address, "GET", f"/api/jobs/{job_id}/input")[2] == recordings[name]
        assert not list((data / "uploads").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process' memory")
def test_a_server_without_live_streams_never_loads_the_networks_into_its_memory(tmp_path):
    port, environ = free_port(), {**os.environ, "AVGATE_SERVE_WORKERS": "0"}
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ) as running:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, running)
            job = json.loads(ask(address, "POST", "/api/jobs?formats=elan", b"recording")[2])["id"]
            for path in ("/", "/api/models", "/api/formats", "/api/openapi.json", "/metrics", f"/api/jobs/{job}/input"):
                assert ask(address, "GET", path, timeout=60)[0] == 200, path
            table = b"time_s,valence\n0,0.5\n1,0.25\n"
            assert ask(address, "PUT", f"/api/jobs/{job}/annotations/anna-valence", table)[0] == 204
            assert ask(address, "GET", f"/api/jobs/{job}/annotations/anna-valence?format=elan")[0] == 200
            loaded = Path(f"/proc/{running.pid}/maps").read_text()
            assert "numpy" in loaded  # or the libraries would be called otherwise there
            assert not [name for name in ("torch", "mediapipe", "cv2", "scipy", "matplotlib") if f"/{name}/" in loaded]
        finally:
            running.kill()


@pytest.mark.long
def test_a_live_client_that_is_gone_without_a_word_soon_leaves_its_place(tmp_path):
    port, environ = free_port(), {**os.environ, "AVGATE_SERVE_WORKERS": "0", "AVGATE_SERVE_MAX_IDLE_S": "600"}
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ) as running:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, running)
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(
                    f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
                )
                assert gone.recv(4096).startswith(b"HTTP/1.1 101")
                gone.sendall(b"\x81\x82" + bytes(4) + b"{}")  # a first message, which takes the place
                open_now = re.compile(r"^avgate_live_streams_open (\S+)$", re.M)

                def seen(wanted, wait_s):
                    until_s = time.monotonic() + wait_s
                    while time.monotonic() < until_s:
                        if float(open_now.search(ask(address, "GET", "/metrics")[2].decode())[1]) == wanted:
                            return True
                        time.sleep(0.2)
                    return False

                assert seen(1, 10)
                assert seen(0, PING_S + PONG_S + 15)  # the model that it asked for may still be loading
        finally:
            running.kill()


def test_the_verb_serves_until_it_is_told_to_end_and_says_where(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "avgate", "serve", "--port", str(port), "--data", str(tmp_path / "data")]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, running)
            refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert refused.returncode == 8, refused.stderr
            assert "another server works in this folder" in refused.stderr
            assert "Traceback" not in refused.stderr
            watching = socket.create_connection(("127.0.0.1", port))
            watching.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            watching.recv(100)
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 0
        finally:
            running.kill()
    said = (tmp_path / "log").read_text()
    assert address in said
    assert "Traceback" not in said, said
