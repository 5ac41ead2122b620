"""Saving objects in the middle of their work: their state as plain values and arrays, in a file, and back."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avgate.core.files import is_file
from avgate.core.sealed import read_sealed, write_sealed

_ARRAY = "__array__"
"""Key of the dict that stands for an array; its value is the array's number."""


class Stateful:
    """An object that can be saved in the middle of its work, and restored into one that was made alike.

    STATE names the attributes that change while it works. Each is None, a bool, number, text or array; a list, tuple or
    dict of these; or a Stateful object, or a list or tuple of such, which are restored in place. Other tuples come back
    as lists.
    """

    STATE: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        """What restore needs; arrays aren't copied."""
        return {name: _plain(getattr(self, name)) for name in self.STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another object of the same kind and settings was saved.

        Raises:
            ValueError: the state is of another kind of object.
        """
        if not isinstance(state, Mapping) or set(state) != set(self.STATE):
            raise ValueError(f"this isn't the state of a {type(self).__name__}")
        for name in self.STATE:
            now = getattr(self, name)
            if isinstance(now, Stateful):
                now.restore(state[name])
            elif isinstance(now, list | tuple) and now and all(isinstance(part, Stateful) for part in now):
                for part, saved in zip(now, state[name], strict=True):
                    part.restore(saved)
            else:
                setattr(self, name, _own(state[name]))


def _plain(value: Any) -> Any:
    if isinstance(value, Stateful):
        return value.state()
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _own(value: Any) -> Any:
    """A copy, so that two objects that were restored from one state don't share arrays."""
    if isinstance(value, Mapping):
        return {key: _own(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_own(v) for v in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def pack(state: Mapping[str, Any]) -> bytes:
    """A state as bytes: a safetensors file of its arrays, with all else as JSON in its metadata.

    Raises:
        TypeError: it holds something that isn't plain, or a dict with keys other than text.
    """
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}

    def packed(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[str(len(arrays))] = np.ascontiguousarray(value).reshape(value.shape)
            return {_ARRAY: len(arrays) - 1}
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"a state has text as keys, not {[*value]!r}")
            return {key: packed(v) for key, v in value.items()}
        return [packed(v) for v in value] if isinstance(value, list) else value

    text = json.dumps(packed(state))
    return bytes(save(arrays, {"state": text}))


def unpack(data: bytes) -> dict[str, Any]:
    """The inverse of pack; ValueError where the bytes are something else, or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _unpacked(header["__metadata__"]["state"], arrays)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no saved state ({error})") from error


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a state into a file whose every bit is checked when it is read; OutputError where it can't be written."""
    write_sealed(path, pack(state))


def read_state(path: str | Path) -> dict[str, Any]:
    """Read a state from a file of write_state.

    Raises:
        ValueError: it was changed after it was written, or is no such file.
        OSError: it can't be read.
    """
    from safetensors.numpy import load

    if not is_file(path):  # a pipe may never begin
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    metadata, arrays = read_sealed(path, load)
    if "state" not in metadata:
        raise ValueError("this is no saved state")
    return _unpacked(metadata["state"], arrays)


def _unpacked(text: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    def unpacked(value: Any) -> Any:
        if isinstance(value, dict):
            return arrays[str(value[_ARRAY])] if [*value] == [_ARRAY] else {k: unpacked(v) for k, v in value.items()}
        return [unpacked(v) for v in value] if isinstance(value, list) else value

    return dict(unpacked(json.loads(text)))
