"""Recordings on their way to the server: whole ones, resumed ones, and those that never should come."""

from __future__ import annotations

import asyncio
import errno
import os
import time

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve import api
from avgate.apps.serve.routes import bodies, tus
from avgate.apps.serve.routes import uploads as uploads_module
from tests.hostile import NAMES
from tests.web_server import BYTES, TUS, coded, scope, serving

MB = 1 << 20


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "data", max_upload_mb=2, max_jobs=5) as server:
        yield server


def test_an_upload_in_two_parts_becomes_one_job_with_its_bytes(server):
    place = server.begin(6, name="x y.mp4", model="live", level="0.8", formats="elan,muse", report="false")
    first, second = server.add(place, 0, b"abc"), server.add(place, 3, b"def")
    assert (first.status_code, first.headers["upload-offset"], second.headers["upload-offset"]) == (204, "3", "6")
    assert "avgate-job" not in first.headers
    job_id = second.headers["avgate-job"]
    assert place.endswith(job_id)
    job = server.web.get(f"/api/jobs/{job_id}").json()
    assert (job["name"], job["size"], job["state"]) == ("x y.mp4", 6, "queued")
    assert job["options"] == {"model": "live", "level": 0.8, "formats": ["elan", "muse"], "report": False}
    assert server.web.get(f"/api/jobs/{job_id}/input").content == b"abcdef"
    assert len(server.left()) == 1
    assert server.crew.woken == 1
    at = server.web.head(place, headers=TUS)
    assert (at.status_code, at.headers["upload-offset"], at.headers["upload-length"]) == (200, "6", "6")
    again = server.add(place, 6, b"")
    assert (again.status_code, again.headers["avgate-job"]) == (204, job_id)
    assert server.add(place, 3, b"def").status_code == 409
    server.web.delete(f"/api/jobs/{job_id}")
    assert server.web.head(place, headers=TUS).status_code == 404


def test_bytes_may_come_with_the_beginning_of_an_upload(server):
    headers = TUS | BYTES | {"Upload-Length": "3"}
    answer = server.web.post("/api/uploads/", headers=headers, content=b"abc")
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "3")
    assert server.store.get(answer.headers["avgate-job"]).size == 3
    other = server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": "3"}, content=b"abc")
    assert other.status_code == 415


def test_a_sender_is_told_where_to_go_on(server):
    place = server.begin(5)
    server.add(place, 0, b"ab")
    at = server.web.head(place, headers=TUS)
    assert (at.status_code, at.headers["upload-offset"], at.headers["upload-length"]) == (200, "2", "5")
    wrong = server.add(place, 1, b"xxx")
    assert wrong.status_code == 409
    assert "2 bytes" in wrong.json()["error"]
    assert server.web.head(place, headers=TUS).headers["upload-offset"] == "2"


def test_options_say_what_is_spoken(server):
    answer = server.web.options("/api/uploads/")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-max-size"] == str(2 * MB)
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,expiration,termination"


@pytest.mark.slow
@pytest.mark.parametrize("length", ["0", "-1", "", "1e3", "٣", "9" * 30, " 1 2", None])
def test_an_upload_of_no_possible_length_is_refused(server, length):
    headers = TUS if length is None else TUS | {"Upload-Length": length.encode()}
    answer = server.web.post("/api/uploads/", headers=headers)
    assert (answer.status_code, answer.json()["where"]) == (400, "Upload-Length")
    assert server.left() == []


def test_a_recording_over_the_limit_is_refused_by_the_setting_s_name(server):
    answer = server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": str(2 * MB + 1)})
    assert (answer.status_code, answer.json()["where"]) == (413, "max_upload_mb")

    def parts():
        for _ in range(5):
            yield b"x" * MB

    for body in (b"x" * (2 * MB + 1), parts()):  # one says how long it is, one doesn't
        answer = server.web.post("/api/jobs", content=body)
        assert (answer.status_code, answer.json()["where"]) == (413, "max_upload_mb")
    assert server.left() == []


@pytest.mark.parametrize("as_one", [True, False])
def test_more_bytes_than_were_announced_change_nothing(server, as_one):
    place = server.begin(4)
    server.add(place, 0, b"ab")
    answer = server.add(place, 2, b"cde" if as_one else iter([b"c", b"de"]))
    assert (answer.status_code, answer.json()["where"]) == (400, "Upload-Length")
    assert server.add(place, 2, b"cd").headers["avgate-job"]


def test_another_version_of_the_protocol_is_refused(server):
    place = server.begin(4)
    for headers in ({}, {"Tus-Resumable": "0.2.2"}):
        for answer in (
            server.web.post("/api/uploads/", headers=headers | {"Upload-Length": "3"}),
            server.web.head(place, headers=headers),
            server.web.patch(place, headers=headers | BYTES | {"Upload-Offset": "0"}, content=b"a"),
            server.web.delete(place, headers=headers),
        ):
            assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")


def test_an_upload_that_is_given_up_leaves_nothing(server):
    place = server.begin(4)
    server.add(place, 0, b"ab")
    assert server.web.delete(place, headers=TUS).status_code == 204
    assert server.left() == []
    assert server.add(place, 2, b"cd").status_code == 404
    assert server.web.delete(place, headers=TUS).status_code == 404


def test_an_upload_that_nobody_goes_on_with_expires(server):
    place = server.begin(4)
    server.add(place, 0, b"ab")
    uploads = server.web.app.state.served.uploads
    assert uploads.sweep() == []
    old = time.time() - 25 * 3600
    for path in uploads.folder.iterdir():
        os.utime(path, (old, old))
    assert server.web.head(place, headers=TUS).status_code == 404
    uploads.sweep()
    assert server.left() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        (coded(filename="a.mp4", model="best"), "model"),
        (coded(filename="a.mp4", formats="elan,doc"), "formats"),
        (coded(level="2"), "level"),
        (coded(level="nan"), "level"),
        (coded(report="perhaps"), "report"),
        ("filename !!!", "Upload-Metadata"),
        ("x" * 20_000, "Upload-Metadata"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_sent(server, metadata, where):
    answer = server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": "3", "Upload-Metadata": metadata})
    assert answer.status_code in (400, 422)
    assert answer.json()["where"] == where
    assert server.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_never_leads_out_of_a_job_s_folder(server, name):
    answer = server.add(server.begin(3, name=name), 0, b"abc")
    job_id = answer.headers["avgate-job"]
    recording = server.folder.recording(job_id)
    assert recording.read_bytes() == b"abc"
    assert recording.parent == server.folder.jobs / job_id / "input"
    job = server.web.get(f"/api/jobs/{job_id}").json()
    assert 0 < len(job["name"]) <= 130
    assert job["name"].isprintable()
    assert "/" not in job["name"]
    assert server.web.get(f"/api/jobs/{job_id}/input").status_code == 200


def test_a_link_in_place_of_an_upload_is_never_followed(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    place = server.begin(9)
    part = server.folder.uploads / place.rpartition("/")[2]
    part.unlink()
    part.symlink_to(secret)
    assert server.web.head(place, headers=TUS).status_code == 404
    assert server.add(place, 6, b"abc").status_code == 404
    assert server.web.delete(place, headers=TUS).status_code in (204, 404)
    assert secret.read_bytes() == b"secret"


@pytest.mark.slow
@pytest.mark.parametrize("upload_id", ["../../x", "..%2f..%2fx", "%00", "A" * 32, "0" * 31, "0" * 10_000, "é"])
def test_an_id_is_never_a_path(server, upload_id):
    for answer in (
        server.web.head(f"/api/uploads/{upload_id}", headers=TUS),
        server.add(f"/api/uploads/{upload_id}", 0, b"x"),
        server.web.delete(f"/api/uploads/{upload_id}", headers=TUS),
        server.web.get(f"/api/jobs/{upload_id}"),
        server.web.get(f"/api/jobs/{upload_id}/input"),
        server.web.get(f"/api/jobs/{upload_id}/events"),
    ):
        assert answer.status_code in (404, 405)
    assert server.left() == []


def test_a_full_disk_is_said_and_what_came_is_kept(server, monkeypatch):
    place = server.begin(6)
    server.add(place, 0, b"ab")

    def full(file, data):
        os.write(file, data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tus, "write_all", full)
        answer = server.add(place, 2, b"cdef")
        assert (answer.status_code, answer.json()["error"]) == (507, "the server's disk is full")
        assert server.web.post("/api/jobs", content=b"abc").status_code == 507
    assert server.web.head(place, headers=TUS).headers["upload-offset"] == "3"
    assert server.add(place, 3, b"def").headers["avgate-job"]


def test_no_upload_begins_that_the_disk_has_no_room_for(server, monkeypatch):
    monkeypatch.setattr(type(server.folder), "free_mb", lambda self: server.settings.min_free_mb + 10 / MB)
    answer = server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": "11"})
    assert answer.status_code == 507
    assert "room" in answer.json()["error"]
    assert server.left() == []


def test_a_full_queue_is_said_by_the_setting_s_name(server):
    for _ in range(4):
        server.send()
    server.begin(3)
    for answer in (
        server.web.post("/api/jobs", content=b"abc"),
        server.web.post("/api/uploads/", headers=TUS | {"Upload-Length": "3"}),
    ):
        assert (answer.status_code, answer.json()["where"]) == (503, "max_jobs")
        assert answer.headers["retry-after"] == "60"


def test_a_request_without_a_body_is_no_recording(server):
    answer = server.web.post("/api/jobs")
    assert answer.status_code == 400
    assert "body" in answer.json()["error"]
    assert server.left() == []


def request(app, method, path, headers, parts, wait=None, ends=False):
    """Send a request to an app, part by part; then it ends, or its sender disappears. Its status."""
    came = iter(parts)
    status = []

    async def receive():
        if wait is not None:
            await wait()
        try:
            return {"type": "http.request", "body": next(came), "more_body": True}
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    async def run():
        await app(scope(method, path, headers), receive, send)
        return status[0] if status else 0

    return run()


@pytest.mark.slow
def test_what_came_of_a_sender_that_goes_away_is_kept_of_an_upload_alone(server):
    place = server.begin(6)
    headers = TUS | BYTES | {"Upload-Offset": "0"}
    asyncio.run(request(server.web.app, "PATCH", place, headers, [b"ab", b"c"]))
    assert server.web.head(place, headers=TUS).headers["upload-offset"] == "3"
    asyncio.run(request(server.web.app, "POST", "/api/jobs", {}, [b"ab", b"c"]))
    assert len(server.left()) == 2
    assert server.web.get("/api/jobs").json() == []


def test_of_two_who_send_one_upload_at_once_the_second_is_refused(server):
    place = server.begin(6)
    headers = TUS | BYTES | {"Upload-Offset": "0"}

    async def both():
        waiting, go = asyncio.Event(), asyncio.Event()

        async def wait():
            waiting.set()
            await go.wait()

        first = asyncio.create_task(request(server.web.app, "PATCH", place, headers, [b"abc"], wait))
        await waiting.wait()
        second = await request(server.web.app, "PATCH", place, headers, [b"xyz"])
        go.set()
        await first
        return second

    assert asyncio.run(both()) == 423
    assert (server.folder.uploads / place.rpartition("/")[2]).read_bytes() == b"abc"


def test_an_upload_that_is_given_up_while_it_is_sent_is_gone_for_its_sender(server):
    place = server.begin(4)

    async def both():
        waiting, go = asyncio.Event(), asyncio.Event()

        async def wait():
            waiting.set()
            await go.wait()

        headers = TUS | BYTES | {"Upload-Offset": "0", "Content-Length": "4"}
        sender = asyncio.create_task(request(server.web.app, "PATCH", place, headers, [b"abcd"], wait, ends=True))
        await waiting.wait()
        gone = await request(server.web.app, "DELETE", place, TUS, [])
        go.set()
        return gone, await sender

    assert asyncio.run(both()) == (204, 404)
    assert server.left() == []


def test_what_is_being_sent_is_never_too_old_whatever_the_clock_says(server):
    uploads = server.web.app.state.served.uploads
    place = server.begin(4)
    seen = []

    async def old():
        for path in uploads.folder.iterdir():
            os.utime(path, (1, 1))
        seen.append(uploads.sweep())

    for method, path, headers in (
        ("PATCH", place, TUS | BYTES | {"Upload-Offset": "0", "Content-Length": "4"}),
        ("POST", "/api/jobs", {}),
    ):
        parts = [b"ab", b"cd"]
        assert asyncio.run(request(server.web.app, method, path, headers, parts, old, ends=True)) in (201, 204)
    assert seen
    assert not any(seen)
    assert len(server.web.get("/api/jobs").json()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[]", "5", "null", '"x"', "{}", '{"length": "4"}', "[" * 9, ""])
def test_what_is_said_of_an_upload_and_is_no_upload_never_keeps_the_server_from_starting(tmp_path, text):
    with serving(tmp_path / "data") as server:
        place = server.begin(4)
        server.folder.uploads.joinpath(place.rpartition("/")[2] + ".json").write_text(text)
    with serving(tmp_path / "data") as server:
        assert server.web.head(place, headers=TUS).status_code == 404
        assert server.send()


def test_an_upload_of_which_no_byte_comes_goes_sooner(server):
    empty, begun = server.begin(4), server.begin(4)
    server.add(begun, 0, b"a")
    uploads = server.web.app.state.served.uploads
    old = time.time() - 1.1 * uploads_module.UNBEGUN_S
    for path in uploads.folder.iterdir():
        os.utime(path, (old, old))
    assert server.web.head(empty, headers=TUS).status_code == 404
    assert uploads.sweep() == [empty.rpartition("/")[2]]
    assert server.web.head(begun, headers=TUS).status_code == 200
    assert len(server.left()) == 2


def test_bytes_stop_where_the_disk_s_reserve_is_reached(server, monkeypatch):
    free_mb = iter([1000.0, server.settings.min_free_mb + 0.1])  # as it is asked for, and when the first part has come
    monkeypatch.setattr(type(server.folder), "free_mb", lambda self: next(free_mb, float(server.settings.min_free_mb)))
    parts = [b"first", b"second", b"third"]
    assert asyncio.run(request(server.web.app, "POST", "/api/jobs", {}, parts, ends=True)) == 507
    assert server.left() == []


def test_a_sender_that_says_nothing_for_long_is_taken_to_have_gone(server, monkeypatch):
    monkeypatch.setattr(bodies, "STALL_S", 0.05)
    place = server.begin(6)

    async def wait():
        await asyncio.sleep(1)

    headers = TUS | BYTES | {"Upload-Offset": "0"}
    assert asyncio.run(request(server.web.app, "PATCH", place, headers, [b"abc"], wait)) == 408
    assert server.add(place, 0, b"abcdef").headers["avgate-job"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["complete", "moved", "added"])
def test_an_upload_that_was_cut_before_its_job_was_there_becomes_it_once_at_the_next_start(
    tmp_path, monkeypatch, moment
):
    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    with serving(tmp_path / "data", errors=False) as server:
        place = server.begin(6)
        other = server.begin(6)
        server.add(other, 0, b"ab")
        server.folder.uploads.joinpath("stranger").write_bytes(b"x")
        target, name = {
            "complete": (server.folder, "accept"),
            "moved": (server.store, "add"),
            "added": (uploads_module.Uploads, "forget"),
        }[moment]
        with monkeypatch.context() as patch:
            patch.setattr(target, name, killed)
            assert server.add(place, 0, b"abcdef").status_code == 500
    job_id = place.rpartition("/")[2]
    for _ in range(2):
        with serving(tmp_path / "data") as server:
            assert [job["id"] for job in server.web.get("/api/jobs").json()] == [job_id]
            assert server.web.get(f"/api/jobs/{job_id}/input").content == b"abcdef"
            assert server.web.head(other, headers=TUS).headers["upload-offset"] == "2"
            assert len(server.left()) == 3
    with serving(tmp_path / "data") as server:
        assert server.add(other, 2, b"cdef").headers["avgate-job"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["complete", "moved"])
def test_a_complete_upload_becomes_its_job_without_a_start_when_the_store_was_away(tmp_path, monkeypatch, moment):
    def away(*_):
        raise OSError("away")

    monkeypatch.setattr(api, "CLEAN_S", 0.1)
    with serving(tmp_path / "data", errors=False) as server:
        place = server.begin(6)
        target, name = {"complete": (server.folder, "accept"), "moved": (server.store, "add")}[moment]
        with monkeypatch.context() as patch:
            patch.setattr(target, name, away)
            assert server.add(place, 0, b"abcdef").status_code == 500
        job_id, until = place.rpartition("/")[2], time.monotonic() + 20
        while not (jobs := server.web.get("/api/jobs").json()):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [job["id"] for job in jobs] == [job_id]
        assert server.web.get(f"/api/jobs/{job_id}/input").content == b"abcdef"
        assert len(server.left()) == 1


def test_an_upload_that_is_being_sent_becomes_no_job_by_itself(server):
    place = server.begin(3)
    served = server.web.app.state.served
    with served.uploads.hold(place.rpartition("/")[2]) as file:
        os.write(file, b"abc")  # as of a request that may yet send more than it said
        assert served.adopt() == []
        os.ftruncate(file, 1)
    assert served.adopt() == []
    assert server.web.head(place, headers=TUS).headers["upload-offset"] == "1"


@pytest.mark.parametrize(("database", "stays"), [("", False), ("postgresql://somewhere/jobs", True)])
def test_what_other_servers_may_be_receiving_stays_where_they_share_the_folder(tmp_path, database, stays):
    with serving(tmp_path / "data") as server:
        part = server.folder.upload("7" * 32)
    part.write_bytes(b"a recording in one request, so far")
    with serving(tmp_path / "data", database=database):
        assert part.exists() == stays
