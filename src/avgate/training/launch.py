"""The processes of a training on this machine: begun together, and none outlives the others."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import distributed

from avgate.core.console import console
from avgate.core.errors import AvgateError, WorkerError
from avgate.core.processes import end_with_parent, how_it_ended, start
from avgate.core.signals import NOTICE_S, held_interrupts, let_in
from avgate.core.text import reason
from avgate.training.several import AGAIN, Lost, processes_here

_GRACE_S = 5.0
"""How long processes may take to notice that another one has ended, and to clean up."""


def begin_all(work: Callable[[], object], fabric: Fabric, folder: Path) -> None:
    """Do the same work in new processes, which are all that a training has on this machine, until they have ended.

    If one fails, all end; and with Ctrl-C, or if this process is killed.

    Args:
        work: what each does; it must be picklable.
        fabric: says how many there are and on what they compute; not launched.
        folder: a new one, where they find each other.

    Raises:
        AvgateError: as the first process says that failed.
        WorkerError: a process was killed, or failed by a fault in avgate.
    """
    count, context = processes_here(fabric), get_context("spawn")
    backend = "nccl" if fabric.device.type == "cuda" else "gloo"
    processes: list[Any] = []
    heard: list[Any] = []
    # On one machine, processes find each other by a file, and talk where no other machine can.
    meeting = folder / "meeting" if fabric.world_size == count else None
    try:
        with held_interrupts():
            for rank in range(count):
                here, there = context.Pipe(duplex=False)
                task = (work, rank, count, backend, meeting, there)
                process = context.Process(target=_member, args=task, daemon=True)
                start(process)
                processes.append(process)
                there.close()
                heard.append(here)
        failures = _failures(processes, heard)
    finally:
        _end(processes)
    # Where one has failed, the others can't go on either: what counts is who was the first.
    for error in (*(error for error in failures if not isinstance(error, Lost)), *failures):
        raise error


def _failures(processes: Sequence[Any], heard: Sequence[Any]) -> list[AvgateError]:
    """Wait until all processes are done, or one has failed and the others had time to notice; why each has failed."""
    failures: list[AvgateError] = []
    left: dict[Any, Any] = dict(zip(heard, processes, strict=True))
    until = math.inf
    while left and (now := time.monotonic()) < until:
        ready: Any
        for ready in connection.wait(left, min(NOTICE_S, until - now)):
            process = left.pop(ready)
            try:
                failure = ready.recv()
            except (EOFError, OSError):
                process.join(_GRACE_S)
                failure = WorkerError(
                    f"process {processes.index(process) + 1} of {len(processes)} was ended "
                    f"({how_it_ended(process.exitcode)}), most often because memory ran out",
                    hint=f"{AGAIN}, with fewer --devices, too",
                )
            if failure is not None:
                failures.append(failure)
                until = min(until, time.monotonic() + _GRACE_S)
    return failures


def _end(processes: Sequence[Any]) -> None:
    """End processes that still run. The first may be writing a file, and gets time to clean up."""
    for process in processes[1:]:
        process.kill()
    for process in processes[:1]:
        process.terminate()
        process.join(_GRACE_S)
        process.kill()
    for process in processes:
        process.join()
    if console.is_terminal:
        console.show_cursor(True)  # a progress bar that was killed has hidden it


def _member(work: Callable[[], object], rank: int, count: int, backend: str, meeting: Path | None, parent: Any) -> None:
    """What one of the processes does; tells the parent None if all went well, or else an AvgateError."""
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent ends them
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    let_in()
    os.environ["LOCAL_RANK"] = str(rank)  # from which lightning-fabric takes that it needn't begin any
    failure: AvgateError | None = None
    try:
        if meeting is not None:
            os.environ |= {"NODE_RANK": "0"}
            for name in {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}:
                os.environ["GLOO_SOCKET_IFNAME"] = name
            distributed.init_process_group(backend, init_method=meeting.as_uri(), rank=rank, world_size=count)
        work()
    except AvgateError as error:
        failure = error
    except SystemExit:
        os._exit(1)
    except Exception as error:
        traceback.print_exc()
        failure = WorkerError(f"process {rank + 1} of {count} failed ({reason(error)})", hint=AGAIN)
    with contextlib.suppress(OSError):
        parent.send(failure)
    sys.stderr.flush()
    os._exit(failure is not None)  # what libraries do at the end would wait for processes that are gone
