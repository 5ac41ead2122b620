"""The training loss against the evaluation metric, which is written apart from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate.core import metrics
from avgate.models.losses import beta_nll, ccc, ccc_loss, reliability_loss, unimodal_loss

values = st.floats(-1, 1, width=32)
vectors = st.integers(2, 40).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=values), arrays(float, n, elements=values))
)


def random_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and label [3 10 2]; eight steps lack valence, arousal or both."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(3, 10, 2, generator=generator, dtype=torch.float64) * 2 - 1
    prediction = torch.tanh(0.5 * label + 0.4 * torch.randn(3, 10, 2, generator=generator, dtype=torch.float64))
    label[0, 7:, 0] = torch.nan
    label[1, :3, 1] = torch.nan
    label[2, 4:6] = torch.nan
    return prediction, label


@given(vectors)
def test_ccc_agrees_with_the_evaluation_metric(pair):
    x, y = pair
    assume(x.std() > 1e-2 or y.std() > 1e-2)
    assert float(ccc(torch.from_numpy(x), torch.from_numpy(y), eps=0.0)) == pytest.approx(metrics.ccc(x, y), abs=1e-9)


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
    for spans in ("pooled", "per_sequence"):
        assert torch.autograd.gradcheck(lambda p, s=spans: ccc_loss(p, label, mse_weight=0.3, spans=s), (prediction,))


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


def test_loss_within_sequences_is_the_mean_over_those_that_have_two_valid_steps():
    prediction, label = random_batch()
    label[1, 1:] = torch.nan
    by_hand = []
    for x, y in zip(prediction.numpy(), label.numpy(), strict=True):
        valid = np.isfinite(y).all(-1)
        if valid.sum() > 1:
            by_hand.append(sum(1 - metrics.ccc(x[valid][:, k], y[valid][:, k]) for k in range(2)))
    assert len(by_hand) == 2
    found = float(ccc_loss(prediction, label, spans="per_sequence"))
    assert found == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert abs(found - float(ccc_loss(prediction, label))) > 0.01
    valid = np.isfinite(label.numpy()).all(-1)
    error = ((prediction - label).numpy()[valid] ** 2).mean()
    assert float(ccc_loss(prediction, label, 0.5, "per_sequence")) == pytest.approx(found + 0.5 * error, abs=1e-6)


@pytest.mark.parametrize("spans", ["pooled", "per_sequence"])
def test_one_sequence_costs_the_same_by_itself_and_pooled(spans):
    prediction, label = random_batch()
    assert torch.equal(ccc_loss(prediction[:1], label[:1], spans=spans), ccc_loss(prediction[:1], label[:1]))


def test_a_perfect_prediction_costs_nothing_and_an_inverted_one_two_per_target():
    label = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(2, 5, 2)
    label = label - label.mean((0, 1))
    assert float(ccc_loss(label, label, mse_weight=1.0)) == pytest.approx(0, abs=1e-6)
    assert float(ccc_loss(-label, label)) == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("spans", ["pooled", "per_sequence"])
@pytest.mark.parametrize("standing", [0.0, 1e30, float("inf"), float("nan")])
def test_what_stands_in_invalid_steps_changes_neither_loss_nor_gradient(standing, spans):
    prediction, label = random_batch()
    invalid = torch.isnan(label).any(-1)
    found = []
    for p in (prediction.clone(), torch.where(invalid[..., None], standing, prediction)):
        p.requires_grad_()
        loss = ccc_loss(p, label, mse_weight=0.2, spans=spans)
        loss.backward()
        assert (p.grad[invalid] == 0).all()
        found.append((loss.detach(), p.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("spans", ["pooled", "per_sequence"])
@pytest.mark.parametrize("valid", [0, 1])
def test_fewer_than_two_valid_steps_give_zero_with_zero_gradient(valid, spans):
    prediction, label = random_batch()
    label = torch.full_like(label, torch.nan)
    label[0, :valid] = 0.5
    prediction.requires_grad_()
    loss = ccc_loss(prediction, label, mse_weight=1.0, spans=spans)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (prediction.grad == 0).all()


# ---- reliability


def reliability() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gates of three steps in two windows, the second of which ends after its second step."""
    gates = {
        "reliability/audio": torch.tensor([[[0.9], [0.2], [0.5]], [[0.6], [0.3], [0.7]]]),
        "reliability/video": torch.tensor([[[0.1], [0.8], [0.4]], [[0.5], [0.25], [0.01]]]),
        "attended/audio": torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0)),
    }
    truth = {
        "audio": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, torch.nan]]),
        "video": torch.tensor([[0.0, 1.0, torch.nan], [1.0, 0.0, torch.nan]]),
    }
    return gates, truth


AUDIO_LOSS = -(math.log(0.9) + math.log(0.8) + math.log(0.5) + math.log(0.4) + math.log(0.3)) / 5
VIDEO_LOSS = -(math.log(0.9) + math.log(0.8) + math.log(0.5) + math.log(0.75)) / 4


def test_reliability_loss_is_the_mean_surprise_over_known_steps_then_over_modalities():
    gates, truth = reliability()
    assert float(reliability_loss(gates, truth)) == pytest.approx((AUDIO_LOSS + VIDEO_LOSS) / 2, rel=1e-6)


@pytest.mark.parametrize(("modality", "expected"), [("audio", AUDIO_LOSS), ("video", VIDEO_LOSS)])
def test_only_modalities_with_a_reliability_gate_count(modality, expected):
    gates, truth = reliability()
    one = {name: gate for name, gate in gates.items() if name == f"reliability/{modality}"}
    assert float(reliability_loss(one, truth)) == pytest.approx(expected, rel=1e-6)
    assert float(reliability_loss(gates, {modality: truth[modality]})) == pytest.approx(expected, rel=1e-6)


def test_without_reliability_gates_there_is_no_reliability_loss():
    gates, truth = reliability()
    assert reliability_loss({}, truth) == 0
    assert reliability_loss({"attended/audio": gates["attended/audio"]}, truth) == 0
    assert reliability_loss(gates, {}) == 0


def test_only_known_steps_pull_at_a_reliability_gate_and_in_the_right_direction():
    gates, truth = reliability()
    gates = {name: gate.requires_grad_() for name, gate in gates.items()}
    reliability_loss(gates, truth).backward()
    for m, known in truth.items():
        slope, gate = (t[..., 0] for t in (gates[f"reliability/{m}"].grad, gates[f"reliability/{m}"].detach()))
        steps = (~torch.isnan(known)).sum()
        by_hand = torch.where(known == 1, -1 / gate, 1 / (1 - gate)) / steps / 2
        torch.testing.assert_close(slope, torch.where(torch.isnan(known), 0.0, by_hand))


def test_a_certain_and_right_reliability_costs_nothing_and_a_certain_and_wrong_one_stays_finite():
    truth = {"audio": torch.tensor([[1.0, 0.0]])}
    right, wrong = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]], requires_grad=True)
    assert float(reliability_loss({"reliability/audio": right}, truth)) == 0
    loss = reliability_loss({"reliability/audio": wrong}, truth)
    loss.backward()
    assert 10 < float(loss.detach()) < math.inf
    assert torch.isfinite(wrong.grad).all()


# ---- what each modality says alone


def alone() -> tuple[dict[str, torch.Tensor], torch.Tensor, dict[str, torch.Tensor]]:
    """Estimates of both modalities, labels [3 10 2], and where each modality is reliable."""
    audio, label = random_batch(0)
    video, _ = random_batch(1)
    generator = torch.Generator().manual_seed(2)
    reliable = {m: (torch.rand(3, 10, generator=generator) < 0.7).double() for m in ("audio", "video")}
    for truth in reliable.values():
        truth[1, 8:] = torch.nan  # behind the window's end
    return {"audio": audio, "video": video}, label, reliable


def missing_to_one(estimate: torch.Tensor, label: torch.Tensor, reliable: torch.Tensor) -> float:
    """Sum over targets of 1 - CCC, on the steps that have all labels and where the modality is reliable."""
    counted = [
        (estimate[b, t].tolist(), label[b, t].tolist())
        for b in range(3)
        for t in range(10)
        if reliable[b, t] == 1 and not any(math.isnan(y) for y in label[b, t])
    ]
    assert 5 < len(counted) < 22
    x, y = (np.array(part) for part in zip(*counted, strict=True))
    return sum(1 - metrics.ccc(x[:, k], y[:, k]) for k in range(2))


def test_unimodal_loss_is_what_each_modality_misses_where_it_is_reliable_and_then_the_mean_over_modalities():
    estimates, label, reliable = alone()
    by_hand = {m: missing_to_one(estimates[m], label, reliable[m]) for m in estimates}
    assert by_hand["audio"] != pytest.approx(by_hand["video"], abs=1e-3)
    assert float(unimodal_loss(estimates, label, reliable)) == pytest.approx(sum(by_hand.values()) / 2, abs=1e-6)
    for m, expected in by_hand.items():
        assert float(unimodal_loss({m: estimates[m]}, label, reliable)) == pytest.approx(expected, abs=1e-6)


def test_only_reliable_steps_with_a_label_pull_at_what_a_modality_says_alone():
    estimates, label, reliable = alone()
    estimates = {m: x.requires_grad_() for m, x in estimates.items()}
    before = label.clone()
    unimodal_loss(estimates, label, reliable).backward()
    torch.testing.assert_close(label, before, rtol=0, atol=0, equal_nan=True)
    for m, estimate in estimates.items():
        counts = (reliable[m] == 1) & ~torch.isnan(label).any(-1)
        assert (estimate.grad[counts] != 0).all()
        assert (estimate.grad[~counts] == 0).all()


def test_a_modality_that_is_nowhere_reliable_costs_nothing_and_one_that_is_counts_as_much_as_before():
    estimates, label, reliable = alone()
    estimates["video"].requires_grad_()
    loss = unimodal_loss(estimates, label, reliable | {"video": torch.zeros(3, 10)})
    loss.backward()
    expected = missing_to_one(estimates["audio"], label, reliable["audio"]) / 2
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    assert (estimates["video"].grad == 0).all()


def test_what_a_modality_says_in_two_ways_counts_twice():
    estimates, label, reliable = alone()
    other = {f"fallback/{m}": torch.tanh(x + 0.3) for m, x in estimates.items()}
    both = unimodal_loss(estimates | other, label, reliable)
    by_hand = [missing_to_one(x, label, reliable[m]) for m in reliable for x in (estimates[m], other[f"fallback/{m}"])]
    assert float(both) == pytest.approx(sum(by_hand) / 2, abs=1e-6)


def test_without_unimodal_heads_there_is_no_unimodal_loss():
    _, label, reliable = alone()
    assert unimodal_loss({}, label, reliable) == 0


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_nll_is_the_equation_of_the_paper_over_known_steps(beta):
    mean, label = random_batch()
    log_variance = torch.linspace(-3, 1, mean.numel(), dtype=torch.float64).view_as(mean)
    x, s, y = mean.numpy(), log_variance.numpy(), label.numpy()
    known = np.isfinite(y).all(-1)
    terms = np.exp(s) ** beta * ((y - x) ** 2 / np.exp(s) + s) / 2
    assert float(beta_nll(mean, log_variance, label, beta)) == pytest.approx(terms[known].mean(), abs=1e-12)
    assert float(beta_nll(mean, log_variance, label * torch.nan, beta)) == 0


def test_beta_nll_is_lowest_at_the_mean_and_variance_of_the_labels():
    label = torch.randn(1, 4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.4 + 0.2
    mean = torch.full_like(label, float(label.mean())).requires_grad_()
    log_variance = torch.full_like(label, math.log(float(label.var(unbiased=False)))).requires_grad_()
    beta_nll(mean, log_variance, label).backward()
    assert float(mean.grad.sum()) == pytest.approx(0, abs=1e-12)
    assert float(log_variance.grad.sum()) == pytest.approx(0, abs=1e-12)
