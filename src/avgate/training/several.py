"""What the processes of one training tell each other, so that together they do what one would have done.

The batches of a recipe are those of all processes together. Every process makes all of a batch, computes the model's
output for its share of the windows, and gets the others'; so each knows the losses of the whole batch, which are
statistics of it. The gradients of the shares then add up to the gradient that one process would have had.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Literal, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, distributed, nn

from avgate.core.console import quiet
from avgate.core.errors import UsageError, WorkerError
from avgate.core.files import output_folder
from avgate.core.places import Place
from avgate.core.text import reason
from avgate.models.network import ModelOutput
from avgate.training.batches import Batch

Devices = int | Literal["auto"]
Strategy = Literal["auto", "ddp"]

AGAIN = "the same command continues after the last whole epoch"
"""What users can do when a process has ended."""

_T = TypeVar("_T")


class Lost(WorkerError):
    """This process can't go on because another one has ended; why, that one says."""


def fabric_of(accelerator: str, precision: Any, devices: Devices, nodes: int, strategy: Strategy) -> Fabric:
    """A Fabric, not launched yet.

    Args:
        accelerator: lightning-fabric's: "auto", "cpu", "cuda", ...
        precision: lightning-fabric's: "32-true", "bf16-mixed", ...
        devices: processes on each machine, each with a device of its own.
        nodes: machines.
        strategy: "ddp": every process has the whole model; "auto": the same, where there are several.

    Raises:
        UsageError: there is no such accelerator or precision, there are fewer devices, or Slurm began other processes.
    """
    if (devices != "auto" and devices < 1) or nodes < 1:
        raise UsageError(f"there can't be {devices} devices on {nodes} machines", hint="use 1 or more")
    # In a job's script, what `srun` doesn't start is alone; lightning-fabric would wait for others.
    by_itself = "SLURM_JOB_ID" in os.environ and "SLURM_STEP_ID" not in os.environ
    with _refused():
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,
            plugins=[LightningEnvironment()] if by_itself else [],
        )


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What lightning-fabric refuses is a usage error, in its own words; and its advice isn't shown to our users."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # it raises whatever suits it
        hint = "see --accelerator, --devices, --nodes and --precision in `avgate train --help`"
        raise UsageError(f"training can't begin: {reason(error)}", hint=hint) from error


def processes_here(fabric: Fabric) -> int:
    """How many of a training's processes are on this machine."""
    return int(getattr(fabric.strategy, "num_processes", 1))


def must_begin_others(fabric: Fabric) -> bool:
    """Whether avgate itself must begin the processes of this machine: there are several, and Slurm or torchrun doesn't.

    Raises:
        UsageError: there are several machines, and nothing says where the others are.
    """
    environment = getattr(fabric.strategy, "cluster_environment", None)  # a single process has none
    if environment is None or environment.creates_processes_externally:
        return False
    if fabric.world_size > processes_here(fabric) and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= {*os.environ}:
        hint = (
            "let Slurm or torchrun start avgate on each, or set MASTER_ADDR and MASTER_PORT, alike on all machines, "
            "and NODE_RANK, from 0 on"
        )
        raise UsageError("machines must know of each other", where="--nodes", hint=hint)
    for name, most in (("NODE_RANK", fabric.world_size // processes_here(fabric) - 1), ("MASTER_PORT", 65_535)):
        given = os.environ.get(name, "0")
        if not (given.isascii() and given.isdigit() and int(given) <= most):
            hint = f"give a whole number from 0 to {most}" + (": --nodes, less one" if name == "NODE_RANK" else "")
            raise UsageError(f"'{given}' is out of range", where=name, hint=hint)
    return True


def is_first() -> bool:
    """Whether this process is the first of a training's, which alone writes and speaks, or has begun that one."""
    if distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("NODE_RANK", "0") == "0"


class Several:
    """The processes of one training, of which this is one. All methods must be called by all of them.

    Args:
        fabric: launched.

    Attributes:
        fabric: the same.
        rank: which of them this is, from 0.
        count: how many there are.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    @classmethod
    @contextlib.contextmanager
    def joined(cls, fabric: Fabric, run: Place | None) -> Iterator[Several]:
        """Meet the other processes; all but the first are quiet then, and it alone has the run's folder."""
        with _refused():
            fabric.launch()
        several = cls(fabric)
        with contextlib.ExitStack() as scope:
            if several.rank:
                scope.enter_context(quiet())
            elif run:
                scope.enter_context(output_folder(run))
            yield several

    def from_first(self, make: Callable[[], _T]) -> _T:
        """What the first process makes, in all of them: they go on alike, also on machines that add otherwise."""
        if self.count == 1:
            return make()
        made = make() if self.rank == 0 else None
        with _talking():
            return cast(_T, self.fabric.broadcast(made))

    def agree(self, identity: dict[str, Any]) -> None:
        """UsageError where this process would train something else than the first, such as with other clips."""
        first = self.from_first(lambda: identity)
        if different := [key for key in identity if identity[key] != first[key]]:
            what = f"this process and the first one of the training differ in their {' and '.join(different)}"
            raise UsageError(what, hint="give all machines the same command, list and features")

    def set_up(self, model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
        """Both as lightning-fabric sets them up, with the first process' weights in all."""
        with _talking() if self.count > 1 else contextlib.nullcontext():
            return self.fabric.setup(model, optimizer)

    def outputs(self, model: Any, batch: Batch) -> ModelOutput:
        """A model's output for a whole batch, of which this process computes its share of the windows.

        The others' share has no gradient.
        """
        if self.count == 1:
            return model(batch.features, batch.present)
        windows = len(batch.labels)
        bounds = [rank * windows // self.count for rank in range(self.count + 1)]
        first, end = bounds[self.rank], bounds[self.rank + 1]
        # Where there are fewer windows than processes, some compute one of which nothing is taken.
        share = slice(first, max(end, first + 1))
        # DDP would add up gradients itself, but after one forward pass alone, and with parameters that all take part.
        with self.fabric.no_backward_sync(model):
            out = model(
                {m: x[share] for m, x in batch.features.items()}, {m: x[share] for m, x in batch.present.items()}
            )
        own = [x[: end - first] for x in _tensors(out)]
        flat = torch.cat([x.detach() for x in own], dim=-1)
        most = max(b - a for a, b in pairwise(bounds))
        padded = nn.functional.pad(flat, (0, 0, 0, 0, 0, most - len(flat)))
        everyone = [torch.empty_like(padded) for _ in range(self.count)]
        with _talking():
            distributed.all_gather(everyone, padded)
        rows = [part[: b - a] for part, (a, b) in zip(everyone, pairwise(bounds), strict=True)]
        columns = torch.cat(rows).split([x.shape[-1] for x in own], dim=-1)
        whole = [torch.cat([y[:first].to(x), x, y[end:].to(x)]) for x, y in zip(own, columns, strict=True)]
        return _with_tensors(out, whole)

    def add_gradients(self, model: nn.Module) -> None:
        """Add up the gradients of all processes, in all of them; a parameter that none has used keeps none."""
        if self.count == 1:
            return
        learned = [p for p in model.parameters() if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        used = parts[0].new_tensor([p.grad is not None for p in learned])
        flat = torch.cat([*(x.reshape(-1) for x in parts), used])
        with _talking():
            distributed.all_reduce(flat)
        *sums, used = flat.split([*(p.numel() for p in learned), len(learned)])
        for p, total, users in zip(learned, sums, used.tolist(), strict=True):
            p.grad = total.view_as(p).to(p) if users else None


def _tensors(out: ModelOutput) -> list[Tensor]:
    """All of an output, each [b L n]."""
    spread = (x for x in (out.centre, out.log_variance) if x is not None)
    return [out.targets, *out.gates.values(), *out.unimodal.values(), *spread]


def _with_tensors(out: ModelOutput, tensors: list[Tensor]) -> ModelOutput:
    """The output with these in place of its own tensors, in the order of _tensors."""
    left = iter(tensors)
    targets, gates = next(left), {name: next(left) for name in out.gates}
    unimodal = {name: next(left) for name in out.unimodal}
    spread = [None if x is None else next(left) for x in (out.centre, out.log_variance)]
    return ModelOutput(targets, gates, unimodal, *spread)


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """Talk to the other processes; WorkerError where one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"another process of this training is gone ({reason(error)})", hint=AGAIN) from error
