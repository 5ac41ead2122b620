"""Connections that say too little, or are too many, over real sockets; and what the log hears of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason='the server needs pip install "avgate[serve]"')

import uvicorn

from avgate.apps.serve.door import connections
from avgate.apps.serve.door.connections import Connection, Seldom, room

resource = pytest.importorskip("resource", reason="Windows limits no descriptors")

HALF = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LATE = b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
LIVE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def app(scope, receive, send):
    """Answers well, of /late the end a second later; live streams stay open until their client goes."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    late = scope["path"] == "/late"
    length = b"8" if late else b"4"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    if late:
        await send({"type": "http.response.body", "body": b"late", "more_body": True})
        await asyncio.sleep(1.0)
    await send({"type": "http.response.body", "body": b"well"})


@contextlib.contextmanager
def running(most, proxies=""):
    """A server with so many connections: how to connect with it."""
    config = uvicorn.Config(app, http=Connection.bound(most, proxies), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    opened = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)

        def connect(sent=b"", source="127.0.0.1"):
            one = socket.create_connection(listener.getsockname(), timeout=20, source_address=(source, 0))
            opened.append(one)
            one.sendall(sent)
            return one

        try:
            yield connect
        finally:
            for one in opened:
                one.close()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def said(one, wait_s=20.0):
    """What comes until there is an answer, or the connection ends; None where nothing does for a while."""
    one.settimeout(wait_s)
    try:
        return one.recv(4096)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def said_up_to(one, end):
    """What comes, up to its end."""
    came = b""
    while not came.endswith(end):
        part = said(one)
        assert part, came
        came += part
    return came


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", HALF, WHOLE + HALF], ids=["nothing", "a half header", "a half second one"])
@pytest.mark.parametrize("trickles", [True, False])
def test_a_header_that_does_not_come_to_its_end_ends_the_connection(first, trickles, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_S", 0.4)
    with running(10) as connect:
        one = connect(first)
        if WHOLE in first:
            said_up_to(one, b"well")
        began = time.monotonic()
        while (came := said(one, 0.05)) is None:
            assert time.monotonic() - began < 10
            if trickles:
                with contextlib.suppress(OSError):
                    one.sendall(b"G" if not first else b"x")
        assert came == b"" or came.startswith(b"HTTP/1.1 400")


@pytest.mark.slow
def test_what_has_begun_is_no_matter_of_the_header_s_time(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_S", 0.2)
    with running(10) as connect:
        live, late = connect(LIVE), connect(LATE)
        assert said(live).startswith(b"HTTP/1.1 101")
        assert b"200 OK" in said_up_to(late, b"latewell")
        assert said(live, 0.1) is None


@pytest.mark.slow
@pytest.mark.parametrize("begun", [HALF, b""])
def test_connections_that_wait_shut_nobody_out(begun):
    with running(20) as connect:
        live, late = connect(LIVE), connect(LATE)
        assert said(live).startswith(b"HTTP/1.1 101")
        assert b"200 OK" in said_up_to(late, b"late")
        idle = [connect(begun, f"127.0.0.{2 + i // 5}") for i in range(60)]
        assert b"200 OK" in said(connect(WHOLE))
        said_up_to(late, b"well")
        left = [one for one in idle if said(one, 0.01) is None]
        assert 15 <= len(left) <= 20
        assert left == idle[-len(left) :]
        assert said(live, 0.01) is None


@pytest.mark.slow
def test_one_address_has_half_of_all_connections():
    with running(8) as connect:
        busy = [connect(LIVE) for _ in range(4)]
        assert all(said(one).startswith(b"HTTP/1.1 101") for one in busy)
        assert said(connect(WHOLE)) == b""
        assert b"200 OK" in said(connect(WHOLE, "127.0.0.2"))
        busy[0].close()
        time.sleep(0.2)
        assert b"200 OK" in said(connect(WHOLE))


def test_a_proxy_has_all_connections_but_no_more():
    with running(8, "127.0.0.0/31,10.0.0.0/8") as connect:
        busy = [connect(LIVE) for _ in range(8)]
        assert all(said(one).startswith(b"HTTP/1.1 101") for one in busy)
        assert said(connect(WHOLE)) == b""


@pytest.mark.parametrize(("soft", "hard"), [(256, 1024), (1024, 1024), (1024, 1 << 20), (100, 100), (1 << 20, 1 << 20)])
def test_the_system_s_limit_is_raised_and_stays_well_above_the_connections(soft, hard, monkeypatch):
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    most = room()
    assert limits[0] >= min(hard, 16_384) >= soft or limits[0] == soft
    assert limits[1] == hard
    assert 16 <= most <= 4096
    assert hard < 1000 or 2 * most + 5 * connections.TAKEN_AT_ONCE < limits[0]


def test_the_log_hears_a_sentence_of_a_library_once_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    seldom = Seldom()

    def heard(message, *args, name="asyncio", error=None):
        kinds = (type(error), error, None) if error else None
        return seldom.filter(logging.LogRecord(name, logging.ERROR, "", 1, message, args, kinds))

    accept = "socket.accept() out of system resource\nsocket: <TransportSocket fd={}>"
    assert [heard(accept.format(fd)) for fd in range(3)] == [True, False, False]
    assert [heard("Invalid %s", i, name="uvicorn.error") for i in range(3)] == [True, False, False]
    assert heard("Exception", error=OSError())
    assert heard("Exception", error=ValueError())
    now[0] += 61
    assert heard(accept.format(9))
    for i in range(5000):
        heard(f"sentence {i}")
    assert len(seldom._said) <= 1001
