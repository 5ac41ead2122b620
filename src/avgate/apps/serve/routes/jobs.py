"""Jobs: begin one, look at them, watch, cancel and delete them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse

from avgate.apps.serve.jobs import ENDED, Job, StoreError
from avgate.apps.serve.names import shown_name
from avgate.apps.serve.routes.served import FORMATS, LEVELS, Served
from avgate.apps.serve.routes.shapes import (
    EXAMPLE_ID,
    ID,
    JOB_EXAMPLE,
    JobShape,
    Refused,
    answers,
    problems,
    seconds,
)
from avgate.apps.serve.routes.tus import in_thread, written
from avgate.apps.serve.routes.uploads import new_id
from avgate.apps.serve.workers.crew import delete_job
from avgate.models.intervals import DEFAULT_LEVEL

WATCH_S = 0.3
"""Seconds between two looks at what is being watched."""

AWAY_S = 2.0
"""Seconds from one try to the next while the store can't be asked."""

SIGN_S = 15.0
"""Seconds without an event after which a stream gives a sign of life, so that no proxy takes it to have ended."""

MOST_LISTED = 500

_TOLD = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["job", "gone"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_EVENT = {
    "description": "Events `job` with a job as data: first as it is, then after each change",
    "content": {"text/event-stream": {"itemSchema": _TOLD, "example": 'event: job\ndata: {"state": "done"}\n'}},
}
_BODY = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    "required": True,
}


def by_id(served: Served) -> Any:
    """A parameter of routes: the job that the path names."""

    def found(
        job_id: Annotated[str, InPath(json_schema_extra={"pattern": ID}, examples=[EXAMPLE_ID])],
    ) -> Job:
        job = served.store.get(job_id) if re.fullmatch(ID, job_id, re.ASCII) else None
        if job is None:
            raise Refused(404, "there is no such job", "it may have been deleted, by its owner or after some time")
        return job

    return found


def job_routes(served: Served) -> APIRouter:
    """The routes of jobs."""
    router = APIRouter(prefix="/api", tags=["jobs"])
    found = Depends(by_id(served))
    models = list(served.settings.models)
    some, newest = "|".join(map(re.escape, FORMATS)), _Newest(served)

    @router.post(
        "/jobs",
        status_code=201,
        response_model=JobShape,
        responses=problems(413, 415, 503, 507) | answers(JOB_EXAMPLE, 201, "Accepted"),
        openapi_extra={"requestBody": _BODY},
    )
    async def begin(
        request: Request,
        name: Annotated[str, Query(description="The file's name.", examples=["interview.mp4"])] = "recording",
        model: str = Query("default", json_schema_extra={"enum": models}, examples=["default"]),
        level: Annotated[
            float, Query(ge=LEVELS[0], le=LEVELS[1], description="Share of the true values that intervals hold.")
        ] = DEFAULT_LEVEL,
        formats: str = Query(
            "",
            json_schema_extra={"pattern": f"^(({some})(,({some}))*)?$"},  # what is none is told better than by this
            description="Label formats, separated by commas.",
            examples=["elan"],
        ),
        report: Annotated[bool, Query(description="Write the HTML and PNG reports.")] = True,
    ) -> JobShape:
        """Send a recording, and have it estimated.

        The request's body is the file itself: curl -X POST -T interview.mp4 'URL/api/jobs?name=interview.mp4'. For
        large files and bad lines, /api/uploads/ goes on where the line broke.
        """
        if request.headers.get("content-type", "").startswith("multipart/"):  # its borders would be in the file
            raise Refused(415, "the recording came as a form", "send the file itself: curl -T FILE", "Content-Type")
        given = {"model": model, "level": str(level), "formats": formats, "report": str(report).lower()}
        options = served.options(given)
        said = request.headers.get("content-length", "")
        length = int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0
        served.refuse_too_long(length)
        upload_id = new_id()
        async with in_thread(served.places.reserved(upload_id, length)):
            return JobShape.of(await _received(request, served, upload_id, shown_name(name), options))

    @router.get("/jobs", response_model=list[JobShape], responses=problems() | answers([JOB_EXAMPLE]))
    def jobs(
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
        before: Annotated[
            str | None,
            Query(
                description="Only jobs accepted before: the last one's `created`.",
                json_schema_extra={"format": "date-time"},
                examples=["2026-01-31T12:00:00Z"],
            ),
        ] = None,
    ) -> list[JobShape]:
        """List the newest jobs, newest first."""
        try:
            before_s = None if before is None else seconds(before)
        except (ValueError, OverflowError):
            raise Refused(422, "before is no time", "give an ISO 8601 time, as in `created`", "before") from None
        return [JobShape.of(job) for job in served.store.list(limit, before_s)]

    @router.get("/events", response_class=_Events, responses=problems() | {200: _EVENT})
    async def all_events() -> _Events:
        """Watch the newest jobs: an event `job` of each, then one after each change; `gone` has an id alone."""

        async def told() -> AsyncIterator[bytes]:
            known: dict[str, Job] = {}
            while not served.ending.is_set():
                now = {job.id: job for job in await newest.get()}
                for job in reversed([*now.values()]):
                    if known.get(job.id) != job:
                        yield _event(job)
                for job_id in known.keys() - now.keys():
                    if await _asked(served, served.store.get, job_id) is None:
                        yield _gone(job_id)
                known = now
                await asyncio.sleep(WATCH_S)

        return _events(told())

    @router.get("/jobs/{job_id}", response_model=JobShape, responses=problems(404) | answers(JOB_EXAMPLE))
    def job(job: Job = found) -> JobShape:
        """Tell of a job as it is now."""
        return JobShape.of(job)

    @router.get("/jobs/{job_id}/events", response_class=_Events, responses=problems(404) | {200: _EVENT})
    async def events(job: Job = found) -> _Events:
        """Watch a job: an event `job` at once and after each change; the stream ends when the job does."""

        async def told() -> AsyncIterator[bytes]:
            then = job
            yield _event(then)
            while then.state not in ENDED and not served.ending.is_set():
                await asyncio.sleep(WATCH_S)
                now = await _asked(served, served.store.get, job.id)
                if now is None:
                    yield _gone(job.id)
                    return
                if now != then:
                    then = now
                    yield _event(then)

        return _events(told())

    @router.post("/jobs/{job_id}/cancel", response_model=JobShape, responses=problems(404) | answers(JOB_EXAMPLE))
    def cancel(job: Job = found) -> JobShape:
        """Cancel a job that hasn't ended."""
        now = served.store.cancel(job.id)
        if job.state == "queued" and now is not None and (now.state, now.attempt) == ("cancelled", job.attempt):
            served.metrics.cancelled()
        served.crew.wake()
        return JobShape.of(job if now is None else now)

    @router.delete("/jobs/{job_id}", status_code=204, response_class=Response, responses=problems(404))
    def delete(job: Job = found) -> Response:
        """Delete a job with its recording and its results, whatever state it is in."""
        delete_job(served.store, served.folder, job.id)
        served.crew.wake()
        return Response(status_code=204)

    return router


async def _asked(served: Served, ask: Callable[..., Any], *given: str) -> Any:
    """What the store says; who watches waits with the server until the store can be asked again."""
    while True:
        try:
            return await to_thread.run_sync(ask, *given)
        except StoreError:
            if served.ending.is_set():
                raise
            await asyncio.sleep(AWAY_S)


class _Newest:
    """The newest jobs, which all who watch look up together."""

    def __init__(self, served: Served):
        self._served, self._lock, self._then = served, asyncio.Lock(), -WATCH_S
        self._jobs: Sequence[Job] = ()

    async def get(self) -> Sequence[Job]:
        """The jobs as they are now, or were a moment ago."""
        async with self._lock:
            if time.monotonic() - self._then > WATCH_S / 2:
                self._jobs = await _asked(self._served, self._served.store.list)
                self._then = time.monotonic()
        return self._jobs


class _Events(StreamingResponse):
    """FastAPI's own class for this logs an error where one who watches goes away at a bad moment."""

    media_type = "text/event-stream"


def _events(told: AsyncIterator[bytes]) -> _Events:
    # X-Accel-Buffering: nginx passes each event on at once.
    return _Events(_alive(told), headers={"cache-control": "no-cache", "x-accel-buffering": "no"})


async def _alive(told: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is told, and a comment where that is nothing for long, as while the store is away."""
    coming = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(told))
            if not (await asyncio.wait([coming], timeout=SIGN_S))[0]:
                yield b": \n\n"
                continue
            try:
                event = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield event
    finally:
        if coming is not None:
            coming.cancel()


def _event(job: Job) -> bytes:
    return f"event: job\ndata: {JobShape.of(job).model_dump_json()}\n\n".encode()


def _gone(job_id: str) -> bytes:
    return f"event: gone\ndata: {json.dumps({'id': job_id})}\n\n".encode()


async def _received(request: Request, served: Served, upload_id: str, name: str, options: Any) -> Job:
    """Write a body to the disk and make it a job; what came of one that breaks off is removed."""
    path = served.uploads.path(upload_id)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with served.uploads.hold(upload_id) as file:
            size = await written(request, served, file, served.most_bytes)
        served.metrics.uploaded(size)
        served.refuse_too_long(size)
        if not size:
            raise Refused(400, "the request has no body", "send the recording as the body: curl -T FILE", "")
        return await to_thread.run_sync(served.admit, upload_id, name, options)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
