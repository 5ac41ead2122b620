"""The fast convolution of training against torch's own: outputs, gradients, random numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avgate.models import convolution
from avgate.models.encoders import TcnConfig, build_encoder


def both_ways(monkeypatch, config: TcnConfig, x: torch.Tensor, present: torch.Tensor) -> list[list[torch.Tensor]]:
    """Output and gradients of an encoder in training, by the fast convolution and by torch's."""
    torch.manual_seed(3)
    encoder = build_encoder(x.shape[2], config).to(x.dtype).train()
    found = []
    for fast in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(convolution, "_NARROWEST", 1 if fast else 10**6)
            given = x.clone().requires_grad_()
            torch.manual_seed(4)
            out = encoder(given, present)
            assert ("_Rectified" in str(names_of(out.grad_fn))) == fast
            weight = torch.linspace(-1, 1, out.numel(), dtype=x.dtype).view_as(out)
            found.append([out, *torch.autograd.grad((out * weight).sum(), [given, *encoder.parameters()])])
    return found


def names_of(node) -> set[str]:
    """Names of all steps that gradients go back through."""
    seen, left = set(), [node]
    while left:
        step = left.pop()
        if step is not None and step not in seen:
            seen.add(step)
            left += [before for before, _ in step.next_functions]
    return {step.name() for step in seen}


@pytest.mark.parametrize("causal", [True, False], ids=("causal", "centred"))
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("steps", [1, 3, 37])
def test_it_gives_torchs_outputs_and_gradients_with_the_same_random_numbers(
    monkeypatch, steps, dropout, activation, causal
):
    config = TcnConfig((6, 6, 4), dropout=dropout, activation=activation, causal=causal)
    generator = torch.Generator().manual_seed(steps)
    x = torch.randn(3, steps, 5, generator=generator, dtype=torch.float64)
    present = torch.rand(3, steps, generator=generator) < 0.7
    present[0] = True
    present[1] = False
    fast, slow = both_ways(monkeypatch, config, x, present)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)


def test_in_float32_it_differs_by_rounding(monkeypatch):
    torch.manual_seed(0)
    x, present = torch.randn(4, 150, 20), torch.rand(4, 150) < 0.9
    fast, slow = both_ways(monkeypatch, TcnConfig((64, 64), dropout=0.1), x, present)
    for a, b in zip(fast, slow, strict=True):
        assert float((a - b).detach().abs().max()) < 2e-5 * float(b.detach().abs().max())


def test_a_sequence_learns_nothing_from_its_neighbours_or_from_absent_steps():
    torch.manual_seed(0)
    encoder = build_encoder(5, TcnConfig((64, 64))).train()
    x, present = torch.randn(3, 20, 5, requires_grad=True), torch.ones(3, 20, dtype=torch.bool)
    present[1, 4:9] = False
    encoder(x, present)[1].square().sum().backward()
    assert not x.grad[[0, 2]].any()
    assert not x.grad[1, 4:9].any()
    assert x.grad[1, :4].all(-1).any()


def test_estimates_are_left_to_torch():
    encoder = build_encoder(5, TcnConfig((64,))).eval()
    assert isinstance(encoder, nn.Module)
    x = torch.randn(1, 9, 5)
    assert convolution.is_fast(x, 5, (64,))
    with torch.inference_mode():
        assert not convolution.is_fast(x, 5, (64,))
    assert not convolution.is_fast(x, 3, (64,))
    assert not convolution.is_fast(x.bfloat16(), 5, (64,))
