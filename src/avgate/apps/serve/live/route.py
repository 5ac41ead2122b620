"""The WebSocket of live streams: who may begin one, how its messages go in and out, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avgate.apps.serve.live.inbox import Inbox
from avgate.apps.serve.live.messages import BAD, FULL, LIMIT, TOO_LARGE, Hello, Limits, Piece, Refused, read_object
from avgate.apps.serve.live.models import Models, fault
from avgate.apps.serve.live.stream import LiveStream
from avgate.core.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.websockets import WebSocket

PATH = "/api/live"

MOST_TEXT = 4096
"""Characters of a text message."""

HELLO_S = 5.0
"""Seconds within which a client's first message must come; it has no place among the streams before."""

_LOOK_S = 0.5
"""Seconds between two looks at how long a stream lasts."""

_PART_S = 2.0
"""Seconds for which a client is waited for that is told why its stream ends."""


@dataclass
class Counts:
    """What became of all streams so far.

    Attributes:
        streams: how many began.
        images: how many images came.
        dropped: how many of them had no room.
        skipped: in how many others no face was looked for.
        results: how many there were.
        refused: how many streams ended with an error.
    """

    streams: int = 0
    images: int = 0
    dropped: int = 0
    skipped: int = 0
    results: int = 0
    refused: int = 0


class _Gone(Exception):
    """The client is no more there."""


class Live:
    """All live streams of a server.

    Args:
        limits: what clients may do.
        models: what they may choose from.

    Attributes:
        open: how many streams there are now.
        counts: of those that ended.
    """

    def __init__(self, limits: Limits, models: Models):
        self.limits, self.models, self.counts, self.open = limits, models, Counts(), 0
        cores = os.cpu_count() or 1
        self._workers = ThreadPoolExecutor(max(2, cores), thread_name_prefix="live")
        # Models take seconds to load; streams that run mustn't wait for those that begin.
        self._openers = ThreadPoolExecutor(2, thread_name_prefix="live-open")

    def close(self) -> None:
        """End the threads, once what they do is done; for the server's end."""
        self._openers.shutdown()
        self._workers.shutdown()

    async def serve(self, websocket: WebSocket) -> None:
        """One client, from its first message to the end."""
        await websocket.accept()
        try:
            self._refuse_full()
            hello = await self._hello(websocket)
            with self._place():
                await self._converse(websocket, hello)
            code = 1000
        except _Gone:
            return
        except Refused as error:
            code = await self._refuse(websocket, error)
        except UsageError as error:
            code = await self._refuse(websocket, Refused(BAD, error.what, error.hint or ""))
        except Exception:  # whatever it is, a client must see no traceback, and its stream must end
            code = await self._refuse(websocket, fault("something went wrong in the server"))
        with contextlib.suppress(_Gone, asyncio.TimeoutError):
            await self._sent(websocket.close(code), _PART_S)

    def _refuse_full(self) -> None:
        if self.open >= self.limits.max_streams:
            what = f"there are {self.open} streams already, as many as this server takes"
            raise Refused(FULL, what, "try again later", "max_streams")

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        self._refuse_full()
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def _hello(self, websocket: WebSocket) -> Hello:
        try:
            first = await asyncio.wait_for(self._next(websocket), min(HELLO_S, self.limits.max_idle_s))
        except asyncio.TimeoutError as error:
            if self.limits.max_idle_s < HELLO_S:
                raise _silence(self.limits) from error
            hint = 'send a JSON object as soon as the stream is open, such as {"model": "live"}'
            raise Refused(LIMIT, f"the first message didn't come within {HELLO_S:g} s", hint) from error
        if not isinstance(first, str):
            raise Refused(BAD, "the first message isn't text", 'send a JSON object first, such as {"model": "live"}')
        return Hello.read(first, self.limits)

    async def _converse(self, websocket: WebSocket, hello: Hello) -> None:
        stream = await self._opened(hello)
        inbox = Inbox(self.limits)
        try:
            await self._say(websocket, stream.ready())
            self.counts.streams += 1
            await self._run(websocket, stream, inbox)
        finally:
            self.counts.images += inbox.images
            self.counts.dropped += inbox.dropped
            self.counts.skipped += stream.pace.skipped
            # Also where this is cancelled: the pool does it all the same.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._workers, stream.close))

    async def _opened(self, hello: Hello) -> LiveStream:
        loop = asyncio.get_running_loop()

        def opened() -> LiveStream:
            return LiveStream(hello, self.models.open(hello), self.limits)

        opening = loop.run_in_executor(self._openers, opened)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            raise

    async def _run(self, websocket: WebSocket, stream: LiveStream, inbox: Inbox) -> None:
        """Read and estimate side by side until the end, or until one of them or the time says no."""
        began_s = time.monotonic()
        heard = _Heard(self.limits)
        reading = asyncio.ensure_future(self._read(websocket, stream.hello, inbox, heard))
        working = asyncio.ensure_future(self._work(websocket, stream, inbox))
        try:
            while not (reading.done() or working.done()):
                await asyncio.wait((reading, working), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if time.monotonic() - began_s > self.limits.max_stream_s:
                    what = f"the stream has lasted for {self.limits.max_stream_s:g} s, the longest that is allowed"
                    raise Refused(LIMIT, what, "begin a new one", "max_stream_s")
                heard.refuse_silence()
            # Where both are done, what was wrong with what came says more.
            (reading if reading.done() else working).result()
        finally:
            await _stop(reading, working)

    async def _read(self, websocket: WebSocket, hello: Hello, inbox: Inbox, heard: _Heard) -> None:
        """Take what the client sends; after its end, wait until it is gone."""
        ended = False
        while True:
            message = await self._next(websocket)
            if ended:
                continue
            heard.message()
            if isinstance(message, bytes):
                inbox.put(Piece.read(message, hello, time.monotonic()))
            elif read_object(message) == {"end": True}:
                ended = heard.ended = True
                inbox.end()
            else:
                hint = 'send {"end": true} when nothing more will come'
                raise Refused(BAD, "a text message isn't the end", hint)

    async def _work(self, websocket: WebSocket, stream: LiveStream, inbox: Inbox) -> None:
        """Estimate what came, in its order, and send results."""
        loop = asyncio.get_running_loop()
        queue_s = 0.0

        async def tell(results: list[dict[str, Any]]) -> None:
            self.counts.results += len(results)
            if results:
                more = {"dropped": inbox.dropped, "queue_s": round(queue_s, 3)}
                await self._say(websocket, {"results": results, **more})

        while pieces := await inbox.take():
            results, queue_s = await loop.run_in_executor(self._workers, stream.take, pieces)
            await tell(results)
        await tell(await loop.run_in_executor(self._workers, stream.finish))
        counts = {"frames": inbox.images, "dropped": inbox.dropped, "job": None}
        await self._say(websocket, {"end": True, "notes": stream.notes(inbox.dropped), **counts})

    async def _next(self, websocket: WebSocket) -> str | bytes:
        """The next message of a size that is allowed."""
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise _Gone
        text, data = message.get("text"), message.get("bytes")
        said: str | bytes = text if text is not None else data or b""
        if isinstance(said, str) and len(said) > MOST_TEXT:
            raise Refused(TOO_LARGE, f"a text message has over {MOST_TEXT} characters")
        if len(said) > 1024 * self.limits.max_message_kb:
            what = f"a message has {len(said)} bytes, over {self.limits.max_message_kb} KiB"
            raise Refused(TOO_LARGE, what, "send smaller images", "max_message_kb")
        return said

    async def _say(self, websocket: WebSocket, message: Mapping[str, Any]) -> None:
        text = json.dumps(message, allow_nan=False)
        try:
            await self._sent(websocket.send_text(text), self.limits.max_lag_s)
        except asyncio.TimeoutError as error:
            what = f"the client has taken no result for {self.limits.max_lag_s:g} s"
            raise Refused(LIMIT, what, "read results as they come", "max_lag_s") from error

    async def _refuse(self, websocket: WebSocket, error: Refused) -> int:
        """Tell the client why its stream ends; returns the code to end with."""
        self.counts.refused += 1
        with contextlib.suppress(_Gone, asyncio.TimeoutError):
            await self._sent(websocket.send_text(error.message()), _PART_S)
        return error.code

    async def _sent(self, sending: Any, longest_s: float) -> None:
        from starlette.websockets import WebSocketDisconnect

        try:
            await asyncio.wait_for(sending, longest_s)
        except (WebSocketDisconnect, RuntimeError) as error:  # the latter where the end was said already
            raise _Gone from error


class _Heard:
    """When messages came, and whether there are too many or none."""

    def __init__(self, limits: Limits):
        self._limits, self._last_s, self.ended = limits, time.monotonic(), False
        self._room = 2.0 * limits.max_messages_per_s

    def message(self) -> None:
        """One came; Refused where there are too many."""
        now_s, rate = time.monotonic(), self._limits.max_messages_per_s
        self._room = min(2.0 * rate, self._room + rate * (now_s - self._last_s)) - 1
        self._last_s = now_s
        if self._room < 0:
            hint = "send more sound in each message"
            raise Refused(LIMIT, f"there are over {rate} messages in a second", hint, "max_messages_per_s")

    def refuse_silence(self) -> None:
        """Refused where nothing has come for too long, before the end."""
        if not self.ended and time.monotonic() - self._last_s > self._limits.max_idle_s:
            raise _silence(self._limits)


async def _stop(*tasks: asyncio.Future[Any]) -> None:
    """End tasks, whatever they are at."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        # Until Python 3.12, `wait_for` forgets that it was cancelled where what it waits for is over just then.
        await asyncio.wait(running, timeout=0.1)
    await asyncio.gather(*tasks, return_exceptions=True)


def _silence(limits: Limits) -> Refused:
    what = f"nothing came for {limits.max_idle_s:g} s"
    return Refused(LIMIT, what, "begin the stream again when there is something to send", "max_idle_s")


def add_live(app: FastAPI, settings: object, models: Mapping[str, str | Path | None]) -> Live:
    """Add the WebSocket to an app.

    Args:
        app: FastAPI's or starlette's.
        settings: their limits count; see Limits.
        models: name -> a causal checkpoint; None is what comes with avgate under that name.

    Returns:
        The streams, for metrics; to be closed when the server ends.
    """
    live = Live(Limits.of(settings), Models(models))
    app.router.add_websocket_route(PATH, live.serve)
    return live
