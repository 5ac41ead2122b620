"""A process that estimates one recording after the other, within limits of memory, time and file sizes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avgate.apps.serve.settings import DEFAULT_MODEL, weights_of
from avgate.apps.serve.workers.process import Limits
from avgate.core.console import console
from avgate.core.errors import AvgateError, choose
from avgate.core.processes import (
    end_with_parent,
    few_heaps,
    give_memory_back,
    hand_over_quickly,
    limit_memory,
    limit_time,
    ran_out_of_memory,
)
from avgate.core.text import without_folders

LOADING, READING, WRITING = "loading the model", "watching and listening", "writing results"
"""Stages of a job."""

_READ_SHARE, _WRITE_SHARE = 0.9, 0.95
"""How far a job is once all of the recording has been read, and once the first result is written."""

_TOLD_S = 0.25
"""Seconds between two messages on how far a job is."""

_LARGEST_FILE = 8 << 30
"""Bytes of the largest file that a worker may write: the report of a day's recording is less."""


def main(connection: Connection, limits: Limits) -> None:
    """Do what the messages from the other end of the pipe say until there are none any more.

    {"warm": weights or null} loads a model, and is answered by {"ready": true}. {"job", "input", "out", "options",
    "models"} estimates a recording. Its answers are {"stage", "progress"}, and one of {"done": {"results", "notes",
    "recording_s", "stages_s"}} and {"failed": {"error", "hint", "log"}}.

    Args:
        connection: this process' end of the pipe.
        limits: what it may use.
    """
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    _confine(limits)
    console.quiet = True
    worker = Worker(connection, limits)
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = json.loads(connection.recv_bytes())
            if "warm" in message:
                worker.warm(message["warm"])
            else:
                worker.work(message)


def _confine(limits: Limits) -> None:
    """Set the limits of this process, which hold for all that libraries do in it."""
    # The terminal and the system's service manager send these to every process; the parent decides.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(limits.threads)
    limit_memory(limits.memory_mb, _LARGEST_FILE)
    few_heaps()
    hand_over_quickly()


class Worker:
    """Estimates recordings, and keeps the model of the last one.

    Args:
        connection: where messages go.
        limits: what it may use.
    """

    def __init__(self, connection: Connection, limits: Limits):
        self._connection, self._limits = connection, limits
        self._sending = threading.Lock()
        self._told_s = 0.0
        self._predictor: Any = None
        self._loaded: tuple[str | None, float] | None = None

    def warm(self, weights: str | None) -> None:
        """Load everything that the first recording would wait for."""
        from avgate.models.intervals import DEFAULT_LEVEL

        # What is wrong with the weights is said of the first job that asks for them.
        with contextlib.suppress(AvgateError):
            self._load(weights, DEFAULT_LEVEL)
        self._send({"ready": True})

    def work(self, task: Mapping[str, Any]) -> None:
        """Do one job, send what became of it, and give back the memory that it took."""
        # Even where the parent doesn't see to it.
        limit_time(self._limits.job_s * (os.cpu_count() or 1) + 60)
        began_s = time.monotonic()
        try:
            self._send({"done": self._estimate(task, began_s)})
        except AvgateError as error:
            known = [*_folders(task), *(str(Path(path).parent) for path in task["models"].values() if path)]
            said = {"error": without_folders(error.what, known), "hint": without_folders(error.hint or "", known)}
            self._send({"failed": self._limits.no_memory if ran_out_of_memory(error) else said})
        except Exception as error:
            if ran_out_of_memory(error):
                # What the libraries that failed left behind isn't to be trusted.
                self._send({"failed": self._limits.no_memory})
                os._exit(0)
            number = secrets.token_hex(4)
            self._send(
                {
                    "failed": {
                        "error": f"the server failed at this recording; it's the server's fault (error {number})",
                        "hint": "whoever runs the server finds the reason under this number in its log",
                        "log": f"error {number}: {traceback.format_exc()}"[-(1 << 16) :],
                    }
                }
            )
        give_memory_back()

    def _estimate(self, task: Mapping[str, Any], began_s: float) -> dict[str, Any]:
        from avgate.apps.predict.one import predict_one
        from avgate.apps.predict.outputs import writers_named
        from avgate.media import Media, open_recording

        source, out, options = Path(task["input"]), Path(task["out"]), task["options"]
        stages_s: dict[str, float] = {}
        last: tuple[str, float] = (LOADING, began_s)

        def tell(stage: str, progress: float) -> None:
            nonlocal last
            if stage != last[0]:
                now_s = time.monotonic()
                stages_s[last[0]] = stages_s.get(last[0], 0.0) + now_s - last[1]
                last = (stage, now_s)
                self._told_s = 0.0
            self._tell(stage, progress)

        tell(LOADING, 0.0)
        # All that is half done lies in the attempt's folder, which goes if this process is killed.
        tempfile.tempdir = str(out)
        writers = writers_named(["csv", "json", *options["formats"]])
        self._load(_weights(options["model"], task["models"]), options["level"])
        recording = open_recording(source)
        stated_s = 0.0
        if isinstance(recording, Media):
            stated = (recording.info.duration_s, recording.info.audio_duration_s)
            stated_s = max((s for s in stated if s is not None and s == s), default=0.0)
            if stated_s > self._limits.duration_s:
                raise self._limits.too_long(f"it says that it lasts {stated_s:,.1f} s")
        tell(READING, 0.0)
        read_s = 0.0

        def on_time(time_s: float) -> None:
            nonlocal read_s
            read_s = max(read_s, time_s)
            if time_s > self._limits.duration_s:
                raise self._limits.too_long(f"it goes on after {self._limits.duration_s:g} s")
            tell(READING, _READ_SHARE * min(1.0, time_s / stated_s) if stated_s else 0.0)

        said = [_Said(writer, lambda: tell(WRITING, _READ_SHARE)) for writer in writers[:1]]
        said += [_Said(writer, lambda: tell(WRITING, _WRITE_SHARE)) for writer in writers[1:]]
        trace = predict_one(self._predictor, source, out, source.stem, said, report=options["report"], on_time=on_time)
        tell("", 1.0)
        known = _folders(task)
        return {
            "results": sorted(path.name for path in out.iterdir() if not path.name.startswith(".")),
            "notes": [without_folders(note, known) for note in trace.notes],
            "recording_s": max(read_s, float(trace.time_s[-1]) if len(trace) else 0.0),
            "stages_s": stages_s,
        }

    def _load(self, weights: str | None, level: float) -> None:
        if self._loaded == (weights, level):
            return
        import torch

        from avgate.inference.predictor import Predictor

        torch.set_num_threads(self._limits.threads)
        self._predictor = self._loaded = None
        self._predictor = Predictor(weights, None, level)
        self._loaded = weights, level

    def _tell(self, stage: str, progress: float) -> None:
        now_s = time.monotonic()
        if stage and now_s - self._told_s >= _TOLD_S:
            self._told_s = now_s
            self._send({"stage": stage, "progress": round(progress, 4)})

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._sending:
            self._connection.send_bytes(json.dumps(message).encode())


def _folders(task: Mapping[str, Any]) -> list[str]:
    """Folders that messages may name."""
    return [task["out"], str(Path(task["out"]).parent), str(Path(task["input"]).parent)]


def _weights(model: str, models: Mapping[str, str | None]) -> str | None:
    path = choose("model", model, {name: (path,) for name, path in models.items()})[0]
    return path if model == DEFAULT_MODEL else str(weights_of(model, path))


class _Said:
    """A writer that says when it begins."""

    def __init__(self, writer: Any, say: Callable[[], None]):
        self._writer, self._say = writer, say
        self.name, self.suffix = writer.name, writer.suffix

    def write(self, trace: Any, path: Path) -> None:
        self._say()
        self._writer.write(trace, path)
