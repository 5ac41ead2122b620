"""Live streams to a server, played by the clock, for benchmarks/serve.py: how late their results come."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import io
import json
import os
import struct
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from avgate.core.types import VideoFrame, Waveform
from avgate.media import open_recording

CORES = 2
"""Cores that the server has."""

PIECE_S = 0.05
"""Seconds of sound in a message."""

Messages = Sequence[tuple[float, bytes]]
"""Messages with the moment in seconds at which each is sent."""


def on_cores() -> None:
    """Let this process run on so many cores; without effect where the system can't."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])


def played(video: Path, url: str, count: int, process: psutil.Process) -> dict[str, Any]:
    """Play a video as so many streams at once.

    Args:
        video: what each of them sends.
        url: where to.
        count: how many.
        process: the server, whose processor time counts.

    Returns:
        late_s: [p50, p95, longest]; counts of images, results, dropped and skipped; cores: used by the server on
        average; ended: how streams ended.
    """
    messages = messages_of(video)
    streams, cores = asyncio.run(_all(url, messages, count, process))
    late = np.concatenate([stream.late_s for stream in streams])
    return {
        "streams": count,
        "late_s": [*np.percentile(late, [50, 95]), float(late.max())] if len(late) else [float("nan")] * 3,
        "images": sum(stream.images for stream in streams),
        "results": len(late),
        "dropped": sum(stream.dropped for stream in streams),
        "skipped": sum(stream.skipped for stream in streams),
        "cores": cores,
        "ended": Counter(stream.end for stream in streams),
    }


def messages_of(video: Path) -> Messages:
    """A video as messages: what clients do beforehand doesn't count."""
    recording = open_recording(video)
    pieces = heapq.merge(recording.frames(), recording.sound(PIECE_S), key=_come_s)
    return [(_come_s(piece), _message(piece)) for piece in pieces]


def _come_s(piece: VideoFrame | Waveform) -> float:
    return piece.time_s if isinstance(piece, VideoFrame) else piece.end_s


def _message(piece: VideoFrame | Waveform) -> bytes:
    if isinstance(piece, VideoFrame):
        file = io.BytesIO()
        Image.fromarray(piece.image).save(file, "JPEG", quality=85)
        return struct.pack("<Bd", 1, piece.time_s) + file.getvalue()
    samples = np.clip(np.round(piece.samples * 2**15), -(2**15), 2**15 - 1)
    return struct.pack("<Bd", 2, piece.start_s) + samples.astype("<i2").tobytes()


class _Stream:
    """One stream, and what became of it."""

    def __init__(self, messages: Messages, delay_s: float):
        self._messages, self._delay_s = messages, delay_s
        self.late_s: list[float] = []
        self.images = self.dropped = self.skipped = 0
        self.end = "cut"

    async def open(self, server: ClientConnection) -> None:
        """Say what comes, and wait until the server is ready."""
        self._server = server
        await server.send(json.dumps({"model": "live"}))
        self._hear(json.loads(await server.recv()), 0.0)

    async def play(self) -> None:
        """Send all messages by the clock, and hear the results."""
        began_s = time.perf_counter() + self._delay_s
        sending = asyncio.create_task(self._send(self._server, began_s))
        with contextlib.suppress(ConnectionClosed):  # what was said before is why
            async for text in self._server:
                self._hear(json.loads(text), time.perf_counter() - began_s)
        sending.cancel()

    async def _send(self, server: ClientConnection, began_s: float) -> None:
        with contextlib.suppress(ConnectionClosed):
            for due_s, message in self._messages:
                await asyncio.sleep(began_s + due_s - time.perf_counter())
                self.images += message[0] == 1
                await server.send(message)
            await server.send(json.dumps({"end": True}))

    def _hear(self, said: dict[str, Any], now_s: float) -> None:
        for result in said.get("results", ()):
            self.late_s.append(now_s - result["time_s"])
            self.skipped += not result["looked"]
        self.dropped = said.get("dropped", self.dropped)
        if "end" in said:
            self.end = "as they should"
        elif "error" in said:
            self.end = f'"{said["error"]}"'


async def _all(url: str, messages: Messages, count: int, process: psutil.Process) -> tuple[list[_Stream], float]:
    """The streams after their end, and how many cores the server used."""
    streams = [_Stream(messages, 0.04 * number / count) for number in range(count)]
    async with contextlib.AsyncExitStack() as scope:
        connecting = [scope.enter_async_context(connect(url, compression=None, max_size=None)) for _ in streams]
        servers = [await connection for connection in connecting]
        await asyncio.gather(*(stream.open(server) for stream, server in zip(streams, servers, strict=True)))
        began_s, before_s = time.perf_counter(), sum(process.cpu_times()[:2])
        await asyncio.gather(*(stream.play() for stream in streams))
        used_s = sum(process.cpu_times()[:2]) - before_s
        return streams, used_s / (time.perf_counter() - began_s)
