"""Writing a file so that it is either complete or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from avgate.core.errors import OutputError, UsageError


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to: it takes the place of `path` when the block ends, or is removed if it fails.

    The temporary path stands in the same folder and has the same suffix, and nothing exists there yet. A file that was
    at `path` before stays as it is until the new one is complete.

    Args:
        path: where the file shall be; its folder must exist.

    Yields:
        The path to write to.

    Raises:
        OutputError: the file can't be written there.
    """
    path = Path(path)
    # A link keeps pointing to its file: the file is replaced, not the link.
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".avgate-{secrets.token_hex(6)}{final.suffix}")
    try:
        if final.is_dir():
            raise OutputError("there is a folder of this name", where=path, hint="give the name of a file")
        if final.exists() and not final.is_file():
            raise OutputError("this is not a regular file", where=path, hint="give the name of a file")
        yield temporary
        temporary.replace(final)
    except OSError as error:
        # Trouble with another file, such as one that the block reads, is the block's own to report.
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (temporary, final):
            raise
        raise OutputError(f"can't be written ({error.strerror or error})", where=path, hint=_hint(final)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f"create the folder {path.parent} first, or choose another one"
    return "check that the folder may be written to and that the disk isn't full, or choose another place"


def make_folder(path: str | Path) -> Path:
    """Make a folder (and those above it) if it isn't there, and make sure that it can be written to.

    Raises:
        OutputError: it can't be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".avgate-"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"can't write into this folder ({reason})", where=path, hint="choose another folder"
        ) from error
    return path


def refuse_overwriting(inputs: Iterable[Path], outputs: Mapping[str, Path | None]) -> None:
    """UsageError where a file would be written over one that is read, or over another that is written.

    Args:
        inputs: what is read.
        outputs: option -> what is written, None where nothing is.
    """
    taken = {Path(os.path.realpath(path)): "it is read" for path in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        place = Path(os.path.realpath(path))
        if place in taken:
            raise UsageError(f"'{path}' can't be written: {taken[place]}", where=option, hint="give another name")
        taken[place] = f"{option} is written there"
