"""hgrjca against a second implementation that was written from the equations alone.

test_fusions.py compares them wherever two choices meet; the slow tests here, in all combinations of half of them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from avgate.models.fusions.hgrjca import Hgrjca, HgrjcaConfig, Reliability, Rhgrjca, RhgrjcaConfig
from tests.golden.reference import hgrjca, hgrjca_alone

WINDOW = 12
TOLERANCE = 1e-10
DIMS = ({"audio": 5, "video": 7}, {"video": 3, "audio": 6, "text": 4})
RELIABILITY = ("off", "scaled", "fallback")
GATE_SEES = ("attended", "both", "all")
# Two halves of the options in all combinations; those of the other half are drawn.
GATES = list(itertools.product(GATE_SEES, RELIABILITY, (True, False), (True, False)))
FLOW = list(
    itertools.product(
        ("window", "relative"), ("gated", "attended"), RELIABILITY, (True, False), ("sqrt_d", "sqrt_d_and_steps")
    )
)

both_numbers_of_modalities = pytest.mark.parametrize("dims", DIMS, ids=("two modalities", "three modalities"))
every_reliability = pytest.mark.parametrize("reliability", RELIABILITY)


def random_fusion(config: HgrjcaConfig, dims: dict[str, int], seed: int) -> Hgrjca:
    """In float64 and eval mode, every parameter random: an identity or a zero would hide errors."""
    fusion = Hgrjca(config, dims=dims, window=WINDOW).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return fusion


def random_batch(dims: dict[str, int], batch: int, steps: int, rng: np.random.Generator):
    """Features, views and presence; steps are absent at a rate drawn per modality and sequence, 0 and 1 among them."""
    every = Hgrjca(HgrjcaConfig(reliability="fallback"), dims, WINDOW).inputs
    features = {name: rng.normal(size=(batch, steps, d)) for name, d in every.items()}
    present = {m: rng.random((batch, steps)) < rng.choice([0.0, 0.3, 0.8, 1.0], (batch, 1)) for m in dims}
    return features, present


def assert_agreement(config: HgrjcaConfig, dims: dict[str, int], features, present, seed: int) -> None:
    fusion = random_fusion(config, dims, seed)
    with torch.no_grad():
        ours = fusion(as_tensors(features), as_tensors(present))
    options = asdict(config)
    del options["dropout"]
    weights = {name: value.numpy() for name, value in fusion.state_dict().items()}
    fused, gates = hgrjca(weights, features, present, **options)
    np.testing.assert_allclose(ours.fused.numpy(), fused, rtol=TOLERANCE, atol=TOLERANCE)
    assert set(ours.gates) == set(gates)
    for name, gate in gates.items():
        np.testing.assert_allclose(ours.gates[name].numpy(), gate, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def drawn(rng: np.random.Generator, **options: Any) -> HgrjcaConfig:
    """These options, and any others."""
    mixing, next_input, _, final_relu, scale = FLOW[rng.integers(len(FLOW))]
    gate_sees, _, iteration_gate, stage_gate = GATES[rng.integers(len(GATES))]
    others = {
        "iterations": int(rng.integers(1, 6)),
        "tau": float(rng.uniform(0.1, 2)),
        "time_mixing": mixing,
        "reach": int(rng.integers(1, 6)),
        "next_input": next_input,
        "gate_sees": gate_sees,
        "iteration_gate": iteration_gate,
        "stage_gate": stage_gate,
        "final_relu": final_relu,
        "scale": scale,
        "one_encoder": bool(rng.random() < 0.3),
        "form": str(rng.choice(["paper", "released", "rjcma"])),
    }
    return HgrjcaConfig(**(others | options))


@pytest.mark.slow
@both_numbers_of_modalities
@pytest.mark.parametrize(("gate_sees", "reliability", "iteration_gate", "stage_gate"), GATES)
def test_every_choice_of_gates_agrees_with_the_equations(gate_sees, reliability, iteration_gate, stage_gate, dims):
    seed = GATES.index((gate_sees, reliability, iteration_gate, stage_gate)) + 100 * len(dims)
    rng = np.random.default_rng(seed)
    gates = {"gate_sees": gate_sees, "iteration_gate": iteration_gate, "stage_gate": stage_gate}
    for _ in range(2):
        features, present = random_batch(dims, int(rng.integers(1, 4)), int(rng.integers(1, WINDOW + 1)), rng)
        assert_agreement(drawn(rng, reliability=reliability, **gates), dims, features, present, seed)


@pytest.mark.slow
@both_numbers_of_modalities
@pytest.mark.parametrize(("mixing", "next_input", "reliability", "final_relu", "scale"), FLOW)
def test_every_choice_between_the_gates_agrees_with_the_equations(
    mixing, next_input, reliability, final_relu, scale, dims
):
    seed = FLOW.index((mixing, next_input, reliability, final_relu, scale)) + 1000 * len(dims)
    rng = np.random.default_rng(seed)
    flow = {"time_mixing": mixing, "next_input": next_input, "final_relu": final_relu, "scale": scale}
    features, present = random_batch(dims, int(rng.integers(1, 4)), int(rng.integers(1, WINDOW + 1)), rng)
    config = drawn(rng, reliability=reliability, iteration_gate=True, stage_gate=True, **flow)
    assert_agreement(config, dims, features, present, seed)


@pytest.mark.parametrize("mixing", ["window", "relative"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
def test_every_number_of_iterations_agrees_with_the_equations(iterations, mixing):
    rng = np.random.default_rng(iterations)
    features, present = random_batch(DIMS[0], 3, WINDOW, rng)
    config = HgrjcaConfig(iterations=iterations, time_mixing=mixing, reach=4)
    assert_agreement(config, DIMS[0], features, present, iterations)


@pytest.mark.slow
@every_reliability
@pytest.mark.parametrize("gate_sees", GATE_SEES)
@pytest.mark.parametrize("scale", ["sqrt_d", "sqrt_d_and_steps"])
@pytest.mark.parametrize("absent", [("audio",), ("video",), ("audio", "video")], ids=str)
def test_absent_modalities_agree_with_the_equations(absent, scale, gate_sees, reliability):
    rng = np.random.default_rng(len(absent))
    features, _ = random_batch(DIMS[0], 2, WINDOW, rng)
    present = {m: np.full((2, WINDOW), m not in absent) for m in DIMS[0]}
    config = HgrjcaConfig(scale=scale, gate_sees=gate_sees, reliability=reliability)
    assert_agreement(config, DIMS[0], features, present, 7)


def test_relative_mixing_agrees_on_sequences_longer_than_reach_and_window():
    rng = np.random.default_rng(3)
    features, present = random_batch(DIMS[0], 2, 3 * WINDOW, rng)
    assert_agreement(HgrjcaConfig(time_mixing="relative", reach=4), DIMS[0], features, present, 3)


def rely(fusion: Hgrjca, **by_modality: float) -> None:
    """The judges say the same whatever they see; sigmoid(+-1000) is 1 and 0 in float64."""
    for m, judge in fusion.reliability.judges.items():
        judge[2].weight.zero_()
        judge[2].bias.fill_(1000.0 if by_modality[m] else -1000.0)


def as_tensors(part: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {m: torch.from_numpy(x) for m, x in part.items()}


@pytest.mark.parametrize("gate_sees", GATE_SEES)
@torch.no_grad()
def test_full_reliability_changes_no_bit_and_none_leaves_nothing_of_a_modality(gate_sees):
    rng = np.random.default_rng(4)
    features, present = random_batch(DIMS[1], 3, WINDOW, rng)
    features, present = as_tensors(features), as_tensors(present)
    relying = random_fusion(HgrjcaConfig(gate_sees=gate_sees, reliability="scaled"), DIMS[1], 4)
    plain = Hgrjca(HgrjcaConfig(gate_sees=gate_sees), DIMS[1], WINDOW).double().eval()
    plain.load_state_dict({k: v for k, v in relying.state_dict().items() if not k.startswith("reliability.")})

    rely(relying, video=1, audio=1, text=1)
    one, other = relying(features, present), plain(features, present)
    assert torch.equal(one.fused, other.fused)
    assert all(torch.equal(one.gates[name], gate) for name, gate in other.gates.items())
    assert all((one.gates[f"reliability/{m}"] == 1).all() for m in DIMS[1])

    rely(relying, video=1, audio=0, text=1)
    one = relying(features, present)
    other = plain(features | {"audio": torch.zeros_like(features["audio"])}, present)
    assert torch.equal(one.fused, other.fused)
    assert not one.fused[..., 3:9].any()
    assert one.fused[..., :3].any()
    assert one.fused[..., 9:].any()


@both_numbers_of_modalities
@pytest.mark.parametrize("stage_gate", [True, False])
@torch.no_grad()
def test_where_one_modality_is_relied_on_and_no_other_it_reaches_the_head_alone_and_untouched(stage_gate, dims):
    rng = np.random.default_rng(5)
    features, present = random_batch(dims, 3, WINDOW, rng)
    fusion = random_fusion(HgrjcaConfig(reliability="fallback", stage_gate=stage_gate), dims, 5)
    alone = fusion.alone(as_tensors(features))
    assert list(alone) == list(dims)
    for m in dims:
        rely(fusion, **{other: other == m for other in dims})
        expected = hgrjca_alone(features, list(dims), m)
        np.testing.assert_array_equal(alone[m].numpy(), expected)
        np.testing.assert_array_equal(fusion(as_tensors(features), as_tensors(present)).fused.numpy(), expected)


@pytest.mark.parametrize("reliability", ["off", "scaled"])
def test_without_a_fallback_nothing_is_fused_of_one_modality_alone(reliability):
    fusion = random_fusion(HgrjcaConfig(reliability=reliability), DIMS[0], 6)
    assert not fusion.falls_back
    with pytest.raises(NotImplementedError, match="hgrjca doesn't fall back"):
        fusion.alone({m: torch.zeros(1, WINDOW, d) for m, d in DIMS[0].items()})


@pytest.mark.parametrize(("trusted", "kept"), [((1, 1), "gated"), ((0, 0), "nothing")])
@torch.no_grad()
def test_a_fallback_leaves_the_gated_features_where_all_is_relied_on_and_nothing_where_nothing_is(trusted, kept):
    rng = np.random.default_rng(8)
    features, present = (as_tensors(part) for part in random_batch(DIMS[0], 3, WINDOW, rng))
    fusion = random_fusion(HgrjcaConfig(reliability="fallback"), DIMS[0], 8)
    rely(fusion, **dict(zip(DIMS[0], trusted, strict=True)))
    plain = Hgrjca(HgrjcaConfig(), DIMS[0], WINDOW).double().eval()
    plain.load_state_dict({k: v for k, v in fusion.state_dict().items() if not k.startswith("reliability.")})
    fused, expected = fusion(features, present).fused, plain(features, present).fused
    gated, untouched = fused.tensor_split([fusion.out_dim // 3], dim=-1)
    assert torch.equal(gated, expected) if kept == "gated" else not gated.any()
    assert not untouched.any()


@torch.no_grad()
def test_rhgrjca_is_hgrjca_that_falls_back_and_has_no_final_relu():
    assert asdict(RhgrjcaConfig()) == asdict(HgrjcaConfig()) | {"final_relu": False, "reliability": "fallback"}
    assert asdict(RhgrjcaConfig(tau=0.5, gate_sees="both"))["gate_sees"] == "both"
    dims, rng = DIMS[1], np.random.default_rng(9)
    features, present = (as_tensors(part) for part in random_batch(dims, 3, WINDOW, rng))
    settings = HgrjcaConfig(final_relu=False, reliability="fallback")
    one, other = random_fusion(settings, dims, 9), Rhgrjca(RhgrjcaConfig(), dims, WINDOW).double().eval()
    other.load_state_dict(one.state_dict())
    assert (other.falls_back, other.out_dim) == (one.falls_back, one.out_dim) == (True, 3 * sum(dims.values()))
    expected, found = one(features, present), other(features, present)
    assert torch.equal(expected.fused, found.fused)
    assert expected.gates.keys() == found.gates.keys()
    assert all(torch.equal(expected.gates[name], gate) for name, gate in found.gates.items())


def test_reliability_begins_near_sigmoid_2_whatever_it_sees():
    torch.manual_seed(0)
    widths = dict.fromkeys(DIMS[0], 16)
    judged = {m: torch.randn(20, WINDOW, w) for m, w in widths.items()}
    present = {m: torch.rand(20, WINDOW) < 0.5 for m in DIMS[0]}
    for _ in range(5):
        for gate in Reliability(DIMS[0], widths)(judged, present).values():
            assert gate.shape == (20, WINDOW, 1)
            assert float(gate.detach().mean()) == pytest.approx(1 / (1 + math.exp(-2)), abs=0.06)


def test_defaults_are_the_published_settings():
    config = HgrjcaConfig()
    assert (config.tau, config.next_input, config.gate_sees) == (0.1, "gated", "attended")
    assert (config.reliability, config.iteration_gate, config.stage_gate) == ("off", True, True)
    assert (config.final_relu, config.scale, config.time_mixing) == (True, "sqrt_d", "window")
