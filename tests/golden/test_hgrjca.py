"""hgrjca against a second implementation that was written from the equations alone."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pytest
import torch

from avgate.fusions.hgrjca import Hgrjca, HgrjcaConfig
from tests.golden.reference import hgrjca

WINDOW = 12
TOLERANCE = 1e-9
DIMS = ({"audio": 5, "video": 7}, {"video": 3, "audio": 6, "text": 4})
OPTIONS = list(
    itertools.product(
        ("window", "relative"),
        ("gated", "attended"),
        ("attended", "both"),
        (True, False),
        ("sqrt_d", "sqrt_d_and_steps"),
    )
)


def random_fusion(config: HgrjcaConfig, dims: dict[str, int], seed: int) -> Hgrjca:
    """In float64 and eval mode, every parameter random: an identity or a zero would hide errors."""
    fusion = Hgrjca(config, dims=dims, window=WINDOW).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return fusion


def random_batch(dims: dict[str, int], batch: int, steps: int, rng: np.random.Generator):
    """Features and presence; steps are absent at a rate that is drawn per modality and sequence, 0 and 1 among them."""
    features = {m: rng.normal(size=(batch, steps, d)) for m, d in dims.items()}
    present = {m: rng.random((batch, steps)) < rng.choice([0.0, 0.3, 0.8, 1.0], (batch, 1)) for m in dims}
    return features, present


def assert_agreement(config: HgrjcaConfig, dims: dict[str, int], features, present, seed: int) -> None:
    fusion = random_fusion(config, dims, seed)
    with torch.no_grad():
        ours = fusion(
            {m: torch.from_numpy(x) for m, x in features.items()}, {m: torch.from_numpy(p) for m, p in present.items()}
        )
    options = asdict(config)
    del options["dropout"]
    weights = {name: value.numpy() for name, value in fusion.state_dict().items()}
    fused, gates = hgrjca(weights, features, present, **options)
    np.testing.assert_allclose(ours.fused.numpy(), fused, rtol=TOLERANCE, atol=TOLERANCE)
    assert set(ours.gates) == set(gates)
    for name, gate in gates.items():
        np.testing.assert_allclose(ours.gates[name].numpy(), gate, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("dims", DIMS, ids=("two modalities", "three modalities"))
@pytest.mark.parametrize(("mixing", "next_input", "gate_sees", "final_relu", "scale"), OPTIONS)
def test_every_option_agrees_with_the_equations(mixing, next_input, gate_sees, final_relu, scale, dims):
    seed = OPTIONS.index((mixing, next_input, gate_sees, final_relu, scale)) + 100 * len(dims)
    rng = np.random.default_rng(seed)
    config = HgrjcaConfig(
        iterations=int(rng.integers(1, 6)),
        tau=float(rng.uniform(0.1, 2)),
        time_mixing=mixing,
        reach=int(rng.integers(1, 6)),
        next_input=next_input,
        gate_sees=gate_sees,
        final_relu=final_relu,
        scale=scale,
    )
    features, present = random_batch(dims, int(rng.integers(1, 4)), int(rng.integers(1, WINDOW + 1)), rng)
    assert_agreement(config, dims, features, present, seed)


@pytest.mark.parametrize("mixing", ["window", "relative"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
def test_every_number_of_iterations_agrees_with_the_equations(iterations, mixing):
    rng = np.random.default_rng(iterations)
    features, present = random_batch(DIMS[0], 3, WINDOW, rng)
    config = HgrjcaConfig(iterations=iterations, time_mixing=mixing, reach=4)
    assert_agreement(config, DIMS[0], features, present, iterations)


@pytest.mark.parametrize("scale", ["sqrt_d", "sqrt_d_and_steps"])
@pytest.mark.parametrize("absent", [("audio",), ("video",), ("audio", "video")], ids=str)
def test_absent_modalities_agree_with_the_equations(absent, scale):
    rng = np.random.default_rng(len(absent))
    features, _ = random_batch(DIMS[0], 2, WINDOW, rng)
    present = {m: np.full((2, WINDOW), m not in absent) for m in DIMS[0]}
    assert_agreement(HgrjcaConfig(scale=scale), DIMS[0], features, present, 7)


def test_relative_mixing_agrees_on_sequences_longer_than_reach_and_window():
    rng = np.random.default_rng(3)
    features, present = random_batch(DIMS[0], 2, 3 * WINDOW, rng)
    assert_agreement(HgrjcaConfig(time_mixing="relative", reach=4), DIMS[0], features, present, 3)


def test_defaults_are_the_published_settings():
    config = HgrjcaConfig()
    assert (config.tau, config.next_input, config.gate_sees) == (0.1, "gated", "attended")
    assert (config.final_relu, config.scale, config.time_mixing) == (True, "sqrt_d", "window")
