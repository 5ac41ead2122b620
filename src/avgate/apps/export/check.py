"""Exported files beside the model that they came from, over random inputs with much that is absent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from avgate.apps.export.files import Run
from avgate.apps.export.program import Program
from avgate.core.console import progress
from avgate.core.errors import AvgateError
from avgate.core.gates import gates_of
from avgate.models.checkpoint import Checkpoint
from avgate.models.network import Model, ModelOutput
from avgate.models.step import StepModel

LENGTHS = (1, 17, 120, 200, 1000)
"""Steps of the sequences that are compared, as far as a program takes them."""

TOLERANCE = 1e-5
"""Largest difference of an output from torch's, both in float32."""

_STRETCH = 10
"""Steps that are present or absent together."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output over the sequences of one length.

    Attributes:
        output: which.
        steps: the sequences' length.
        found: between the file and torch, both in float32.
        exact: between the file and torch in float64.
        torch: between torch in float32 and torch in float64: what rounding alone does to this model.
        column: the target or gate in which `found` is largest.
    """

    output: str
    steps: int
    found: float
    exact: float
    torch: float
    column: str

    @property
    def fault(self) -> bool:
        """Whether it is more than rounding.

        Gates with a small temperature amplify rounding, and the more so the longer a sequence is: two programs in
        float32 then differ by more than the tolerance, though both are right. So a file is at fault where it is also
        further from the numbers in float64 than torch in float32, several times over.
        """
        return not (self.found <= TOLERANCE or self.exact <= max(TOLERANCE, 3 * self.torch))


class Torch:
    """A model as torch runs it, from raw features by avgate's own way: statistics, network, calibration.

    Args:
        checkpoint: the model.
        dtype: in which precision it runs.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype):
        self.checkpoint, self.dtype = checkpoint, dtype
        self.model: Model = checkpoint.build().to(dtype)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Targets, centre, deviation and gates, float64 [b L ...], of whole sequences."""
        features, present = self._read(inputs)
        with torch.no_grad():
            return self._told(self.model(features, present), present)

    def _read(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        stats, modalities = self.checkpoint.stats, self.model.modalities
        features = {m: torch.from_numpy(stats[m].fill(inputs[m])).to(self.dtype) for m in modalities}
        return features, {m: torch.from_numpy(inputs[f"{m}_present"]) for m in modalities}

    def _told(self, out: ModelOutput, present: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        known = torch.stack(list(present.values())).any(0).numpy()[..., None]
        found = {"targets": out.targets.double().numpy()}
        if out.centre is not None and out.log_variance is not None:
            deviation, k = (out.log_variance.double() / 2).exp().numpy(), len(self.checkpoint.targets)
            if self.checkpoint.intervals is not None:
                rows = {m: here.numpy().reshape(-1) for m, here in present.items()}
                flat = self.checkpoint.intervals.adjusted(self.checkpoint.targets, deviation.reshape(-1, k), rows)
                deviation = flat.reshape(deviation.shape)
            found |= {"centre": out.centre.double().numpy(), "deviation": deviation}
        gates = gates_of({name: x.double().numpy() for name, x in out.gates.items()}, self.model.modalities)
        if gates:
            found["gates"] = np.stack(list(gates.values()), axis=-1)
        return {name: np.where(known, x, np.nan) for name, x in found.items()}


class TorchSteps(Torch):
    """As Torch, of a causal model one step at a time."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype):
        super().__init__(checkpoint, dtype)
        self.step = StepModel(self.model)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As Torch, of the whole sequences."""
        features, present = self._read(inputs)
        rows, steps = next(iter(present.values())).shape
        state, found = self.step.blank_state(rows), []
        with torch.no_grad():
            for t in range(steps):
                here = {m: x[:, t] for m, x in present.items()}
                state, out = self.step(state, {m: x[:, t] for m, x in features.items()}, here)
                found.append(self._told(out, here))
        return {name: np.stack([told[name] for told in found], axis=1) for name in found[0]}


def drawn(checkpoint: Checkpoint, modalities: Sequence[str], steps: int) -> Iterator[dict[str, np.ndarray]]:
    """Random inputs, batches of 1 and of 3 sequences; what is absent is NaN.

    In the batches of 3, one sequence is complete, of one a modality is absent throughout, and one is absent from its
    middle on. Other stretches are absent at random. In the last batch, nothing is present at all.
    """
    rng = np.random.default_rng(steps)
    stretches = math.ceil(steps / _STRETCH)
    for rows, lost in ((1, None), (3, modalities[0]), (3, modalities[-1])):
        present = {m: np.repeat(rng.random((rows, stretches)) < 0.6, _STRETCH, axis=1)[:, :steps] for m in modalities}
        if lost is not None:
            for here in present.values():
                here[0], here[2, steps // 2 :] = True, False
            present[lost][1] = False
        yield _with_features(checkpoint, present, rng)
    yield _with_features(checkpoint, {m: np.zeros((1, steps), bool) for m in modalities}, rng)


def _with_features(
    checkpoint: Checkpoint, present: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    found = {}
    for m, here in present.items():
        stats = checkpoint.stats[m]
        values = stats.mean + stats.std * rng.standard_normal((*here.shape, len(stats.mean)))
        found[m] = np.where(here[..., None], values, np.nan).astype(np.float32)
    return found | {f"{m}_present": here for m, here in present.items()}


def differences(
    files: Mapping[str, Run], program: Program, checkpoint: Checkpoint, columns: Mapping[str, Sequence[str]]
) -> dict[str, list[Difference]]:
    """File -> its differences from torch, for each output and each length that the program takes.

    Args:
        files: name -> the file as a function over whole sequences.
        program: what they hold.
        checkpoint: the model.
        columns: output -> names of its columns.
    """
    # A step that is right over many steps is so over fewer.
    stepwise = program.form == "step"
    lengths = {*LENGTHS[-1:]} if stepwise else {*LENGTHS}
    single = (TorchSteps if stepwise else Torch)(checkpoint, torch.float32)
    double = Torch(checkpoint, torch.float64)  # of whole sequences: many times as fast, and here as good
    if program.longest is not None:
        lengths = {program.longest, *filter(program.takes, lengths)}
    found: dict[str, list[Difference]] = {name: [] for name in files}
    batches_of = {steps: [*drawn(checkpoint, single.model.modalities, steps)] for steps in sorted(lengths)}
    bar = progress()
    task = bar.add_task("comparing with the model", total=sum(map(len, batches_of.values())) * (2 + len(files)))

    def through(run: Run, batches: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        given = []
        for batch in batches:
            given.append(run(batch))
            bar.advance(task)
        return given

    with bar:
        for steps, batches in batches_of.items():
            own, exact = through(single, batches), through(double, batches)
            for name, run in files.items():
                given = through(run, batches)
                for output in program.outputs:
                    by_column = _largest(given, own, output)
                    found[name].append(
                        Difference(
                            output,
                            steps,
                            float(by_column.max()),
                            float(_largest(given, exact, output).max()),
                            float(_largest(own, exact, output).max()),
                            columns[output][int(by_column.argmax())],
                        )
                    )
    return found


_Outputs = Sequence[Mapping[str, np.ndarray]]


def _largest(one: _Outputs, other: _Outputs, output: str) -> np.ndarray:
    """The largest difference in each column; infinite where only one of the two is known, or a shape differs."""
    worst = np.zeros(other[0][output].shape[-1])
    for x, y in ((a[output], b[output]) for a, b in zip(one, other, strict=True)):
        if x.shape != y.shape:
            return np.full_like(worst, np.inf)
        apart = np.where(np.isnan(x) == np.isnan(y), np.nan_to_num(np.abs(x - y)), np.inf)
        worst = np.maximum(worst, apart.reshape(-1, len(worst)).max(0))
    return worst


def refuse_faults(name: str, found: Sequence[Difference]) -> None:
    """AvgateError where a file gives other numbers than the model: which output, and where."""
    for d in found:
        if d.fault:
            what = (
                f"its output '{d.output}' ({d.column}) differs from torch's by {d.found:.1e} over {d.steps} steps; "
                f"{TOLERANCE:.0e} is allowed, and rounding accounts for {d.torch:.1e}"
            )
            hint = "the file isn't written; try other versions of torch, onnxscript and onnxruntime"
            raise AvgateError(what, where=name, hint=hint)


def differences_table(title: str, found: Sequence[Difference]) -> Table:
    """Of each length and output, the largest difference from torch; and how far torch itself is from float64."""
    outputs = [*dict.fromkeys(d.output for d in found)]
    shown = Table(title=title)
    shown.add_column("steps", justify="right")
    for output in outputs:
        shown.add_column(output, justify="right")
    shown.add_column("torch itself", justify="right")
    for steps in dict.fromkeys(d.steps for d in found):
        row = {d.output: d for d in found if d.steps == steps}
        own = max(d.torch for d in row.values())
        shown.add_row(str(steps), *(f"{row[output].found:.1e}" for output in outputs), f"{own:.1e}")
    shown.caption = (
        "Largest difference between the file and torch, both in 32 bits. "
        "Torch itself: largest difference between torch in 32 bits and in 64 bits."
    )
    if any(d.found > TOLERANCE for d in found):
        shown.caption += f" What is above {TOLERANCE:.0e} is rounding, which the model amplifies: see docs/export.md."
    return shown
