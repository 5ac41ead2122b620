"""Dropout: the share that is kept, its scale, its random numbers, and where it does nothing."""

from __future__ import annotations

import pytest
import torch

from avgate.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.6])
def test_values_are_dropped_with_their_probability_one_by_one_and_keep_their_mean(p):
    torch.manual_seed(0)
    out = Dropout(p).train()(torch.ones(1000, 1001))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)
    assert float((out == 0).double().mean()) == pytest.approx(p, abs=0.002)  # four standard deviations
    assert float(out.double().mean()) == pytest.approx(1, abs=0.005)
    gone = (out == 0).double()
    for apart in (1, 2, 3, 4, 1001):
        both = float((gone.flatten()[apart:] * gone.flatten()[:-apart]).mean())
        assert both == pytest.approx(p * p, abs=0.002)


def test_the_same_seed_drops_the_same_and_another_call_others():
    dropout, x = Dropout(0.5).train(), torch.ones(7, 9)
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        found.append([dropout(x), dropout(x)])
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][0], found[0][1])


def test_gradients_pass_where_values_do():
    torch.manual_seed(0)
    x = torch.ones(50, requires_grad=True)
    out = Dropout(0.5).train()(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_nothing_is_dropped_in_estimates_or_with_probability_0():
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("p", [1e-9, 1 - 1e-9])
def test_probabilities_near_the_ends_leave_finite_numbers(p):
    assert Dropout(p).train()(torch.ones(100)).isfinite().all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(-p)
