"""Recordings and annotations as they come, from senders that may stop, crawl or never end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request

from avgate.apps.serve.door.bodies import STALL_S
from avgate.apps.serve.routes.shapes import Refused

LEAST_BYTES_S, CRAWL_S = 1024, 60.0
"""Fewest bytes a second, on average, and the seconds in which that isn't looked at yet."""

LONGEST_S = 12 * 3600.0
"""Longest time that a body may take. An upload goes on with the next one."""


async def body_parts(request: Request, longest_s: float | None = None) -> AsyncIterator[bytes]:
    """The parts of a body.

    Args:
        request: whose.
        longest_s: the most seconds that all of it may take; LONGEST_S unless given.

    Raises:
        Refused: it comes too slowly.
        ClientDisconnect: the sender has gone.
    """
    most_s = LONGEST_S if longest_s is None else longest_s
    began_s, came, parts = time.monotonic(), 0, request.stream().__aiter__()
    while True:
        left_s = began_s + most_s - time.monotonic()
        try:
            part = await asyncio.wait_for(anext(parts), max(0.0, min(STALL_S, left_s)))
        except StopAsyncIteration:
            return
        except (asyncio.TimeoutError, TimeoutError):
            what = f"the body took longer than {most_s:g} s" if left_s < STALL_S else "no byte came for too long"
            raise _too_slow(what) from None
        came += len(part)
        took_s = time.monotonic() - began_s
        if took_s > CRAWL_S and came < took_s * LEAST_BYTES_S:
            raise _too_slow(f"fewer than {LEAST_BYTES_S} bytes came in a second")
        yield part


def _too_slow(what: str) -> Refused:
    return Refused(408, what, "go on with the upload, or send it anew over a better line", "", {"connection": "close"})
