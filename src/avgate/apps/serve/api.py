"""The server's HTTP interface as one app."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import uvicorn
from anyio import to_thread
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from avgate.apps.serve.door.bodies import Bounds
from avgate.apps.serve.door.connections import TAKEN_AT_ONCE, Connection, quiet_libraries, room
from avgate.apps.serve.door.guard import Guard
from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import JobStore, StoreError, StoreFullError
from avgate.apps.serve.live import add_live
from avgate.apps.serve.metrics import Metrics
from avgate.apps.serve.routes.about import WEB, WebFiles, about_routes
from avgate.apps.serve.routes.annotations import annotation_routes
from avgate.apps.serve.routes.files import file_routes
from avgate.apps.serve.routes.jobs import job_routes
from avgate.apps.serve.routes.models import described
from avgate.apps.serve.routes.parameters import only_known
from avgate.apps.serve.routes.served import Served
from avgate.apps.serve.routes.shapes import Refused, away
from avgate.apps.serve.routes.tus import tus_routes
from avgate.apps.serve.routes.uploads import FULL, Uploads
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.work import open_place
from avgate.apps.serve.workers.crew import Crew
from avgate.core.console import console
from avgate.core.errors import AvgateError, UsageError
from avgate.core.signals import Ended
from avgate.core.text import reason

log = logging.getLogger("avgate.serve")

CLEAN_S = 60.0
"""Seconds from one look for what is too old to the next."""

GRACE_S = 3
"""Seconds that requests under way have when the server ends."""

_WAITING = 1024
"""Connections that the system keeps until they are taken."""

PING_S, PONG_S = 5.0, 10.0
"""Seconds from one ping of a live stream's client to the next, and for which the answer is waited for.

A client whose machine lost its network says no word; its place is free after both.
"""

_AWAY = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)
"""Errors of a disk, such as one in the network, that may be over later."""

_RECORDINGS, _TABLES = (
    re.compile(r"/api/uploads(/[^/]*)?|/api/jobs/?"),
    re.compile(r"/api/jobs/[^/]+/annotations/[^/]+"),
)
"""Paths to which recordings and annotations are sent; their routes look after bytes and time, see routes/bodies.py."""


def create_app(settings: Settings, store: JobStore, folder: DataFolder, crew: Crew) -> FastAPI:
    """The server's HTTP interface.

    Before it answers, what was cut when the server ended is put in order, and the crew begins its work.

    Args:
        settings: its limits.
        store: where jobs are kept.
        folder: where files are kept.
        crew: who does the jobs.
    """
    uploads = Uploads(folder.uploads, 3600 * settings.uploads_keep_h)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        folder.hold()
        await to_thread.run_sync(served.recover)
        await to_thread.run_sync(crew.recover)
        crew.start()
        cleaning = asyncio.create_task(_clean(served))
        try:
            yield
        finally:
            cleaning.cancel()
            await to_thread.run_sync(live.close)
            await to_thread.run_sync(crew.stop)
            folder.release()

    app = _App(
        title="avgate",
        version=version("avgate"),
        description="Valence and arousal of a person in every video frame, from face and voice.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # Swagger and ReDoc load from another host
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(only_known)],
        lifespan=lifespan,
    )
    live = add_live(app, settings, settings.models)
    metrics = Metrics(store.count, lambda: crew.figures, live)
    served = app.state.served = Served(settings, store, folder, crew, uploads, metrics)
    for routes in (about_routes, tus_routes, job_routes, file_routes, annotation_routes):
        app.include_router(routes(served))
    app.mount("/web", WebFiles(directory=WEB, check_dir=False))
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(
        Guard,
        token=settings.token,
        loopback=settings.is_loopback,
        per_minute=settings.requests_per_minute,
        bounds=_bounds,
        ended=metrics.request,
    )
    return app


def _bounds(method: str, path: str) -> Bounds:
    """What the body of a request may be."""
    recording = method in ("POST", "PATCH") and _RECORDINGS.fullmatch(path)
    table = method == "PUT" and _TABLES.fullmatch(path)
    return Bounds(None, None) if recording or table else Bounds()


async def _clean(served: Served) -> None:
    """Put uploads in order that nobody goes on with, from time to time, for as long as the server runs."""
    while True:
        try:
            await to_thread.run_sync(served.adopt)
            await to_thread.run_sync(served.uploads.sweep)
        except StoreError as error:
            log.warning("complete uploads wait: %s", error.what)
        except Exception:  # such as a disk that is away for a while
            log.exception("uploads can't be put in order now")
        await asyncio.sleep(CLEAN_S)


def _problem(status: int, what: str, hint: str = "", where: str = "", headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": what, "hint": hint, "where": where}, status, headers)


def _refused(request: Request, error: Any) -> Response:
    return JSONResponse(error.problem, error.status, error.headers)


def _avgate_error(request: Request, error: Any) -> Response:
    # Where it is wrong may be a path of this machine.
    return _problem(507 if error.exit_code == 8 else 422, error.what)


def _no_store(request: Request, error: Any) -> Response:
    log.warning("the database can't be used now: %s", error.what)
    if isinstance(error, StoreFullError):
        return _no_room()
    return _refused(request, away("database"))


def _no_room() -> Response:
    return _problem(507, "the server's disk is full", "ask who runs it to free space, then try again", "data")


def _no_disk(request: Request, error: Any) -> Response:
    if error.errno in FULL:
        return _no_room()
    if error.errno not in _AWAY:
        raise error  # a mistake of the server's
    log.warning("the disk can't be used now: %s", error)
    return _refused(request, away("data"))


def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = str(first["loc"][-1]) if first["loc"] else ""
    return _problem(422, f"{where[:80]} isn't possible: {first['msg'][:200]}", "see /api/openapi.json", where[:80])


def _http_error(request: Request, error: Any) -> Response:
    what, headers = error.detail, error.headers
    if error.status_code == 404:
        what = "there is nothing of this name"
    if error.status_code == 405:
        what, headers = "this can't be done here", {"allow": ", ".join(_methods(request.app, request.url.path))}
    return _problem(error.status_code, str(what), "see /api/openapi.json", "", headers)


class _App(FastAPI):
    """Says in summaries what routes do, and describes events as events alone.

    FastAPI takes the functions' names, and calls events text, too.
    """

    def openapi(self) -> dict[str, Any]:
        """The interface as OpenAPI."""
        described: dict[str, Any] = super().openapi()
        for operations in described["paths"].values():
            for operation in operations.values():
                operation["summary"] = operation["description"].partition("\n")[0].rstrip(".")
                for content in operation["responses"].get("200", {}).get("content", {}).values():
                    if "itemSchema" in content:
                        content.pop("schema", None)
        return described


def _methods(app: FastAPI, path: str) -> list[str]:
    """What can be done with a path; each method has a route of its own."""
    found = {"POST"} if path == "/login" else {"GET"} if path == "/" or path.startswith("/web/") else set()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found |= {method.upper() for method in operations}
    return sorted(found)


def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=400)  # nobody reads it


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    Refused: _refused,
    AvgateError: _avgate_error,
    StoreError: _no_store,
    OSError: _no_disk,
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    ClientDisconnect: _gone,
}


def serve(settings: Settings) -> None:
    """Serve until Ctrl-C or the system's signal to end.

    Raises:
        OutputError: the data folder can't be used, or another server works in it.
        UsageError: the address can't be listened at, or, as for `open_place`, the database can't be used.
    """
    folder, store = open_place(settings)
    with contextlib.ExitStack() as scope:
        scope.callback(folder.release)
        scope.callback(store.close)
        listener = scope.enter_context(_listening(settings))
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        console.say(("avgate serves", "bold"), f" at http://{shown}:{port}, with its data in {settings.data}")
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        quiet_libraries()
        app = create_app(settings, store, folder, Crew(store, folder, settings))
        server = AppServer(app, settings)
        threading.Thread(target=_ask_early, args=(settings, app.state.served.ending)).start()
        with contextlib.suppress(KeyboardInterrupt, Ended):  # uvicorn hands on what has ended it
            server.run(sockets=[listener])
    console.say("stopped; what waits goes on with the next start")


def _ask_early(settings: Settings, ending: threading.Event) -> None:
    """Find out what the models are, so that the first page needn't wait; what fails is said to that one."""
    with contextlib.suppress(AvgateError):
        described(settings, ending)


class AppServer(uvicorn.Server):
    """uvicorn with an app of `create_app`.

    Args:
        app: the app.
        settings: its limits.
    """

    def __init__(self, app: FastAPI, settings: Settings):
        config = uvicorn.Config(
            app,
            http=Connection.bound(room(), settings.proxies),  # on h11: the other one takes headers of any length
            backlog=TAKEN_AT_ONCE,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=settings.proxies,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            ws_max_size=(settings.max_message_kb + 64) << 10,  # what is a little too large is told why
            ws_per_message_deflate=False,  # or few bytes would become many
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
        )
        super().__init__(config)
        self._ending = app.state.served.ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; the system keeps more connections waiting than are taken at once."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_WAITING)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """End, in good order: those who watch jobs are told, for which uvicorn would wait."""
        self._ending.set()
        super().handle_exit(sig, frame)


def _listening(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_WAITING)
    except OSError as error:
        what = f"can't listen at {settings.host}, port {settings.port} ({reason(error)})"
        raise UsageError(what, where="port", hint="give another one, or end the program that has it") from error
