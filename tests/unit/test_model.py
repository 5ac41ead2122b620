"""What each modality says alone: in training only, by the right head, and never in the way of the estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avgate.encoders import TcnConfig
from avgate.fusions.concat import ConcatConfig
from avgate.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.fusions.single import VideoConfig
from avgate.model import Model, ModelConfig

WINDOW = 9
COLUMNS = {"audio": 3, "video": 4, "text": 2}
DIMS = {"audio": 6, "video": 5, "text": 7}
TARGETS = 2

WITHOUT_FALLBACK = [
    pytest.param(ConcatConfig(), id="concat"),
    pytest.param(VideoConfig(), id="video"),
    pytest.param(HgrjcaConfig(dropout=0.0), id="hgrjca"),
    pytest.param(HgrjcaConfig(dropout=0.0, reliability="scaled"), id="hgrjca scaled"),
]
WITH_FALLBACK = [
    pytest.param(HgrjcaConfig(dropout=0.0, reliability="fallback"), id="hgrjca fallback"),
    pytest.param(RhgrjcaConfig(dropout=0.0), id="rhgrjca"),
]


def make_model(fusion: Any, heads: bool = True) -> Model:
    """Three modalities, no dropout, every parameter moved off its initial value; heads come last and move no other."""
    encoders = {m: TcnConfig(channels=(d,), dropout=0.0) for m, d in DIMS.items()}
    config = ModelConfig(fusion, encoders, head_dropout=0.0, unimodal_heads=heads)
    torch.manual_seed(0)
    model = Model(config, COLUMNS, TARGETS, WINDOW).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("unimodal"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def make_batch() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Five sequences with gaps."""
    generator = torch.Generator().manual_seed(2)
    features = {m: torch.randn(5, WINDOW, d, generator=generator, dtype=torch.float64) for m, d in COLUMNS.items()}
    return features, {m: torch.rand(5, WINDOW, generator=generator) < 0.8 for m in COLUMNS}


def said(x: Tensor, weight: Tensor, bias: Tensor) -> np.ndarray:
    """tanh( x W + b ), step by step."""
    rows = x.numpy().reshape(-1, x.shape[-1])
    return np.array([np.tanh(weight.numpy() @ row + bias.numpy()) for row in rows]).reshape(*x.shape[:-1], TARGETS)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("fusion", [*WITHOUT_FALLBACK, *WITH_FALLBACK])
def test_single_modalities_speak_in_training_only_and_only_with_heads(fusion):
    for heads in (False, True):
        model, batch = make_model(fusion, heads), make_batch()
        spoken = model.train()(*batch).unimodal
        assert list(spoken) == (list(model.modalities) if heads else [])
        for estimate in spoken.values():
            assert estimate.shape == (5, WINDOW, TARGETS)
            assert (estimate.abs() <= 1).all()
        assert model.eval()(*batch).unimodal == {}


@pytest.mark.parametrize("fusion", WITHOUT_FALLBACK)
def test_each_modality_has_a_head_of_its_own_on_its_encoded_features(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    encoded = model.encode(*batch)
    for m, estimate in model(*batch).unimodal.items():
        head = model.unimodal[m]
        np.testing.assert_allclose(estimate.numpy(), said(encoded[m], head.weight, head.bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", WITHOUT_FALLBACK)
def test_heads_of_single_modalities_change_no_bit_of_the_estimate(fusion):
    model, batch = make_model(fusion).eval(), make_batch()
    expected = model(*batch)
    without = make_model(fusion, heads=False).eval()(*batch)
    for parameter in model.unimodal.parameters():
        parameter.fill_(torch.nan)
    changed = model(*batch)
    for other in (without, changed):
        assert torch.equal(other.targets.nan_to_num(9), expected.targets.nan_to_num(9))
        assert other.gates.keys() == expected.gates.keys()
        assert all(torch.equal(other.gates[k].nan_to_num(9), g.nan_to_num(9)) for k, g in expected.gates.items())


@pytest.mark.parametrize("fusion", WITH_FALLBACK)
def test_a_fusion_that_falls_back_shares_its_head_with_single_modalities(fusion):
    """Its columns for untouched features, the last of twice as many, read one modality where it alone is relied on."""
    model, batch = make_model(fusion).train(), make_batch()
    assert model.state_dict().keys() == make_model(fusion, heads=False).state_dict().keys()
    encoded, at = model.encode(*batch), sum(DIMS.values())
    assert model.head.weight.shape == (TARGETS, 2 * at)
    for m, estimate in model(*batch).unimodal.items():
        columns = model.head.weight[:, at : at + DIMS[m]]
        np.testing.assert_allclose(estimate.numpy(), said(encoded[m], columns, model.head.bias), rtol=0, atol=1e-12)
        at += DIMS[m]


@pytest.mark.parametrize("fusion", WITH_FALLBACK)
def test_where_one_modality_alone_is_relied_on_the_estimate_is_what_it_says_alone(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    for m, expected in model(*batch).unimodal.items():
        for other, judge in model.fusion.reliability.judges.items():
            judge[2].weight.zero_()
            judge[2].bias.fill_(1000.0 if other == m else -1000.0)
        assert torch.equal(model(*batch).targets, expected)


@pytest.mark.parametrize("fusion", [*WITHOUT_FALLBACK, *WITH_FALLBACK])
def test_heads_of_single_modalities_see_dropout_in_training(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    model.dropout.p = 0.5
    torch.manual_seed(3)
    one, other = (model(*batch).unimodal for _ in "12")
    assert all(not torch.equal(one[m], other[m]) for m in one)
