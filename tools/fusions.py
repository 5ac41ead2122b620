"""Make docs/fusions.md: what every fusion costs, needs and can do, measured by running it. Run by `make docs`."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from commit import git_commit
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from avgate.models.fusions import FUSIONS, Fusion, FusionOutput, build_fusion, fusion_class
from avgate.models.network import Model, ModelConfig, ModelOutput

DOCS = Path(__file__).resolve().parents[1] / "docs"
DIMS = {"audio": 64, "video": 64}
STEPS = 128
SEEDS = (0, 1, 2)
LENGTHS = (1, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS)
GARBAGE = (float("nan"), float("inf"), 1e30, 0.0)

# Kernels of this processor that do all of an LSTM or an attention at once, and that torch's counter would count as 0.
KERNELS = {
    torch.ops.aten.mkldnn_rnn_layer: lambda x, w_x, w_h, *_, **__: 2 * x[0] * x[1] * w_x[0] * (w_x[1] + w_h[1]),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
}
MULTIPLIES = re.compile(r"rnn|lstm|gru|attention|linear|conv|mm|mv|dot|outer|addr|cdist|fft")


def main() -> None:
    """Measure every fusion and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    (DOCS / "fusions.md").write_text(text([row(fusion) for fusion in FUSIONS]))


def row(fusion: type[Fusion]) -> dict[str, str]:
    """Column -> cell of one fusion by its default settings, and what `relative` time mixing would change."""
    default = fusion.Config()
    cells = measure(default)
    if any(field.name == "time_mixing" for field in fields(default)):
        relative = measure(replace(default, time_mixing="relative"))
        cells = {c: cell if cell == relative[c] else f"{cell}; relative: {relative[c]}" for c, cell in cells.items()}
    return {"fusion": f"`{fusion.name}`", "citation": citation(fusion), **cells}


def measure(config: Any) -> dict[str, str]:
    """Column -> cell of one fusion by the given settings."""
    return {
        "parameters": f"{parameters(config):,}",
        "multiply-adds per step": f"{multiply_adds(config):,.0f}",
        "encoders": f"{1 + len(make(config).views)}",
        "length": "any" if takes_any_length(config) else "window",
        "causal": yes(is_causal(config)),
        "handles absence": yes(handles_absence(config)),
        "exports": yes(exports(config)),
    }


def yes(measured: bool) -> str:
    """A cell for what is so or isn't."""
    return "yes" if measured else "no"


def citation(fusion: type[Fusion]) -> str:
    """A link to the first arXiv number in the docstring of the fusion's module, or `none`."""
    found = re.search(r"arXiv\s+(\d{4}\.\d{4,5})", sys.modules[fusion.__module__].__doc__ or "")
    return f"[{found[1]}](https://arxiv.org/abs/{found[1]})" if found else "none"


def parameters(config: Any) -> int:
    """Learned numbers of the fusion alone."""
    return sum(p.numel() for p in make(config).parameters())


@torch.no_grad()
def multiply_adds(config: Any) -> float:
    """Multiply-adds per step of the fusion alone, counted in one forward of a single window without gaps."""
    fusion = make(config)
    return count(fusion, *batch(1, inputs=fusion.inputs)) / 2 / STEPS


def count(module: nn.Module, *inputs: Any) -> int:
    """FLOPs of one call; RuntimeError where an operation multiplies matrices out of the counter's sight."""
    # Entered first, `seen` is shown what the counter runs, after the counter has taken composite operations apart.
    with _Seen() as seen, FlopCounterMode(display=False, custom_mapping=KERNELS) as counter:
        module(*inputs)
    hidden = {
        str(op) for op in seen.ops if MULTIPLIES.search(str(op)) and op not in KERNELS and op not in flop_registry
    }
    if hidden:
        raise RuntimeError(f"the work of {', '.join(sorted(hidden))} isn't counted: add a formula to KERNELS")
    return counter.get_total_flops()


class _Seen(TorchDispatchMode):
    """Remembers which operations ran."""

    def __init__(self):
        super().__init__()
        self.ops = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.add(func._overloadpacket)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def takes_any_length(config: Any) -> bool:
    """Whether the fusion can be built without a window, and then fuses sequences of all LENGTHS."""
    try:
        fusion = make(config, window=None)
        inputs = fusion.inputs
        return all(fusion(*batch(2, steps, inputs=inputs)).fused.shape[:2] == (2, steps) for steps in LENGTHS)
    except ValueError:
        return False


@torch.no_grad()
def is_causal(config: Any) -> bool:
    """Whether no output before a step moves by a bit when features and presence from that step on are others."""
    for seed in SEEDS:
        fusion = perturbed(make(config, seed=seed))
        (features, present), (others, _) = (
            batch(4, seed=other, inputs=fusion.inputs) for other in (seed, seed + len(SEEDS))
        )
        gaps = {m: torch.rand(mask.shape) < 0.6 for m, mask in present.items()}
        expected = tensors(fusion(features, present))
        for step in (1, STEPS // 2, STEPS - 1):
            found = tensors(fusion(spliced(features, others, step), spliced(present, gaps, step)))
            if not all(torch.equal(value[:, :step], found[name][:, :step]) for name, value in expected.items()):
                return False
    return True


@torch.no_grad()
def handles_absence(config: Any) -> bool:
    """Whether nothing in absent steps moves a bit of a whole model's output, and absent modalities leave it finite.

    The batch has a complete sequence, one with gaps, and for every modality one without it.
    """
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = perturbed(Model(ModelConfig(config), DIMS, targets=2, window=STEPS).eval())
        features, present = batch(2 + len(DIMS), seed=seed)
        for i, mask in enumerate(present.values()):
            mask[1] = torch.rand(STEPS) < 0.6
            mask[2 + i] = False
        expected = model(features, present)
        evidence = torch.stack([present[m] for m in model.modalities]).any(0)
        if not torch.isfinite(expected.targets[evidence]).all():
            return False
        for garbage in GARBAGE:
            filled = {m: torch.where(present[m][..., None], x, garbage) for m, x in features.items()}
            found = tensors(model(filled, present))
            if not all(same_bits(value, found[name]) for name, value in tensors(expected).items()):
                return False
    return True


@torch.no_grad()
def exports(config: Any) -> bool:
    """Whether torch.export takes the fusion, and what it makes gives the same numbers."""

    class Exportable(nn.Module):
        def __init__(self):
            super().__init__()
            self.fusion = perturbed(make(config))

        def forward(self, features, present):
            return tensors(self.fusion(features, present))

    module = Exportable().eval()
    features, present = batch(2, inputs=module.fusion.inputs)
    inputs = features, {m: present[m] for m in module.fusion.dims}
    try:
        with warnings.catch_warnings():
            # torch.nn.LSTM keeps a list of its weights, which export mentions and sets right by itself.
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
            found = torch.export.export(module, inputs).module()(*inputs)
        torch.testing.assert_close(found, module(*inputs), rtol=1e-6, atol=1e-6)
    except Exception as error:  # a refusal by torch.export has many types; the reason is for whoever makes the page
        print(f"{fusion_class(config).name} doesn't export: {error}", file=sys.stderr)
        return False
    return True


def make(config: Any, window: int | None = STEPS, seed: int = 0) -> Fusion:
    """The fusion in eval mode, for features of DIMS."""
    torch.manual_seed(seed)
    return build_fusion(config, {m: DIMS[m] for m in fusion_class(config).modalities(tuple(DIMS))}, window).eval()


def perturbed(module: nn.Module) -> Any:
    """The module with every parameter moved off its initial value: identities and zeros would hide what leaks."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def batch(
    size: int, steps: int = STEPS, seed: int = 0, inputs: Mapping[str, int] = DIMS
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random features [size steps d] of all inputs and complete presence [size steps] of every modality."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(size, steps, d, generator=generator) for name, d in inputs.items()}
    return features, {m: torch.ones(size, steps, dtype=torch.bool) for m in DIMS}


def spliced(before: Mapping[str, Tensor], after: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
    """Of every modality, what is `before` up to a step and `after` from it on."""
    return {m: torch.cat([before[m][:, :step], after[m][:, step:]], 1) for m in before}


def tensors(output: FusionOutput | ModelOutput) -> dict[str, Tensor]:
    """Everything that a fusion or a model gives back, by name."""
    return {"out": output.fused if isinstance(output, FusionOutput) else output.targets, **output.gates}


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two float32 tensors are the same to the bit, NaN equal to the same NaN."""
    return torch.equal(one.contiguous().view(torch.int32), other.contiguous().view(torch.int32))


def text(rows: list[dict[str, str]]) -> str:
    """The page, with every cell taken from the rows, all of the same columns."""
    columns = list(rows[0])
    table = "\n".join(
        f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *(list(r.values()) for r in rows))
    )
    dims = " and ".join(f"{d} {m}" for m, d in DIMS.items())
    lengths = ", ".join(str(steps) for steps in LENGTHS)
    garbage = ", ".join(f"{value:g}" for value in GARBAGE)
    return f"""# The fusions, side by side

Made by `python tools/fusions.py` (`make docs`); every number comes from that command.

avgate {git_commit()}, PyTorch {torch.__version__}. Each fusion has its default settings and is measured alone, without
encoders and head, on {dims} features and a window of {STEPS} steps. Where a fusion can have
`time_mixing=relative` and that changes a cell, the cell says what it becomes.

{table}

- **citation**: the first arXiv number that the fusion's file names.
- **parameters**: how many numbers it learns.
- **multiply-adds per step**: of its matrix products in one forward of a single window, divided by the steps. Work on
  single elements (sums, products, softmax, normalisation) isn't counted. Where steps are compared with each other or
  mixed, this grows with the window.
- **encoders**: how many encoders per modality it reads from; neither they nor their work are among the counts.
- **length**: `any` where it can be built without a window and fuses sequences of {lengths} steps;
  `window` where it refuses that, because it has weights for every step of a fixed window.
- **causal**: `yes` where other features and other presence from some step on change no bit of what comes out before it,
  with random parameters. A whole model is causal only if its encoders are, too.
- **handles absence**: `yes` where {garbage} in absent steps change no bit of a whole model's output, and
  where, with each modality in turn absent from beginning to end, the model runs and its output is finite wherever it
  has any modality to go by. A fusion of one modality has none without it.
- **exports**: `yes` where `torch.export` takes it, and the exported program gives the same numbers.
"""


if __name__ == "__main__":
    main()
