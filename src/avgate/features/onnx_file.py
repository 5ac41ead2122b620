"""ONNX files of deep backbones: opened, checked and run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import ModelFileError, UsageError
from avgate.features.hub import device


@dataclass(frozen=True)
class OnnxModel:
    """An opened ONNX file with one input.

    Attributes:
        session: the onnxruntime session.
        input: the input's name.
        shape: the input's shape; None where the file accepts any size.
        dtype: the input's type as onnxruntime names it, such as tensor(float).
        outputs: names of the outputs to read.
    """

    session: Any
    input: str
    shape: tuple[int | None, ...]
    dtype: str
    outputs: tuple[str, ...]

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """The outputs for one batch; ModelFileError if the model fails on it."""
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        try:
            return self.session.run(list(self.outputs), {self.input: batch.astype(kinds[self.dtype])})
        except Exception as error:  # onnxruntime's errors share no base class
            what = f"the model fails on an input of shape {batch.shape} ({str(error).splitlines()[0][:200]})"
            raise ModelFileError(what, hint="check the backbone's settings against the model's input") from error


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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    providers = ["CUDAExecutionProvider"] if device().startswith("cuda") else []
    available = [p for p in providers if p in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[*available, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        what = f"it can't be read as an ONNX model ({str(error).splitlines()[0][:200]})"
        raise ModelFileError(what, where=path, hint="export or download it again") from error
    inputs, names = session.get_inputs(), [output.name for output in session.get_outputs()]
    if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(float16)", "tensor(uint8)"):
        listed = ", ".join(f"{i.name} {i.type}" for i in inputs)
        raise ModelFileError(f"it must have one input of images or sound, not {listed}", where=path)
    unknown = [name for name in outputs if name not in names]
    if unknown:
        what = f"it has no output {', '.join(unknown)}"
        raise UsageError(what, where=path, hint=f"its outputs are {', '.join(names)}")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)
    return OnnxModel(session, inputs[0].name, shape, inputs[0].type, outputs or (names[0],))
