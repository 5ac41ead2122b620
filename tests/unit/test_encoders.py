"""Encoders against a second implementation, and what they promise about absent steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avgate.encoders import GruConfig, Tcn, TcnConfig, build_encoder
from tests.golden.reference import tcn

IN_DIM = 5
CONFIGS = (TcnConfig(), TcnConfig(causal=True), GruConfig(), GruConfig(causal=True), GruConfig(dim=6, layers=2))


def random_encoder(config, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, every parameter random: weight norm begins at |v| = g, and zeros would hide errors."""
    torch.manual_seed(seed)
    encoder = build_encoder(IN_DIM, config).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return encoder


def random_batch(steps: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Six sequences [6 steps IN_DIM], complete, with gaps and without anything, and their presence."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, steps, IN_DIM, generator=generator, dtype=torch.float64)
    present = torch.rand(6, steps, generator=generator) < 0.6
    present[0] = True
    present[-1] = False
    return x, present


@pytest.mark.parametrize("causal", [True, False], ids=("causal", "centred"))
@pytest.mark.parametrize("channels", [(4,), (4, 4), (6, 4, 3)], ids=str)
@pytest.mark.parametrize(("kernel", "steps"), [(5, 23), (3, 9), (1, 4), (5, 1)])
def test_tcn_agrees_with_the_equations(kernel, steps, channels, causal):
    encoder = random_encoder(TcnConfig(channels=channels, kernel=kernel, causal=causal), seed=kernel)
    x, present = random_batch(steps, seed=steps)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    expected = [tcn(weights, x[i].numpy(), present[i].numpy(), channels, causal) for i in range(len(x))]
    with torch.no_grad():
        np.testing.assert_allclose(encoder(x, present).numpy(), np.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False], ids=("causal", "both directions"))
@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_gru_is_a_gru_over_the_present_steps_only(layers, causal):
    encoder = random_encoder(GruConfig(dim=6, layers=layers, causal=causal))
    x, present = random_batch(15)
    out = encoder(x, present)
    for i in range(len(x)):
        expected = torch.zeros(15, 6, dtype=torch.float64)
        if present[i].any():
            steps = torch.relu(encoder.project(x[i][present[i]]))
            expected[present[i]] = encoder.gru(steps)[0]
        torch.testing.assert_close(out[i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@torch.no_grad()
def test_absent_steps_come_out_as_zero_and_change_nothing_else(config):
    encoder = random_encoder(config)
    x, present = random_batch(20)
    out = encoder(x, present)
    assert out.shape == (6, 20, config.dim)
    assert (out[~present] == 0).all()
    other = torch.where(present[..., None], x, 1e6 * torch.randn_like(x))
    assert torch.equal(encoder(other, present), out)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@torch.no_grad()
def test_padding_changes_nothing_beyond_rounding(config):
    encoder = random_encoder(config)
    x, present = random_batch(20)
    more = nn.functional.pad(x, (0, 0, 0, 30), value=3.0), nn.functional.pad(present, (0, 30), value=False)
    torch.testing.assert_close(encoder(*more)[:, :20], encoder(x, present), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@torch.no_grad()
def test_only_causal_encoders_are_blind_to_the_future(config):
    encoder = random_encoder(config)
    x, present = random_batch(20)
    now = 12
    present[:, now] = True
    later = x.clone()
    later[:, now:] += 1.0
    before, after = encoder(x, present)[:, :now], encoder(later, present)[:, :now]
    assert torch.allclose(before, after, rtol=1e-12, atol=1e-12) == config.causal
    assert not torch.allclose(encoder(x, present)[:, now], encoder(later, present)[:, now])


@torch.no_grad()
def test_tcn_sees_exactly_its_receptive_field():
    """Two convolutions of kernel 5 at dilations 1, 2, 4: 2 * 4 * (1 + 2 + 4) = 56 steps in all, 28 to each side."""
    reach = {True: (0, 56), False: (28, 28)}
    for causal, (before, after) in reach.items():
        encoder = random_encoder(TcnConfig(channels=(4, 4, 4), causal=causal))
        x = torch.randn(1, 151, IN_DIM, dtype=torch.float64)
        bumped = x.clone()
        bumped[0, 75] += 10.0
        present = torch.ones(1, 151, dtype=torch.bool)
        touched = (encoder(x, present) != encoder(bumped, present)).any(-1)[0].nonzero()[:, 0]
        assert (int(touched.min()), int(touched.max())) == (75 - before, 75 + after)


def test_gru_with_both_directions_refuses_an_odd_dim():
    with pytest.raises(ValueError, match=r"dim \(even in both directions\)"):
        build_encoder(IN_DIM, GruConfig(dim=7))


def test_channels_that_change_get_a_linear_skip_path_and_others_none():
    encoder = Tcn(IN_DIM, TcnConfig(channels=(8, 8, 4)))
    assert [isinstance(block.skip, nn.Identity) for block in encoder.blocks] == [True, True, False]
