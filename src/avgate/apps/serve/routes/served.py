"""The parts that the routes work with, and how a file becomes a job."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import Job, JobStore, Options, StoreError
from avgate.apps.serve.metrics import Metrics
from avgate.apps.serve.names import shown_name
from avgate.apps.serve.routes.places import Places
from avgate.apps.serve.routes.shapes import Refused
from avgate.apps.serve.routes.uploads import BusyError, Upload, Uploads
from avgate.apps.serve.settings import Settings
from avgate.apps.serve.workers.crew import Crew
from avgate.core.errors import UsageError, choose
from avgate.core.text import quoted
from avgate.labels.formats import LABEL_FORMATS
from avgate.models.intervals import DEFAULT_LEVEL

log = logging.getLogger("avgate.serve")

FORMATS = tuple(f.name for f in LABEL_FORMATS if f.name not in ("csv", "json"))
"""Names of the label formats that can be asked for."""

LEVELS = (0.5, 0.99)
"""Lowest and highest level of intervals."""


@dataclass(frozen=True)
class Served:
    """The server's parts: limits, jobs, files, workers, uploads under way, counts, and whether it ends."""

    settings: Settings
    store: JobStore
    folder: DataFolder
    crew: Crew
    uploads: Uploads
    metrics: Metrics
    ending: threading.Event = field(default_factory=threading.Event)
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", Places(self.settings, self.store, self.folder, self.uploads))

    @property
    def most_bytes(self) -> int:
        """How long a recording may be."""
        return int(self.settings.max_upload_mb) << 20

    def refuse_too_long(self, length: int) -> None:
        """Refused where a recording of so many bytes isn't taken."""
        if length > self.most_bytes:
            what = f"recordings of at most {self.settings.max_upload_mb} MB are taken"
            raise Refused(413, what, "send a shorter or smaller recording, or raise max_upload_mb", "max_upload_mb")

    def options(self, given: dict[str, str]) -> Options:
        """What to make of a recording, from texts; Refused where one of them is impossible.

        Args:
            given: any of model, level, formats (separated by commas) and report.
        """
        model = given.get("model", "") or "default"
        refuse_unknown("model", model, self.settings.models, "model")
        asked = given.get("formats", "")
        formats = tuple(dict.fromkeys(asked.split(","))) if asked else ()
        for name in formats:
            refuse_unknown("output format", name, FORMATS, "formats")
        report = given.get("report", "") or "true"
        if report not in ("true", "false"):
            raise Refused(422, f"report can't be '{quoted(report)}'", "give true or false", "report")
        try:
            level = float(given.get("level", "") or DEFAULT_LEVEL)
        except ValueError:
            level = float("nan")
        if not LEVELS[0] <= level <= LEVELS[1]:
            what = f"the level of intervals can't be '{quoted(given.get('level', ''))}'"
            raise Refused(422, what, f"give {LEVELS[0]:g} to {LEVELS[1]:g}, such as {DEFAULT_LEVEL:g}", "level")
        return Options(model, level, formats, report == "true")

    def admit(self, upload_id: str, name: str, options: Options) -> Job:
        """`accept`, unless others have filled the list of jobs meanwhile; then Refused, and the upload is as it was."""
        self.places.look_again()
        return self.accept(upload_id, name, options)

    def accept(self, upload_id: str, name: str, options: Options) -> Job:
        """Make a complete upload the input of a job, and add the job; once, however often it is called.

        StoreError where the job can't be added now: the upload is as it was, and this may be called again.
        """
        recording = self.folder.accept(upload_id, name, self.uploads.path(upload_id))
        job = Job(upload_id, shown_name(name), recording.stat().st_size, options, created_s=round(time.time(), 6))
        try:
            self.store.add(job)
        except StoreError:
            recording.replace(self.uploads.path(upload_id))
            self.folder.remove(upload_id)
            raise
        self.uploads.forget(upload_id)
        self.crew.wake()
        return job

    def recover(self) -> Sequence[Job]:
        """Before any request: make jobs of complete uploads, and remove what no request can go on with; those jobs."""
        accepted = self.adopt()
        if not self.folder.shared:  # or other servers' requests are under way
            self.uploads.clear()
        return accepted

    def adopt(self) -> Sequence[Job]:
        """Make jobs of complete uploads that none became: their server was killed, or its store away; those jobs.

        To be called at any time, also while requests are under way.
        """
        accepted = []
        for upload_id in self.uploads.ids():
            upload = self.uploads.read(upload_id)
            if self.store.get(upload_id) is not None:  # it was killed before it forgot the upload
                self.uploads.forget(upload_id)
            elif upload is not None and (job := self._adopted(upload)) is not None:
                accepted.append(job)
        return accepted

    def _adopted(self, upload: Upload) -> Job | None:
        place: Path | None = self.uploads.path(upload.id)
        if place is not None and not place.exists():  # it was killed before it added the job
            place = self.folder.recording(upload.id)
        if place is None:
            return None
        try:
            with self.uploads.hold(upload.id, place) as file:
                complete = os.fstat(file).st_size == upload.length
                return self.accept(upload.id, upload.name, upload.options) if complete else None
        except (BusyError, OSError):  # somebody is sending it or making it a job at this moment
            return None


def refuse_unknown(kind: str, name: str, choices: Iterable[str], where: str) -> None:
    """Refused, with a guess at what was meant, where none of the choices has that name."""
    try:
        choose(kind, quoted(name), {choice: choice for choice in choices})
    except UsageError as error:
        raise Refused(422, error.what, error.hint or "", where) from None
