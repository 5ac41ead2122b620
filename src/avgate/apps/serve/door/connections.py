"""Connections: how many there may be, how long one may take to say what it wants, and what the log hears of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from avgate.apps.serve.door.rates import address_of, is_within

HEADER_S = 20.0
"""Longest time from one answer, or the connection's begin, to the end of the next request's header."""

TAKEN_AT_ONCE = 64
"""Connections that are taken before the event loop looks at other things."""

_MOST, _DESCRIPTORS = 4096, 16_384
"""Most connections, and descriptors of files that are asked of the system for them."""

_OTHERS = 384
"""Descriptors that are no connection's: the database, workers, libraries, and connections that aren't counted yet."""

_AGAIN_S = 60.0
"""Seconds after which the log hears the same sentence of a library again."""


def room() -> int:
    """How many connections there may be; the system's limit is raised before, as far as it lets us."""
    descriptors = _DESCRIPTORS
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        raised = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
        if soft != resource.RLIM_INFINITY and soft < raised:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
                soft = raised
        descriptors = soft if soft != resource.RLIM_INFINITY else _DESCRIPTORS
    # Each may have a file open.
    return max(16, min(_MOST, (descriptors - _OTHERS) // 2))


class Connection(H11Protocol):
    """uvicorn's, which waits for a request for HEADER_S at most, and makes room for others while it waits.

    Attributes:
        most: connections in all, those of live streams among them.
        most_of_one: those of one address.
        proxies: addresses behind which there are many clients.
        waits_s: since when a request's header is waited for; None while there is a request.
    """

    most: ClassVar[int] = 1024
    most_of_one: ClassVar[int] = 512
    proxies: ClassVar[str] = ""

    @classmethod
    def bound(cls, most: int, proxies: str = "") -> type[Connection]:
        """The class with limits: one address may have half of all connections, unless it is a proxy's."""
        return type(cls.__name__, (cls,), {"most": most, "most_of_one": max(1, most // 2), "proxies": proxies})

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.waits_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take it, or make room by ending the one that has waited for longest: itself, where none else waits."""
        super().connection_made(transport)
        self._watch()
        if self.client is None or not is_within(self.client[0], self.proxies):
            own = address_of(self.client)
            self._make_room(self.most_of_one, lambda other: address_of(other.client) == own)
        self._make_room(self.most, lambda other: True)

    def _make_room(self, most: int, counts: Callable[[Any], bool]) -> None:
        counted = [other for other in self.connections if counts(other) and not other.transport.is_closing()]
        waiting = {other: since_s for other in counted if (since_s := getattr(other, "waits_s", None)) is not None}
        if len(counted) > most and waiting:
            min(waiting, key=waiting.__getitem__).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._rest()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what came."""
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._rest()
        elif self._timer is None:
            self.waits_s = self.loop.time()
            self._timer = self.loop.call_later(HEADER_S, self.transport.close)

    def _rest(self) -> None:
        self.waits_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Seldom(logging.Filter):
    """Lets each sentence pass once a minute: what strangers can make libraries say mustn't fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the log hears it."""
        kind = record.exc_info[0] if record.exc_info else None
        said, now_s = (record.name, str(record.msg).partition("\n")[0][:200], kind), time.monotonic()
        if now_s - self._said.get(said, -_AGAIN_S) < _AGAIN_S:
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[said] = now_s
        return True


def quiet_libraries() -> None:
    """Let the log hear less of libraries."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(Seldom())
