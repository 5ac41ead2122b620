"""What every request passes before it reaches the server's parts, and every answer after it."""

from __future__ import annotations

import hashlib
import hmac
import html
import ipaddress
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = dict[str, Any]
log = logging.getLogger("avgate.serve")

COOKIE = "avgate"
"""Name of the cookie that browsers get for the token."""

MOST_BODY = 1 << 16
"""Most bytes of a request's body, but where files are taken."""

_FREE = ("/health/live", "/health/ready")
"""Paths that need no token and aren't counted."""

_MOST_ADDRESSES = 10_000
"""So many addresses are remembered."""

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)

_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=(), display-capture=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer that doesn't bring its own."""

_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>avgate</title>
<style>:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }} form {{ max-width: 22rem; margin: 15vh
auto; padding: 0 1rem }} input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin:
.25rem 0 .75rem }}</style></head>
<body><main><form method="post" action="/login"><h1>avgate</h1><p role="alert">{problem}</p>
<label for="token">This server's token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
aria-describedby="from"><p id="from">Whoever started the server has it: it is AVGATE_SERVE_TOKEN there, in the
environment, or in the file .env of docker compose.</p>
<button>Open</button></form></main></body></html>
"""


class Rates:
    """Counts requests per address: so many a minute, which may come at once.

    Args:
        per_minute: how many.
        clock: gives the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self._clock = per_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Count a request: 0 where it may pass, else in how many seconds the next one may."""
        now, most = self._clock(), float(self.per_minute)
        left, then = self._left.pop(address, (most, now))
        left = min(most, left + (now - then) * most / 60)
        passes = left >= 1
        self._left[address] = (left - passes, now)
        while len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if passes else (1 - left) * 60 / most


class _TooLong(Exception):
    """A body that goes on after it must have ended."""


class _Answer(Exception):
    """What is answered in place of the app."""

    def __init__(
        self, status: int, what: str, hint: str = "", where: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(what)
        self.status, self.headers = status, dict(headers or {})
        self.body = json.dumps({"error": what, "hint": hint, "where": where}).encode()
        self.kind = "application/json"


class Guard:
    """ASGI middleware: token, origin, host, rate and length of requests; headers and errors of answers.

    Args:
        app: what is guarded.
        token: what senders must know; none where it is empty.
        loopback: whether only this machine can reach the server.
        per_minute: how many requests each address may send in a minute.
        files: whether a request of this method and path sends a file, which is as long as it is.
        ended: is told the method, route, status and seconds of each request.
    """

    def __init__(
        self,
        app: Any,
        token: str,
        loopback: bool,
        per_minute: int,
        files: Callable[[str, str], bool],
        ended: Callable[[str, str, int, float], None],
    ):
        self.app, self.token, self.loopback, self.files, self.ended = app, token, loopback, files, ended
        self.rates = Rates(per_minute)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        live = scope["type"] == "websocket"

        async def sent(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                message = message | {"headers": _headed(message.get("headers", ()))}
            elif message["type"] in ("websocket.accept", "websocket.close"):
                status = status or 101
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, self._limited(scope, receive), sent)
        except _TooLong:
            if not status:
                await _say(_too_long(), scope, sent)
        except _Answer as answer:
            await _say(answer, scope, sent)
        except Exception:  # whatever it is, a client must see no traceback
            token = secrets.token_hex(4)
            log.exception("error %s", token)
            hint = f"ask who runs this server to look for {token} in its log"
            failed = _Answer(500, "the server made a mistake", hint)
            if not status:
                await _say(failed, scope, sent)
            elif live:
                await sent({"type": "websocket.close", "code": 1011, "reason": f"the server made a mistake: {token}"})
        finally:
            if not live:
                route = getattr(scope.get("route"), "path", None) or "other"
                self.ended(scope["method"], route, status, time.monotonic() - began)

    def _check(self, scope: Scope) -> None:
        """_Answer where a request may not pass."""
        headers = _once(scope)
        path, live = scope["path"], scope["type"] == "websocket"
        method = "GET" if live else scope["method"]
        self._check_host(headers.get("host", ""))
        if path in _FREE and not live:
            return
        if wait_s := self.rates.wait_s(_address(scope)):
            what = f"more than {self.rates.per_minute} requests in a minute came from this address"
            hint = f"try again in {wait_s:.0f} s"
            raise _Answer(429, what, hint, "requests_per_minute", {"retry-after": str(int(wait_s) + 1)})
        if live or method not in ("GET", "HEAD", "OPTIONS"):
            _check_origin(headers)
        if not self.files(method, path) and _length(headers) > MOST_BODY:
            raise _too_long()
        if self.token and (method, path) != ("POST", "/login") and not self._known(headers):
            if path == "/" and method == "GET":
                raise _login("")
            hint = "send the header Authorization: Bearer TOKEN, or open the server's page and give it there"
            raise _Answer(401, "this server needs its token", hint, "token", {"www-authenticate": "Bearer"})

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
            raise _Answer(403, "this server is for its own machine only", "open it as http://localhost or 127.0.0.1")

    def _known(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(given.strip(), self.token)
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, session(self.token))

    def _limited(self, scope: Scope, receive: Any) -> Any:
        """`receive` that ends where a body is too long."""
        if scope["type"] != "http" or self.files(scope["method"], scope["path"]):
            return receive
        came = 0

        async def limited() -> Any:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > MOST_BODY:
                raise _TooLong
            return message

        return limited


def session(token: str) -> str:
    """What browsers keep in place of the token; it changes with the token, and doesn't tell it."""
    return hmac.new(token.encode(), b"avgate page", hashlib.sha256).hexdigest()


def log_in(body: bytes, token: str, secure: bool) -> tuple[int, dict[str, str], bytes]:
    """Answer a login form: status, headers and body.

    Args:
        body: the form, urlencoded.
        token: the server's.
        secure: whether the browser speaks TLS with the server.
    """
    given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
    if token and not _same(given.strip(), token):
        answer = _login("That isn't the token.")
        return answer.status, answer.headers | {"content-type": answer.kind}, answer.body
    headers = {"location": "/"}
    if token:
        end = "; Secure" if secure else ""
        headers["set-cookie"] = f"{COOKIE}={session(token)}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{end}"
    return 303, headers, b""


def _login(problem: str) -> _Answer:
    answer = _Answer(401, problem)
    answer.body, answer.kind = _LOGIN.format(problem=html.escape(problem)).encode(), "text/html; charset=utf-8"
    answer.headers["content-security-policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return answer


def _too_long() -> _Answer:
    return _Answer(413, f"a request like this has at most {MOST_BODY:,} bytes", "send recordings to /api/uploads/")


def _same(given: str, token: str) -> bool:
    # Digests have one length, and bytes needn't be ASCII.
    def digest(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return hmac.compare_digest(digest(given), digest(token))


_SINGLE = ("host", "origin", "authorization", "content-length", "content-type", "upload-length", "upload-offset")
"""Headers of which two would be read one way here and another way elsewhere."""


def _once(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in headers and key in _SINGLE:
            raise _Answer(400, f"the header {key} was sent twice", "send it once", key)
        headers[key] = f"{headers[key]}; {text}" if key == "cookie" and key in headers else text
    return headers


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what the pages of other sites send; programs send no origin."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    try:
        same = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        same = False
    if not same or site not in ("none", "same-origin"):
        raise _Answer(403, "pages of other sites can't use this server", "use the server's own page, or a program")


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _address(scope: Scope) -> str:
    """Whose request it is; all addresses that one household gets in IPv6 are one."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _headed(headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and those of every answer that it doesn't bring itself."""
    given = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    names = {name for name, _ in given}
    more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in names]
    return [*given, *more]


async def _say(answer: _Answer, scope: Scope, send: Any) -> None:
    prefix = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": str(answer)[:120]})
            return
        prefix = "websocket.http"
    headers = {"content-type": answer.kind, "content-length": str(len(answer.body))} | answer.headers
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{prefix}.response.start", "status": answer.status, "headers": pairs})
    empty = scope.get("method") == "HEAD"
    await send({"type": f"{prefix}.response.body", "body": b"" if empty else answer.body})
