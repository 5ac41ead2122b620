"""A server with live streams only, in a thread, and what clients of it say and hear."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from avgate.core.types import VideoFrame, Waveform
from tests import waiting

NO_DEFLATE: dict[str, Any] = {"compression": None, "max_size": None}


class Served:
    """A running server: its address, and its Live."""

    def __init__(self, models: Mapping[str, Path | None], limits: Mapping[str, float]):
        import uvicorn
        from fastapi import FastAPI

        from avgate.apps.serve.live import add_live

        app = FastAPI()
        self.live = add_live(app, SimpleNamespace(**limits), models)
        app.router.add_route("/alive", _alive)
        config = uvicorn.Config(app, log_level="error", ws_max_size=2**24)
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/api/live"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.live.close()


async def _alive(request: object) -> Any:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("yes")


@contextmanager
def served(models: Mapping[str, Path | None], **limits: float) -> Iterator[Served]:
    server = Served(models, limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


wait_until = partial(waiting.wait_until, longest_s=20.0)


def jpeg(image: np.ndarray, **more: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", **{"quality": 95, **more})
    return file.getvalue()


def s16(samples: np.ndarray) -> bytes:
    return np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes()


def packed(kind: int, time_s: float, payload: bytes = b"") -> bytes:
    return struct.pack("<Bd", kind, time_s) + payload


def message(piece: VideoFrame | Waveform, raw: bool = False) -> bytes:
    """A piece as a client sends it; frames as JPEG, or raw."""
    if isinstance(piece, VideoFrame):
        return packed(1, piece.time_s, piece.image.tobytes() if raw else jpeg(piece.image))
    return packed(2, piece.start_s, s16(piece.samples))


def begin(connection: Any, **hello: Any) -> dict[str, Any]:
    """Say what comes, and hear the answer."""
    connection.send(json.dumps({"model": "live"} | hello))
    return json.loads(connection.recv(timeout=60))


def hear_all(connection: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None, int]:
    """All that the server still says: results, the last message that isn't one, and the code of the end."""
    from websockets.exceptions import ConnectionClosed

    results, last = [], None
    while True:
        try:
            said = json.loads(connection.recv(timeout=60))
        except ConnectionClosed as closed:
            return results, last, closed.rcvd.code if closed.rcvd else 1006
        results += said.get("results", [])
        last = last if "results" in said else said
