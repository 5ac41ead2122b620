"""A server whose database or disk can't be used for a while: it says so, loses nothing, and goes on afterwards."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.jobs import Job, Options, StoreError, StoreFullError
from avgate.apps.serve.routes import about
from avgate.apps.serve.routes import jobs as routes
from avgate.apps.serve.routes.uploads import new_id
from avgate.apps.serve.stores import sqlite
from tests.disks import disk
from tests.web_server import BYTES, TUS, serving


@pytest.fixture
def server(tmp_path, monkeypatch):
    # Who waits for a lock does so for long; a test needn't.
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.1)
    monkeypatch.setattr(sqlite, "_CHECK_S", 0.1)
    monkeypatch.setattr(about, "KEPT_S", 0.0)
    with serving(tmp_path / "data") as server:
        yield server


@pytest.fixture
def locked(server):
    """Locks the database as a program would that goes into the file and stays there; call it to let go."""
    other = sqlite3.connect(server.folder.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other.close
    other.close()


def refused(answer, where: str) -> bool:
    """Whether an answer says that the server can't now, why, and when to ask again."""
    assert answer.status_code == 503
    assert set(answer.json()) == {"error", "hint", "where"}
    assert all(answer.json().values())
    return answer.json()["where"] == where and int(answer.headers["retry-after"]) > 0


@pytest.mark.slow
def test_a_database_that_stays_locked_is_said_and_what_can_be_read_is(server, locked):
    assert refused(server.web.post("/api/jobs", content=b"recording"), "database")
    assert refused(server.web.get("/health/ready"), "database")
    assert server.web.get("/api/jobs").json() == []
    assert server.web.get("/health/live").status_code == 200
    assert server.left() == []
    locked()
    assert server.web.get("/health/ready").status_code == 200
    assert server.send()


@pytest.mark.slow
def test_a_job_is_neither_cancelled_nor_deleted_by_halves(server):
    job_id = server.send()
    with sqlite3.connect(server.folder.database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refused(server.web.post(f"/api/jobs/{job_id}/cancel"), "database")
        assert refused(server.web.delete(f"/api/jobs/{job_id}"), "database")
        other.execute("ROLLBACK")
    other.close()
    assert server.web.get(f"/api/jobs/{job_id}").json()["state"] == "queued"
    assert server.web.get(f"/api/jobs/{job_id}/input").content == b"recording"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["more bytes", "a question"])
def test_an_upload_that_could_not_become_a_job_becomes_one_when_it_is_sent_or_asked_for_again(server, locked, how):
    place = server.begin(6)
    assert refused(server.add(place, 0, b"abcdef"), "database")
    assert refused(server.add(place, 6, b""), "database")
    assert server.web.head(place, headers=TUS).status_code == 503
    locked()
    answer = server.add(place, 6, b"") if how == "more bytes" else server.web.head(place, headers=TUS)
    assert answer.headers["upload-offset"] == "6"
    job_id = answer.headers["avgate-job"]
    assert [job["id"] for job in server.web.get("/api/jobs").json()] == [job_id]
    assert server.web.get(f"/api/jobs/{job_id}/input").content == b"abcdef"
    assert len(server.left()) == 1


@pytest.mark.slow
def test_a_database_without_room_is_said(tmp_path):
    with disk(tmp_path / "disk", "size=400k") as folder, serving(folder / "data", min_free_mb=0) as server:
        answers = [server.web.post(f"/api/jobs?name={'x' * 900}", content=b"x") for _ in range(400)]
        full = [answer for answer in answers if answer.status_code != 201]
        assert full
        assert {answer.status_code for answer in full} <= {503, 507}
        assert {answer.json()["where"] for answer in full} <= {"database", "data"}
        assert refused(server.web.get("/health/ready"), "data")


def test_a_database_that_is_gone_is_said_to_all(server, monkeypatch):
    job_id = server.send()
    upload = server.begin(3)

    def gone(*_, **__):
        raise StoreError("the database at secret.example.org is gone")

    for name in ("rows", "_write", "check"):
        monkeypatch.setattr(server.store, name, gone)
    paths = [f"/api/jobs{path}" for path in ("", f"/{job_id}", f"/{job_id}/input", f"/{job_id}/events")]
    answers = [
        server.web.get(path) for path in [*paths, f"/api/jobs/{job_id}/annotations", "/metrics", "/health/ready"]
    ]
    answers += [server.web.post("/api/jobs", content=b"x"), server.web.delete(f"/api/jobs/{job_id}")]
    answers += [server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": "3"})]
    answers += [server.web.patch(upload, headers=TUS | BYTES | {"Upload-Offset": "0"}, content=b"abc")]
    for answer in answers:
        assert refused(answer, "database"), answer.url
        assert "secret" not in answer.text
    assert {path.read_bytes() for path in server.folder.uploads.iterdir() if not path.suffix} == {b"abc"}


@pytest.mark.slow
def test_who_watches_waits_until_the_database_is_back(server, monkeypatch):
    monkeypatch.setattr(routes, "WATCH_S", 0.02)
    monkeypatch.setattr(routes, "AWAY_S", 0.05)
    job_id = server.send()
    ask, failed = server.store.rows, []

    def flaky(query, *values):
        if began.is_set() and len(failed) < 5:
            failed.append(query)
            raise StoreError("gone")
        return ask(query, *values)

    began = threading.Event()
    monkeypatch.setattr(server.store, "rows", flaky)

    def end():
        time.sleep(0.1)
        began.set()
        while len(failed) < 5:
            time.sleep(0.01)
        server.store.cancel(job_id)

    answer = server.watched(job_id, end)
    assert answer.status_code == 200
    assert '"state":"cancelled"' in answer.text.replace(" ", "")


@pytest.mark.parametrize(("number", "status"), [(errno.EIO, 503), (errno.ESTALE, 503), (errno.ENOSPC, 507)])
def test_a_disk_that_fails_is_said_without_its_path(server, monkeypatch, number, status):
    job_id = server.send()

    def broken(*_):
        raise OSError(number, "broken", str(server.folder.root))

    monkeypatch.setattr(server.folder, "recording", broken)
    answer = server.web.get(f"/api/jobs/{job_id}/input")
    assert (answer.status_code, answer.json()["where"]) == (status, "data")
    assert str(server.folder.root) not in answer.text


def test_a_mistake_of_the_server_is_no_disk_that_fails(tmp_path, monkeypatch):
    with serving(tmp_path / "data", errors=False) as server:
        job_id = server.send()

        def broken(*_):
            raise FileNotFoundError(errno.ENOENT, "no such file")

        monkeypatch.setattr(server.folder, "recording", broken)
        assert server.web.get(f"/api/jobs/{job_id}/input").status_code == 500


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_is_deleted_with_its_files_first_where_the_database_has_no_room(server, monkeypatch, times):
    job_id = server.send()
    delete, left = server.store.delete, []

    def full(job_id):
        left.append(server.left())
        if len(left) <= times:
            raise StoreFullError("database or disk is full")
        return delete(job_id)

    monkeypatch.setattr(server.store, "delete", full)
    answer = server.web.delete(f"/api/jobs/{job_id}")
    assert (answer.status_code, len(left)) == (204 if times == 1 else 507, 2)
    assert (len(left[0]), left[1]) == (1, [])
    if times == 2:
        assert answer.json()["where"] == "data"
        assert server.web.delete(f"/api/jobs/{job_id}").status_code == 204
    assert server.web.get(f"/api/jobs/{job_id}").status_code == 404


def test_a_database_that_is_full_is_told_from_one_that_is_locked(server):
    with server.store._connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill():
        for _ in range(1000):
            server.store.add(Job(new_id(), "x" * 900, 1, Options()))

    with pytest.raises(StoreFullError):
        fill()


def test_no_job_is_taken_where_no_result_would_find_room(server, monkeypatch):
    monkeypatch.setattr(type(server.folder), "free_mb", lambda self: 1.0)
    assert refused(server.web.get("/health/ready"), "data")
