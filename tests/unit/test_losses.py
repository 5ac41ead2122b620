"""The training loss against the evaluation metric, which is written apart from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate import metrics
from avgate.losses import ccc, ccc_loss

values = st.floats(-1, 1, width=32)
vectors = st.integers(2, 40).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=values), arrays(float, n, elements=values))
)
fast = settings(max_examples=60, deadline=None)


def random_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and label [3 10 2]; eight steps lack valence, arousal or both."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(3, 10, 2, generator=generator, dtype=torch.float64) * 2 - 1
    prediction = torch.tanh(0.5 * label + 0.4 * torch.randn(3, 10, 2, generator=generator, dtype=torch.float64))
    label[0, 7:, 0] = torch.nan
    label[1, :3, 1] = torch.nan
    label[2, 4:6] = torch.nan
    return prediction, label


@fast
@given(vectors)
def test_ccc_agrees_with_the_evaluation_metric(pair):
    x, y = pair
    assume(x.std() > 1e-2 or y.std() > 1e-2)
    assert float(ccc(torch.from_numpy(x), torch.from_numpy(y), eps=0.0)) == pytest.approx(metrics.ccc(x, y), abs=1e-9)


@fast
@given(vectors)
def test_ccc_agrees_with_the_formula_from_errors(pair):
    x, y = (torch.from_numpy(v) for v in pair)
    spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2
    assume(float(spread) > 1e-3)
    expected = 1 - ((x - y) ** 2).mean() / spread
    torch.testing.assert_close(ccc(x, y), expected, rtol=0, atol=2e-5)


def test_gradients_agree_with_finite_differences():
    prediction, label = random_batch()
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: ccc_loss(p, label, mse_weight=0.3), (prediction,))


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constants_give_no_concordance_and_finite_gradients(constant):
    x = torch.full((5,), constant, requires_grad=True)
    for y in (torch.full((5,), constant), torch.linspace(-1, 1, 5)):
        value = ccc(x, y)
        value.backward()
        assert float(value.detach()) == pytest.approx(0, abs=1e-6)
        assert torch.isfinite(x.grad).all()


def test_loss_sums_over_targets_what_is_missing_to_one_on_all_valid_steps_of_the_batch():
    prediction, label = random_batch()
    valid = np.isfinite(label.numpy()).all(-1)
    assert valid.sum() == 22
    expected = sum(1 - metrics.ccc(prediction.numpy()[valid][:, k], label.numpy()[valid][:, k]) for k in range(2))
    assert float(ccc_loss(prediction, label)) == pytest.approx(expected, abs=1e-6)
    error = ((prediction - label).numpy()[valid] ** 2).mean()
    assert float(ccc_loss(prediction, label, mse_weight=0.5)) == pytest.approx(expected + 0.5 * error, abs=1e-6)


def test_a_perfect_prediction_costs_nothing_and_an_inverted_one_two_per_target():
    label = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(2, 5, 2)
    label = label - label.mean((0, 1))
    assert float(ccc_loss(label, label, mse_weight=1.0)) == pytest.approx(0, abs=1e-6)
    assert float(ccc_loss(-label, label)) == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("standing", [0.0, 1e30, float("inf"), float("nan")])
def test_what_stands_in_invalid_steps_changes_neither_loss_nor_gradient(standing):
    prediction, label = random_batch()
    invalid = torch.isnan(label).any(-1)
    found = []
    for p in (prediction.clone(), torch.where(invalid[..., None], standing, prediction)):
        p.requires_grad_()
        loss = ccc_loss(p, label, mse_weight=0.2)
        loss.backward()
        assert (p.grad[invalid] == 0).all()
        found.append((loss.detach(), p.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("valid", [0, 1])
def test_fewer_than_two_valid_steps_give_zero_with_zero_gradient(valid):
    prediction, label = random_batch()
    label = torch.full_like(label, torch.nan)
    label[0, :valid] = 0.5
    prediction.requires_grad_()
    loss = ccc_loss(prediction, label, mse_weight=1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (prediction.grad == 0).all()
