"""The verbs that start the server, and workers for it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from avgate.cli.options import Within, default

_NEEDED = ("fastapi", "uvicorn", "websockets", "prometheus_client")


def serve(
    host: Annotated[str | None, default("127.0.0.1: this machine only", metavar="ADDRESS")] = None,
    port: Annotated[int | None, default("8042"), Within(0, 65_535, such_as=8042)] = None,
    data: Annotated[Path | None, default("avgate-data")] = None,
    token: Annotated[str | None, default("none; $AVGATE_SERVE_TOKEN isn't seen by others")] = None,
    config: Annotated[Path | None, default("none")] = None,
) -> None:
    """Serve a page and an interface for programs: drop recordings, or switch the camera on, and see the estimates.

    Needs pip install "avgate[serve]". Every setting can stand in a TOML file, or in the environment: AVGATE_SERVE_PORT
    and so on. Options here go before both.

    For example: avgate serve --port 8042 --data /srv/avgate

    Args:
        host: Address to listen at; where other machines reach it, a token is needed.
        port: Port to listen at; 0 takes any that is free.
        data: Folder for recordings, results and the list of jobs.
        token: What browsers and programs have to know.
        config: TOML file of settings.
    """
    from avgate.core.errors import UsageError

    if missing := [name.replace("_", "-") for name in _NEEDED if find_spec(name) is None]:
        what = f"the server needs packages that aren't installed: {', '.join(missing)}"
        raise UsageError(what, hint='install them: pip install "avgate[serve]"')
    from avgate.apps.serve.api import serve as run
    from avgate.apps.serve.settings import Settings, forget_secrets

    settings = Settings.load(config, host=host, port=port, data=data, token=token)
    forget_secrets()
    run(settings)


def work(
    database: Annotated[str | None, default("none; $AVGATE_SERVE_DATABASE isn't seen by others")] = None,
    data: Annotated[Path | None, default("avgate-data")] = None,
    workers: Annotated[int | None, default("one per core but one", metavar="N"), Within(1, 256)] = None,
    config: Annotated[Path | None, default("none")] = None,
) -> None:
    """Estimate the recordings that servers accept which leave that to others.

    Servers on other machines use the same PostgreSQL database (pip install "avgate[cluster]") and the same data folder,
    on a network file system (with NFS, mounted with lookupcache=positive,actimeo=1). One on this machine needs no
    database, and the setting workers = 0. Settings stand where those of `avgate serve` do.

    For example: avgate work --database postgresql://me@host/avgate --data /srv/avgate --workers 4

    Args:
        database: Address of the database, postgresql://...
        data: Folder for recordings and results, as the servers see it.
        workers: Recordings that are estimated at the same time.
        config: TOML file of settings.
    """
    from avgate.apps.serve.settings import Settings, forget_secrets
    from avgate.apps.serve.work import work as run

    settings = Settings.load(config, database=database, data=data, workers=workers)
    forget_secrets()
    run(settings)
