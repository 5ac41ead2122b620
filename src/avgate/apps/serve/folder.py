"""The server's data folder: uploads, recordings and results, each in its place and removed in time."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from avgate.apps.serve.names import safe_name
from avgate.core.errors import OutputError
from avgate.core.text import quoted, reason

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where a file that is open can't be deleted, which is as good as a lock
    fcntl = None

MARK = "avgate-data"
"""A file of this name says whose the folder is; it is locked as long as a server works in it."""

DATABASE = "jobs.sqlite3"
"""The name of the database of jobs and uploads."""

_OURS = {MARK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", "uploads", "jobs"}

_ID = re.compile(r"[0-9a-f]{32}")

_NEW_S = 3600.0
"""Seconds for which a folder is new: far more than it takes to accept a recording, and than clocks differ."""


class DataFolder:
    """The folder that a server keeps everything in; made where it is missing.

    uploads/ID is what came of a recording so far; jobs/ID/input/NAME the whole recording; jobs/ID/attempt-N where a
    worker writes; jobs/ID/results what became of it; jobs/ID/annotations what raters say of it. No method follows a
    link inside the folder, and IDs are 32 hexadecimal digits: of others nothing exists.

    Args:
        root: where.
        shared: whether other servers and workers may work in it at the same time.

    Attributes:
        root: the folder, without links on the way to it.
        shared: as given.
        uploads: the folder of uploads.
        jobs: the folder of jobs.
        database: the file for a SqliteJobs.
        mark: the file that says whose the folder is.

    Raises:
        OutputError: it can't be written, holds files that no server of avgate put there, or others can look into it.
    """

    def __init__(self, root: str | Path, shared: bool = False):
        self.root, self.shared = Path(os.path.realpath(root)), shared
        self.mark = self.root / MARK
        self.uploads, self.jobs, self.database = self.root / "uploads", self.root / "jobs", self.root / DATABASE
        self._held: IO[bytes] | None = None
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_strangers()
            self._keep_private()
            self.mark.touch(mode=0o600)
            for folder in (self.uploads, self.jobs):
                folder.mkdir(mode=0o700, exist_ok=True)
                if not _is_folder(folder):
                    hint = "give a folder of the server's own"
                    raise OutputError(f"'{folder.name}' in it is a link", where=self.root, hint=hint)
        except OSError as error:
            what = f"can't be the server's data folder ({reason(error)})"
            raise OutputError(what, where=self.root, hint="give another one as the setting `data`") from error

    def _refuse_strangers(self) -> None:
        found = {entry.name for entry in os.scandir(self.root)}
        strange = sorted(found - _OURS) if MARK in found else sorted(found)
        if strange:
            what = f"there are files in it that aren't the server's, such as '{quoted(strange[0])}'"
            hint = "give an empty folder, or one that doesn't exist, as the setting `data`"
            raise OutputError(what, where=self.root, hint=hint)

    def _keep_private(self) -> None:
        """Let nobody but this user look into it, whoever made it."""
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            if not _is_private(self.root):
                self.root.chmod(0o700)
        if not _is_private(self.root):
            hint = "give one of the server's own user, with the permissions 0700, as the setting `data`"
            raise OutputError("other users of this machine can look into it", where=self.root, hint=hint)

    def hold(self) -> None:
        """Keep other servers out until this process ends or `release`; of a shared folder, those that don't share it.

        Raises:
            OutputError: another server works in it.
        """
        if self._held is not None:
            return
        file = self.mark.open("a+b")  # a network file system shares a lock between those who read
        try:
            if fcntl is not None:
                fcntl.flock(file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            hint = "stop that one, or give another folder as the setting `data`; one with workers = 0 leaves room"
            raise OutputError("another server works in this folder", where=self.root, hint=hint) from None
        except OSError:  # a disk without locks
            pass
        self._held = file

    def release(self) -> None:
        """Let other servers in."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def upload(self, upload_id: str) -> Path:
        """Where an upload's bytes are, or go; ValueError for what is no ID."""
        return self.uploads / _checked(upload_id)

    def accept(self, job_id: str, name: str, source: Path) -> Path:
        """Move a complete recording to its job's place; once it returns, that survives a power failure.

        Args:
            job_id: of a job that isn't in the store yet.
            name: as its owner calls it.
            source: a file in this folder, such as an upload. Where it is gone and the job has its recording, nothing
                is left to do: an earlier attempt was cut after it.

        Returns:
            The recording's place.

        Raises:
            OutputError: it can't be moved.
        """
        folder = self.jobs / _checked(job_id) / "input"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (there := self.recording(job_id)) is not None and not source.exists():
                return there
            with source.open("rb") as file:
                os.fsync(file.fileno())
            place = folder / safe_name(name)
            source.replace(place)
            for changed in (folder, folder.parent, self.jobs, source.parent):
                _sync(changed)
        except OSError as error:
            if (there := self.recording(job_id)) is not None and not source.exists():  # another server did the same
                return there
            raise OutputError(
                f"the recording can't be kept ({reason(error)})", hint="free space on the disk"
            ) from error
        return place

    def recording(self, job_id: str) -> Path | None:
        """A job's recording, or None where there is none."""
        found = [path for path in self._files(job_id, "input") if not path.name.startswith(".")]
        return found[0] if len(found) == 1 else None

    def begin(self, job_id: str, attempt: int) -> Path:
        """An empty folder for what an attempt writes; what earlier ones left is removed. OutputError without room."""
        place = self.jobs / _checked(job_id)
        try:
            for left in [*place.glob("attempt-*"), place / "results"]:
                remove(left)
            folder = place / f"attempt-{attempt:d}"
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(f"no folder for results can be made ({reason(error)})") from error
        return folder

    def finish(self, job_id: str, attempt: int) -> tuple[str, ...]:
        """Make what an attempt wrote the job's results.

        Returns:
            Their names, sorted.

        Raises:
            OutputError: they can't be moved.
        """
        place = self.jobs / _checked(job_id)
        written = place / f"attempt-{attempt:d}"
        try:
            for path in written.iterdir():
                if _kind(path) != stat.S_IFREG or path.name.startswith("."):
                    remove(path)
                    continue
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            _sync(written)
            # An attempt that began after this one has removed both, and this one fails.
            written.replace(place / "results")
            _sync(place)
        except OSError as error:
            raise OutputError(f"the results can't be kept ({reason(error)})", hint="free space on the disk") from error
        return tuple(path.name for path in self._files(job_id, "results"))

    def discard(self, job_id: str, attempt: int | None = None) -> None:
        """Remove what an attempt wrote, or, without one, the results."""
        remove(self.jobs / _checked(job_id) / ("results" if attempt is None else f"attempt-{attempt:d}"))

    def result(self, job_id: str, name: str) -> Path | None:
        """One of a job's results, or None where there is none of that name."""
        return next((path for path in self._files(job_id, "results") if path.name == name), None)

    def annotations(self, job_id: str) -> Sequence[Path]:
        """What raters said of a job's recording: a file NAME.csv each, sorted."""
        return [path for path in self._files(job_id, "annotations") if not path.name.startswith(".")]

    def annotate(self, job_id: str, name: str) -> Path:
        """Where one of that name goes, which must be one for a file; FileNotFoundError where the job has gone."""
        folder = self.jobs / _checked(job_id) / "annotations"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_folder(folder):
            raise FileNotFoundError(folder)
        return folder / f"{name}.csv"

    def remove(self, job_id: str) -> None:
        """Remove everything of a job."""
        remove(self.jobs / _checked(job_id))

    def sweep(self, is_job: Callable[[str], bool]) -> list[str]:
        """Remove folders of jobs that aren't in the store: what was cut before they were accepted, or while removed.

        To be called while nothing is accepted, and after complete uploads have become jobs. In a shared folder, where
        others may accept something at any time, what is new stays.

        Returns:
            The IDs of what was removed.
        """
        found = [path for path in _entries(self.jobs) if _ID.fullmatch(path.name)]
        if self.shared:
            found = [path for path in found if _modified_s(path) < time.time() - _NEW_S]
        strange = [path.name for path in found if not is_job(path.name)]
        for name in strange:
            remove(self.jobs / name)
        return strange

    def free_mb(self) -> float:
        """Room on the disk, in MiB."""
        return shutil.disk_usage(self.root).free / 2**20

    def _files(self, job_id: str, part: str) -> Sequence[Path]:
        """The regular files of a part of a job, sorted; none of what is no job."""
        if not _ID.fullmatch(job_id):
            return []
        folder = self.jobs / job_id / part
        if not _is_folder(folder.parent) or not _is_folder(folder):
            return []
        return [path for path in _entries(folder) if _kind(path) == stat.S_IFREG]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; what is a link's target stays."""
    if _is_folder(path):
        # A worker that is about to end may still write into it.
        for _ in range(5):
            shutil.rmtree(path, ignore_errors=True)
            if not _is_folder(path):
                return
            time.sleep(0.05)
    with contextlib.suppress(OSError):
        path.unlink()


def _checked(some_id: str) -> str:
    if not _ID.fullmatch(some_id):
        raise ValueError("this is no ID of a job or an upload")
    return some_id


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except FileNotFoundError:
        return


def _kind(path: Path) -> int:
    """The kind of a file as in stat.S_IF...; 0 where there is none."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return 0


def _modified_s(path: Path) -> float:
    """When an entry was changed, in seconds since 1970; infinity where there is none."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return math.inf


def _is_folder(path: Path) -> bool:
    return _kind(path) == stat.S_IFDIR


def _is_private(path: Path) -> bool:
    return not path.stat().st_mode & 0o077


def _sync(folder: Path) -> None:
    """Write a folder's entries to the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
