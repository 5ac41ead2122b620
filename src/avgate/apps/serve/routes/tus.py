"""Uploads that can be resumed: the protocol tus 1.0.0, with creation, creation-with-upload, expiration, termination.

https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from avgate.apps.serve.names import shown_name
from avgate.apps.serve.routes.bodies import body_parts
from avgate.apps.serve.routes.served import Served
from avgate.apps.serve.routes.shapes import EXAMPLE_ID, ID, Refused, problems
from avgate.apps.serve.routes.uploads import FULL, BusyError, Upload, new_id, write_all
from avgate.core.errors import OutputError
from avgate.core.text import quoted

VERSION = "1.0.0"

_KIND = "application/offset+octet-stream"
_MOST_METADATA = 1 << 14


def tus_routes(served: Served) -> APIRouter:
    """The routes of uploads."""
    router = APIRouter(prefix="/api/uploads", tags=["uploads"])
    uploads = served.uploads

    def found(upload_id: str) -> Upload:
        upload = uploads.get(upload_id)
        if upload is None:
            hint = "begin it anew: it is unknown, complete, or too old"
            raise Refused(404, "there is no such upload", hint, "", _tus())
        return upload

    def job_of(upload_id: str) -> dict[str, str] | None:
        """What the sender of an upload is told that has become a job."""
        whole = re.fullmatch(ID, upload_id, re.ASCII) is not None and uploads.get(upload_id) is None
        job = served.store.get(upload_id) if whole else None
        return None if job is None else _tus({"Upload-Offset": str(job.size), "Avgate-Job": job.id})

    def state(upload: Upload, offset: int) -> dict[str, str]:
        expires = formatdate(uploads.expires_s(upload.id), usegmt=True)
        return _tus({"Upload-Offset": str(offset), "Upload-Expires": expires})

    def end(upload: Upload, headers: dict[str, str]) -> None:
        """Make it a job if it is complete; headers tell its sender."""
        if headers["Upload-Offset"] == str(upload.length):
            if not uploads.path(upload.id).exists() and served.folder.recording(upload.id) is None:
                raise FileNotFoundError  # it was given up while its last bytes came
            headers["Avgate-Job"] = served.admit(upload.id, upload.name, upload.options).id

    async def receive(request: Request, upload: Upload, offset: int) -> dict[str, str]:
        """Add a request's body to an upload; what it is told of that."""
        try:
            with uploads.hold(upload.id) as file:
                headers = state(upload, await _added(request, served, file, upload.length, offset))
                await to_thread.run_sync(end, upload, headers)
                return headers
        except BusyError:
            hint = "wait until it is done, and ask for the offset"
            raise Refused(423, "another request sends this upload at this moment", hint, "", _tus()) from None
        except FileNotFoundError:
            raise Refused(404, "there is no such upload", "begin it anew", "", _tus()) from None

    @router.options("/", status_code=204, response_class=Response, responses=problems())
    def ask() -> Response:
        """Ask which version and extensions of tus are spoken, and how long an upload may be."""
        more = {
            "Tus-Version": VERSION,
            "Tus-Max-Size": str(served.most_bytes),
            "Tus-Extension": "creation,creation-with-upload,expiration,termination",
        }
        return Response(status_code=204, headers=_tus(more))

    @router.post(
        "/",
        status_code=201,
        response_class=Response,
        responses=problems(412, 413, 415, 503, 507) | {201: {"description": "Begun", "headers": _shown("Location")}},
        openapi_extra={
            "parameters": [
                _RESUMABLE,
                _header("Upload-Length", {"type": "integer", "minimum": 1, "maximum": served.most_bytes}, 7340032),
                _header("Upload-Metadata", {"type": "string", "pattern": _METADATA}, _METADATA_EXAMPLE, needed=False),
            ]
        },
    )
    async def create(request: Request) -> Response:
        """Begin an upload that can be resumed.

        Metadata: filename, model, level, formats (separated by commas) and report, in base64. Bytes may come with it
        (creation-with-upload), as in PATCH. Location tells where to send the (further) bytes.
        """
        _check_version(request)
        length = _count(request, "upload-length", least=1)
        served.refuse_too_long(length)
        given = _metadata(request.headers.get("upload-metadata", ""))
        options, name = served.options(given), shown_name(given.get("filename", ""))
        with_bytes = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        if with_bytes:
            _check_kind(request)
        upload_id = new_id()
        async with in_thread(served.places.reserved(upload_id, length)):
            upload = await to_thread.run_sync(_created, served, name, length, options, upload_id)
        headers = await receive(request, upload, 0) if with_bytes else state(upload, 0)
        return Response(status_code=201, headers=headers | {"Location": f"/api/uploads/{upload.id}"})

    upload_path = InPath(json_schema_extra={"pattern": ID}, examples=[EXAMPLE_ID])

    @router.head(
        "/{upload_id}",
        response_class=Response,
        responses=problems(404, 412) | {200: {"description": "So far", "headers": _shown("Upload-Offset")}},
        openapi_extra={"parameters": [_RESUMABLE]},
    )
    def look(request: Request, upload_id: str = upload_path) -> Response:
        """Ask how many bytes of an upload have come: where to go on."""
        _check_version(request)
        if (ended := job_of(upload_id)) is not None:
            return Response(headers=ended | {"Upload-Length": ended["Upload-Offset"], "Cache-Control": "no-store"})
        upload = found(upload_id)
        try:
            headers = state(upload, uploads.offset(upload.id))
            with contextlib.suppress(BusyError), uploads.hold(upload.id):  # it is whole, and has no job yet
                end(upload, headers)
        except FileNotFoundError:
            raise Refused(404, "there is no such upload", "begin it anew", "", _tus()) from None
        return Response(headers=headers | {"Upload-Length": str(upload.length), "Cache-Control": "no-store"})

    @router.patch(
        "/{upload_id}",
        status_code=204,
        response_class=Response,
        responses=problems(404, 409, 412, 415, 423, 507)
        | {204: {"description": "Added", "headers": _shown("Upload-Offset", "Avgate-Job")}},
        openapi_extra={
            "parameters": [
                _RESUMABLE,
                _header("Upload-Offset", {"type": "integer", "minimum": 0, "maximum": served.most_bytes}, 0),
            ],
            "requestBody": {"content": {_KIND: {"schema": {"type": "string", "format": "binary"}}}, "required": True},
        },
    )
    async def add(request: Request, upload_id: str = upload_path) -> Response:
        """Add bytes to an upload.

        The answer that completes it says in Avgate-Job which job it became.
        """
        _check_version(request)
        _check_kind(request)
        offset = _count(request, "upload-offset", least=0)
        if (ended := await to_thread.run_sync(job_of, upload_id)) is not None:
            if ended["Upload-Offset"] != str(offset):
                what = f"the upload has {ended['Upload-Offset']} bytes, not {offset}"
                raise Refused(409, what, "it is complete", "Upload-Offset", ended)
            return Response(status_code=204, headers=ended)
        upload = await to_thread.run_sync(found, upload_id)
        return Response(status_code=204, headers=await receive(request, upload, offset))

    @router.delete(
        "/{upload_id}",
        status_code=204,
        response_class=Response,
        responses=problems(404, 412, 423),
        openapi_extra={"parameters": [_RESUMABLE]},
    )
    def remove(request: Request, upload_id: str = upload_path) -> Response:
        """Give an upload up; its bytes are deleted."""
        _check_version(request)
        uploads.remove(found(upload_id).id)
        return Response(status_code=204, headers=_tus())

    return router


async def _added(request: Request, served: Served, file: int, length: int, offset: int) -> int:
    """Add a body to a file; how long the file is then. What came stays when its sender goes away."""
    at = os.fstat(file).st_size
    if offset != at:
        raise Refused(409, f"the upload has {at} bytes, not {offset}", "go on from there", "Upload-Offset", _tus())
    more = "it holds more bytes than Upload-Length says"
    if _count(request, "content-length", least=0, default=0) > length - offset:
        raise Refused(400, more, "begin it anew with the right length", "Upload-Length", _tus())
    try:
        at = await written(request, served, file, length - offset)
        if at > length:
            os.ftruncate(file, offset)
            raise Refused(400, more, "begin it anew with the right length", "Upload-Length", _tus())
        return at
    finally:
        served.metrics.uploaded(max(0, os.fstat(file).st_size - offset))


async def written(request: Request, served: Served, file: int, most: int) -> int:
    """Write a request's body to a file, part by part as it comes; the file's size when that is on the disk.

    Reading ends with the first part that goes beyond `most` bytes, which isn't written as a whole.

    Raises:
        Refused: the disk is full.
        ClientDisconnect: the sender has gone; what it sent is there.
    """
    came = 0

    def keep(part: bytes) -> None:
        if served.places.free_bytes() < len(part):
            raise OSError(errno.ENOSPC, "the reserve is reached")
        write_all(file, part)

    try:
        try:
            async for part in body_parts(request):
                came += len(part)
                await to_thread.run_sync(keep, part[: len(part) - max(0, came - most - 1)])
                if came > most:
                    break
        finally:
            await to_thread.run_sync(os.fsync, file)
    except OSError as error:
        if error.errno not in FULL:
            raise
        what = "the server's disk is full"
        raise Refused(507, what, "ask who runs it to free space, then go on with the upload", "data", _tus()) from error
    return os.fstat(file).st_size


def _created(served: Served, name: str, length: int, options: Any, upload_id: str) -> Upload:
    try:
        return served.uploads.create(name, length, options, upload_id)
    except (OSError, OutputError) as error:
        raise Refused(507, "the server can't write to its disk", "ask who runs it to free space", "data") from error


@contextlib.asynccontextmanager
async def in_thread(block: contextlib.AbstractContextManager[None]) -> AsyncIterator[None]:
    """A block whose begin waits for the database and the disk, which the event loop can't."""
    await to_thread.run_sync(block.__enter__)
    try:
        yield
    finally:
        block.__exit__(None, None, None)


def _tus(more: dict[str, str] | None = None) -> dict[str, str]:
    return {"Tus-Resumable": VERSION} | (more or {})


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        headers = _tus({"Tus-Version": VERSION})
        raise Refused(
            412, "another version of tus than 1.0.0", f"send Tus-Resumable: {VERSION}", "Tus-Resumable", headers
        )


def _check_kind(request: Request) -> None:
    if request.headers.get("content-type") != _KIND:
        raise Refused(415, "bytes of an upload have another type", f"send {_KIND}", "Content-Type", _tus())


def _count(request: Request, header: str, least: int, default: int | None = None) -> int:
    text = request.headers.get(header)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least):
        title = header.title()
        given = "is missing" if text is None else f"can't be '{quoted(text)}'"
        raise Refused(400, f"{title} {given}", f"send a number of bytes, at least {least}", title, _tus())
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """What Upload-Metadata says: names and base64 texts, apart by commas."""
    if len(header) > _MOST_METADATA:
        raise Refused(
            400, "the metadata is too long", f"send at most {_MOST_METADATA} bytes", "Upload-Metadata", _tus()
        )
    if not re.fullmatch(_METADATA, header):
        hint = "send names with values in base64, such as filename aW50ZXJ2aWV3Lm1wNA=="
        raise Refused(400, "the metadata isn't well made", hint, "Upload-Metadata", _tus())
    pairs = (pair.strip(" ").partition(" ") for pair in header.split(",") if pair)
    return {name: base64.b64decode(value).decode("utf-8", "replace") for name, _, value in pairs}


_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_PAIR = rf"[!-+\--~]+( {_BASE64})?"
_METADATA = f"^({_PAIR}(, ?{_PAIR})*)?$"
_METADATA_EXAMPLE = "filename aW50ZXJ2aWV3Lm1wNA==,model ZGVmYXVsdA=="


def _header(name: str, schema: dict[str, Any], example: object, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": needed, "schema": schema, "example": example}


_RESUMABLE = _header("Tus-Resumable", {"type": "string", "enum": [VERSION]}, VERSION)


def _shown(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}
