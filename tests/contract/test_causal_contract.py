"""What causal models promise: no step sees a later one, and step by step they give what they give of the whole."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avgate.models.encoders import EncoderConfig, GruConfig, LstmConfig, TcnConfig
from avgate.models.fusions import FUSIONS
from avgate.models.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.models.fusions.jca import JcaConfig
from avgate.models.fusions.rjca import RjcaConfig
from avgate.models.network import Model, ModelConfig, ModelOutput
from avgate.models.step import StepModel
from tests.few import few
from tests.small_models import DIMS, tensors, with_garbage

pytestmark = pytest.mark.usefixtures("one_thread", "no_grad")

ENCODERS: dict[str, EncoderConfig] = {
    "tcn": TcnConfig(channels=(6, 4), causal=True),
    "gru": GruConfig(dim=5, layers=2, causal=True),
    "lstm": LstmConfig(dim=5, causal=True),
}


FAST = ("jca", "rhgrjca", "tagf")
"""Fusions that every run tests; the others share their code, or have none that sees other steps."""


def causal_configs() -> list[Any]:
    """Every fusion that can be causal; the others see a whole window."""
    found = []
    for fusion in FUSIONS:
        config = fusion.Config()
        if any(f.name == "time_mixing" for f in fields(config)):
            config = replace(config, time_mixing="decay", reach=8)
        if make_model(config).causal:
            marks = () if fusion.name in FAST else pytest.mark.slow
            found.append(pytest.param(config, id=fusion.name, marks=marks))
    return found


def make_model(config: Any, encoder: str = "tcn") -> Model:
    """In float64 and eval mode; every parameter is moved off its initial value."""
    torch.default_generator.manual_seed(0)
    model = Model(ModelConfig(config, dict.fromkeys(DIMS, ENCODERS[encoder])), DIMS, targets=2, window=12)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.double().eval()


def make_batch(steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Three sequences; each modality is absent now and then, for long, and in one sequence throughout."""
    generator = torch.Generator().manual_seed(1)
    features = {m: torch.randn(3, steps, d, generator=generator, dtype=torch.float64) for m, d in DIMS.items()}
    present = {m: torch.rand(3, steps, generator=generator) < 0.7 for m in DIMS}
    for i, mask in enumerate(present.values()):
        mask[0, steps // 4 + i * steps // 8 : steps // 2] = False
        mask[i] = False
    return features, present


def part(batch: tuple[dict[str, Tensor], dict[str, Tensor]], steps: slice):
    return tuple({m: x[:, steps] for m, x in values.items()} for values in batch)


def in_parts(model: Model, batch: Any, lengths: list[int]) -> dict[str, Tensor]:
    state, found, first = model.blank_state(3), [], 0
    for length in lengths:
        state, out = model.advance(state, *part(batch, slice(first, first + length)))
        found.append(tensors(out))
        first += length
    return {name: torch.cat([one[name] for one in found], dim=1) for name in found[0]}


def step_by_step(model: Model, batch: Any) -> dict[str, Tensor]:
    stepping, found = StepModel(model), []
    state = stepping.blank_state(3)
    for t in range(next(iter(batch[1].values())).shape[1]):
        state, out = stepping(state, *({m: x[:, t] for m, x in values.items()} for values in batch))
        found.append(tensors(out))
    return {name: torch.stack([one[name] for one in found], dim=1) for name in found[0]}


def assert_near(found: dict[str, Tensor], whole: ModelOutput | dict[str, Tensor], tolerance: float) -> None:
    """Where the whole has a value: behind the last present step it has none."""
    expected = tensors(whole) if isinstance(whole, ModelOutput) else whole
    assert set(found) == set(expected)
    for name, values in expected.items():
        known = ~values.isnan()
        assert known.any(), name
        torch.testing.assert_close(found[name][known], values[known], rtol=0, atol=tolerance, msg=name)


CAUSAL = causal_configs()


def test_a_model_stays_as_it_is_when_it_is_made_to_go_step_by_step():
    model, batch = make_model(JcaConfig(time_mixing="decay")), make_batch(5)
    whole = tensors(model(*batch))
    step_by_step(model, batch)
    assert_near(step_by_step(model, batch), whole, 1e-12)
    assert_near(tensors(model(*batch)), whole, 0)


def test_the_whole_joint_cross_attention_family_can_be_causal():
    assert {p.id for p in CAUSAL} == {
        *("audio", "video", "concat", "lfan"),
        *("jca", "rjca", "grjca", "hgrjca", "rhgrjca", "tagf"),
    }


@pytest.mark.parametrize("encoder", few(["tcn", "gru", "lstm"], 1, pytest.mark.long))
@pytest.mark.parametrize("config", CAUSAL)
class TestCausal:
    def test_parts_and_single_steps_give_what_the_whole_gives(self, config, encoder):
        model, batch = make_model(config, encoder), make_batch(120)
        whole = model(*batch)
        assert_near(in_parts(model, batch, [1, 50, 2, 17, 33, 17]), whole, 1e-12)
        assert_near(step_by_step(model, batch), whole, 1e-12)

    def test_no_step_sees_a_later_one(self, config, encoder):
        model, batch = make_model(config, encoder), make_batch(60)
        (features, present), now = batch, 31
        later = {m: torch.cat([x[:, :now], 9 * x[:, now:]], 1) for m, x in features.items()}
        other = {m: torch.cat([p[:, :now], ~p[:, now:]], 1) for m, p in present.items()}
        before = {n: x[:, :now] for n, x in in_parts(model, batch, [60]).items()}
        assert_near({n: x[:, :now] for n, x in in_parts(model, (later, other), [60]).items()}, before, 0)

    def test_what_stands_in_absent_steps_changes_no_bit(self, config, encoder):
        model, (features, present) = make_model(config, encoder), make_batch(40)
        expected = in_parts(model, (features, present), [40])
        assert_near(in_parts(model, (with_garbage(features, present), present), [40]), expected, 0)
        assert_near(step_by_step(model, (with_garbage(features, present), present)), expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "dtype", "tolerance"),
    [
        pytest.param(JcaConfig(time_mixing="decay"), torch.float32, 1e-4, id="jca-float32"),
        *few(
            [
                pytest.param(p.values[0], dtype, tolerance, id=f"{p.id}-{tolerance:g}")
                for p in CAUSAL
                for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4))
            ],
            1,
            pytest.mark.long,
        ),
    ],
)
def test_ten_thousand_steps_give_what_the_whole_gives(config, dtype, tolerance):
    """With absences of thousands of steps, in which a decaying sum would vanish below the smallest number."""
    model, batch = make_model(config).to(dtype), make_batch(10_000)
    batch = {m: x.to(dtype) for m, x in batch[0].items()}, batch[1]
    whole = in_parts(model, batch, [10_000])
    assert all(x.isfinite().all() for x in whole.values())
    # Many in the precision that shows the least difference.
    single = [1] * (1_000 if isinstance(config, RhgrjcaConfig) and dtype == torch.float64 else 200)
    lengths = [4_000, *single, 3_000 - len(single), *single, 3_000 - len(single)]
    assert_near(in_parts(model, batch, lengths), whole, tolerance)


@torch.enable_grad()
@pytest.mark.parametrize("scale", [pytest.param("sqrt_d", marks=pytest.mark.slow), "sqrt_d_and_steps"])
@pytest.mark.parametrize("form", ["paper", pytest.param("released", marks=pytest.mark.slow)])
def test_gradients_through_chunks_are_those_of_finite_differences(form, scale):
    """More steps than a chunk has: the gradient goes back from one chunk into the one before."""
    config = RjcaConfig(time_mixing="decay", iterations=2, reach=5, dropout=0.0, form=form, scale=scale)
    fusion = make_model(config).fusion
    generator = torch.Generator().manual_seed(3)
    x = [torch.randn(1, 20, d, generator=generator, dtype=torch.float64, requires_grad=True) for d in (4, 4)]
    present = {m: torch.rand(1, 20, generator=generator) < 0.8 for m in DIMS}
    weights = [p for name, p in fusion.named_parameters() if name.endswith((".logit", "mixing.bias"))]

    def fused(*given: Tensor) -> Tensor:
        features = dict(zip(DIMS, given[:2], strict=True))
        return fusion(features, present).fused

    assert all(p.requires_grad for p in weights)
    assert torch.autograd.gradcheck(fused, (*x, *weights), atol=1e-6, fast_mode=True)


def test_correlations_last_as_long_as_the_reach_says_at_first():
    mixing = make_model(HgrjcaConfig(time_mixing="decay", reach=50)).fusion.iterations[0].attention["audio"].mixing
    fresh = type(mixing)(50, 4, 8)
    assert torch.sigmoid(fresh.logit).item() == pytest.approx(np.exp(-1 / 50), abs=1e-6)
    with pytest.raises(ValueError, match="reach of 1 step or more"):
        HgrjcaConfig(time_mixing="decay", reach=0)


def test_a_model_that_sees_later_steps_refuses_to_go_step_by_step():
    for config, encoder in ((HgrjcaConfig(), ENCODERS["tcn"]), (HgrjcaConfig(time_mixing="decay"), TcnConfig())):
        model = Model(ModelConfig(config, dict.fromkeys(DIMS, encoder)), DIMS, targets=2, window=12)
        assert not model.causal
        with pytest.raises(ValueError, match="sees later steps"):
            StepModel(model)
        with pytest.raises(ValueError, match="sees later steps"):
            model.advance({}, *make_batch(3))
