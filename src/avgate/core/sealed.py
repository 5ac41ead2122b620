"""Safetensors files with a checksum of all their bytes, so that no changed bit of them is ever used in silence.

    {"__metadata__":{"seal":"HEAD DATA","avgate":...},...}      how the header of a sealed file begins

DATA is the SHA-256 of all bytes behind the header. HEAD is that of the bytes before it, the header with DATA and its
length included, with zeros in place of HEAD itself. So a header can be trusted before the rest is read, and every bit
of the file counts. Files of versions that knew no seal are read without one. Other programs read sealed files as any
other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

from avgate.core.files import atomic_write
from avgate.core.kinds import fits
from avgate.core.places import Address, Place, place, size_of
from avgate.core.text import quoted

_Tensor = TypeVar("_Tensor")

_MARK = b'{"__metadata__":{"seal":"'
_DIGITS = 64
_HEAD = slice(8 + len(_MARK), 8 + len(_MARK) + _DIGITS)
_ALIGNED = 8
"""Data begin at a multiple of this; spaces fill the header up."""

_GUESS = 1 << 14
"""So many bytes of a file at an address are asked for first: nearly every header is in them."""

_UNSEALED = ({"avgate"}, {"identity", "outcome"})
"""The metadata of files that were written before there were seals: anything else is a seal that was damaged."""

_CHANGED = "its bytes aren't those that were written: the checksum differs"
_NONSENSE = "its header makes no sense"


def write_sealed(path: str | Place, whole: bytes) -> None:
    """Seal a file's content and write it, atomically.

    Args:
        path: where it shall be.
        whole: what safetensors' `save` gives, with metadata.

    Raises:
        OutputError: it can't be written.
    """
    n = int.from_bytes(whole[:8], "little")
    described, data = json.loads(whole[8 : 8 + n]), memoryview(whole)[8 + n :]
    metadata = dict(sorted(described.pop("__metadata__").items()))
    seal = f"{'0' * _DIGITS} {sha256(data).hexdigest()}"
    header = {"__metadata__": {"seal": seal} | metadata} | described
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    head = bytearray(len(text).to_bytes(8, "little") + text)
    head[_HEAD] = sha256(head).hexdigest().encode()
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(head)
        file.write(data)


def read_sealed(
    path: str | Place, load: Callable[[bytes], Mapping[str, _Tensor]]
) -> tuple[dict[str, str], dict[str, _Tensor]]:
    """Read a file once and check all its bytes before anything in it is used.

    Args:
        path: a file of write_sealed, or of a version that knew no seals.
        load: safetensors' `load`, for torch or NumPy.

    Returns:
        Its metadata and its tensors.

    Raises:
        ValueError: it was changed after it was written, or is no such file.
        OSError: it can't be read.
        PlaceError: its address can't be reached or read.
    """
    from safetensors import SafetensorError

    whole = place(path).read_bytes()
    n = _length(whole, len(whole))
    metadata = _checked(whole[: 8 + n])["__metadata__"]
    digest = metadata.pop("seal", "").rpartition(" ")[2]
    if digest and sha256(memoryview(whole)[8 + n :]).hexdigest() != digest:
        raise ValueError(_CHANGED)
    try:
        return metadata, dict(load(whole))
    except (SafetensorError, AssertionError) as error:
        raise ValueError(str(error)) from error


def read_header(path: str | Place, size: int | None = None) -> dict[str, Any]:
    """A file's header, checked, without reading the data behind it; their length is checked too.

    Args:
        path: the file.
        size: its bytes, where they are known.

    Returns:
        What safetensors' format says: `__metadata__`, and tensor -> `dtype`, `shape` and `data_offsets`.

    Raises:
        ValueError: the header was changed after it was written, the data are cut short, or it is no such file.
        OSError: it can't be read.
        PlaceError: its address can't be reached or read.
    """
    path = place(path)
    size = size_of(path) if size is None else size
    n, head = _head(path, size)
    header = _checked(head)
    header["__metadata__"].pop("seal", None)
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        wanted = 8 + n + max(ends, default=0)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(_NONSENSE) from error
    if size != wanted:
        raise ValueError(f"it has {size} bytes, not {wanted}")
    return header


def description(
    metadata: Mapping[str, str],
    kinds: Mapping[str, Any] | None = None,
    name: str = "avgate",
    more: Collection[str] | None = None,
) -> dict[str, Any]:
    """What a file says of itself in its metadata, a JSON object.

    Args:
        metadata: the file's.
        kinds: what must be in the object -> a type hint that it must fit; nothing unless given.
        name: where in the metadata the object is.
        more: what else may be in the object; None allows anything.

    Raises:
        KeyError: it says nothing, or a part is missing.
        ValueError: it is no JSON object, nested too deep, or a part is of another kind, or of a later version.
    """
    try:
        found = json.loads(metadata[name])
    except RecursionError as error:
        raise ValueError("its description is nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("its description is no JSON object")
    for part, kind in (kinds or {}).items():
        if not fits(found[part], kind):
            raise ValueError(f"its '{part}' is of another kind than avgate writes")
    if more is not None:
        refuse_unknown(found, {*(kinds or {}), *more})
    return found


def refuse_unknown(parts: Iterable[str], known: Collection[str]) -> None:
    """ValueError where a file has parts that this version doesn't know: they might change what the others mean."""
    unknown = sorted({*parts} - {*known})
    if unknown:
        raise ValueError(f"another version of avgate wrote it: this one doesn't know '{quoted(unknown[0])}'")


def _head(path: Place, size: int) -> tuple[int, bytes]:
    """The length of a file's header, and its bytes with those before it."""
    if isinstance(path, Address):
        begin = path.read_part(0, min(size, _GUESS)) if size else b""
        n = _length(begin, size)
        return n, begin[: 8 + n] if 8 + n <= len(begin) else begin + path.read_part(len(begin), 8 + n)
    with path.open("rb") as file:
        begin = file.read(8)
        n = _length(begin, size)
        return n, begin + file.read(n)


def _length(begin: bytes, size: int) -> int:
    """Length of the header of a file of `size` bytes."""
    n = int.from_bytes(begin[:8], "little")
    if len(begin) < 8 or n > size - 8:
        raise ValueError(_NONSENSE)
    return n


def _checked(head: bytes) -> dict[str, Any]:
    """The header, from the length before it to its end; ValueError where its checksum differs."""
    sealed = head[8:].startswith(_MARK)
    if sealed:
        blank = head[: _HEAD.start] + b"0" * _DIGITS + head[_HEAD.stop :]
        if sha256(blank).hexdigest().encode() != head[_HEAD]:
            raise ValueError(_CHANGED)
    try:
        header: dict[str, Any] = json.loads(head[8:])
        known = {*header["__metadata__"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(_NONSENSE) from error
    if not sealed and known not in _UNSEALED:
        raise ValueError(_NONSENSE)
    return header
