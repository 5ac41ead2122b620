"""ONNX files of deep backbones: opened, checked and run by onnxruntime."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.text import reason
from avgate.features.hub import device

Layout = Literal["auto", "first", "last"]
"""Where an output has its columns: right behind the batch, or last. With auto, the output's shape decides."""

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]{0,2}[\x01-\x7f])")
"""How ONNX, a protobuf, writes that a tensor lies in another file; the name follows, and group 1 is its length."""


@dataclass(frozen=True)
class OnnxModel:
    """An opened ONNX file with one input.

    Attributes:
        path: the file.
        session: the onnxruntime session.
        input: the input's name.
        shape: the input's shape; None where the file accepts any size.
        dtype: the input's type as onnxruntime names it, such as tensor(float).
        outputs: names of the outputs to read.
        declared: shape of each of them; None where the file doesn't tell a size.
    """

    path: Path
    session: Any
    input: str
    shape: tuple[int | None, ...]
    dtype: str
    outputs: tuple[str, ...]
    declared: tuple[tuple[int | None, ...], ...]

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs for one batch; ModelFileError if the model fails on it."""
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        try:
            return self.session.run(list(self.outputs), {self.input: batch.astype(kinds[self.dtype])})
        except Exception as error:  # onnxruntime's errors share no base class
            what = f"the model fails on an input of shape {batch.shape} ({reason(error)})"
            hint = "check the backbone's settings against the model's input"
            raise ModelFileError(what, where=self.path, hint=hint) from error

    def rows(self, batch: np.ndarray, layout: Layout, side: int | None = None) -> np.ndarray:
        """One row per image or piece of sound: all outputs, averaged over tokens, places or frames.

        A model with a fixed batch size gets the last item several times.

        Args:
            batch: at most as many items as the model takes at once.
            layout: where the outputs have their columns.
            side: side of the images in pixels; None for sound.

        Returns:
            float32 [n d].

        Raises:
            ModelFileError: the model fails, or an output isn't one row per item.
            UsageError: the shape of an output doesn't tell which axis holds the columns.
        """
        n, size = len(batch), self.shape[0] or len(batch)
        batch = np.concatenate([batch, np.repeat(batch[-1:], size - n, 0)])
        found = []
        for name, out, declared in zip(self.outputs, map(np.asarray, self(batch)), self.declared, strict=True):
            if not 1 <= out.ndim <= 4 or len(out) != size or out.dtype.kind not in "fiub":
                what = f"output {name} is {list(out.shape)} for {size} items, not numbers [n], [n d], tokens or maps"
                raise ModelFileError(what, where=self.path, hint="choose other outputs with ?outputs=NAME")
            out = out[:n].astype(np.float32)
            if out.ndim == 1:
                out = out[:, None]
            elif out.ndim > 2:
                decided = _columns_first(out.shape, declared, side) if layout == "auto" else layout == "first"
                if decided is None:
                    what = f"the shape {list(out.shape)} of output {name} doesn't tell which axis holds its columns"
                    hint = "write ?layout=first for [n columns ...], or ?layout=last for [n ... columns]"
                    raise UsageError(what, where=self.path, hint=hint)
                with np.errstate(over="ignore", invalid="ignore"):  # such steps are absent
                    out = out.mean(tuple(range(2, out.ndim) if decided else range(1, out.ndim - 1)))
            found.append(out)
        return np.concatenate(found, 1)


def _columns_first(shape: tuple[int, ...], declared: tuple[int | None, ...], side: int | None) -> bool | None:
    """Whether an output's columns are its axis 1, not its last one; None where that can't be told.

    Columns have a declared size. Where that doesn't decide, a map [n d h w] or [n h w d] of a square image is square,
    and of [n a b] axis 1 holds tokens if it alone fits the patches of the image.
    """
    open_axes = {axis for axis, size in enumerate(declared) if axis and size is None}
    behind, before = set(range(2, len(shape))), set(range(1, len(shape) - 1))
    if len(declared) == len(shape) and open_axes in (behind, before):
        return open_axes == behind
    if len(shape) == 4:
        square_behind, square_before = shape[2] == shape[3], shape[1] == shape[2]
        if side is not None and square_behind != square_before:
            return square_behind
    elif side is not None and _patches(shape[1], side) and not _patches(shape[2], side):
        return False
    return None


def _patches(count: int, side: int) -> bool:
    """Whether an image has so many tokens: one per patch of 8 pixels or more, and class, distillation or registers."""
    return any(round((count - more) ** 0.5) ** 2 == count - more > 1 for more in (0, 1, 2, 5) if count > more) and (
        count <= (side / 8) ** 2 + 5
    )


def load_onnxruntime() -> Any:
    """The module onnxruntime, kept from reporting to its makers: since 1.29 it does so from its import on."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


@cache
def open_onnx(source: str, outputs: tuple[str, ...], threads: int = 1) -> OnnxModel:
    """Open a file, once per process.

    Args:
        source: path of the file.
        outputs: names of the outputs to read; empty for the first one.
        threads: onnxruntime's threads; extraction runs one process per core.

    Raises:
        ModelFileError: there is no such file, it isn't ONNX, or it has several inputs.
        UsageError: the file lacks one of the outputs.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise ModelFileError("there is no such ONNX file", where=path, hint="check the path")
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    onnxruntime.set_default_logger_severity(4)  # what goes wrong before there is a session is raised all the same
    providers = ["CUDAExecutionProvider"] if device().startswith("cuda") else []
    available = [p for p in providers if p in onnxruntime.get_available_providers()]
    fallback = {"enable_fallback": int(bool(available))}  # on a CPU it would only print, and fail once more
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[*available, "CPUExecutionProvider"], **fallback
        )
    except Exception as error:  # onnxruntime's errors share no base class
        what = f"it can't be read as an ONNX model ({reason(error)})"
        raise ModelFileError(what, where=path, hint="export or download it again") from error
    inputs, declared = session.get_inputs(), {output.name: _sizes(output.shape) for output in session.get_outputs()}
    names = list(declared)
    if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(float16)", "tensor(uint8)"):
        listed = ", ".join(f"{i.name} {i.type}" for i in inputs)
        raise ModelFileError(f"it must have one input of images or sound, not {listed}", where=path)
    unknown = [name for name in outputs if name not in names]
    if unknown:
        what = f"it has no output {', '.join(unknown)}"
        raise UsageError(what, where=path, hint=f"its outputs are {', '.join(names)}")
    read = outputs or (names[0],)
    return OnnxModel(
        path,
        session,
        inputs[0].name,
        _sizes(inputs[0].shape),
        inputs[0].type,
        read,
        tuple(declared[name] for name in read),
    )


def _sizes(shape: Sequence[Any] | None) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape or ())


def onnx_files(source: str) -> list[Path]:
    """The files that a model's output depends on: the ONNX file, and those beside it that hold weights."""
    path = Path(source).expanduser()
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        named = {data[entry.end() : entry.end() + _varint(entry[1])] for entry in _LOCATION.finditer(data)}
    beside = [path.parent / os.fsdecode(name) for name in sorted(named) if b"\0" not in name]
    return [path, *(file for file in beside if file.is_file())]


def _varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data))
