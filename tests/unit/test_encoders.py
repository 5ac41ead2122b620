"""Encoders against a second implementation, and what they promise about absent steps."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from avgate.models.encoders import GruConfig, LstmConfig, Tcn, TcnConfig, build_encoder
from tests.golden.reference import tcn

IN_DIM = 5
UNITS = {GruConfig: nn.GRU, LstmConfig: nn.LSTM}
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
CONFIGS = (
    TcnConfig(),
    TcnConfig(causal=True),
    TcnConfig(causal=True, activation="leaky_relu", projection=False),
    *(kind(**changes) for kind in UNITS for changes in ({}, {"causal": True}, {"dim": 6, "layers": 2})),
)


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


@pytest.mark.parametrize("causal", [True, False], ids=("causal", "centred"))
@pytest.mark.parametrize("channels", [(4,), (IN_DIM, 4)], ids=str)
@pytest.mark.parametrize(("activation", "slope", "projection"), [("leaky_relu", 0.01, False), ("relu", 0.0, False)])
def test_tcn_with_other_activations_or_without_its_linear_layer_agrees_with_the_equations(
    activation, slope, projection, channels, causal
):
    config = TcnConfig(channels, kernel=3, causal=causal, activation=activation, projection=projection)
    encoder = random_encoder(config)
    x, present = random_batch(9)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    assert ("project.weight" in weights) == projection
    expected = [
        tcn(weights, x[i].numpy(), present[i].numpy(), channels, causal, slope, projection) for i in range(len(x))
    ]
    with torch.no_grad():
        np.testing.assert_allclose(encoder(x, present).numpy(), np.stack(expected), rtol=1e-10, atol=1e-10)


def torch_unit(encoder: nn.Module, config: GruConfig) -> nn.GRU | nn.LSTM:
    """torch's own stack of units, in one or both directions, with the encoder's weights."""
    unit = UNITS[type(config)](
        config.dim,
        config.dim if config.causal else config.dim // 2,
        config.layers,
        batch_first=True,
        bidirectional=not config.causal,
    ).double()
    taken = {}
    for units, suffix in ((encoder.forward_units, ""), (encoder.backward_units, "_reverse")):
        for i, one in enumerate(units):
            taken |= {f"{name}_l{i}{suffix}": getattr(one, f"{name}_l0") for name in WEIGHTS}
    unit.load_state_dict(taken)  # refuses what is missing or left over
    return unit


@pytest.mark.parametrize("causal", [True, False], ids=("causal", "both directions"))
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", UNITS)
@torch.no_grad()
def test_recurrent_encoders_are_torchs_units_over_the_present_steps_only(kind, layers, causal):
    config = kind(dim=6, layers=layers, causal=causal)
    encoder = random_encoder(config)
    unit = torch_unit(encoder, config)
    x, present = random_batch(15)
    out = encoder(x, present)
    for i in range(len(x)):
        expected = torch.zeros(15, 6, dtype=torch.float64)
        if present[i].any():
            steps = torch.relu(encoder.project(x[i][present[i]]))
            expected[present[i]] = unit(steps)[0]
        torch.testing.assert_close(out[i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", UNITS)
@torch.no_grad()
def test_the_second_direction_is_the_first_one_on_the_present_steps_reversed(kind):
    encoder = random_encoder(kind(dim=6))
    x, present = random_batch(15)
    out = encoder(x, present)
    for i in range(len(x) - 1):  # the last has no present step
        steps = torch.relu(encoder.project(x[i][present[i]]))
        (there,), (back,) = encoder.forward_units, encoder.backward_units
        ways = out[i][present[i]].split(3, dim=-1)
        torch.testing.assert_close(ways[0], there(steps)[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(ways[1], back(steps.flip(0))[0].flip(0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", UNITS)
@torch.no_grad()
def test_recurrent_encoders_drop_features_before_each_unit_in_training_alone(kind):
    encoder, batch = random_encoder(kind(dim=6, layers=3, dropout=0.5)), random_batch(15)
    zero: list[float] = []
    for unit in (*encoder.forward_units, *encoder.backward_units):
        unit.register_forward_pre_hook(lambda _, inputs: zero.append(float((inputs[0] == 0).double().mean())))
    encoder(*batch)
    encoder.train()(*batch)
    kept, dropped = np.split(np.array(zero), 2)
    assert len(kept) == 6
    assert dropped == pytest.approx(kept + 0.5 * (1 - kept), abs=0.1)


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


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_an_encoder_with_another_dim_is_otherwise_the_same(config):
    narrow = config.with_dim(2)
    assert build_encoder(5, narrow)(torch.randn(1, 3, 5), torch.ones(1, 3, dtype=torch.bool)).shape == (1, 3, 2)
    whole, part = asdict(config), asdict(narrow)
    assert {name for name in whole if whole[name] != part[name]} == {"channels" if "channels" in whole else "dim"}
    assert len(part.get("channels", ())) == len(whole.get("channels", ()))


@pytest.mark.parametrize("kind", UNITS)
def test_recurrent_encoders_with_both_directions_refuse_an_odd_dim(kind):
    with pytest.raises(ValueError, match=rf"dim \(even in both directions\), not {kind.__name__}"):
        build_encoder(IN_DIM, kind(dim=7))
    assert kind(dim=7, causal=True).dim == 7


def test_channels_that_change_get_a_linear_skip_path_and_others_none():
    encoder = Tcn(IN_DIM, TcnConfig(channels=(8, 8, 4)))
    assert [isinstance(block.skip, nn.Identity) for block in encoder.blocks] == [True, True, False]
