"""The crew: worker processes, and a thread that gives them jobs, watches them and says what became of each."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from multiprocessing import Pipe, connection
from typing import Any

from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import MOST_ATTEMPTS, Figures, Job, JobStore, StoreError, StoreFullError
from avgate.apps.serve.settings import DEFAULT_MODEL, Settings
from avgate.apps.serve.workers import worker as estimating
from avgate.apps.serve.workers.process import Limits, Process, Work
from avgate.core.errors import AvgateError
from avgate.core.processes import how_it_ended
from avgate.core.text import reason

log = logging.getLogger("avgate.serve")

_LOOK_S, _BEAT_S = 0.25, 1.0
"""Seconds between two looks at the workers and the queue, and between two signs of a worker's life in the store."""

_TIDY_S = 60.0
"""Seconds between two looks for what has expired."""

_STARTING = 2
"""Most processes that start at once: each loads its libraries for some seconds."""

_MOST_JOBS = 100
"""Jobs after which a process makes room for a new one, so that no library's leak grows for ever."""

_NEWEST = 0.2
"""Weight of the newest recording in the running mean of the real-time factor."""


class Crew:
    """Keeps as many workers as the settings say, and one more that is warm, for when one of them dies.

    Without any, others do the jobs, and it only looks after them.

    Args:
        store: where jobs come from.
        folder: where recordings and results lie.
        settings: limits.
        owner: this crew's name in the store; one is made up unless given.
        work: what workers run, unless they estimate.
    """

    def __init__(
        self, store: JobStore, folder: DataFolder, settings: Settings, *, owner: str = "", work: Work | None = None
    ):
        self._store, self._folder, self._settings = store, folder, settings
        self._owner = owner or f"{os.getpid()}-{secrets.token_hex(4)}"
        self._work = work or estimating.main
        threads = max(1, (os.cpu_count() or 1) // max(1, settings.workers))
        self._limits = Limits(settings.memory_mb, settings.max_job_s, settings.max_duration_s, threads)
        self._models = {name: None if path is None else str(path) for name, path in settings.models.items()}
        self._processes: list[Process] = []
        self._thread: threading.Thread | None = None
        self._stop_s: float | None = None
        self._ears, self._bell = Pipe(duplex=False)
        self._rung = threading.Event()
        self._start_s, self._failures, self._tidied_s, self._recovered_s = 0.0, 0, 0.0, 0.0
        self._died, self._recording_s, self._problem = 0, 0.0, ""
        self._begun, self._waited_s = 0, 0.0
        self._factor: float | None = None
        self._ended: defaultdict[str, int] = defaultdict(int)
        self._stages_s: defaultdict[str, float] = defaultdict(float)

    def recover(self) -> Sequence[Job]:
        """Before anything is accepted: queue again what was cut, and remove what nobody knows of.

        Complete uploads must have become jobs before. Where others work, too, their jobs are cut once they have
        been silent for some time, which a crew looks for as long as it works.

        Returns:
            The jobs that were cut, as they are now.
        """
        for strange in self._folder.sweep(lambda job_id: self._store.get(job_id) is not None):
            log.warning("%s was no job yet when the server ended; it is removed", strange)
        return self._recover_cut()

    def _recover_cut(self) -> Sequence[Job]:
        self._recovered_s = time.monotonic() + self._settings.silent_s / 4
        cut = self._store.recover(self._settings.silent_s if self._folder.shared else 0.0)
        for job in cut:
            log.warning("job %s was cut by the end of its server; it is %s now", job.id, job.state)
            self._folder.discard(job.id, job.attempt)
        return cut

    def start(self) -> None:
        """Begin to work."""
        if self._thread is None:
            self._stop_s = None
            atexit.register(self.stop, 0.0)
            self._thread = threading.Thread(target=self._run, name="crew", daemon=True)
            self._thread.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Begin nothing new; after the grace time kill what still runs, which is queued again.

        Args:
            grace_s: seconds that running jobs have to come to their end.
        """
        if self._thread is None:
            return
        self._stop_s = time.monotonic() + grace_s
        self.wake()
        self._thread.join()
        self._thread = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Crew:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wake(self) -> None:
        """Look at the store now, since a job was added, cancelled or deleted. From any thread."""
        if not self._rung.is_set():
            self._rung.set()
            self._bell.send_bytes(b"!")

    @property
    def figures(self) -> Figures:
        """What it has done so far."""
        processes = list(self._processes)
        return Figures(
            workers=len(processes),
            ready=sum(p.ready for p in processes),
            running=sum(p.job is not None for p in processes),
            died=self._died,
            ended=dict(self._ended),
            stages_s=dict(self._stages_s),
            recording_s=self._recording_s,
            factor=self._factor,
            problem=self._problem,
            begun=self._begun,
            waited_s=self._waited_s,
        )

    def _run(self) -> None:
        if sys.platform != "win32":  # what is started here inherits it, and leaves signals to this process
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while not self._is_over():
            try:
                self._round()
            except StoreError as error:
                log.warning("the crew waits for the database: %s", error.what)
                time.sleep(1.0)
            except Exception:  # such as a full disk: what isn't settled now is so later
                log.exception("the crew goes on after an error")
                time.sleep(1.0)
        for worker in self._processes:
            worker.kill()
        for worker in self._processes:
            if worker.job is not None:
                with contextlib.suppress(Exception):  # the next start queues it again
                    self._put_back(worker.job)
        self._processes = []

    def _is_over(self) -> bool:
        if self._stop_s is None:
            return False
        return time.monotonic() >= self._stop_s or all(worker.job is None for worker in self._processes)

    def _round(self) -> None:
        if self._stop_s is None:
            self._hire()
            self._give_jobs()
            self._tidy()
        living = [worker for worker in self._processes if not worker.ended]
        heard: list[Any] = [self._ears, *(w.pipe for w in living), *(w.process.sentinel for w in living)]
        rung = self._ears in connection.wait(heard, _LOOK_S)
        if rung:
            self._ears.recv_bytes()
            self._rung.clear()
        for worker in list(self._processes):
            worker.listen()
            if worker.ready and not worker.ended:
                self._failures, self._problem = 0, ""
            if worker.job is not None and worker.outcome is None and not worker.ended:
                self._watch(worker, worker.job, rung)
            if worker.job is not None and worker.outcome is not None:
                self._settle(worker, worker.job, worker.outcome)
            if worker.ended and worker.outcome is None:
                self._bury(worker)

    def _hire(self) -> None:
        """Start processes where some are missing."""
        for worker in [w for w in self._processes if w.jobs >= _MOST_JOBS and w.job is None]:
            worker.kill()
            self._processes.remove(worker)
        ready, wanted = sum(worker.ready for worker in self._processes), self._settings.workers
        # The one more comes last, so that it doesn't slow down those that recordings wait for.
        missing = wanted + (0 < wanted <= ready) - len(self._processes)
        for _ in range(min(missing, _STARTING - len(self._processes) + ready)):
            if time.monotonic() < self._start_s:
                return
            try:
                self._processes.append(Process(self._limits, self._models[DEFAULT_MODEL], self._work))
            except OSError as error:
                self._not_started(reason(error))

    def _not_started(self, why: str) -> None:
        self._failures += 1
        self._start_s = time.monotonic() + min(60.0, 2.0**self._failures)
        self._problem = f"a worker can't start ({why}); the setting memory_mb may be too low"
        log.error("%s", self._problem)

    def _give_jobs(self) -> None:
        """Give queued jobs to idle workers, as many as may run at once."""
        while sum(worker.job is not None for worker in self._processes) < self._settings.workers:
            idle = [w for w in self._processes if w.ready and w.job is None and not w.ended and w.jobs < _MOST_JOBS]
            if not idle or (job := self._store.claim(self._owner)) is None:
                return
            if job.attempt == 1 and job.started_s is not None:
                self._begun += 1
                self._waited_s += max(0.0, job.started_s - job.created_s)
            worker = next((w for w in idle if (w.model or DEFAULT_MODEL) == job.options.model), idle[0])
            recording = self._folder.recording(job.id)
            if recording is None:
                worker.take(job, {"failed": {"error": "its file is gone", "hint": "send it again"}})
                continue
            try:
                out = self._folder.begin(job.id, job.attempt)
            except AvgateError as error:
                worker.take(job, _failed(error))
                continue
            told = {"input": str(recording), "out": str(out), "models": self._models}
            worker.give(job, {"job": job.id, "options": asdict(job.options), **told})

    def _watch(self, worker: Process, job: Job, now: bool) -> None:
        """Hold a running job to its limits, and say in the store that it runs."""
        if (over := worker.over()) is not None:
            worker.kill()
            worker.outcome = {"failed": over}
        elif now or worker.stage != worker.beat_stage or time.monotonic() - worker.beat_s >= _BEAT_S:
            worker.beat_s, worker.beat_stage = time.monotonic(), worker.stage
            if not self._store.beat(job, worker.stage, worker.progress):
                worker.kill()
                self._forget(worker, job)

    def _settle(self, worker: Process, job: Job, outcome: dict[str, Any]) -> None:
        """Say in the store what became of a job, and keep or remove what was written."""
        # So that an attempt that isn't the running one any more never replaces another's results.
        if not self._store.beat(job, worker.stage, worker.progress):
            self._forget(worker, job)
            return
        if (failed := outcome.get("failed")) is None:
            try:
                if "kept" not in outcome:  # they are where the store couldn't be told the last time
                    outcome["kept"] = self._folder.finish(job.id, job.attempt)
            except AvgateError as error:
                worker.outcome = _failed(error)
                return
            done, length_s = outcome["done"], float(outcome["done"]["recording_s"])
            ended = replace(job, state="done", results=outcome["kept"], notes=tuple(done["notes"]), duration_s=length_s)
        else:
            if said := failed.pop("log", ""):
                log.error("job %s: %s", job.id, said)
            ended = replace(job, state="failed", progress=worker.progress, error=failed["error"], hint=failed["hint"])
            self._folder.discard(job.id, job.attempt)
        if not self._store.end(job, ended):
            self._forget(worker, job)
            return
        if failed is None:
            self._count(outcome["done"], time.monotonic() - worker.began_s)
        self._ended[ended.state] += 1
        worker.job = worker.outcome = None

    def _count(self, done: Mapping[str, Any], took_s: float) -> None:
        for stage, seconds in done["stages_s"].items():
            self._stages_s[stage] += seconds
        recording_s = float(done["recording_s"])
        self._recording_s += recording_s
        if recording_s > 0:
            factor = took_s / recording_s
            self._factor = factor if self._factor is None else self._factor + _NEWEST * (factor - self._factor)

    def _forget(self, worker: Process, job: Job) -> None:
        """Leave a job that was cancelled, deleted or begun elsewhere."""
        worker.job = worker.outcome = None
        self._folder.discard(job.id, job.attempt)
        if (now := self._store.get(job.id)) is None:
            self._folder.remove(job.id)
        elif now.state == "cancelled":
            self._folder.discard(job.id)
            self._ended["cancelled"] += 1

    def _bury(self, worker: Process) -> None:
        """Take a worker that has ended off the list; its job is begun again, unless it has killed too many."""
        how = how_it_ended(worker.process.exitcode)
        if (job := worker.job) is not None:
            log.warning("the worker of job %s died (%s), attempt %d", job.id, how, job.attempt)
            self._folder.discard(job.id, job.attempt)
            ended = replace(job, state="queued")
            if job.attempt >= MOST_ATTEMPTS:
                error = f"its worker died {job.attempt} times ({how})"
                hint = "convert it with ffmpeg and send it again; if it is large, raise the setting memory_mb"
                ended = replace(job, state="failed", progress=worker.progress, error=error, hint=hint)
            if self._store.end(job, ended) and ended.state == "failed":
                self._ended["failed"] += 1
            self._died += 1
        self._processes.remove(worker)
        if not worker.ready:
            self._not_started(how)

    def _put_back(self, job: Job) -> None:
        """Queue a job that this server's orderly end interrupts; the attempt doesn't count."""
        self._folder.discard(job.id, job.attempt)
        self._store.end(job, replace(job, state="queued", attempt=job.attempt - 1))

    def _tidy(self) -> None:
        """Remove what has expired, and queue again what other machines were cut at."""
        if self._folder.shared and time.monotonic() >= self._recovered_s:
            self._recover_cut()
        if time.monotonic() < self._tidied_s:
            return
        self._tidied_s = time.monotonic() + _TIDY_S
        for job in self._store.expired(time.time() - 3600 * self._settings.keep_h):
            delete_job(self._store, self._folder, job.id)


def delete_job(store: JobStore, folder: DataFolder, job_id: str) -> None:
    """Delete a job with its files. Where the store has no room, these go first: that may give it some."""
    try:
        store.delete(job_id)
    except StoreFullError:
        folder.remove(job_id)
        store.delete(job_id)
    folder.remove(job_id)


def _failed(error: AvgateError) -> dict[str, Any]:
    return {"failed": {"error": error.what, "hint": error.hint or ""}}
