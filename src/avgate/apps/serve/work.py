"""Where jobs are kept, and a program that does those which servers elsewhere accept."""

from __future__ import annotations

import logging
import signal
from queue import SimpleQueue

from avgate.apps.serve.folder import DATABASE, DataFolder
from avgate.apps.serve.jobs import JobStore
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.stores.sqlite import SqliteJobs
from avgate.apps.serve.workers.crew import Crew
from avgate.core.console import console
from avgate.core.errors import UsageError
from avgate.core.signals import take


def open_place(settings: Settings, shared: bool | None = None) -> tuple[DataFolder, JobStore]:
    """The data folder, held, and the store of its jobs.

    Args:
        settings: say where they are.
        shared: whether others may work in them at the same time; None where the settings say so.

    Raises:
        OutputError: one of them can't be used, or another server works in the folder.
        UsageError: packages are missing, or folder and database don't belong to each other.
    """
    folder = DataFolder(settings.data, settings.is_shared if shared is None else shared)
    folder.hold()
    try:
        if not settings.database:
            return folder, SqliteJobs(folder.database)
        try:
            from avgate.apps.serve.stores.postgres import PostgresJobs
        except ImportError as error:
            what = "a database that several machines use needs packages that aren't installed"
            raise UsageError(what, where="database", hint='install them: pip install "avgate[cluster]"') from error
        return folder, PostgresJobs(settings.database, folder.mark)
    except BaseException:
        folder.release()
        raise


def work(settings: Settings) -> None:
    """Estimate the recordings that servers accept elsewhere, until Ctrl-C or the system's signal to end.

    Servers on other machines use the same PostgreSQL database and the same data folder, on a network file system.
    There, a file that one machine made must be seen by the others within a second or so: with NFS, mount it with
    lookupcache=positive,actimeo=1. A server on this machine needs no database but SQLite's, and no workers of its own.

    Args:
        settings: limits of this machine; of the others they may differ.

    Raises:
        OutputError, UsageError: as for `open_place`; UsageError without workers, or where no server was at the folder.
    """
    if not settings.workers:
        hint = "give 1 or more; without workers of its own a server may be, but not this"
        raise UsageError("there would be nobody to do the jobs", where="workers", hint=hint)
    if not settings.database and not (settings.data / DATABASE).is_file():
        what = f"no server has worked in the data folder {settings.data}"
        hint = "give the folder of a server on this machine, or, for those of other machines, their database, too"
        raise UsageError(what, where="data", hint=hint)
    ended: SimpleQueue[int] = SimpleQueue()
    ending = (signal.SIGINT, signal.SIGTERM)
    before = {sign: signal.signal(sign, lambda number, _: ended.put(number)) for sign in ending}
    try:
        folder, store = open_place(settings, shared=True)
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        try:
            crew = Crew(store, folder, settings)
            crew.recover()
            console.say(("avgate works", "bold"), f" on what waits in {settings.data}, {settings.workers} at a time")
            with crew:
                take(ended)
        finally:
            store.close()
            folder.release()
        console.say("stopped; what was cut goes on elsewhere, or with the next start")
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
