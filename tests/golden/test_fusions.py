"""Every fusion against a second implementation that was written from its docstring's equations alone."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from tests.golden.reference_fusions import REFERENCES

from avgate.fusions import FUSIONS, Fusion
from avgate.fusions.blocks import CorrelationScale, TimeMixing
from avgate.fusions.crossmodal import Crossmodal

WINDOW = 12
TOLERANCE = 1e-9
DIMS = ({"audio": 5, "video": 7}, {"video": 3, "audio": 6, "text": 4})
# Every value of the settings that have few, in all combinations ...
CHOICES: dict[str, tuple[Any, ...]] = {
    "time_mixing": get_args(TimeMixing),
    "scale": get_args(CorrelationScale),
    "next_input": ("gated", "attended"),
    "gate_sees": ("attended", "both"),
    "final_relu": (True, False),
    "leader": ("video", "audio"),
    "heads": (1, 2, 4),
}
# ... and a random value of the others; `dropout` does nothing in eval mode, the only one that equations describe.
DRAWS = {
    "iterations": lambda rng: int(rng.integers(1, 5)),
    "reach": lambda rng: int(rng.integers(1, 6)),
    "tau": lambda rng: float(rng.uniform(0.1, 2)),
    "temperature": lambda rng: float(rng.uniform(0.3, 3)),
    "dim": lambda rng: 4 * int(rng.integers(1, 4)),
    "layers": lambda rng: int(rng.integers(1, 4)),
    "expansion": lambda rng: int(rng.integers(1, 4)),
}
BY_NAME = {fusion.name: fusion for fusion in FUSIONS}


def combinations_of_choices(fusion: type[Fusion]) -> list[dict[str, Any]]:
    names = [f.name for f in fields(fusion.Config) if f.name in CHOICES]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(CHOICES[n] for n in names))]


CASES = [
    pytest.param(fusion, chosen, dims, id="-".join([fusion.name, *map(str, chosen.values()), str(len(dims))]))
    for fusion in FUSIONS
    for chosen in combinations_of_choices(fusion)
    for dims in DIMS
]


def random_settings(fusion: type[Fusion], chosen: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """All settings but dropout; one that neither CHOICES nor DRAWS knows is a KeyError, so that none goes untested."""
    return {
        f.name: chosen[f.name] if f.name in chosen else DRAWS[f.name](rng)
        for f in fields(fusion.Config)
        if f.name != "dropout"
    }


def random_batch(dims: dict[str, int], steps: int, rng: np.random.Generator):
    """Four sequences: every modality has gaps in some, and is there throughout or not at all in others."""
    features = {m: rng.normal(size=(4, steps, d)) for m, d in dims.items()}
    present = {m: rng.random((4, steps)) < rng.permutation([0.0, 0.3, 0.8, 1.0])[:, None] for m in dims}
    return features, present


def build(fusion: type[Fusion], settings: dict[str, Any], dims: dict[str, int], seed: int) -> Fusion:
    """In float64 and eval mode, every parameter random: an identity, a one or a zero would hide errors."""
    own_dims = {m: dims[m] for m in fusion.modalities(tuple(dims))}
    module = fusion(fusion.Config(**settings), own_dims, WINDOW).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def assert_agreement(fusion: type[Fusion], settings: dict[str, Any], dims: dict[str, int], features, present, seed=0):
    module = build(fusion, settings, dims, seed)
    with torch.no_grad():
        ours = module(
            {m: torch.from_numpy(x) for m, x in features.items()}, {m: torch.from_numpy(p) for m, p in present.items()}
        )
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    assert ours.fused.shape[-1] == module.out_dim
    for i in range(len(ours.fused)):
        fused, gates = REFERENCES[fusion.name](
            weights, {m: x[i] for m, x in features.items()}, {m: p[i] for m, p in present.items()}, **settings
        )
        np.testing.assert_allclose(ours.fused[i].numpy(), fused, rtol=TOLERANCE, atol=TOLERANCE)
        assert set(ours.gates) == set(gates)
        for name, gate in gates.items():
            np.testing.assert_allclose(ours.gates[name][i].numpy(), gate, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_every_fusion_has_a_second_implementation():
    assert set(REFERENCES) == set(BY_NAME)


@pytest.mark.parametrize(("fusion", "chosen", "dims"), CASES)
def test_every_option_agrees_with_the_equations(fusion, chosen, dims):
    seed = next(i for i, case in enumerate(CASES) if case.values == (fusion, chosen, dims))
    rng = np.random.default_rng(seed)
    features, present = random_batch(dims, int(rng.integers(1, WINDOW + 1)), rng)
    assert_agreement(fusion, random_settings(fusion, chosen, rng), dims, features, present, seed)


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.name)
def test_default_settings_agree_with_the_equations(fusion):
    default = {f.name: f.default for f in fields(fusion.Config) if f.name != "dropout"}
    assert_agreement(fusion, default, DIMS[0], *random_batch(DIMS[0], WINDOW, np.random.default_rng(1)))


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.name)
@pytest.mark.parametrize("absent", [("audio",), ("video",), ("audio", "text"), ("video", "audio", "text")], ids=str)
def test_absent_modalities_agree_with_the_equations(fusion, absent):
    rng = np.random.default_rng(2)
    features, _ = random_batch(DIMS[1], WINDOW, rng)
    present = {m: np.full((4, WINDOW), m not in absent) for m in DIMS[1]}
    assert_agreement(
        fusion, random_settings(fusion, combinations_of_choices(fusion)[-1], rng), DIMS[1], features, present
    )


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.name)
def test_sequences_longer_than_reach_and_window_agree_with_the_equations(fusion):
    rng = np.random.default_rng(3)
    last = combinations_of_choices(fusion)[-1]
    if "time_mixing" in last:
        assert last["time_mixing"] == "relative"
    assert_agreement(fusion, random_settings(fusion, last, rng), DIMS[1], *random_batch(DIMS[1], 3 * WINDOW, rng))


def test_crossmodal_passes_a_modality_without_any_other_unchanged():
    dims = {"audio": 5}
    settings = random_settings(Crossmodal, {"heads": 2}, np.random.default_rng(4))
    assert_agreement(Crossmodal, settings, dims, *random_batch(dims, WINDOW, np.random.default_rng(4)))
