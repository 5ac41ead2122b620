"""What every request to the server passes: token, origin, host, rate, length; and what every answer carries."""

from __future__ import annotations

import logging
import re

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from starlette.testclient import WebSocketDenialResponse

from avgate.apps.serve.door.bodies import MOST_BODY
from avgate.apps.serve.door.rates import Rates
from avgate.apps.serve.door.tokens import session
from tests.web_server import HERE, TUS, serving

TOKEN = "a-secret-of-the-tests"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("open") / "data", errors=False, requests_per_minute=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A server that other machines reach."""
    folder = tmp_path_factory.mktemp("closed") / "data"
    with serving(folder, "http://avgate.example", host="0.0.0.0", token=TOKEN, requests_per_minute=100_000) as server:
        yield server


def everything(server):
    """A method and path of each operation that there is."""
    for path, operations in server.web.get("/api/openapi.json", headers=known()).json()["paths"].items():
        for method in operations:
            if path != "/api/models":  # it takes seconds
                yield method.upper(), re.sub(r"\{\w+\}", "0" * 32, path)


def known(token=TOKEN):
    return {"Authorization": f"Bearer {token}"}


def test_without_the_token_nothing_but_health_is_answered(closed):
    for method, path in everything(closed):
        for headers in (
            {},
            known("wrong"),
            known(""),
            known(TOKEN + "x"),
            {"Authorization": TOKEN},
            {"Cookie": f"avgate={TOKEN}"},
        ):
            answer = closed.web.request(
                method, path, headers=TUS | headers, content=b"abc" if method == "POST" else None
            )
            free = path.startswith("/health/")
            assert answer.status_code == (200 if free else 401), (method, path, headers)
            assert free or method == "HEAD" or answer.json()["where"] == "token"
    assert closed.left() == []


def test_with_the_token_programs_get_in(closed):
    assert closed.web.get("/api/jobs", headers=known()).json() == []
    assert closed.web.get("/api/jobs", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert closed.web.get("/metrics", headers=known()).status_code == 200


def test_browsers_get_in_by_a_form_that_leaves_a_cookie_for_this_site_alone(closed):
    page = closed.web.get("/")
    assert page.status_code == 401
    assert '<form method="post" action="/login">' in page.text
    wrong = closed.web.post("/login", data={"token": "no"})
    assert wrong.status_code == 401
    assert "isn" in wrong.text
    assert "set-cookie" not in wrong.headers
    right = closed.web.post("/login", data={"token": TOKEN}, headers={"Origin": "http://avgate.example"})
    cookie = right.headers["set-cookie"]
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    closed.web.cookies.clear()
    assert closed.web.get("/api/jobs", headers={"Cookie": f"x=y; avgate={session(TOKEN)}"}).status_code == 200
    assert closed.web.get("/api/jobs", headers={"Cookie": f"avgate={session('other')}"}).status_code == 401
    assert closed.web.get("/", headers={"Cookie": f"avgate={session(TOKEN)}"}).status_code == 200


def test_the_form_of_another_site_logs_nobody_in(closed):
    answer = closed.web.post("/login", data={"token": TOKEN}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1:8042.evil.example"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(server, headers):
    job_id = server.send()
    for method, path in (
        ("POST", "/api/jobs"),
        ("POST", f"/api/jobs/{job_id}/cancel"),
        ("DELETE", f"/api/jobs/{job_id}"),
    ):
        answer = server.web.request(method, path, headers=headers, content=b"x" if method == "POST" else None)
        assert answer.status_code == 403
    assert server.store.get(job_id).state == "queued"
    assert "access-control-allow-origin" not in server.web.get("/api/jobs", headers=headers).headers
    server.web.delete(
        f"/api/jobs/{job_id}", headers={"Origin": "http://127.0.0.1:8042", "Sec-Fetch-Site": "same-origin"}
    )
    assert server.store.get(job_id) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8042", "127.0.0.1.evil.example", "", "[", "10.0.0.1", "localhost@evil.example"],
)
def test_a_name_that_another_site_gave_this_machine_is_refused(server, host):
    assert server.web.get("/api/jobs", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8042", "127.0.0.1", "[::1]:8042", "127.0.0.2:1", "avgate.localhost"]
)
def test_this_machine_s_own_names_are_answered(server, host):
    assert server.web.get("/api/jobs", headers={"Host": host}).status_code == 200


def test_too_many_requests_are_refused_until_time_has_passed(tmp_path):
    with serving(tmp_path / "data", requests_per_minute=3) as server:
        answers = [server.web.get("/api/jobs") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["where"] == "requests_per_minute"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert server.web.get("/health/live").status_code == 200


def test_rates_are_kept_apart_by_address_and_in_bounded_memory():
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert rates.wait_s("a") == pytest.approx(1.0)
    assert rates.wait_s("b") == 0
    now[0] = 2.0
    assert [rates.wait_s("a") > 0 for _ in range(3)] == [False, False, True]
    for address in range(20_000):
        rates.wait_s(str(address))
    assert len(rates._left) == 10_000


@pytest.mark.parametrize("path", ["/api/jobs/x/cancel", "/login", "/nothing"])
def test_a_body_that_nobody_needs_is_not_read_to_its_end(server, path):
    said = server.web.post(path, content=b"x" * (MOST_BODY + 1))
    assert said.status_code == 413

    def parts():
        for _ in range(100):
            yield b"x" * 1024

    unsaid = server.web.post("/login", content=parts())
    assert unsaid.status_code == 413


@pytest.mark.parametrize(
    "name", ["Host", "Origin", "Authorization", "Content-Length", "Upload-Length", "Upload-Offset"]
)
def test_a_header_that_must_be_one_is_refused_twice(server, name):
    value = "127.0.0.1:8042" if name == "Host" else "3"
    answer = server.web.get("/api/jobs", headers=[("Host", "127.0.0.1:8042"), (name, value), (name, value)])
    assert answer.status_code == 400
    assert name.lower() in answer.json()["error"]


def test_an_unforeseen_error_is_told_to_the_log_alone(server, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"secret at {server.folder.root}")

    monkeypatch.setattr(server.store, "list", broken)
    with caplog.at_level(logging.ERROR):
        answer = server.web.get("/api/jobs")
    assert answer.status_code == 500
    token = re.search(r"look for (\w+) in its log", answer.json()["hint"]).group(1)
    assert token in caplog.text
    assert "secret at" in caplog.text
    assert "secret" not in answer.text
    assert str(server.folder.root) not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_says_what_browsers_may_do_with_it(server):
    for method, path in [
        *everything(server),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/web/nothing"),
        ("PUT", "/api/jobs"),
    ]:
        if path.endswith("/events"):
            continue
        headers = server.web.request(method, path, headers=TUS).headers
        assert "frame-ancestors" in headers["content-security-policy"], (method, path)
        assert "default-src" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "camera=(self), microphone=(self)" in headers["permissions-policy"]
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.slow
def test_no_answer_holds_a_path_of_the_machine(server):
    root = str(server.folder.root)
    job_id = server.send(name=f"{root}/a.mp4")
    done = server.crew.do()
    bodies = []
    for method, path in everything(server):
        path = path.replace("0" * 32, job_id, 1)
        if path.endswith("/api/events"):
            continue
        for headers in (TUS, {}, TUS | {"Upload-Length": "-1", "Upload-Offset": "x"}):
            answer = server.web.request(method, path, headers=headers)
            bodies.append(answer.text + str(answer.headers))
            if method == "DELETE":
                server.send(name="a.mp4")
    for name in ("..", "%2e%2e%2finput", "a.csv/../../input", "%00", f"{root}/jobs.sqlite3".replace("/", "%2f")):
        bodies.append(server.web.get(f"/api/jobs/{done.id}/results/{name}").text)
        bodies.append(server.web.get(f"/web/{name}").text)
    assert len(bodies) > 30
    assert not [body for body in bodies if root in body or "site-packages" in body or "Traceback" in body]


def heard(server, **headers):
    """What a live stream says to a wrong first message, or the status with which it isn't begun."""
    try:
        with server.web.websocket_connect("/api/live", headers={"Host": "127.0.0.1:8042"} | headers) as stream:
            stream.send_text("hello")
            return stream.receive_json()["error"]
    except WebSocketDenialResponse as denied:
        return denied.status_code


def test_live_streams_pass_the_guard_too(tmp_path):
    begun = "a text message isn't a JSON object"
    with serving(tmp_path / "open", requests_per_minute=4) as server:
        assert heard(server) == begun
        assert heard(server, Authorization="Bearer ") == begun  # as a program sends that has no token
        assert heard(server, Origin=HERE) == begun
        assert heard(server, Origin="http://evil.example") == 403
        assert heard(server, Host="evil.example") == 403
        assert heard(server, Origin="null") == 403
        assert heard(server) == begun
        assert heard(server) == 429
        assert "avgate_live_refused_total 4.0" in server.web.app.state.served.metrics.text().decode()
    with serving(tmp_path / "closed", token=TOKEN) as server:
        assert heard(server) == 401
        assert heard(server, Authorization="Bearer ") == 401
        assert heard(server, Authorization=f"Bearer {TOKEN}") == begun
        assert heard(server, Cookie=f"avgate={session(TOKEN)}") == begun
