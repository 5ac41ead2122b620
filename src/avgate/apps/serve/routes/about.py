"""What the server is and how it is: its page, models, formats, health and counts."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from avgate.apps.serve import metrics
from avgate.apps.serve.door.tokens import log_in
from avgate.apps.serve.routes.models import described
from avgate.apps.serve.routes.served import FORMATS, Served
from avgate.apps.serve.routes.shapes import (
    FormatShape,
    Health,
    LimitsShape,
    ModelShape,
    Refused,
    answers,
    away,
    problems,
)
from avgate.core.errors import OutputError, WorkerError
from avgate.labels.formats import label_format

log = logging.getLogger("avgate.serve")

WEB = Path(str(resources.files("avgate.apps.serve"))) / "web"
"""The page's files."""

_ROOM_MB = 16.0
"""Room on the disk, in MiB, below which no recording's results would find any, whatever the reserve."""

KEPT_S = 1.0
"""Seconds for which an answer about readiness holds: strangers may ask as often as they like."""

_MODEL = {
    "name": "default",
    "called": "people (rhgrjca)",
    "causal": False,
    "targets": ["valence", "arousal"],
    "short": "Not for decisions about a person.",
    "notes": ["They are not for decisions about a person."],
    "is_for": ["Comparing moments of one recording, or recordings of one person made alike."],
    "is_not_for": ["Saying what somebody feels."],
}
_LIMITS = {
    "max_upload_mb": 4096,
    "max_duration_s": 14400.0,
    "max_stream_s": 7200.0,
    "keep_h": 72.0,
    "uploads_keep_h": 24.0,
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Counts", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def about_routes(served: Served) -> APIRouter:
    """The routes of the page and of what tells of the server."""
    router = APIRouter()
    wrong = Kept(lambda: _wrong(served))

    @router.get(
        "/api/models", tags=["about"], response_model=list[ModelShape], responses=problems() | answers([_MODEL])
    )
    def models() -> list[ModelShape]:
        """List the models that recordings can be estimated with, the first one being the usual one."""
        try:
            return described(served.settings, served.ending)
        except WorkerError as error:
            log.warning("the models can't be told: %s", error.what)
            what = "the server can't load its models now"
            raise Refused(
                503, what, "try again in a while; its log says why", "models", {"retry-after": "10"}
            ) from None

    @router.get(
        "/api/formats",
        tags=["about"],
        response_model=list[FormatShape],
        responses=problems() | answers([{"name": "elan", "label": "ELAN (.eaf)", "suffix": ".eaf", "single": False}]),
    )
    def formats() -> list[FormatShape]:
        """List the label formats that results can be written in, beside CSV and JSON."""
        chosen = map(label_format, FORMATS)
        return [
            FormatShape(name=f.name, label=f"{f.program} ({f.suffix})", suffix=f.suffix, single=f.single)
            for f in chosen
        ]

    @router.get("/api/limits", tags=["about"], response_model=LimitsShape, responses=problems() | answers(_LIMITS))
    async def limits() -> LimitsShape:
        """What the server takes, and for how long it keeps what it was given."""
        return LimitsShape(**{name: getattr(served.settings, name) for name in LimitsShape.model_fields})

    @router.get("/health/live", tags=["about"], response_model=Health, responses=problems() | answers({"status": "ok"}))
    async def live() -> Health:
        """Ask whether the server answers."""
        return Health(status="ok")

    @router.get(
        "/health/ready", tags=["about"], response_model=Health, responses=problems(503) | answers({"status": "ok"})
    )
    async def ready() -> Health:
        """Ask whether the server can take a job: its database and its disk work."""
        if (where := await wrong.get()) is not None:
            raise away(where)
        return Health(status="ok")

    @router.get("/metrics", tags=["about"], response_class=Response, responses=problems() | _TEXT)
    def counts() -> Response:
        """Fetch counts for Prometheus."""
        return Response(served.metrics.text(), media_type=metrics.KIND)

    @router.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        status, headers, body = log_in(await request.body(), served.settings.token, request.url.scheme == "https")
        return Response(body, status, headers)

    @router.get("/", include_in_schema=False)
    def page() -> Response:
        index = WEB / "index.html"
        if not index.is_file():
            return HTMLResponse("<!doctype html><title>avgate</title><p>The server runs; its page isn't installed.")
        return FileResponse(index, headers={"cache-control": "no-cache"})

    return router


def _wrong(served: Served) -> str | None:
    """The setting whose part of the server keeps it from taking a job; None where nothing does."""
    where = "database"
    try:
        served.store.check()
        where = "data"
        served.uploads.check()
        if (free_mb := served.folder.free_mb()) < max(_ROOM_MB, served.settings.min_free_mb):
            raise OutputError(f"the disk has {free_mb:.0f} MiB left")
    except Exception as error:
        log.warning("not ready, for its setting %s: %s", where, error)
        return where
    return None


class Kept:
    """What a question that takes a while found out, for all who ask within a second.

    Args:
        ask: asks it; called in a thread.
    """

    def __init__(self, ask: Callable[[], str | None]):
        self._ask, self._asking = ask, asyncio.Lock()
        self._until_s = -math.inf
        self._found: str | None = None

    async def get(self) -> str | None:
        """What is known, or found out now."""
        async with self._asking:
            if time.monotonic() >= self._until_s:
                self._found = await to_thread.run_sync(self._ask)
                self._until_s = time.monotonic() + KEPT_S
            return self._found


class WebFiles(StaticFiles):
    """The page's files; browsers ask each time whether they have changed, as they do with a new version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or that it hasn't changed."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response
