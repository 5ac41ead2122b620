"""Small models of every fusion, and batches for them, for the contract tests of fusions and of models."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

from avgate.models.encoders import GruConfig, LstmConfig, TcnConfig
from avgate.models.fusions import FUSIONS
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.network import Model, ModelConfig, ModelOutput

WINDOW = 12
DIMS = {"audio": 8, "video": 12}
ENCODERS = {
    "tcn": TcnConfig(channels=(8, 8)),
    "short tcn": TcnConfig(channels=(8,)),
    "lstm": LstmConfig(dim=8),
    "gru": GruConfig(dim=8),
}
seeded = torch.default_generator.manual_seed
"""torch.manual_seed, without what it notes down for GPUs that aren't there: a stack trace at every call."""

GARBAGE = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, 0.0])


def variants() -> list[Any]:
    """Every fusion's default config, and each single departure from it that a Literal or a bool offers.

    Of a fusion that is another one with other defaults, the defaults will do. Departures are slow tests, but for those
    that bring other operations, of one fusion: the fusions share their code for it. Forms of joint cross-attention
    are tried in two of them.
    """
    fast = ("hgrjca-time_mixing=relative", "hgrjca-reliability=scaled")
    found = []
    for fusion in FUSIONS:
        default, kinds = fusion.Config(), get_type_hints(fusion.Config)
        found.append(pytest.param(default, id=fusion.name))
        if any(issubclass(fusion, other) for other in FUSIONS if other is not fusion):
            continue
        for field in fields(fusion.Config):
            if field.name == "form" and fusion.name not in ("rjca", "hgrjca", "lfan"):
                continue
            kind, current = kinds[field.name], getattr(default, field.name)
            choices = get_args(kind) if get_origin(kind) is Literal else (True, False) if kind is bool else ()
            for choice in choices:
                name = f"{fusion.name}-{field.name}={choice}"
                marks = () if name in fast else pytest.mark.slow
                if choice != current:
                    found.append(pytest.param(replace(default, **{field.name: choice}), id=name, marks=marks))
    return found


VARIANTS = [
    *variants(),
    pytest.param(
        HgrjcaConfig(reliability="fallback", one_encoder=True),
        id="hgrjca-reliability=fallback-one_encoder",
        marks=pytest.mark.slow,
    ),
]


def make_model(
    config: Any,
    encoder: str = "tcn",
    dims: dict[str, int] = DIMS,
    dropout: bool = True,
    seed: int = 0,
    heads: bool = False,
) -> Model:
    """Every parameter is moved off its initial value: identities and zeros would hide what leaks."""
    seeded(seed)
    encoding, head_dropout = ENCODERS[encoder], 0.1
    if not dropout:
        encoding, head_dropout = replace(encoding, dropout=0.0), 0.0
        config = replace(config, dropout=0.0) if hasattr(config, "dropout") else config
    settings = ModelConfig(config, dict.fromkeys(dims, encoding), head_dropout, unimodal_heads=heads)
    model = Model(settings, dims, targets=2, window=WINDOW)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def make_batch(steps: int = WINDOW, dims: dict[str, int] = DIMS) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Seven sequences: complete, three with gaps, without the first modality, without the last, without anything."""
    seeded(1)
    features = {m: torch.randn(7, steps, d) for m, d in dims.items()}
    present = {m: torch.rand(7, steps) < 0.6 for m in dims}
    for mask in present.values():
        mask[0] = True
        mask[3, steps // 2 :] = False
        mask[6] = False
    next(iter(present.values()))[4] = False
    list(present.values())[-1][5] = False
    return features, present


def garbage_like(x: Tensor) -> Tensor:
    """All of GARBAGE in turn."""
    return GARBAGE.to(x)[torch.arange(x.numel()) % len(GARBAGE)].view_as(x)


def with_garbage(features: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
    return {m: torch.where(present[m][..., None], x, garbage_like(x)) for m, x in features.items()}


def padded(features: dict[str, Tensor], present: dict[str, Tensor], steps: int):
    more = {m: torch.cat([x, garbage_like(x[:, :1].expand(-1, steps, -1))], 1) for m, x in features.items()}
    return more, {m: torch.cat([p, p.new_zeros(len(p), steps)], 1) for m, p in present.items()}


def tensors(output: ModelOutput) -> dict[str, Tensor]:
    spread = {"centre": output.centre, "log_variance": output.log_variance}
    found = {"targets": output.targets, **output.gates, **{f"unimodal/{m}": x for m, x in output.unimodal.items()}}
    return found | {name: x for name, x in spread.items() if x is not None}


def assert_same_bits(
    one: ModelOutput, other: ModelOutput, rows: slice = slice(None), steps: slice = slice(None)
) -> None:
    """All of `one` against those rows and steps of `other`, NaN against the same NaN."""
    assert set(tensors(one)) == set(tensors(other))
    for name, expected in tensors(one).items():
        found = tensors(other)[name][rows, steps]
        assert torch.equal(expected.view(torch.int32), found.contiguous().view(torch.int32)), name
