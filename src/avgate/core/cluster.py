"""Work on Ray, on the cores of this machine or of many: behind the same interface as processes of this machine.

Ray is imported only when it is used. A Ray that is started here keeps to this machine, and is gone at the end; a
cluster that is joined stays as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from avgate.core.console import console
from avgate.core.errors import UsageError, WorkerError
from avgate.core.processes import (
    Workers,
    hand_over_quickly,
    say_stopping,
    use_one_thread,
    worker_count,
)
from avgate.core.scratch import scratch_folder
from avgate.core.signals import Ended, held_interrupts
from avgate.core.text import reason

_MOST_TRIES = 3
"""How often a task is handed out, if the worker or the machine that has it is lost each time."""

_LOOK_S = 2.0
"""How often it is looked for machines that have joined or left, in seconds."""

_CONNECT_S = 5.0
"""How long a cluster may take to answer, in seconds."""

_LONGEST_PLACE = 107 - len("/.avgate-0123456789ab/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""In bytes: Ray has sockets in its folder, and systems limit their paths."""

_PRIVATE = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What a Ray that is started here is told before it is imported: to answer to this process alone, at no address but
this machine's own. (Else its token stays in the user's folder, and other machines can reach it.)"""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Engine:
    """What does the work: processes of this machine, or Ray.

    Args:
        name: local or ray.
        address: of Ray: HOST:PORT, ray://HOST:PORT or auto, for a cluster that runs; None starts one on this machine.

    Raises:
        UsageError: an address without Ray.
    """

    name: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None and self.name != "ray":
            raise UsageError("only Ray has other machines", where="--address", hint="add --engine ray")

    def count(self, workers: int | None, tasks: int) -> int:
        """How many workers at most: as many as asked for, else one per core of this machine; on a cluster, its cores.

        Args:
            workers: as asked for, or None.
            tasks: there are never more workers.
        """
        most = tasks if workers is None and self.address is not None else worker_count(workers)
        return max(1, min(most, tasks))


LOCAL = Engine()


def open_workers(
    work: Callable[[_Task], _Result],
    count: int,
    set_up: Callable[[], object] | None = None,
    engine: Engine = LOCAL,
) -> Workers[_Task, _Result]:
    """Workers that share one kind of work, for a `with` block, see Workers.

    Args:
        work: what is done for each task; for other processes, it and the tasks must be picklable.
        count: how many at the same time at most.
        set_up: called once in each process before its first task.
        engine: what they are; a single worker of Ray is another process, too.
    """
    if engine.name == "ray":
        return RayWorkers(work, count, set_up, engine.address)
    return Workers(work, count, set_up)


class RayWorkers(Workers[_Task, _Result]):
    """Tasks of Ray, each with one core and one thread: never more at once than there are cores, or as asked for.

    A task whose worker, machine or result is lost is handed out again, and after the third time has a WorkerError in
    place of its result. Ctrl-C and other exceptions: as of Workers; a second Ctrl-C drops what has begun, too.

    Raises:
        UsageError: Ray isn't installed, or there is no such cluster.
    """

    def __init__(
        self,
        work: Callable[[_Task], _Result],
        count: int,
        set_up: Callable[[], object] | None = None,
        address: str | None = None,
    ):
        super().__init__(work, 1, set_up)
        self._most, self._address = count, address
        self._tries: dict[Any, int] = {}
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> RayWorkers[_Task, _Result]:
        with contextlib.ExitStack() as opening:
            self._ray = _connected(opening, self._address, self._most)
            remote = self._ray.remote(num_cpus=1, max_retries=0)(_do)
            self._remote = remote.options(name="avgate")
            self._origin = self._ray.put((_Origin.here(), self._set_up, self._work))
            self._closing = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        with self._closing:
            try:
                if kind is not None and issubclass(kind, Ended):
                    self._drop()
                    return
                say_stopping(kind, len(self._running))
                self._wait_for(len(self._running))
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        """End what has begun at once."""
        for handle in self._running:
            self._ray.cancel(handle, force=True)

    def _wait_for(self, n: int, timeout: float | None = None) -> list[Any]:
        """The handles of tasks that are done, once there are n or the time is over."""
        return self._ray.wait(list(self._running), num_returns=n, timeout=timeout)[0] if n else []

    def _finished_of(self, waiting: deque[_Task]) -> list[tuple[_Task, _Result | WorkerError]]:
        finished: list[tuple[_Task, _Result | WorkerError]] = []
        while not finished:
            self._begin_some(waiting)
            for handle in self._wait_for(1, _LOOK_S):
                task, tries = self._running.pop(handle), self._tries.pop(handle)
                try:
                    finished.append((task, self._ray.get(handle)))
                except self._ray.exceptions.RayTaskError as error:  # an error of the work
                    raise getattr(error, "cause", None) or error from None
                except self._ray.exceptions.RayError as error:  # the worker, its machine or the result is lost
                    if tries < _MOST_TRIES:
                        console.say(("A worker was lost", "yellow"), "; its work is handed out again")
                        self._hand_out(task, tries + 1)
                    else:
                        finished.append((task, _lost(tries, error)))
        return finished

    def _begin_some(self, waiting: deque[_Task]) -> None:
        """Hand out as many tasks as there are cores, and no more: clusters are shared, and Ctrl-C waits for them."""
        room = min(self._most, self._cores()) - len(self._running) if waiting else 0
        for _ in range(min(room, len(waiting))):
            with held_interrupts():
                self._hand_out(waiting.popleft(), 1)

    def _cores(self) -> int:
        """Of all machines that are there now; 1 where there is none, for the one that may come."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def _hand_out(self, task: _Task, tries: int) -> None:
        handle = self._remote.remote(self._origin, task)
        self._running[handle], self._tries[handle] = task, tries


def _lost(tries: int, error: Exception) -> WorkerError:
    return WorkerError(
        f"{tries} workers in a row were lost with it ({type(error).__name__}), most often because memory ran out",
        hint="the same command tries it again; fewer --workers need less memory",
    )


def _connected(scope: contextlib.ExitStack, address: str | None, count: int) -> Any:
    """Ray, connected to a cluster until the scope ends; without an address, to one that is started on this machine."""
    for name, value in ({} if address else _PRIVATE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        what = f"the engine ray needs a package that is missing ({reason(error)})"
        raise UsageError(what, where="--engine", hint="install it: pip install 'avgate[scale]'") from error
    if ray.is_initialized():  # by the program that calls this, which also ends it
        return ray
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        console.say(f"Starting Ray with {count} worker{'s' * (count > 1)} on this machine; this takes some seconds")
        folder = scope.enter_context(scratch_folder(_place_for_sockets())) / "ray"
        options |= {"num_cpus": count, "include_dashboard": False, "_temp_dir": str(folder)}
    else:
        _refuse_silent(address)
    scope.callback(ray.shutdown)
    with _kept_signals():
        try:
            ray.init(address or "local", **options)
        except (Exception, SystemExit) as error:  # Ray ends the process where the cluster doesn't answer
            raise _no_cluster(address, error) from error
    # It prints lines of its own for each lost worker to stdout, whatever its options say; ours go to stderr.
    vars(ray._private.worker).update(print_to_stdstream=lambda *_, **__: None)
    if address is not None:
        machines, cores = len(ray.nodes()), int(ray.cluster_resources().get("CPU", 0))
        console.say(f"Joined the Ray cluster at {address}: {machines} machines, {cores} cores")
    return ray


def _place_for_sockets() -> Path:
    """The system's place for temporary files, or /tmp where that one's path is too long for Ray's sockets."""
    folder = Path(tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) <= _LONGEST_PLACE else Path("/tmp")


def _refuse_silent(address: str) -> None:
    """UsageError where nothing answers at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        hint = "give HOST:PORT, ray://HOST:PORT or auto"
        raise UsageError(f"'{address}' is no address of a Ray cluster", where="--address", hint=hint)
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: BaseException) -> UsageError:
    if address is None:
        hint = "the same command without --engine ray does the same work in processes of this machine"
        return UsageError(f"Ray could not be started ({reason(error)})", where="--engine", hint=hint)
    hint = "start one by `ray start --head --port PORT`; its machines need the same versions of Python, Ray and avgate"
    return UsageError(f"there is no Ray cluster to join at {address} ({reason(error)})", where="--address", hint=hint)


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Take back what Ray sets for SIGTERM: it would run on to the end of what has begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Origin:
    """What workers take over from the process that hands out the work, so that they do what it would do.

    Args:
        token: of the RayWorkers; a process may work for several in turn.
        version: of avgate.
        folder: the current one, for relative paths.
        settings: variables of the environment that avgate reads.
    """

    token: str
    version: str
    folder: str
    settings: dict[str, str]

    @classmethod
    def here(cls) -> _Origin:
        """That of this process."""
        settings = {name: value for name, value in os.environ.items() if name.startswith("AVGATE_")}
        return cls(secrets.token_hex(8), _version(), str(Path.cwd()), settings)

    def take_over(self) -> None:
        """Make this process like that one; WorkerError where it can't be."""
        machine = socket.gethostname()
        if _version() != self.version:
            hint = "install the same version on all machines"
            raise WorkerError(
                f"this machine has avgate {_version()} instead of {self.version}", where=machine, hint=hint
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            hint = "call avgate in a folder that all machines share"
            raise WorkerError(f"there is no folder {self.folder} on this machine", where=machine, hint=hint) from error
        os.environ.update(self.settings)
        use_one_thread()
        hand_over_quickly()


def _version() -> str:
    from importlib.metadata import version

    return version("avgate")


_served = ""
"""Token of the RayWorkers whose tasks this process, one of Ray's, does."""


def _do(given: tuple[_Origin, Callable[[], object] | None, Callable[[_Task], _Result]], task: _Task) -> _Result:
    """Do a task in a process of Ray."""
    global _served
    origin, set_up, work = given
    if _served != origin.token:
        origin.take_over()
        if set_up:
            set_up()
        _served = origin.token
    return work(task)
