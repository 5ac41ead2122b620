"""Room for recordings: how many may wait, and how many bytes may come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from avgate.apps.serve.folder import DataFolder
from avgate.apps.serve.jobs import JobStore
from avgate.apps.serve.routes.shapes import Refused
from avgate.apps.serve.routes.uploads import Uploads
from avgate.apps.serve.settings import Settings


class Places:
    """Counts the recordings that wait, that were announced and that come at this moment, before a further one is taken.

    Args:
        settings: max_jobs and min_free_mb.
        store: holds those that wait.
        folder: the disk that they come to.
        uploads: those that were announced.
    """

    def __init__(self, settings: Settings, store: JobStore, folder: DataFolder, uploads: Uploads):
        self._settings, self._store, self._folder, self._uploads = settings, store, folder, uploads
        self._lock = threading.Lock()
        self._coming: dict[str, int] = {}

    @contextlib.contextmanager
    def reserved(self, upload_id: str, length: int) -> Iterator[None]:
        """A place for a recording of so many bytes (0 where nobody knows) for as long as this block lasts.

        Raises:
            Refused: there is none, or the disk has no room for it.
        """
        with self._lock:
            announced = self._uploads.ids()
            self._refuse_full_queue(len({*announced, *self._coming}))
            rest = sum(self._uploads.rest(each) for each in announced)
            rest += sum(
                max(0, most - self._uploads.size(each)) for each, most in self._coming.items() if each not in announced
            )
            if self.free_bytes() < rest + length:
                raise Refused(507, "the server's disk has no room for it", "ask who runs it to free space", "data")
            self._coming[upload_id] = length
        try:
            yield
        finally:
            with self._lock:
                del self._coming[upload_id]

    def look_again(self) -> None:
        """Refused where others that share the list of jobs have filled it since a place was reserved."""
        self._refuse_full_queue(0)

    def free_bytes(self) -> float:
        """What may still come to the disk: its room without the reserve."""
        return (self._folder.free_mb() - self._settings.min_free_mb) * 2**20

    def _refuse_full_queue(self, coming: int) -> None:
        waiting = self._store.count().get("queued", 0) + coming
        if waiting >= self._settings.max_jobs:
            what = f"{waiting} recordings wait already, and at most {self._settings.max_jobs} may"
            raise Refused(503, what, "try again later", "max_jobs", {"retry-after": "60"})
