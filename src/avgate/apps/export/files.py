"""Programs as the bytes of files: ONNX, int8 ONNX and .pt2; and as functions again, as their users call them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from avgate.apps.export.hush import hushed
from avgate.apps.export.program import Program
from avgate.core.errors import AvgateError, UsageError
from avgate.core.scratch import no_room, place_of_others, scratch_folder
from avgate.core.text import reason
from avgate.features.onnx_file import load_onnxruntime

OPSET = 18
"""Version of ONNX's operators: old enough for the runtimes of phones and browsers."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""A file as a function: inputs by name -> outputs by name."""


def need_onnx() -> None:
    """UsageError where the packages that write ONNX aren't installed."""
    try:
        import onnx  # noqa: F401 (only whether it is there)
        import onnxscript  # noqa: F401 (only whether it is there)
    except ImportError as error:
        hint = 'pip install "avgate[onnx]", or --formats pt2'
        raise UsageError(f"ONNX files need the package {error.name}, which isn't installed", hint=hint) from error


def as_onnx(program: Program, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file of a program; AvgateError where there is an operation in it that torch's exporter doesn't know."""
    try:
        with torch.no_grad(), hushed():
            written = torch.onnx.export(
                program.recorded,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=program.inputs,
                output_names=program.written,
                custom_translation_table={
                    torch.ops.aten.sort.stable: _stable_sort,
                    torch.ops.aten.scaled_dot_product_attention.default: _attention,
                },
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        what = f"torch can't write this model as ONNX ({reason(error.__cause__ or error)})"
        raise AvgateError(what, hint="--formats pt2 writes it for torch") from error
    assert written is not None  # with dynamo=True it gives a program
    model = written.model_proto
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    first = model.graph.input[0].type.tensor_type.shape.dim
    names = dict(zip([dim.dim_param for dim in first], ("batch", "steps"), strict=False))
    for dim in (dim for value in values for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param:
            dim.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), dim.dim_param)
    return _described(model, metadata)


def _stable_sort(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Sort as torch does, which its exporter can't: by TopK, by whose definition the first of equals comes first."""
    from onnxscript import opset18

    op: Any = opset18  # what goes in are names of values, not the types that its functions declare
    size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
    values, order = op.TopK(op.Cast(self, to=1), size, axis=dim, largest=int(descending), sorted=1)
    return op.CastLike(values, self), order


def _attention(query: Any, key: Any, value: Any, mask: Any, *_: Any, **__: Any) -> Any:
    """Scaled dot-product attention in any number of dimensions, where torch's exporter takes four alone.

    The mask leaves something to attend to.
    """
    from onnxscript import opset18

    op: Any = opset18
    last = len(key.shape) - 1
    scores = op.MatMul(query, op.Transpose(key, perm=[*range(last - 1), last, last - 1]))
    scores = op.Mul(scores, op.Constant(value_float=key.shape[last] ** -0.5))
    shares = op.Softmax(op.Where(mask, scores, op.Constant(value_float=-math.inf)), axis=-1)
    return op.MatMul(shares, value)


def as_int8(whole: bytes, metadata: Mapping[str, str]) -> bytes:
    """An ONNX file with its weights as int8, by onnxruntime's dynamic quantisation."""
    import onnx

    load_onnxruntime()
    from onnxruntime.quantization import quantize_dynamic

    with scratch_folder() as folder, place_of_others(folder), hushed():
        path = folder / "int8.onnx"
        try:
            quantize_dynamic(onnx.load_model_from_string(whole), path, per_channel=True)
        except OSError as error:
            raise no_room(f"the int8 weights can't be written ({reason(error)})") from error
        return _described(onnx.load(path), metadata)


def _described(model: Any, metadata: Mapping[str, str]) -> bytes:
    import onnx

    # torch notes down for each node which lines of whose code it came from.
    graphs = [model.graph, *model.functions]
    for part in (*graphs, *(node for graph in graphs for node in graph.node)):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString(deterministic=True)


def as_pt2(program: Program, metadata: Mapping[str, str]) -> bytes:
    """The .pt2 file of a program, for torch.export.load."""
    file = io.BytesIO()
    with hushed():
        torch.export.save(program.recorded, file, extra_files=dict(metadata))
    return file.getvalue()


def run_onnx(whole: bytes) -> Run:
    """An ONNX file run by onnxruntime on the CPU."""
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    # What a program doesn't read, such as a modality's features where all steps are one, isn't an input of its file.
    wanted = [given.name for given in session.get_inputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {name: inputs[name] for name in wanted}), strict=True))

    return run


def run_pt2(whole: bytes, program: Program) -> Run:
    """A .pt2 file run by torch."""
    with hushed():
        module = torch.export.load(io.BytesIO(whole)).module()

    @torch.no_grad()
    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = [{inner: torch.from_numpy(inputs[name]) for inner, name in part.items()} for part in program.parts]
        return {name: x.numpy() for name, x in module(*parts).items()}

    return run


class Steps:
    """The file of a step as a function over whole sequences, from the first step on.

    Args:
        run: the file.
        program: what it holds.
    """

    def __init__(self, run: Run, program: Program):
        self.run, self.program = run, program

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs [b L ...] of inputs [b L ...]."""
        return self.advance({}, inputs)[1]

    def advance(
        self, state: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The state after some more steps, and their outputs; it is empty before the first."""
        rows, steps = next(x.shape for x in inputs.values() if x.dtype == bool)
        shapes = self.program.state.items()
        now = {name: state.get(name, np.zeros((rows, *shape), np.float32)) for name, shape in shapes}
        found = []
        for t in range(steps):
            out = self.run({name: x[:, t] for name, x in inputs.items()} | now)
            now = {name: out[f"next_{name}"] for name in now}
            found.append(out)
        return now, {name: np.stack([out[name] for out in found], axis=1) for name in self.program.outputs}
