"""Atomic writes: a file is either complete or absent. CSV that no spreadsheet runs, and strict JSON."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avgate.core.errors import OutputError, UsageError
from avgate.core.places import Address, Place, place, refuse_address
from avgate.core.scratch import PREFIX, claim, scratch_folder
from avgate.core.text import as_cell, reason

_Place = TypeVar("_Place", bound=Place)


@contextlib.contextmanager
def atomic_write(path: str | Place) -> Iterator[Path]:
    """Write to a temporary path, which replaces `path` when the block ends and is removed if the block fails.

    The temporary path is in the same folder, or for an address in the system's place for temporary files, and has the
    same suffix. A file at `path` stays unchanged until the new one is complete.

    Args:
        path: where the file shall be; its folder must exist.

    Yields:
        The path to write to; nothing exists there yet.

    Raises:
        OutputError: the file can't be written.
    """
    path = place(path)
    if isinstance(path, Address):
        with scratch_folder() as folder:
            yield (temporary := folder / f"whole{path.suffix}")
            path.put(temporary)
        return
    # If `path` is a link, replace the file that it points to, not the link.
    final, written = Path(os.path.realpath(path)), 0
    try:
        _refuse_other_kinds(path, final)
        with claim(final.parent, final.suffix) as temporary:
            try:
                yield temporary
                temporary.replace(final)
            except OSError:
                with contextlib.suppress(OSError):
                    written = temporary.stat().st_size
                raise
    except OSError as error:
        # An error about another file, such as one that the block reads, passes through.
        if error.filename is not None and not _same_work(Path(os.fsdecode(error.filename)), final):
            raise
        after = f" after {written:,} bytes" if written else ""
        what = f"can't be written{after} ({reason(error)})"
        raise OutputError(what, where=path, hint=_hint(final, error)) from error


def _refuse_other_kinds(path: Path, final: Path) -> None:
    if not is_there(final):
        with contextlib.suppress(FileNotFoundError):
            final.lstat()  # raises for a name that no file can have
    if final.is_dir():
        raise OutputError("there is a folder of this name", where=path, hint="give the name of a file")
    if final.exists() and not final.is_file():
        raise OutputError("this is not a regular file", where=path, hint="give the name of a file")


def refuse_unwritable(path: Place) -> None:
    """Find out before long work that a file can't be written after it: OutputError, as atomic_write would raise it."""
    if isinstance(path, Address):
        path.parent.refuse_unwritable()
        return
    final = Path(os.path.realpath(path))
    try:
        _refuse_other_kinds(path, final)
        with claim(final.parent, final.suffix) as probe:
            probe.touch()
    except OSError as error:
        what = f"can't be written ({reason(error)})"
        raise OutputError(what, where=path, hint=_hint(final, error)) from error


@contextlib.contextmanager
def output_folder(path: _Place) -> Iterator[_Place]:
    """A folder for results, as of make_folder; if an error leaves it empty, it is removed again, unless it was there.

    Args:
        path: where.

    Yields:
        The same path.

    Raises:
        OutputError: it can't be created or isn't writable.
    """
    made: list[Path] = []
    if isinstance(path, Path):
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield make_folder(path)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # it isn't empty
                folder.rmdir()
        raise


def _same_work(path: Path, final: Path) -> bool:
    """Whether a path is that of a file to be written, or of what is written in its place at first."""
    return path == final or (path.parent == final.parent and path.name.startswith(PREFIX))


def _hint(path: Path, error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return "give it a shorter name"
    if not path.parent.is_dir():
        return f"create the folder {path.parent} first, or choose another one"
    return "check the folder's permissions and the free space on the disk, or choose another folder"


def is_file(path: str | Place) -> bool:
    """Whether there is a file of this name; False for names that no file can have, at which Path's own raises."""
    if isinstance(path, Address):
        return path.is_file()
    return os.path.isfile(path)  # noqa: PTH113 (Path's raises for some names)


def is_there(path: str | Path) -> bool:
    """Whether there is a file or a folder of this name; False for names that none can have."""
    return os.path.exists(path)  # noqa: PTH110 (Path's raises for some names)


def sha256_of(path: Path) -> str:
    """SHA-256 of all of a file, 64 hex digits, in constant memory; OSError where it can't be read."""
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def make_folder(path: _Place) -> _Place:
    """Create a folder, its parents too, unless it exists, and check that it is writable.

    At an address, folders come with the first file in them.

    Raises:
        OutputError: it can't be created or isn't writable.
    """
    if isinstance(path, Address):
        path.refuse_unwritable()
        return path
    refuse_address(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with claim(path) as probe:
            probe.touch()
    except OSError as error:
        what = f"can't write into this folder ({reason(error)})"
        raise OutputError(what, where=path, hint="choose another folder") from error
    return path


def refuse_overwriting(inputs: Iterable[Place], outputs: Mapping[str, Place | None]) -> None:
    """Refuse output files that would overwrite an input or each other, or that can't be written at all.

    Args:
        inputs: files to read, or folders: what is in them already is an input, too.
        outputs: option -> file to write, or None.

    Raises:
        UsageError: two of them are the same file, or an output is a file in an input folder.
        OutputError: an output can't be written; found out here, since the work before it may be long.
    """
    read = [_real(path) for path in inputs]
    written = {option: path for option, path in outputs.items() if path is not None}
    taken = dict.fromkeys(read, "it is an input")
    for option, path in written.items():
        real = _real(path)
        if isinstance(real, Path) and is_there(real) and not {*read}.isdisjoint(real.parents):
            taken[real] = "it is part of an input"
        if real in taken:
            raise UsageError(f"'{path}' can't be written: {taken[real]}", where=option, hint="give another name")
        taken[real] = f"it is the output of {option}"
    for path in written.values():
        refuse_unwritable(path)


def _real(path: Place) -> Place:
    return path if isinstance(path, Address) else Path(os.path.realpath(path))


def write_csv(path: Place, titles: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, atomically: UTF-8, line feeds, and cells as `as_cell` makes them.

    OutputError where it can't be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([as_cell(title) for title in titles])
        writer.writerows([as_cell(value) if isinstance(value, str) else value for value in row] for row in rows)


def json_values(value: object) -> Any:
    """A value as strict JSON can hold it: NaN and Inf become None, other objects their text."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":  # at once: traces have millions of numbers
        values = value.astype(np.float64).astype(object)
        values[~np.isfinite(value)] = None
        return values.tolist()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def write_json(path: Place, value: object) -> None:
    """Write a value as strict JSON, atomically; NaN becomes null. OutputError where it can't be written."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(json_values(value), indent=1, allow_nan=False), "utf-8")
