"""Places: paths of this machine, and addresses such as s3://bucket/folder, on any file system that fsspec knows.

A path stays what it always was. An address is read and written as whole objects, which appear when they are complete.
Keys and endpoints are those that the file system's library finds: in AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, its files.
No password of an address and nothing behind its question mark is ever shown.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Union

from avgate.core.errors import AvgateError, MediaError, PlaceError, UsageError
from avgate.core.remote import LOCAL, no_bucket, opened, shown, told
from avgate.core.scratch import PREFIX, scratch_folder
from avgate.core.text import printable

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
"""A scheme of two characters at least, since one is a disk of Windows, and what is behind it."""

_PROBE = f"{PREFIX}probe"
"""What is written for a moment to find out whether a place can be written to."""

_writable: set[Address] = set()


@dataclass(frozen=True, repr=False)
class Address:
    """A file or folder on another file system; `str` shows it without passwords and signatures.

    Its methods raise UsageError where the scheme is unknown or its library is missing, and else what they say.

    Args:
        url: the whole of it.
    """

    url: str

    def __str__(self) -> str:
        return shown(self.url)

    __repr__ = __str__

    def __truediv__(self, part: str) -> Address:
        before, mark, query = self.url.partition("?")
        return Address(f"{before.rstrip('/')}/{part}{mark}{query}")

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last part's suffix, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Address:
        """The folder in which it is; of a bucket, the bucket itself."""
        before, mark, query = self.url.rstrip("/").partition("?")
        scheme, _, path = before.partition("://")
        folder = path.rstrip("/").rpartition("/")[0] or path
        return Address(f"{scheme}://{folder}{mark}{query}")

    def with_name(self, name: str) -> Address:
        """Another file beside it."""
        return self.parent / name

    def resolve(self) -> Address:
        """Itself: an address doesn't depend on the current folder."""
        return self

    def exists(self) -> bool:
        """Whether there is a file or folder; PlaceError where that can't be found out."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Whether there is a file; PlaceError where that can't be found out."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether there is a folder; PlaceError where that can't be found out."""
        return self._kind() == "directory"

    def _kind(self) -> str | None:
        with contextlib.suppress(FileNotFoundError), self._reached("read") as (system, path):
            return str(system.info(path)["type"])
        return None

    def read_bytes(self) -> bytes:
        """All of a file. FileNotFoundError where there is none, PlaceError where it can't be read."""
        with self._reached("read") as (system, path):
            return bytes(system.cat_file(path))

    def read_part(self, begin: int, end: int) -> bytes:
        """A file's bytes from `begin` to before `end`, or to its end; errors as of read_bytes."""
        with self._reached("read") as (system, path):
            return bytes(system.cat_file(path, start=begin, end=end))

    def size(self) -> int:
        """Bytes of a file; errors as of read_bytes."""
        with self._reached("read") as (system, path):
            return int(system.info(path)["size"])

    def folders(self) -> list[str]:
        """Names of the folders in this one, in order; none where there is no such folder. PlaceError as for others."""
        with contextlib.suppress(FileNotFoundError), self._reached("read") as (system, path):
            entries = system.ls(path, detail=True)
            return sorted(_last(entry["name"]) for entry in entries if entry["type"] == "directory")
        return []

    def files(self) -> dict[str, int]:
        """Path below this folder -> bytes, of every file in it and its folders, in order; PlaceError as for others."""
        with contextlib.suppress(FileNotFoundError), self._reached("read") as (system, path):
            below = len(path.rstrip("/")) + 1
            found = system.find(path, detail=True)
            return {name[below:]: int(entry["size"]) for name, entry in sorted(found.items())}
        return {}

    def put(self, file: Path) -> None:
        """Write a file's content here, in the place of what is here; OutputError where that fails."""
        with self._reached("written") as (system, path):
            system.put_file(str(file), path)

    def fetch(self, file: Path) -> None:
        """Write what is here into a file. FileNotFoundError where there is nothing, PlaceError where it can't be read.

        OutputError where the disk is full.
        """
        with self._reached("read") as (system, path):
            system.get_file(path, str(file))

    def refuse_unwritable(self) -> None:
        """OutputError where nothing can be written into this folder; a process looks once."""
        if self in _writable:
            return
        with self._reached("written") as (system, _):
            path = system._strip_protocol((self / _PROBE).url)
            system.pipe_file(path, b"")
            with contextlib.suppress(Exception):  # it may be allowed to write and not to delete
                system.rm_file(path)
        _writable.add(self)

    @contextlib.contextmanager
    def _reached(self, how: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path there; errors of its library within the block become this program's.

        Args:
            how: what is done to it, "read" or "written".
        """
        system, path = opened(self.url)
        try:
            yield system, path
        except AvgateError:
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and how == "read" and not no_bucket(error):
                raise
            raise told(error, self.url, how) from None  # what libraries say of requests may hold keys


Place = Union[Path, Address]  # noqa: UP007 (a value, of which others make types)
"""Where a file or folder is."""


def place(named: str | Path | Address) -> Place:
    """What a user's text names: an address where it begins with scheme://, else a path; file:// is a path, too.

    Raises:
        UsageError: a path was made of an address, or it names nothing.
    """
    if not isinstance(named, str):
        if isinstance(named, Path):
            refuse_address(named)
        return named
    match = _ADDRESS.match(named)
    if match is None:
        refuse_address(Path(named))
        return Path(named)
    scheme, behind = match[1].lower(), match[2]
    if scheme not in LOCAL:
        if not behind.strip("/"):
            hint = f"such as {scheme}://bucket/folder"
            raise UsageError("the address ends behind its scheme", where=named, hint=hint)
        return Address(f"{scheme}://{behind}")
    if not behind.startswith("/"):
        hint = "file:///folder/file, or the path alone"
        raise UsageError("such an address has three slashes", where=named, hint=hint)
    return Path(behind)


def refuse_address(path: Path, where: str | None = None) -> None:
    """Refuse a path that was an address: s3://bucket/x as a path is x in the folders s3: and bucket of this one.

    Args:
        path: what a user gave where only paths will do.
        where: the option, for the message.

    Raises:
        UsageError: it begins like an address.
    """
    first = path.parts[0] if path.parts else ""
    if len(first) > 2 and first.endswith(":"):
        scheme = printable(first)
        what = f"this is an address ({scheme}//...), and only a path of this machine will do here"
        hint = "copy it to this machine; docs/stores.md says what takes addresses"
        raise UsageError(what, where=where, hint=hint)


def begin_of(where: Place, most: int) -> bytes:
    """The first bytes of a file; OSError or PlaceError where it can't be read."""
    if isinstance(where, Address):
        return where.read_part(0, most) if where.size() else b""
    with where.open("rb") as file:
        return file.read(most)


def size_of(where: Place) -> int:
    """Bytes of a file; OSError or PlaceError where it can't be read."""
    return where.size() if isinstance(where, Address) else where.stat().st_size


@contextlib.contextmanager
def local_copy(recording: Place) -> Iterator[Path]:
    """A recording as a file of this machine: itself, or a copy of the same name that is removed at the end.

    Yields:
        Its path. Errors about the copy are raised as such about the address.

    Raises:
        MediaError: it isn't there, or can't be read.
        OutputError: there is no room for the copy.
    """
    if isinstance(recording, Path):
        yield recording
        return
    with scratch_folder() as folder:
        copy = folder / recording.name
        try:
            if copy.parent != folder or recording.name in ("", ".", "..") or "\0" in recording.name:
                raise FileNotFoundError
            recording.fetch(copy)
            if not copy.is_file():  # it is a folder there
                raise FileNotFoundError
        except FileNotFoundError:
            raise MediaError("there is no such file", where=recording, hint="check the address") from None
        except PlaceError as error:
            raise MediaError(error.what, where=error.where, hint=error.hint) from error
        try:
            yield copy
        except AvgateError as error:
            if str(copy) not in (error.where or ""):
                raise
            raise type(error)(error.what, where=recording, hint=error.hint) from error


@contextlib.contextmanager
def local_results(out: Place) -> Iterator[Path]:
    """A folder of this machine for results: `out` itself, or for an address one whose files are put there at the end.

    OutputError where they can't be; where the block fails, none is.
    """
    if isinstance(out, Path):
        yield out
        return
    with scratch_folder() as folder:
        yield folder
        for file in sorted(folder.iterdir()):
            (out / file.name).put(file)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
