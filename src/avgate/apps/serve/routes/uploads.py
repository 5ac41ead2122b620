"""Uploads under way: the bytes that came, and beside them what they shall become.

`uploads/ID` holds the bytes, and its size is the offset: nothing else says how far an upload is, so that after a crash
it goes on where the disk has it. `uploads/ID.json` says what it is of; it goes once there is a job of that id.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avgate.apps.serve.jobs import Options
from avgate.core.files import make_folder, write_json

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where one process serves
    fcntl = None

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without room."""

_ID = re.compile(r"[0-9a-f]{32}")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


UNBEGUN_S = 3600.0
"""Seconds after which an upload goes of which no byte has come."""


class BusyError(Exception):
    """Somebody else is sending this upload at this moment."""


@dataclass(frozen=True)
class Upload:
    """A recording of which some bytes have come.

    Attributes:
        id: 32 hexadecimal digits; its job will have the same.
        name: the file's name as its owner calls it.
        length: how many bytes it will have.
        options: what to make of it.
        created_s: when it began, in seconds since 1970.
    """

    id: str
    name: str
    length: int
    options: Options
    created_s: float


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


class Uploads:
    """The uploads in a folder. Its methods wait for the disk, and may be called from any thread.

    Args:
        folder: where; made if need be.
        keep_s: how long an upload stays that gets no bytes.
    """

    def __init__(self, folder: Path, keep_s: float):
        self.folder, self.keep_s = folder, keep_s
        self._held: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, name: str, length: int, options: Options, upload_id: str = "") -> Upload:
        """Begin an upload; OSError or OutputError where the disk refuses."""
        upload = Upload(upload_id or new_id(), name, length, options, time.time())
        try:
            write_json(self._about(upload.id), asdict(upload))
            self.path(upload.id).touch(exist_ok=False)
        except BaseException:
            self.remove(upload.id)
            raise
        return upload

    def path(self, upload_id: str) -> Path:
        """Where its bytes are; ValueError for what is no id."""
        if not _ID.fullmatch(upload_id):
            raise ValueError("this is no id")
        return self.folder / upload_id

    def _about(self, upload_id: str) -> Path:
        path = self.path(upload_id)
        return path.with_name(f"{path.name}.json")

    def get(self, upload_id: str) -> Upload | None:
        """The upload of that id, unless it was never begun, has ended, or is too old."""
        upload = self.read(upload_id)
        return None if upload is None or self.expires_s(upload_id) < time.time() else upload

    def read(self, upload_id: str) -> Upload | None:
        """What was said of an upload, whether or not its bytes are still here."""
        try:
            plain = json.loads(self._about(upload_id).read_text("utf-8"))
            if not isinstance(plain["length"], int) or not isinstance(plain["name"], str):
                return None
            options = plain.pop("options")
            return Upload(**plain, options=Options(**(options | {"formats": tuple(options["formats"])})))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def offset(self, upload_id: str) -> int:
        """How many bytes of it there are; OSError where it has gone."""
        return self._state(upload_id).st_size

    def expires_s(self, upload_id: str) -> float:
        """When it goes unless more bytes come, in seconds since 1970."""
        try:
            state = self._state(upload_id)
        except OSError:
            return 0.0
        return state.st_mtime + (self.keep_s if state.st_size else min(self.keep_s, UNBEGUN_S))

    def size(self, upload_id: str) -> int:
        """How many bytes of it there are; 0 where it has gone."""
        try:
            return self.offset(upload_id)
        except OSError:
            return 0

    def rest(self, upload_id: str) -> int:
        """How many bytes of it are still to come."""
        upload = self.read(upload_id)
        return 0 if upload is None else max(0, upload.length - self.size(upload_id))

    def _state(self, upload_id: str) -> os.stat_result:
        state = self.path(upload_id).lstat()
        if not stat.S_ISREG(state.st_mode):  # such as a link, behind which a file of somebody else is
            raise FileNotFoundError
        return state

    @contextlib.contextmanager
    def hold(self, upload_id: str, place: Path | None = None) -> Iterator[int]:
        """Its file, open for adding bytes, which nobody else can do within this block.

        Args:
            upload_id: of the upload.
            place: where its file is, if it was moved already.

        Yields:
            The file's descriptor.

        Raises:
            BusyError: somebody else is at it.
            OSError: it has gone.
        """
        if upload_id in self._held:  # sets are safe between threads, and the event loop is one thread anyway
            raise BusyError
        self._held.add(upload_id)
        try:
            file = os.open(place or self.path(upload_id), os.O_WRONLY | os.O_APPEND | _NO_LINK)
            try:
                if fcntl is not None:  # another process of the server
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        raise BusyError from None
                yield file
            finally:
                os.close(file)
        finally:
            self._held.discard(upload_id)

    def forget(self, upload_id: str) -> None:
        """It became a job: what was said of it can go."""
        self._about(upload_id).unlink(missing_ok=True)

    def remove(self, upload_id: str) -> None:
        """Remove all of it. What somebody is sending at this moment goes nowhere."""
        self.path(upload_id).unlink(missing_ok=True)
        self.forget(upload_id)

    def ids(self) -> list[str]:
        """The ids of all uploads."""
        return sorted(path.stem for path in self.folder.glob("*.json") if _ID.fullmatch(path.stem))

    def sweep(self) -> list[str]:
        """Remove uploads that got no bytes for too long, and what is no upload; the names of what went.

        What came of a recording that is sent in one request is no upload, and goes after the same time.
        """
        now_s, gone = time.time(), []
        for path in [*self.folder.iterdir()]:
            with contextlib.suppress(OSError, BusyError):  # it became a job meanwhile, or somebody sends it
                if path.suffix == ".json" and path.with_suffix("").exists():
                    continue
                if _ID.fullmatch(path.name) is None:
                    if path.lstat().st_mtime + self.keep_s < now_s:
                        path.unlink()
                        gone.append(path.name)
                elif self.expires_s(path.name) < now_s:
                    with self.hold(path.name):
                        self.remove(path.name)
                    gone.append(path.name)
        return gone

    def clear(self) -> None:
        """Remove what no request can go on with, when no request is under way."""
        for path in [*self.folder.iterdir()]:
            if not (path.with_suffix("").exists() and path.with_suffix(".json").exists()):
                path.unlink(missing_ok=True)

    def check(self) -> None:
        """OSError or OutputError where nothing can be written."""
        make_folder(self.folder)


def write_all(file: int, data: bytes) -> None:
    """Write all of it; OSError where the disk refuses, after which some of it may be there."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
