"""Work in several processes: a clean end, a useful error when one of them dies, and none outlives this one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import Pipe, active_children, connection, get_context, parent_process, resource_tracker
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from avgate.core.console import console
from avgate.core.errors import UsageError, WorkerError
from avgate.core.scratch import remove_what_workers_left
from avgate.core.signals import NOTICE_S, Ended, held_interrupts, let_in, take

_NO_MEMORY = ("bad_alloc", "allocate", "insufficient memory", "out of memory", "can't start new thread", "map segment")
"""What errors of native libraries say where memory ran out."""

_LOOK_S, _LEAST_BYTES = 1.0, 1 << 20
"""How often a worker looks whether it can go on, in seconds, and what it must get: what Python asks the system for."""

_M_ARENA_MAX = -8
"""The number of that option in glibc's malloc.h."""

_LONGEST_END_S = 10.0
"""How long processes that are killed may take to end."""

_NEXT_S = 0.3
"""Seconds in which whoever ends all processes, and has begun with a worker, comes to this one."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Workers(Generic[_Task, _Result]):
    """Processes that share one kind of work; a single worker is this process itself. Use it in a `with` block.

    Ctrl-C, or any other exception in the block: what has begun in other processes is finished, nothing else begins,
    and the exception goes on. So work that must not be lost writes its result to disk itself. With a single worker,
    Ctrl-C interrupts the work at once. At a second Ctrl-C, at Ended, and if this process is killed, its workers end at
    once.

    Args:
        work: what is done for each task; for other processes, it and the tasks must be picklable.
        count: how many processes.
        set_up: called once in each process before its first task.
    """

    def __init__(self, work: Callable[[_Task], _Result], count: int, set_up: Callable[[], object] | None = None):
        self._work, self._count, self._set_up = work, count, set_up
        self._running: dict[Any, _Task] = {}  # the handle of each task that was handed out, here a Future
        self._executor = ProcessPoolExecutor(count, get_context("spawn"), _begin, (set_up,)) if count > 1 else None
        self._done: SimpleQueue[Future[_Result]] = SimpleQueue()  # in the order in which they are
        self._ended, self._ending = Pipe(duplex=False)  # the one is ready once the other is closed
        if self._executor is None:
            hand_over_quickly()

    def __enter__(self) -> Workers[_Task, _Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._executor is None:
            return
        try:
            with held_interrupts():
                unfinished = sum(not future.done() for future in self._running)
                threading.Thread(target=self._close, name="close", daemon=True).start()
            if kind is not None and issubclass(kind, Ended):
                self._kill()
            say_stopping(kind, unfinished)
            # Nothing here has a lock that what comes in between could leave locked for ever.
            while not connection.wait([self._ended], NOTICE_S):
                pass
        except (Ended, KeyboardInterrupt):
            self._kill()
            raise

    def _close(self) -> None:
        """Let what has begun be done, and the processes end."""
        assert self._executor is not None
        try:
            wait(self._running)
            self._executor.shutdown(cancel_futures=True)
        finally:
            self._ending.close()

    def _kill(self) -> None:
        """End the processes at once, and remove what they had begun to write."""
        with held_interrupts():
            for process in active_children():
                process.kill()
            connection.wait([self._ended], _LONGEST_END_S)
            remove_what_workers_left()

    def run(
        self, tasks: Iterable[_Task], follow: Callable[[_Task, _Result], Iterable[_Task]] | None = None
    ) -> Iterator[tuple[_Task, _Result | WorkerError]]:
        """Do all tasks.

        Args:
            tasks: what is to be done.
            follow: further tasks that a result leads to; they begin while others still run.

        Yields:
            Each task with its result, in the order in which they are finished. Workers on other machines
            (core/cluster.py) give a WorkerError in place of a result that was lost with them again and again.

        Raises:
            WorkerError: a process was killed, or memory ran out.
        """
        waiting = deque(tasks)
        try:
            while waiting or self._running:
                finished = self._finished_of(waiting)
                for task, result in finished:
                    if follow and not isinstance(result, WorkerError):
                        waiting.extend(follow(task, result))
                self._begin_some(waiting)
                yield from finished
        except BrokenProcessPool as error:
            time.sleep(_NEXT_S)
            remove_what_workers_left()
            raise out_of_memory("a worker process was killed, most often because memory ran out") from error
        except Exception as error:
            if ran_out_of_memory(error):
                raise out_of_memory("memory ran out") from error
            raise

    def _finished_of(self, waiting: deque[_Task]) -> list[tuple[_Task, _Result | WorkerError]]:
        if self._executor is None:
            if self._set_up:
                self._set_up()
                self._set_up = None
            task = waiting.popleft()
            return [(task, self._work(task))]
        self._begin_some(waiting)
        future = take(self._done)
        with held_interrupts():
            return [(self._running.pop(future), future.result())]

    def _begin_some(self, waiting: deque[_Task]) -> None:
        """Hand out as many tasks as there are idle processes, and no more: what is handed out can't be taken back."""
        if self._executor is None:
            return
        with held_interrupts():
            while waiting and len(self._running) < self._count:
                task = waiting.popleft()
                future = self._executor.submit(self._work, task)
                self._running[future] = task
                future.add_done_callback(self._done.put)


def start(process: Any) -> None:
    """Start a process that leaves Ctrl-C and the signals that ask to end to this one, even while it imports.

    Raises:
        OSError: no process can be started.
    """
    if sys.platform != "win32":
        resource_tracker.ensure_running()  # starting it is what lets them in again
    with held_interrupts():
        process.start()


def out_of_memory(what: str) -> WorkerError:
    """The error where memory ran out, or has most likely; what: which of them."""
    hint = "the same command continues with what is missing; fewer --workers need less memory"
    return WorkerError(what, hint=hint)


def worker_count(workers: int | None) -> int:
    """How many processes: as many as asked for, one per core for None. UsageError for fewer than one."""
    if workers is None:
        return os.cpu_count() or 1
    if workers < 1:
        raise UsageError(f"there can't be {workers} processes", where="--workers", hint="use 1 or more")
    return workers


def say_stopping(kind: type[BaseException] | None, unfinished: int) -> None:
    """Say what is waited for, where Ctrl-C ends a block in which so many tasks are still being done."""
    if kind is KeyboardInterrupt and unfinished:
        console.say(
            f"Stopping once what has begun is done, to keep it (still at work: {unfinished}); Ctrl-C again drops it"
        )


def _begin(set_up: Callable[[], object] | None) -> None:
    """Prepare a worker process: deaf to Ctrl-C, which the terminal sends to every process, and with one thread."""
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_in()
    use_one_thread()
    hand_over_quickly()
    if set_up:
        set_up()


def hand_over_quickly() -> None:
    """Let this process' threads wait for each other for half a millisecond at most, where they hold Python's lock.

    By Python's own 5 ms, a thread with a frame in its hands waits longer than the frame takes.
    """
    sys.setswitchinterval(0.0005)


def use_one_thread() -> None:
    """Let this process compute in one thread, because others like it fill the cores already."""
    # Libraries that are loaded later read these; torch may be loaded already.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, or no memory at all is left.

    A killed process can't tell its workers, and they would wait for tasks for ever. So would a worker that begins a
    thread for which there is no memory: Python waits for the thread, and the thread can't say that it failed.
    """
    parent = parent_process()
    assert parent is not None
    own = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE}  # limits don't count shared memory
    with contextlib.suppress(MemoryError, OSError):
        while not connection.wait([parent.sentinel], _LOOK_S):
            mmap.mmap(-1, _LEAST_BYTES, **own).close()
    os._exit(1)


def limit_memory(memory_mb: int, file_bytes: int) -> None:
    """Limit this process for good, as far as its system can: its data, the files it writes; and no core dumps.

    Args:
        memory_mb: most MiB of data. (Of the address space, threads reserve several times what they use.)
        file_bytes: size of the largest file.
    """
    if sys.platform == "win32":
        return
    import resource

    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: file_bytes, resource.RLIMIT_DATA: memory_mb << 20}
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))


def few_heaps(count: int = 2) -> None:
    """Let this process' threads share so many heaps, where its C library is glibc.

    Each of several threads would have its own else, which stays as large as it ever was. To be called before threads
    begin.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, count)


def give_memory_back() -> None:
    """Give the system the memory that nothing holds any more; glibc would keep what lies between what is held."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def limit_time(more_s: float) -> None:
    """Let the system end this process once it has computed for so many seconds more, over all its threads."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + more_s) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def resident_mb(pid: int | None) -> float:
    """Memory that a process takes, in MiB; 0 where the system doesn't tell, or the process has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    with contextlib.suppress(Exception):  # it is missing, or has errors of its own for processes that have ended
        return float(import_module("psutil").Process(pid).memory_info().rss) / 2**20
    return 0.0


def how_it_ended(code: int | None) -> str:
    """How a process ended, from its exit code: such as SIGKILL."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, RuntimeError | SystemError | ImportError) or type(error).__module__.startswith(
            ("cv2", "onnxruntime")
        ):
            said = str(error).lower()
            if any(words in said for words in _NO_MEMORY):
                return True
        error = error.__cause__ or error.__context__
    return False
