"""Bodies of requests on their way in: how long they may be, how long they may take, and where they end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avgate.apps.serve.door.answers import Answer

MOST_BODY = 1 << 16
"""Most bytes of a request's body, but where files are taken."""

STALL_S = 30.0
"""Seconds without a byte after which a sender is taken to have gone."""

_LINGER_S, _LINGER_BYTES = 2.0, 8 << 20
"""For how long, and how much of a body is still taken that nobody reads."""


@dataclass(frozen=True)
class Bounds:
    """What a body may be.

    Attributes:
        most: bytes; None where the route counts them.
        longest_s: how long it may be on its way; None where the route looks after the time.
    """

    most: int | None = MOST_BODY
    longest_s: float | None = 60.0


class Body:
    """A request's body.

    Args:
        receive: ASGI's.
        headers: of the request.
        bounds: of the body.

    Attributes:
        ended: whether all of it was read; where there is none, it was.
    """

    def __init__(self, receive: Any, headers: Mapping[str, str], bounds: Bounds):
        self._receive, self._bounds = receive, bounds
        self._came, self._began_s = 0, time.monotonic()
        self.ended = "transfer-encoding" not in headers and headers.get("content-length", "0").strip("0") == ""

    def check_length(self, length: int) -> None:
        """Answer where it says that it has so many bytes, and they are too many."""
        if self._bounds.most is not None and length > self._bounds.most:
            what = f"a request like this has at most {self._bounds.most:,} bytes"
            raise Answer(413, what, "send recordings to /api/uploads/")

    async def receive(self) -> Any:
        """`receive` for the app; Answer where the body is too long, or too slow."""
        if self.ended:
            return await self._receive()
        if self._bounds.longest_s is None:
            message = await self._receive()
        else:
            left_s = self._began_s + self._bounds.longest_s - time.monotonic()
            try:
                message = await asyncio.wait_for(self._receive(), max(0.0, min(STALL_S, left_s)))
            except asyncio.TimeoutError:
                raise Answer(408, "the request took too long to come", "send it again, without a break") from None
        self._count(message)
        self.check_length(self._came)
        return message

    async def leave(self) -> None:
        """Take what still comes, for a moment: many senders hear an answer only once they have sent everything."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drain(), _LINGER_S)

    async def _drain(self) -> None:
        most = self._came + _LINGER_BYTES
        while not self.ended and self._came < most:
            self._count(await self._receive())

    def _count(self, message: Mapping[str, Any]) -> None:
        self._came += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
