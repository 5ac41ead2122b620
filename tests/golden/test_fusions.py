"""Every fusion against a second implementation that was written from its docstring's equations alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from avgate.models.fusions import FUSIONS, Fusion, fusion_named
from tests.golden.reference_fusions import REFERENCES

Batch = dict[str, np.ndarray]

WINDOW = 12
TOLERANCE = 1e-9
MODALITIES = (("audio", "video"), ("video", "audio", "text"))
# Settings that are numbers or names; those that are a Literal or a bool are tried in all their combinations.
# Of a fusion with many (more in test_hgrjca.py) a few are: each pair of choices meets.
MOST_COMBINATIONS = 12
CHOICES: dict[str, tuple[Any, ...]] = {"leader": ("video", "audio"), "heads": (1, 2, 4)}
DRAWS: dict[str, Callable[[np.random.Generator], Any]] = {
    "iterations": lambda rng: int(rng.integers(1, 5)),
    "reach": lambda rng: int(rng.integers(1, 6)),
    "tau": lambda rng: float(rng.uniform(0.1, 2)),
    "temperature": lambda rng: float(rng.uniform(0.3, 3)),
    "dim": lambda rng: 4 * int(rng.integers(1, 4)),  # every number of heads can share it
    "layers": lambda rng: int(rng.integers(1, 4)),
    "hidden": lambda rng: int(rng.integers(1, 6)),
    "expansion": lambda rng: int(rng.integers(1, 4)),
}


def is_another_with_other_defaults(fusion: type[Fusion]) -> bool:
    return any(issubclass(fusion, other) for other in FUSIONS if other is not fusion)


@functools.cache
def combinations_of_choices(fusion: type[Fusion]) -> list[dict[str, Any]]:
    if is_another_with_other_defaults(fusion):  # the other one is tried in all ways already
        return [{f.name: f.default for f in fields(fusion.Config)}]
    choices = dict(CHOICES)
    for name, kind in get_type_hints(fusion.Config).items():
        if get_origin(kind) is Literal or kind is bool:
            choices[name] = get_args(kind) or (True, False)
    names = [f.name for f in fields(fusion.Config) if f.name in choices]
    every = [dict(zip(names, values, strict=True)) for values in itertools.product(*(choices[n] for n in names))]
    every = [chosen for chosen in every if is_possible(fusion, chosen)]
    return every if len(every) <= MOST_COMBINATIONS else where_each_pair_meets(every)


def is_possible(fusion: type[Fusion], chosen: dict[str, Any]) -> bool:
    """Whether its config allows these choices together."""
    try:
        fusion.Config(**chosen)
    except ValueError:
        return False
    return True


def where_each_pair_meets(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few combinations in which each pair of choices occurs: one after the other, that with the most new pairs."""
    left = [set(itertools.combinations(chosen.items(), 2)) for chosen in every]
    found = []
    while any(left):
        best = max(range(len(every)), key=lambda i: len(left[i]))
        found.append(every[best])
        left = [pairs - left[best] for pairs in left]
    return found


CASES = [
    pytest.param(fusion, chosen, modalities, id="-".join([fusion.name, *map(str, chosen.values()), *modalities]))
    for fusion in FUSIONS
    for chosen in combinations_of_choices(fusion)
    for modalities in MODALITIES
]


def random_settings(fusion: type[Fusion], chosen: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """All settings but dropout, which is off in eval mode. One without a draw is a KeyError: none goes untested."""
    if "hidden" in {f.name for f in fields(fusion.Config)} and chosen["form"] != "additive":
        chosen = chosen | {"hidden": fusion.Config().hidden}
    return {
        f.name: chosen[f.name] if f.name in chosen else DRAWS[f.name](rng)
        for f in fields(fusion.Config)
        if f.name != "dropout"
    }


def random_batch(modalities: tuple[str, ...], steps: int, rng: np.random.Generator) -> tuple[Batch, Batch]:
    """Features and presence of four sequences: each modality is there throughout, with few gaps, with many, never."""
    features = {m: rng.normal(size=(4, steps, int(rng.integers(1, 9)))) for m in modalities}
    present = {m: rng.random((4, steps)) < rng.permutation([0.0, 0.3, 0.8, 1.0])[:, None] for m in modalities}
    return features, present


def random_fusion(fusion: type[Fusion], settings: dict[str, Any], dims: dict[str, int], seed: int) -> Fusion:
    """In float64 and eval mode, every parameter random: an identity, a one or a zero would hide errors."""
    module = fusion(fusion.Config(**settings), dims, WINDOW).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def assert_agreement(
    fusion: type[Fusion], settings: dict[str, Any], features: Batch, present: Batch, seed: int = 0
) -> None:
    dims = {m: features[m].shape[-1] for m in fusion.modalities(tuple(features))}
    module, rng = random_fusion(fusion, settings, dims, seed), np.random.default_rng(seed)
    shape = next(iter(present.values())).shape
    views = {name: rng.normal(size=(*shape, d)) for name, d in module.inputs.items() if name not in dims}
    features = features | views
    with torch.no_grad():
        ours = module(
            {m: torch.from_numpy(x) for m, x in features.items()}, {m: torch.from_numpy(p) for m, p in present.items()}
        )
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    for i in range(len(ours.fused)):
        fused, gates = REFERENCES[fusion.name](
            weights, {m: x[i] for m, x in features.items()}, {m: p[i] for m, p in present.items()}, **settings
        )
        assert ours.fused[i].shape == fused.shape == (len(fused), module.out_dim)
        np.testing.assert_allclose(ours.fused[i].numpy(), fused, rtol=TOLERANCE, atol=TOLERANCE)
        assert set(ours.gates) == set(gates)
        for name, gate in gates.items():
            assert ours.gates[name][i].shape == gate.shape
            np.testing.assert_allclose(ours.gates[name][i].numpy(), gate, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize(
    "fusion", [f for f in FUSIONS if not is_another_with_other_defaults(f)], ids=lambda fusion: fusion.name
)
def test_every_pair_of_choices_is_tried(fusion):
    tried = combinations_of_choices(fusion)
    values = {name: {chosen[name] for chosen in tried} for name in tried[0]}
    for name, kind in get_type_hints(fusion.Config).items():
        if get_origin(kind) is Literal or kind is bool:
            assert values[name] == set(get_args(kind) or (True, False))
    for one, other in itertools.combinations(values, 2):
        pairs = {(chosen[one], chosen[other]) for chosen in tried}
        every = itertools.product(values[one], values[other])
        assert pairs == {pair for pair in every if is_possible(fusion, dict(zip((one, other), pair, strict=True)))}


def test_every_fusion_has_a_second_implementation():
    assert set(REFERENCES) == {fusion.name for fusion in FUSIONS}


@pytest.mark.parametrize("draw", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("fusion", "chosen", "modalities"), CASES)
def test_every_option_agrees_with_the_equations(fusion, chosen, modalities, draw):
    case = next(i for i, case in enumerate(CASES) if case.values == (fusion, chosen, modalities))
    rng = np.random.default_rng([case, draw])
    settings = random_settings(fusion, chosen, rng)
    assert_agreement(fusion, settings, *random_batch(modalities, int(rng.integers(1, WINDOW + 1)), rng), seed=case)


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.name)
class TestFusion:
    def test_default_settings_agree_with_the_equations(self, fusion):
        default = {f.name: f.default for f in fields(fusion.Config) if f.name != "dropout"}
        assert_agreement(fusion, default, *random_batch(MODALITIES[0], WINDOW, np.random.default_rng(1)))

    # Each modality by itself is absent in one sequence of the batches above; all at once, only here.
    @pytest.mark.slow
    @pytest.mark.parametrize("absent", [("video", "audio", "text"), ("audio",), ("video",), ("audio", "text")], ids=str)
    def test_absent_modalities_agree_with_the_equations(self, fusion, absent):
        rng = np.random.default_rng(2)
        features, _ = random_batch(MODALITIES[1], WINDOW, rng)
        present = {m: np.full((4, WINDOW), m not in absent) for m in features}
        for chosen in combinations_of_choices(fusion):
            assert_agreement(fusion, random_settings(fusion, chosen, rng), features, present)

    @pytest.mark.slow
    def test_sequences_longer_than_reach_and_window_agree_with_the_equations(self, fusion):
        rng = np.random.default_rng(3)
        for chosen in combinations_of_choices(fusion):
            if chosen.get("time_mixing") != "window":
                settings = random_settings(fusion, chosen, rng)
                assert_agreement(fusion, settings, *random_batch(MODALITIES[1], 2 * WINDOW, rng))


# The others refuse it, as the contract tests show.
@pytest.mark.parametrize("name", sorted(set(REFERENCES) - {"audio", "ca", "dca", "iaca"}))
def test_video_alone_agrees_with_the_equations_where_it_is_allowed(name):
    fusion = fusion_named(name)
    rng = np.random.default_rng(4)
    settings = random_settings(fusion, combinations_of_choices(fusion)[0], rng)
    assert_agreement(fusion, settings, *random_batch(("video",), WINDOW, rng))
