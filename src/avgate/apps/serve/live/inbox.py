"""What comes for one live stream, until it is estimated."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from avgate.apps.serve.live.messages import LIMIT, Limits, Piece, Refused

MOST_IMAGES, MOST_IMAGE_BYTES = 30, 16 * 2**20
"""Images (about one second), and their bytes, that may wait; the oldest goes where there is no room."""

MOST_SOUND_BYTES = 4 * 2**20
"""Bytes of sound that may wait: 40 s and more."""

_AT_ONCE = 8
"""Pieces of sound that are estimated before other streams have their turn."""


class Inbox:
    """What came and isn't estimated yet, in its order. All within one event loop.

    Args:
        limits: max_lag_s counts here.
        clock: gives the time in seconds.

    Attributes:
        images: how many images came.
        dropped: how many of them had no room.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.images = self.dropped = 0
        self._limits, self._clock = limits, clock
        self._waiting: deque[Piece] = deque()
        self._bytes = {True: 0, False: 0}  # by whether it is an image
        self._count = 0  # images that wait
        self._came, self._ended = asyncio.Event(), False

    def put(self, piece: Piece) -> None:
        """Add a piece; Refused where sound has waited too long."""
        self._waiting.append(piece)
        self._bytes[piece.is_image] += len(piece.payload)
        if piece.is_image:
            self.images += 1
            self._count += 1
            while self._count > 1 and (self._count > MOST_IMAGES or self._bytes[True] > MOST_IMAGE_BYTES):
                self._drop()
        else:
            oldest_s = next(p.came_s for p in self._waiting if not p.is_image)
            if self._clock() - oldest_s > self._limits.max_lag_s or self._bytes[False] > MOST_SOUND_BYTES:
                what = f"sound comes faster than this machine can estimate it (limit: {self._limits.max_lag_s:g} s)"
                hint = "send it no faster than it is heard, or run fewer streams at once"
                raise Refused(LIMIT, what, hint, "max_lag_s")
        self._came.set()

    def end(self) -> None:
        """Be told that nothing more will come."""
        self._ended = True
        self._came.set()

    async def take(self) -> list[Piece]:
        """What is next, in their order: at most one image, which is the last of them. Nothing once all is over."""
        while not self._waiting and not self._ended:
            self._came.clear()
            await self._came.wait()
        taken: list[Piece] = []
        while self._waiting and len(taken) < _AT_ONCE and not (taken and taken[-1].is_image):
            piece = self._waiting.popleft()
            self._forget(piece)
            taken.append(piece)
        return taken

    def _drop(self) -> None:
        at = next(i for i, piece in enumerate(self._waiting) if piece.is_image)
        self._forget(self._waiting[at])
        del self._waiting[at]
        self.dropped += 1

    def _forget(self, piece: Piece) -> None:
        self._bytes[piece.is_image] -= len(piece.payload)
        self._count -= piece.is_image
