"""What is answered at the door in place of the server's parts, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

Scope = dict[str, Any]

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

_GONE_S = 1.0
"""Seconds for which it is waited until a refused live stream's connection has ended."""


class Answer(Exception):
    """What is answered in place of the app."""

    def __init__(
        self, status: int, what: str, hint: str = "", where: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(what)
        self.status, self.headers = status, dict(headers or {})
        self.body = json.dumps({"error": what, "hint": hint, "where": where}).encode()
        self.kind = "application/json"


def headed(headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and those of every answer that it doesn't bring itself."""
    given = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    names = {name for name, _ in given}
    more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in names]
    return [*given, *more]


async def say(answer: Answer, scope: Scope, receive: Any, send: Any) -> None:
    """Send an answer."""
    live = scope["type"] == "websocket"
    if live and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": str(answer)[:120]})
        return
    prefix = "websocket.http" if live else "http"
    headers = {"content-type": answer.kind, "content-length": str(len(answer.body))} | answer.headers
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{prefix}.response.start", "status": answer.status, "headers": pairs})
    empty = scope.get("method") == "HEAD"
    await send({"type": f"{prefix}.response.body", "body": b"" if empty else answer.body})
    if live:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_until_gone(receive), _GONE_S)


async def _until_gone(receive: Any) -> None:
    # uvicorn says first that the answer ended the stream, then that the connection is gone. To whom returns before the
    # latter it is an error that there was no handshake, and anybody could fill the log with those.
    ends = 0
    while ends < 2:
        ends += (await receive())["type"] == "websocket.disconnect"
