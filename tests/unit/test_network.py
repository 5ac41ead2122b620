"""What each modality says alone: in training only, by the right head, and never in the way of the estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avgate.models.encoders import TcnConfig
from avgate.models.fusions.concat import ConcatConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.models.fusions.single import VideoConfig
from avgate.models.network import Model, ModelConfig

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
    pytest.param(RhgrjcaConfig(dropout=0.0, one_encoder=True), id="rhgrjca, one encoder"),
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
        alone = [f"fallback/{m}" for m in model.modalities if model.fusion.falls_back]
        assert list(spoken) == ([*model.modalities, *alone] if heads else [])
        for estimate in spoken.values():
            assert estimate.shape == (5, WINDOW, TARGETS)
            assert (estimate.abs() <= 1).all()
        assert model.eval()(*batch).unimodal == {}


@pytest.mark.parametrize("fusion", [*WITHOUT_FALLBACK, *WITH_FALLBACK])
def test_each_modality_has_a_head_of_its_own_on_its_encoded_features(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    encoded, spoken = model.encode(*batch), model(*batch).unimodal
    for m, head in model.unimodal.items():
        np.testing.assert_allclose(spoken[m].numpy(), said(encoded[m], head.weight, head.bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", [*WITHOUT_FALLBACK, *WITH_FALLBACK])
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
    """Its columns for untouched features, all behind the gated ones, read one modality where it alone is relied on."""
    model, batch = make_model(fusion).train(), make_batch()
    encoded, spoken, at = model.encode(*batch), model(*batch).unimodal, sum(DIMS.values())
    for m in model.modalities:
        untouched = torch.cat([encoded[name] for name in (m, f"alone/{m}") if name in encoded], -1)
        weight = model.head.weight[:, at : at + untouched.shape[-1]]
        expected = said(untouched, weight, model.head.bias)
        np.testing.assert_allclose(spoken[f"fallback/{m}"].numpy(), expected, rtol=0, atol=1e-12)
        at += weight.shape[1]
    assert model.head.weight.shape == (TARGETS, at)


@pytest.mark.parametrize("fusion", [*WITH_FALLBACK, WITHOUT_FALLBACK[-1]])
def test_each_view_of_a_modality_has_an_encoder_of_its_own_and_is_zero_where_the_modality_is_absent(fusion):
    model, (features, present) = make_model(fusion).eval(), make_batch()
    before = model.encode(features, present)
    assert {name: x.shape[-1] for name, x in before.items()} == model.fusion.inputs
    for name in model.view_encoders:
        assert not before[name][~present[name.split("/")[1]]].any()
        for parameter in model.view_encoders[name].parameters():
            parameter.add_(0.1)
        after = model.encode(features, present)
        assert [other for other, x in after.items() if not torch.equal(x, before[other])] == [name]
        before = after


@pytest.mark.parametrize("fusion", WITH_FALLBACK)
def test_where_one_modality_alone_is_relied_on_the_estimate_is_what_it_says_alone(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    spoken = model(*batch).unimodal
    for m in model.modalities:
        for other, judge in model.fusion.reliability.judges.items():
            judge[2].weight.zero_()
            judge[2].bias.fill_(1000.0 if other == m else -1000.0)
        assert torch.equal(model(*batch).targets, spoken[f"fallback/{m}"])


@pytest.mark.parametrize("fusion", [*WITHOUT_FALLBACK, *WITH_FALLBACK])
def test_heads_of_single_modalities_see_dropout_in_training(fusion):
    model, batch = make_model(fusion).train(), make_batch()
    model.dropout.p = 0.5
    torch.manual_seed(3)
    one, other = (model(*batch).unimodal for _ in "12")
    assert all(not torch.equal(one[m], other[m]) for m in one)


def without(values, name):
    return {m: x for m, x in values.items() if m != name}


@pytest.mark.parametrize("way", ["forward", "exact"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, p: (x, {m: here.double() for m, here in p.items()}), "presence of audio must be bool"),
        (lambda x, p: ({m: v[:, :0] for m, v in x.items()}, {m: h[:, :0] for m, h in p.items()}), "L of 1 or more"),
        (lambda x, p: (x, p | {"video": p["video"][:, 1:]}), "presence of video must be .* alike for all"),
        (lambda x, p: (x | {"video": x["video"][:, 1:]}, p), r"features of video must be .*\[5, 9, 4\].*\[5, 8, 4\]"),
        (lambda x, p: (x | {"text": x["text"][..., :1]}, p), r"features of text must be .*\[5, 9, 2\].*\[5, 9, 1\]"),
        (lambda x, p: (x | {"text": x["text"].long()}, p), "features of text must be numbers .*int64"),
        (lambda x, p: ({m: v[0] for m, v in x.items()}, {m: h[0] for m, h in p.items()}), r"must be \[b L\]"),
        (lambda x, p: (without(x, "text"), p), "the model also reads text"),
        (lambda x, p: (x, without(without(p, "text"), "audio")), "the model also reads audio and text"),
    ],
)
def test_a_batch_that_the_model_cannot_read_is_refused_in_plain_words(change, said, way):
    model = make_model(ConcatConfig()).eval()
    with pytest.raises(ValueError, match=said):
        getattr(model, way)(*change(*make_batch()))
