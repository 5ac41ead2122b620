"""Files of a job: its results and the recording itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from avgate.apps.serve.jobs import Job
from avgate.apps.serve.routes.jobs import by_id
from avgate.apps.serve.routes.served import Served
from avgate.apps.serve.routes.shapes import Refused, problems

_KINDS = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".eaf": "application/xml",
    ".textgrid": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".annotation": "application/xml",
}
"""Suffix of a result -> what browsers are told that it is; other ones are bytes."""

_PLAYED = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}
"""Suffix of a recording -> what browsers play it as. Nothing that could hold a script is among them."""

_CLOSED = "default-src 'none'; sandbox; frame-ancestors 'self'"
_REPORT = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""A report runs its scripts, and can't reach the server: for the browser it comes from nowhere."""

_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "A part", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    400: {"description": "The range makes no sense", "content": {"text/plain": {"schema": {"type": "string"}}}},
    416: {"description": "There is no such part", "content": {"text/plain": {"schema": {"type": "string"}}}},
}


def file_routes(served: Served) -> APIRouter:
    """The routes of files."""
    router = APIRouter(prefix="/api/jobs/{job_id}", tags=["files"])
    found = Depends(by_id(served))

    @router.get("/results/{name}", response_class=FileResponse, responses=problems(404) | _BYTES)
    def result(name: Annotated[str, InPath(examples=["interview.csv"])], job: Job = found) -> FileResponse:
        """Fetch a file of the results, by its name in the job's `results`."""
        if name not in job.results:
            hint = f"it has: {', '.join(job.results)}" if job.results else f"the job is {job.state}"
            raise Refused(404, "the job has no such result", hint, "name")
        policy = _REPORT if name.lower().endswith(".html") else _CLOSED
        return _file(served.folder.result(job.id, name), kind_of(name), name, policy)

    @router.get("/input", response_class=FileResponse, responses=problems(404) | _BYTES)
    def recording(job: Job = found) -> FileResponse:
        """Fetch the recording itself, or parts of it (Range)."""
        path = served.folder.recording(job.id)
        kind = _PLAYED.get(Path(job.name).suffix.lower(), "application/octet-stream")
        return _file(path, kind, job.name, _CLOSED)

    return router


def kind_of(name: str) -> str:
    """What browsers are told that a file of this name is."""
    return _KINDS.get(Path(name).suffix.lower(), "application/octet-stream")


def as_file(path: Path, name: str) -> FileResponse:
    """A file that was checked or made by the server; Refused where it has gone."""
    return _file(path, kind_of(name), name, _CLOSED)


def _file(path: Path | None, kind: str, name: str, policy: str) -> FileResponse:
    try:
        status = None if path is None else path.lstat()
    except FileNotFoundError:
        status = None
    if path is None or status is None:
        raise Refused(404, "the file is gone", "the job may have been deleted", "name")
    headers = {"content-security-policy": policy, "cache-control": "private, no-cache"}
    shown = "inline" if kind.partition("/")[0] in ("video", "audio", "image", "text") else "attachment"
    return FileResponse(
        path, headers=headers, media_type=kind, stat_result=status, filename=name, content_disposition_type=shown
    )
