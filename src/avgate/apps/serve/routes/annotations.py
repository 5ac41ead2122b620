"""Annotations: what raters say of a recording, kept beside its job as a table, and given in any label format."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath

from avgate.apps.serve.jobs import Job
from avgate.apps.serve.routes.bodies import body_parts
from avgate.apps.serve.routes.files import as_file, kind_of
from avgate.apps.serve.routes.jobs import by_id
from avgate.apps.serve.routes.served import FORMATS, Served, refuse_unknown
from avgate.apps.serve.routes.shapes import AnnotationShape, Refused, answers, iso, problems
from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.scratch import scratch_folder
from avgate.core.text import quoted
from avgate.core.types import LabelTrack
from avgate.labels.formats import label_format, scaled, write_labels

MOST_BYTES, MOST_ROWS, MOST_TARGETS = 16 << 20, 500_000, 8
"""Most bytes, rows and targets of an annotation."""

MOST_NAMES, MOST_KEPT = 200, 64 << 20
"""Most annotations of a job, and most bytes that they may have together."""

MOST_CONVERTED, MOST_AT_ONCE = 50_000, 2
"""Most rows that are made into another format, which takes some seconds, and how many at once."""

LONGEST_S = 120.0
"""Longest time that an annotation may take to come."""

NAME = "^[A-Za-z0-9_-]{1,80}$"
"""What names of annotations look like: usually RATER-TARGET."""

_TITLES = re.compile(r"time_s((?:,[A-Za-z0-9_-]{1,60})+)")
_TABLE = "time_s,valence\n0.000,0.1000\n0.040,0.1200\n"
_EXAMPLE = {"name": "anna-valence", "targets": ["valence"], "size": 41, "saved": "2026-01-31T12:30:00.000000Z"}
_BODY = {"content": {"text/csv": {"schema": {"type": "string", "minLength": 1}, "example": _TABLE}}, "required": True}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The annotation, or a zip where the format has several files",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def annotation_routes(served: Served) -> APIRouter:
    """The routes of annotations."""
    router = APIRouter(prefix="/api/jobs/{job_id}/annotations", tags=["annotations"])
    found = Depends(by_id(served))
    converting = threading.BoundedSemaphore(MOST_AT_ONCE)

    def named(
        annotation: Annotated[str, InPath(json_schema_extra={"pattern": NAME}, examples=["anna-valence"])],
    ) -> str:
        if re.fullmatch(NAME, annotation, re.ASCII) is None:
            what = f"an annotation can't be called '{quoted(annotation)}'"
            raise Refused(422, what, "use up to 80 letters, digits, _ and -, such as anna-valence", "annotation")
        return annotation

    def stored(job: Job, name: str) -> Path:
        path = next((path for path in served.folder.annotations(job.id) if path.stem == name), None)
        if path is None:
            names = ", ".join(path.stem for path in served.folder.annotations(job.id))
            hint = f"there are: {names}" if names else "the recording has none yet"
            raise Refused(404, f"there is no annotation '{name}'", hint, "annotation")
        return path

    @router.get("", response_model=list[AnnotationShape], responses=problems(404) | answers([_EXAMPLE]))
    def annotations(job: Job = found) -> list[AnnotationShape]:
        """List the annotations of a recording."""
        return [_described(path) for path in served.folder.annotations(job.id)]

    @router.get("/{annotation}", response_class=Response, responses=problems(404, 413, 503) | _FILE)
    def annotation(
        format: str = Query(
            "csv", json_schema_extra={"enum": ["csv", *FORMATS]}, description="Label format.", examples=["csv"]
        ),
        job: Job = found,
        name: str = Depends(named),
    ) -> Response:
        """Fetch an annotation in a label format."""
        refuse_unknown("label format", format, ("csv", *FORMATS), "format")
        path = stored(job, name)
        if format == "csv":
            return as_file(path, path.name)
        if not converting.acquire(blocking=False):
            what = f"{MOST_AT_ONCE} annotations are being converted at this moment"
            raise Refused(503, what, "try again in a while, or take it as csv", "format", {"retry-after": "5"})
        try:
            return _converted(path, name, format)
        finally:
            converting.release()

    @router.put(
        "/{annotation}",
        status_code=204,
        response_class=Response,
        responses=problems(404, 408, 409, 413, 507),
        openapi_extra={"requestBody": _BODY},
    )
    async def save(
        request: Request,
        format: str = Query("csv", json_schema_extra={"enum": ["csv"]}, examples=["csv"]),
        job: Job = found,
        name: str = Depends(named),
    ) -> Response:
        """Save an annotation: a table of times in seconds and a value in [-1, 1] for each, empty where unknown.

        One of the same name is replaced.
        """
        if format != "csv":
            raise Refused(422, f"annotations aren't taken as '{quoted(format)}'", "send csv", "format")
        table = await _body(request)
        await to_thread.run_sync(_save, served, job, name, table)
        return Response(status_code=204)

    @router.delete("/{annotation}", status_code=204, response_class=Response, responses=problems(404))
    def delete(job: Job = found, name: str = Depends(named)) -> Response:
        """Delete an annotation."""
        stored(job, name).unlink(missing_ok=True)
        return Response(status_code=204)

    return router


async def _body(request: Request) -> bytes:
    parts = bytearray()
    async for part in body_parts(request, LONGEST_S):
        parts += part
        if len(parts) > MOST_BYTES:
            what = f"an annotation has at most {MOST_BYTES >> 20} MB"
            raise Refused(413, what, "save fewer values a second")
    return bytes(parts)


def _save(served: Served, job: Job, name: str, table: bytes) -> None:
    labels = _read(table, served.settings.max_duration_s)
    kept = {path.stem: path.stat().st_size for path in served.folder.annotations(job.id)}
    if name not in kept and len(kept) >= MOST_NAMES:
        raise Refused(409, f"the recording has {len(kept)} annotations, the most that it may", "delete one")
    if sum(kept.values()) - kept.get(name, 0) + len(table) > MOST_KEPT:
        what = f"the recording's annotations have at most {MOST_KEPT >> 20} MB together"
        raise Refused(413, what, "delete one, or save fewer values a second", "body")
    try:
        path = served.folder.annotate(job.id, name)
        if path.is_symlink():  # behind which it would be written
            path.unlink()
        with atomic_write(path) as temporary:
            label_format("csv").write(labels, temporary)
    except FileNotFoundError:
        raise Refused(404, "there is no such job", "it may have been deleted") from None
    if served.store.get(job.id) is None:  # it was deleted meanwhile
        served.folder.remove(job.id)


def _read(table: bytes, longest_s: float) -> LabelTrack:
    """The labels of a table; Refused where it is none."""
    titles = _TITLES.fullmatch(table[:1000].decode("ascii", "replace").partition("\n")[0].rstrip("\r"))
    if titles is None:
        raise Refused(422, "the first line isn't time_s and the names of targets", "begin with: time_s,valence", "body")
    names = titles[1][1:].split(",")
    if len(names) > MOST_TARGETS:
        raise Refused(422, f"an annotation has at most {MOST_TARGETS} targets", "send several", "body")
    if table.count(b"\n") + table.count(b"\r") > 2 * MOST_ROWS:
        raise Refused(413, f"an annotation has at most {MOST_ROWS:,} rows", "save fewer values a second", "body")
    try:
        with scratch_folder() as folder:
            path = folder / "annotation.csv"
            path.write_bytes(table)
            labels = label_format("csv").read(path, None)
        scaled(labels.values, labels.targets, None, labels.time_s)
    except CorpusError as error:
        raise Refused(422, error.what, error.hint or "", "body") from None
    if list(labels.targets) != names or labels.until_s is not None:
        raise Refused(422, "a title isn't a target's name", "give a target's values below each, as numbers", "body")
    if len(labels.time_s) > MOST_ROWS:
        raise Refused(413, f"an annotation has at most {MOST_ROWS:,} rows", "save fewer values a second", "body")
    if not (labels.time_s[0] >= 0 and labels.time_s[-1] <= longest_s):
        raise Refused(422, f"a time isn't within 0 and {longest_s:g} s", "give seconds of the recording", "body")
    if np.isnan(labels.values).all():
        raise Refused(422, "there is no value in it", "give at least one", "body")
    return labels


def _described(path: Path) -> AnnotationShape:
    with path.open(encoding="utf-8") as file:
        targets = file.readline().strip().split(",")[1:]
    state = path.stat()
    return AnnotationShape(name=path.stem, targets=targets, size=state.st_size, saved=iso(state.st_mtime))


def _converted(path: Path, name: str, format: str) -> Response:
    with path.open("rb") as table:
        if sum(1 for _ in table) > MOST_CONVERTED + 1:
            what = f"an annotation of more than {MOST_CONVERTED:,} rows comes as csv alone"
            raise Refused(413, what, "take format=csv, and convert it with a program of yours", "format")
    chosen = label_format(format)
    labels = label_format("csv").read(path, None)
    with scratch_folder() as folder:
        write_labels(labels, folder / f"{name}{chosen.suffix}", format)
        files = sorted(folder.iterdir())
        if len(files) == 1:
            return _sent(files[0].name, files[0].read_bytes(), kind_of(files[0].name))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
        return _sent(f"{name}.zip", packed.getvalue(), "application/zip")


def _sent(name: str, content: bytes, kind: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type=kind)
