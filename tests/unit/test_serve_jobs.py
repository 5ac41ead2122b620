"""Jobs over HTTP: what is told of them, their files, and how they are watched, cancelled and deleted."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import datetime

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.routes import about
from avgate.apps.serve.routes import jobs as routes
from avgate.labels.formats import LABEL_FORMATS
from tests.web_server import REPORT, TUS, scope, serving


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "data") as server:
        yield server


def events(answer):
    """The events of a stream: name and data of each."""
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            yield lines["event"], json.loads(lines["data"])


def test_a_recording_in_one_request_becomes_a_job(server):
    answer = server.web.post(
        "/api/jobs?name=a.mp4&model=live&level=0.8&formats=elan,muse&report=false", content=b"recording"
    )
    assert answer.status_code == 201
    job = answer.json()
    assert job == server.web.get(f"/api/jobs/{job['id']}").json()
    assert job["options"] == {"model": "live", "level": 0.8, "formats": ["elan", "muse"], "report": False}
    assert datetime.fromisoformat(job["created"].replace("Z", "+00:00")).timestamp() == pytest.approx(
        time.time(), abs=60
    )
    assert (job["started"], job["state"], job["size"]) == (None, "queued", 9)
    assert server.folder.recording(job["id"]).read_bytes() == b"recording"
    assert server.crew.woken == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("model=best", "model"),
        ("level=2", "level"),
        ("level=nan", "level"),
        ("formats=doc", "formats"),
        ("formats=elan,", "formats"),
        ("report=perhaps", "report"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_kept(server, query, where):
    answer = server.web.post(f"/api/jobs?{query}", content=b"x")
    assert (answer.status_code, answer.json()["where"]) == (422, where)
    assert set(answer.json()) == {"error", "hint", "where"}
    assert server.left() == []


def test_jobs_come_newest_first_and_page_by_page(server):
    sent = [server.send(name=f"{k}.mp4") for k in range(5)]
    seen, before = [], ""
    while page := server.web.get(f"/api/jobs?limit=2{before}").json():
        seen += [job["id"] for job in page]
        before = f"&before={page[-1]['created']}"
    assert seen == sent[::-1]
    for wrong in ("limit=0", "limit=x", "limit=100000", "before=yesterday", "before=9999999-01-01"):
        assert server.web.get(f"/api/jobs?{wrong}").status_code == 422


def test_results_come_as_what_they_are_and_a_report_can_t_act_on_the_server(server):
    job_id = server.send()
    assert server.web.get(f"/api/jobs/{job_id}/results/a.csv").status_code == 404
    server.crew.do(notes=("something to know",))
    job = server.web.get(f"/api/jobs/{job_id}").json()
    assert job["state"] == "done"
    assert job["notes"] == ["something to know"]
    assert len(job["results"]) == 6
    kinds = {}
    for name in job["results"]:
        answer = server.web.get(f"/api/jobs/{job_id}/results/{name}")
        assert answer.status_code == 200
        assert answer.text == (REPORT if name == "a.html" else f"{job_id} {name}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert "allow-same-origin" not in policy
        assert ("allow-scripts" in policy) == (name == "a.html")
        assert answer.headers["x-content-type-options"] == "nosniff"
        kinds[name] = answer.headers["content-type"].partition(";")[0]
    assert kinds == {
        "a.csv": "text/csv",
        "a.json": "application/json",
        "a.html": "text/html",
        "a.png": "image/png",
        "a.eaf": "application/xml",
        "a.annotation~": "application/octet-stream",
    }


def test_only_files_that_are_results_are_sent(server, tmp_path):
    job_id = server.send()
    job = server.crew.do()
    results = server.folder.jobs / job_id / "results"
    (tmp_path / "secret.csv").write_text("secret")
    (results / "a.csv").unlink()
    (results / "a.csv").symlink_to(tmp_path / "secret.csv")
    (results / "other.csv").write_text("secret")
    for name in ("a.csv", "other.csv", "..%2finput%2fa.mp4", "%2e%2e%2f", "a.json%00", "x" * 10_000):
        answer = server.web.get(f"/api/jobs/{job.id}/results/{name}")
        assert answer.status_code == 404, name
        assert "secret" not in answer.text


def test_a_recording_plays_from_anywhere_in_it_and_never_as_a_page(server):
    job_id = server.send(b"0123456789", name="a.MP4")
    part = server.web.get(f"/api/jobs/{job_id}/input", headers={"Range": "bytes=3-5"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"345", "bytes 3-5/10")
    assert part.headers["content-type"] == "video/mp4"
    assert server.web.get(f"/api/jobs/{job_id}/input", headers={"Range": "bytes=90-"}).status_code == 416
    page = server.web.get(f"/api/jobs/{server.send(b'<script>', name='a.html')}/input")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in page.headers["content-security-policy"]


def test_a_job_is_watched_until_it_ends(server, monkeypatch):
    monkeypatch.setattr(routes, "WATCH_S", 0.02)
    job_id = server.send()

    def work():
        time.sleep(0.1)
        job = server.store.claim("tests")
        time.sleep(0.1)
        server.store.beat(job, "looking", 0.5)
        time.sleep(0.1)
        server.store.cancel(job_id)

    answer = server.watched(job_id, work)
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = list(events(answer))
    assert {name for name, _ in seen} == {"job"}
    assert [(job["state"], job["progress"]) for _, job in seen] == [
        ("queued", 0),
        ("running", 0),
        ("running", 0.5),
        ("cancelled", 0.5),
    ]
    again = server.web.get(f"/api/jobs/{job_id}/events")
    assert [job["state"] for _, job in events(again)] == ["cancelled"]


def test_who_watches_a_job_that_is_deleted_is_told(server, monkeypatch):
    monkeypatch.setattr(routes, "WATCH_S", 0.02)
    job_id = server.send()
    timer = threading.Timer(0.1, lambda: server.store.delete(job_id))
    timer.start()
    assert [name for name, _ in events(server.web.get(f"/api/jobs/{job_id}/events"))] == ["job", "gone"]


@pytest.mark.slow
@pytest.mark.parametrize("of", ["all", "one"])
def test_one_who_goes_away_while_events_wait_for_it_is_no_error(server, caplog, of):
    job_ids = [server.send() for _ in range(5)]
    path = "/api/events" if of == "all" else f"/api/jobs/{job_ids[0]}/events"

    async def watch():
        full = asyncio.Event()

        async def receive():
            await full.wait()
            await asyncio.sleep(0.3)
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.body":  # the line takes nothing more
                full.set()
                await asyncio.Event().wait()

        await server.web.app(scope("GET", path), receive, send)

    asyncio.run(asyncio.wait_for(watch(), 20))
    assert caplog.text == ""


@pytest.mark.slow
def test_a_watcher_of_what_does_not_change_gets_a_sign_of_life(server, monkeypatch):
    monkeypatch.setattr(routes, "SIGN_S", 0.5)
    job_id = server.send()
    threading.Timer(1.5, lambda: server.store.cancel(job_id)).start()
    answer = server.web.get(f"/api/jobs/{job_id}/events")
    assert ": " in [block[:2] for block in answer.text.split("\n\n")]
    assert [job["state"] for _, job in events(answer)] == ["queued", "cancelled"]


def test_what_does_not_exist_is_not_watched(server):
    answer = server.web.get(f"/api/jobs/{'0' * 32}/events")
    assert answer.status_code == 404
    assert answer.json()["error"] == "there is no such job"


def test_a_job_is_cancelled_once_and_a_done_one_stays_done(server):
    first, second = server.send(), server.send()
    server.crew.do()
    woken = server.crew.woken
    assert server.web.post(f"/api/jobs/{first}/cancel").json()["state"] == "done"
    for _ in range(2):
        assert server.web.post(f"/api/jobs/{second}/cancel").json()["state"] == "cancelled"
    assert server.crew.woken > woken
    # The one that a worker had begun is the crew's to count.
    assert 'avgate_jobs_ended_total{state="cancelled"} 1.0' in server.web.get("/metrics").text
    assert server.web.post(f"/api/jobs/{'0' * 32}/cancel").status_code == 404


def test_a_deleted_job_leaves_nothing(server):
    job_id = server.send()
    server.crew.do()
    assert server.web.delete(f"/api/jobs/{job_id}").status_code == 204
    assert server.left() == []
    for path in ("", "/input", "/results/a.csv", "/events"):
        assert server.web.get(f"/api/jobs/{job_id}{path}").status_code == 404
    assert server.web.delete(f"/api/jobs/{job_id}").status_code == 404


def test_formats_are_told(server):
    formats = [each["name"] for each in server.web.get("/api/formats").json()]
    assert sorted([*formats, "csv"]) == sorted(f.name for f in LABEL_FORMATS)
    assert server.web.post(f"/api/jobs?formats={','.join(formats)}", content=b"x").status_code == 201


def test_limits_are_told_as_they_are_set(server):
    told = server.web.get("/api/limits").json()
    settings = server.settings
    assert told == {name: getattr(settings, name) for name in told}
    assert {"keep_h", "max_upload_mb", "max_stream_s"} <= set(told)


def test_readiness_says_when_no_job_can_be_kept(server, monkeypatch):
    monkeypatch.setattr(about, "KEPT_S", 0.0)
    assert server.web.get("/health/live").json() == server.web.get("/health/ready").json() == {"status": "ok"}

    def broken():
        raise OSError("away")

    monkeypatch.setattr(server.web.app.state.served.uploads, "check", broken)
    answer = server.web.get("/health/ready")
    assert answer.status_code == 503
    assert "away" not in answer.text
    assert server.web.get("/health/live").status_code == 200


def test_counts_are_by_route_and_never_by_what_a_client_wrote(server):
    job_id = server.send(b"12345")
    server.web.get(f"/api/jobs/{job_id}")
    server.web.get("/api/jobs/made-up-by-a-client")
    server.web.get("/made-up-by-a-client")
    server.web.request("MADE-UP", "/api/jobs")
    text = server.web.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['avgate_jobs{state="queued"}'] == "1.0"
    assert lines["avgate_uploaded_bytes_total"] == "5.0"
    assert lines['avgate_stage_seconds_total{stage="looking"}'] == "2.0"
    assert lines["avgate_real_time_factor"] == "0.5"
    assert (lines["avgate_queue_seconds_count"], lines["avgate_queue_seconds_sum"]) == ("2.0", "3.0")
    assert lines["avgate_live_streams_open"] == lines["avgate_live_dropped_total"] == "0.0"
    assert lines['avgate_request_seconds_count{method="GET",route="/api/jobs/{job_id}",status="200"}'] == "1.0"
    assert lines['avgate_request_seconds_count{method="GET",route="/api/jobs/{job_id}",status="404"}'] == "1.0"
    assert job_id not in text
    assert "made-up" not in text.lower()


def test_every_operation_has_an_example_and_says_its_errors(server):
    for path, operations in server.web.get("/api/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], path
            assert {"401", "403", "429", "500"} <= operation["responses"].keys()
            assert '"example' in json.dumps(operation), (method, path)
            for status, response in operation["responses"].items():
                kinds = response.get("content", {}).keys()
                assert status < "400" or kinds <= {"application/json", "text/plain"}, (path, status)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "what", "meant"),
    [
        ("formats=elan,elann", "there is no output format 'elann'", "elan"),
        ("model=liev", "there is no model 'liev'", "live"),
        ("nme=x.mp4", "there is no parameter 'nme'", "name"),
        ("name=x.mp4&format=elan", "there is no parameter 'format'", "formats"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(server, query, what, meant):
    answer = server.web.post(f"/api/jobs?{query}", content=b"x")
    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (422, what)
    assert problem["hint"].startswith(f"did you mean '{meant}'? choose one of: ")
    assert server.left() == []


@pytest.mark.slow
def test_no_route_takes_a_parameter_that_it_does_not_have(server):
    job_id = server.send()
    paths = server.web.get("/api/openapi.json").json()["paths"]
    for path, operations in paths.items():
        place = path.replace("{job_id}", job_id).replace("{upload_id}", "0" * 32)
        for method, operation in operations.items():
            answer = server.web.request(method, place, params={"lang": "de"}, headers=TUS)
            assert answer.status_code == 422, (method, path)
            names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
            if method != "head":
                assert ("choose one of" in answer.json()["hint"]) == bool(names), (method, path)
    assert server.web.get("/?lang=de").status_code == 200


def test_a_form_is_no_recording(server):
    answer = server.web.post("/api/jobs?name=a.mp4", files={"file": ("a.mp4", b"recording")})
    assert (answer.status_code, answer.json()["where"]) == (415, "Content-Type")
    assert "curl -T FILE" in answer.json()["hint"]
    assert server.left() == []


@pytest.mark.slow
def test_summaries_say_what_routes_do(server):
    paths = server.web.get("/api/openapi.json").json()["paths"]
    summaries = [operation["summary"] for operations in paths.values() for operation in operations.values()]
    assert paths["/api/jobs"]["post"]["summary"] == "Send a recording, and have it estimated"
    assert [summary for summary in summaries if len(summary.split()) < 3] == []
    assert len(set(summaries)) == len(summaries) > 15
