"""Half-written files and temporary folders: whose they are, so that nothing of a killed run stays for long.

Everything unfinished is called .avgate-TOKEN, with or without a suffix. Beside it, .avgate-TOKEN.avgate-lock is locked
for as long as its process lives: the system unlocks it even when the process is killed. So whoever can lock it may
clean up.

On some file systems a lock holds among the processes of one machine alone. So the lock says which machine it is of, and
another one waits for a day before it cleans up; by the file system's clock, which is one for all of them.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from avgate.core.errors import OutputError
from avgate.core.text import reason

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where a file that is open can't be deleted, which is as good as a lock
    fcntl = None

PREFIX = ".avgate-"
"""How the names of everything unfinished begin."""

_LOCK = ".avgate-lock"

_LOCK_NAME = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{12}}{re.escape(_LOCK)}")
"""Only such locks are looked at: in a folder for everybody, a lock of another name could stand for others' files."""

_DAY_S = 86_400.0
"""How long what another machine may still be writing stays, though it can be locked."""

_LONGEST_NAME = 400
"""Bytes of a lock that are read."""

_looked_into: set[Path] = set()


@contextlib.contextmanager
def claim(folder: Path, suffix: str = "") -> Iterator[Path]:
    """A new name in a folder; what bears it is removed at the end, or by the next run if this process is killed.

    What killed runs left in the folder is removed first.

    Args:
        folder: where.
        suffix: what the name ends with.

    Yields:
        The path; nothing exists there yet.

    Raises:
        OSError: the folder can't be written to.
    """
    claimed = False
    while not claimed:
        lock = folder / f"{PREFIX}{secrets.token_hex(6)}{_LOCK}"
        file = lock.open("xb", buffering=0)
        try:
            with file:
                # A run that cleans up may come between, and take the name for abandoned.
                claimed = _locked(file) and lock.exists()
                if claimed:
                    with contextlib.suppress(OSError):  # the disk is full; the name alone needs no room
                        file.write("\n".join(_machine()).encode()[:_LONGEST_NAME])
                    remove_abandoned(folder, lock)
                    path = lock.with_suffix(suffix)
                    try:
                        yield path
                    finally:
                        _remove(path)
        finally:
            _remove(lock)


@contextlib.contextmanager
def scratch_folder(place: Path | None = None) -> Iterator[Path]:
    """An empty folder for this user alone, removed at the end.

    Args:
        place: where; None is the system's place for temporary files.

    Raises:
        OutputError: it can't be made; names TMPDIR.
    """
    with contextlib.ExitStack() as scope:
        try:
            folder = scope.enter_context(claim(place or Path(tempfile.gettempdir())))
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise no_room(f"no temporary folder can be made ({reason(error)})") from error
        yield folder


@contextlib.contextmanager
def place_of_others(folder: Path) -> Iterator[None]:
    """Let libraries that make temporary files of their own make them in a folder, until the block ends."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def no_room(what: str) -> OutputError:
    """The error for something that can't be written into the system's place for temporary files."""
    try:
        where = f"TMPDIR ({tempfile.gettempdir()})"
    except OSError:
        where = "TMPDIR"
    return OutputError(what, where=where, hint="free space there, or set TMPDIR to a folder with room")


def remove_abandoned(folder: Path, own: Path | None = None) -> None:
    """Remove what killed runs left in a folder. A process looks into each folder once.

    Args:
        folder: where.
        own: a lock of this process there, made just now, which tells the file system's time; without one, what other
            machines left stays.
    """
    if folder in _looked_into:
        return
    _looked_into.add(folder)
    with contextlib.suppress(OSError):
        now_s = None if own is None else own.stat().st_mtime
        for lock in [path for path in folder.glob(f"{PREFIX}*{_LOCK}") if _LOCK_NAME.fullmatch(path.name)]:
            with contextlib.suppress(OSError):  # its process lives, or it is another user's
                if lock != own:
                    _remove_if_abandoned(lock, now_s)


def remove_what_workers_left() -> None:
    """Remove what processes of this run that were killed had begun, in the folders that this one writes to."""
    folders = {*_looked_into}
    with contextlib.suppress(OSError):  # there is no place for temporary files
        folders.add(Path(tempfile.gettempdir()))
    _looked_into.clear()
    for folder in folders:
        remove_abandoned(folder)


def _remove_if_abandoned(lock: Path, now_s: float | None) -> None:
    with contextlib.ExitStack() as scope:
        if fcntl is None:
            lock.unlink()
        else:
            file = scope.enter_context(lock.open("rb+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _elsewhere(file.read(_LONGEST_NAME)) and (now_s is None or now_s - lock.stat().st_mtime < _DAY_S):
                return
        for path in list(lock.parent.glob(f"{lock.stem}*")):
            if path != lock:
                _remove(path)
        _remove(lock)


@cache
def _machine() -> tuple[str, str]:
    """This machine: since its last start, which its containers share; and its name, which stays."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        start = ""
    return start, socket.gethostname()


def _elsewhere(said: bytes) -> bool:
    """Whether a lock with this content was made on another machine; it is empty where that isn't known."""
    start, _, name = said.decode(errors="replace").partition("\n")
    here = _machine()
    return bool(said) and name != here[1] and (start != here[0] or not start)


def _locked(file: Any) -> bool:
    """Lock a file of ours; False where another process has locked it. On disks without locks nothing is abandoned."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
