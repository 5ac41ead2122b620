"""What every request passes before it reaches the server's parts, and every answer after it."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from avgate.apps.serve.door.answers import Answer, Scope, headed, say
from avgate.apps.serve.door.bodies import Body, Bounds
from avgate.apps.serve.door.rates import Rates, address_of
from avgate.apps.serve.door.tokens import is_known, login

log = logging.getLogger("avgate.serve")

_FREE = ("/health/live", "/health/ready")
"""Paths that need no token and aren't counted."""

_SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""


class Guard:
    """ASGI middleware: token, origin, host, rate and bodies of requests; headers and errors of answers.

    Args:
        app: what is guarded.
        token: what senders must know; none where it is empty.
        loopback: whether only this machine can reach the server.
        per_minute: how many requests each address may send in a minute.
        bounds: what the body of a request of this method and path may be.
        ended: is told the method, route, status and seconds of each request.
    """

    def __init__(
        self,
        app: Any,
        token: str,
        loopback: bool,
        per_minute: int,
        bounds: Callable[[str, str], Bounds],
        ended: Callable[[str, str, int, float], None],
    ):
        self.app, self.token, self.loopback, self.bounds, self.ended = app, token, loopback, bounds, ended
        self.rates = Rates(per_minute)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began, status, cut = time.monotonic(), 0, False
        live = scope["type"] == "websocket"
        headers = _joined(scope)
        body = Body(receive, {} if live else headers, Bounds() if live else self.bounds(scope["method"], scope["path"]))

        async def sent(message: dict[str, Any]) -> None:
            nonlocal status, cut
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status, cut = message["status"], not body.ended
                # What comes of a body after its answer is nobody's, and mustn't come for ever.
                end = [(b"connection", b"close")] if cut else []
                message = message | {"headers": headed(message.get("headers", ())) + end}
            elif message["type"] in ("websocket.accept", "websocket.close"):
                status = status or 101
            elif cut and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send(message | {"more_body": True})
                await body.leave()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            self._check(scope, headers, body)
            # Nobody else needs them, and libraries read them in ways of their own, some of which take very long.
            scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() != b"cookie"]
            await self.app(scope, body.receive, sent)
        except Answer as answer:
            if not status:
                await say(answer, scope, receive, sent)
        except Exception:  # whatever it is, a client must see no traceback
            token = secrets.token_hex(4)
            log.exception("error %s", token)
            hint = f"ask who runs this server to look for {token} in its log"
            failed = Answer(500, "the server made a mistake", hint)
            if not status:
                await say(failed, scope, receive, sent)
            elif live:
                await sent({"type": "websocket.close", "code": 1011, "reason": f"the server made a mistake: {token}"})
        finally:
            if not live:
                route = getattr(scope.get("route"), "path", None) or "other"
                self.ended(scope["method"], route, status, time.monotonic() - began)

    def _check(self, scope: Scope, headers: Mapping[str, str], body: Body) -> None:
        """Answer where a request may not pass."""
        path, live = scope["path"], scope["type"] == "websocket"
        method = "GET" if live else scope["method"]
        _check_once(scope)
        self._check_host(headers.get("host", ""))
        if path in _FREE and not live:
            return
        # Before anything is counted: no page of another site can use up what its reader may ask for.
        _check_site(headers, method in _SAFE and not live)
        known = bool(self.token) and is_known(headers, self.token)
        if wait_s := self.rates.wait_s((address_of(scope.get("client")), known)):
            what = f"more than {self.rates.per_minute} requests in a minute came from this address"
            hint = f"try again in {wait_s:.0f} s"
            raise Answer(429, what, hint, "requests_per_minute", {"retry-after": str(int(wait_s) + 1)})
        body.check_length(_length(headers))
        if self.token and (method, path) != ("POST", "/login") and not known:
            if path == "/" and method == "GET":
                raise login("")
            hint = "send the header Authorization: Bearer TOKEN, or open the server's page and give it there"
            raise Answer(401, "this server needs its token", hint, "token", {"www-authenticate": "Bearer"})

    def _check_host(self, host: str) -> None:
        # A page of another site can give its own name this machine's address. With a token it gains nothing by that,
        # and without one only this machine's own names are answered.
        if not self.loopback or self.token:
            return
        try:
            name = urlsplit(f"//{host}").hostname or ""
            local = name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
        except ValueError:
            local = False
        if not local:
            raise Answer(403, "this server is for its own machine only", "open it as http://localhost or 127.0.0.1")


_SINGLE = ("host", "origin", "authorization", "content-length", "content-type", "upload-length", "upload-offset")
"""Headers of which two would be read one way here and another way elsewhere."""


def _joined(scope: Scope) -> dict[str, str]:
    """Headers by name; of those that came twice the last one, and all of the cookies."""
    cookies = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"cookie"]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return headers | ({"cookie": ";".join(cookies)} if cookies else {})


def _check_once(scope: Scope) -> None:
    names = [name.decode("latin-1").lower() for name, _ in scope["headers"]]
    if twice := [name for name in _SINGLE if names.count(name) > 1]:
        raise Answer(400, f"the header {twice[0]} was sent twice", "send it once", twice[0])


def _check_site(headers: Mapping[str, str], safe: bool) -> None:
    """Refuse what the pages of other sites send, but links to this one; programs send neither origin nor site.

    Args:
        headers: of the request.
        safe: whether the request changes nothing.
    """
    origin = headers.get("origin")
    own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    if safe:
        link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        allowed = own or link
    else:
        try:
            same = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            same = False
        allowed = own and same
    if not allowed:
        raise Answer(403, "pages of other sites can't use this server", "use the server's own page, or a program")


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
