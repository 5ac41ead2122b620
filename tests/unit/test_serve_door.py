"""The server's door against strangers: cookies, bodies without end, pages of other sites, refused streams."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.api import AppServer
from avgate.apps.serve.door import bodies
from avgate.apps.serve.door.answers import Answer, say
from avgate.apps.serve.door.bodies import MOST_BODY, Body, Bounds
from avgate.apps.serve.door.guard import Guard
from avgate.apps.serve.door.rates import address_of
from avgate.apps.serve.door.tokens import is_known, session, sessions
from avgate.apps.serve.live import route
from avgate.apps.serve.settings import Settings
from tests.web_server import serving

TOKEN = "a-secret-of-the-tests"
RIGHT = session(TOKEN)
CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
SLOW = 'avgate="' + "\\a" * 16_000 + '"'


@pytest.mark.parametrize(
    "others",
    ['other={"a":1}', "o=a b", "name=J\u00f6rg", "avgate=old", f"avgate={64 * '0'}", "a", "=", "", 'a="', "b=;;", SLOW],
)
def test_cookies_of_other_programs_lock_nobody_out(others):
    for cookies in (f"{others}; avgate={RIGHT}", f"avgate={RIGHT};{others}", f"{others};avgate={RIGHT} ; {others}"):
        assert is_known({"cookie": cookies}, TOKEN)
    assert not is_known({"cookie": others}, TOKEN)


@pytest.mark.parametrize(
    "cookies",
    [
        f"Avgate={RIGHT}",
        f"xavgate={RIGHT}",
        f'avgate="{RIGHT}"',
        f"avgate={RIGHT}0",
        f"avgate={RIGHT[:-1]}",
        f"avgate=={RIGHT}",
    ],
)
def test_only_the_form_that_was_given_is_a_cookie_of_the_server(cookies):
    assert sessions(cookies) == []
    assert not is_known({"cookie": cookies}, TOKEN)


def guarded(app=None, token="", **scope):
    """What a guard does with one request: the messages that it sends; and those that come, for receive."""
    sent = []

    async def run(coming):
        async def receive():
            await asyncio.sleep(0)
            if not coming:
                await asyncio.sleep(3600)
            return coming.pop(0)

        async def send(message):
            sent.append(message)

        guard = Guard(app or well, token, False, 1000, lambda *_: Bounds(), lambda *_: None)
        whole = {"type": "http", "method": "POST", "path": "/x", "client": ("10.0.0.1", 1), "headers": []} | scope
        await asyncio.wait_for(guard(whole, receive, send), 20)

    return run, sent


async def well(scope, receive, send):
    """An app that answers without reading."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


async def reading(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await well(scope, receive, send)


def part(size, more=True):
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_no_library_reads_cookies_of_strangers():
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])
        await well(scope, receive, send)

    headers = [(b"host", b"a"), (b"cookie", SLOW.encode()), (b"cookie", b"a=b")]
    run, _ = guarded(app, method="GET", headers=headers)
    asyncio.run(run([]))
    assert seen == [(b"host", b"a")]


CHUNKED, LONG = [(b"transfer-encoding", b"chunked")], [(b"content-length", b"50000")]


@pytest.mark.parametrize("headers", [CHUNKED, LONG, [(b"Content-Length", b"3")]])
@pytest.mark.parametrize("token", ["", TOKEN], ids=["the app answers", "the door answers"])
def test_an_answer_before_the_end_of_a_body_closes_the_connection_and_takes_little_of_it(headers, token, monkeypatch):
    monkeypatch.setattr(bodies, "_LINGER_BYTES", 100_000)
    coming = [part(60_000) for _ in range(50)]
    run, sent = guarded(token=token, headers=headers)
    asyncio.run(run(coming))
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[0]["status"] == (401 if token else 200)
    assert sent[1]["body"]
    assert [message.get("more_body", False) for message in sent[1:]] == [True, False]
    assert len(coming) >= 47


def test_a_body_that_does_not_come_is_not_waited_for_after_the_answer(monkeypatch):
    monkeypatch.setattr(bodies, "_LINGER_S", 0.05)
    run, sent = guarded(token=TOKEN, headers=CHUNKED)
    began = time.monotonic()
    asyncio.run(run([]))
    assert time.monotonic() - began < 5
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(("method", "headers"), [("GET", []), ("POST", [(b"content-length", b"0")])])
def test_an_answer_to_all_of_a_request_keeps_the_connection(method, headers):
    run, sent = guarded(method=method, headers=headers)
    asyncio.run(run([]))
    assert (b"connection", b"close") not in sent[0]["headers"]
    run, sent = guarded(reading, headers=CHUNKED)
    asyncio.run(run([part(3), part(0, more=False)]))
    assert (b"connection", b"close") not in sent[0]["headers"]
    assert sent[0]["status"] == 200


def test_a_body_without_a_length_is_cut_where_it_is_too_long():
    run, sent = guarded(reading, headers=CHUNKED)
    asyncio.run(run([part(MOST_BODY), part(1), part(1, more=False)]))
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize("trickles", [False, True])
def test_a_body_that_takes_too_long_is_refused(trickles, monkeypatch):
    monkeypatch.setattr(bodies, "STALL_S", 0.1 if not trickles else 30.0)

    async def receive():
        await asyncio.sleep(0.01 if trickles else 3600)
        return part(1)

    async def read():
        body = Body(receive, {"transfer-encoding": "chunked"}, Bounds(longest_s=0.2 if trickles else 60.0))
        while True:
            await body.receive()

    with pytest.raises(Answer) as refused:
        asyncio.run(asyncio.wait_for(read(), 10))
    assert refused.value.status == 408


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        CROSS,
        CROSS | {"Sec-Fetch-Site": "same-site"},
        CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_pages_of_other_sites_use_up_no_requests(headers, token, tmp_path):
    known = {"Authorization": f"Bearer {token}"} if token else {}
    with serving(tmp_path / "data", token=token, requests_per_minute=2) as server:
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            assert [server.web.request(method, "/api/jobs", headers=headers).status_code for _ in range(4)] == [403] * 4
        assert server.web.get("/api/jobs", headers=known).status_code == 200
        link = headers | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert server.web.get("/", headers=link | known).status_code == 200


def test_requests_without_the_token_take_none_from_those_with_it(tmp_path):
    known = {"Authorization": f"Bearer {TOKEN}"}
    with serving(tmp_path / "data", token=TOKEN, requests_per_minute=3) as server:
        strangers = [server.web.get("/api/jobs").status_code for _ in range(5)]
        assert strangers == [401, 401, 401, 429, 429]
        assert [server.web.get("/api/jobs", headers=known).status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("host", ["", "testclient", "z" * 60_000, "10.0.0", "1" * 4000, "10.0.0.1, 10.0.0.2"])
def test_what_is_no_address_is_one(host):
    assert address_of((host, 0)) == address_of(None) == ""


def test_one_household_is_one_address():
    assert (
        address_of(("2001:db8::1", 1)) == address_of(("2001:db8::ffff:0:1%eth0", 2)) != address_of(("2001:db9::1", 1))
    )
    assert address_of(("::ffff:10.0.0.1", 1)) == address_of(("10.0.0.1", 2)) == "10.0.0.1"


def test_a_refused_stream_s_end_is_awaited_as_uvicorn_tells_of_it():
    coming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}, {"type": "websocket.disconnect"}]
    sent = []

    async def receive():
        return coming.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    asyncio.run(say(Answer(401, "no"), scope, receive, send))
    assert coming == []
    assert json.loads(sent[1]["body"])["error"] == "no"


class Heard:
    """An app that keeps what it is told of the last request."""

    def __init__(self):
        self.state = SimpleNamespace(served=SimpleNamespace(ending=threading.Event()))

    async def __call__(self, scope, receive, send):
        self.client, self.scheme = scope["client"], scope["scheme"]


@pytest.mark.parametrize(("proxies", "believed"), [("", False), ("10.0.0.0/8", True), ("192.168.0.1", False)])
def test_what_senders_say_of_their_address_is_believed_of_proxies_alone(proxies, believed, tmp_path):
    app = Heard()
    config = AppServer(app, Settings(data=tmp_path, proxies=proxies)).config
    config.load()
    headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": ("10.0.0.5", 1), "scheme": "http", "headers": headers}
    asyncio.run(config.loaded_app(scope, None, None))
    assert (address_of(app.client), app.scheme) == (("1.2.3.4", "https") if believed else ("10.0.0.5", "http"))


@pytest.mark.slow
def test_strangers_ask_the_database_and_the_disk_once_a_second(tmp_path, monkeypatch):
    with serving(tmp_path / "data", token=TOKEN) as server:
        asked, free = [], [1e6]
        monkeypatch.setattr(server.store, "check", lambda: asked.append(1))
        monkeypatch.setattr(type(server.folder), "free_mb", lambda self: free[0])
        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(lambda _: server.web.get("/health/ready").status_code, range(30)))
        assert set(answers) == {200}
        assert 1 <= len(asked) <= 3 < len(answers)  # it may take longer than a second
        free[0] = 0.0
        until = time.monotonic() + 20
        while server.web.get("/health/ready").status_code == 200:
            assert time.monotonic() < until


@pytest.mark.slow
def test_streams_that_say_nothing_have_no_place_and_end_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(route, "HELLO_S", 0.5)
    with serving(tmp_path / "data", max_streams=1) as server, ExitStack() as opened:
        live = "/api/live"
        headers = {"Host": "127.0.0.1:8042"}
        silent = [opened.enter_context(server.web.websocket_connect(live, headers=headers)) for _ in range(3)]
        with server.web.websocket_connect(live, headers=headers) as other:
            other.send_json({"model": "nobody"})
            assert other.receive_json()["where"] == "model"
        for one in silent:
            assert "within 0.5 s" in one.receive_json()["error"]
            assert one.receive()["code"] == 1008
