"""What time-aware gated fusion promises beyond the contract of all fusions."""

from __future__ import annotations

import pytest
import torch

from avgate.models.fusions.tagf import RecurrentGate, Tagf, TagfConfig


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_the_gate_runs_through_the_candidates_of_one_step_and_carries_nothing_to_another():
    torch.manual_seed(0)
    gate = RecurrentGate(5, tau=0.3)
    candidates = torch.randn(2, 7, 4, 5)
    found = gate(candidates)
    for i in range(2):
        for step in range(7):
            hidden, _ = gate.lstm(candidates[i, step][None])
            expected = torch.softmax((hidden[0] @ gate.w)[:, 0] / 0.3, dim=0)
            torch.testing.assert_close(found[i, step], expected)


def test_the_output_is_the_weighted_sum_of_the_input_and_all_iterations():
    torch.manual_seed(0)
    dims = {"audio": 4, "video": 6, "text": 3}
    fusion = Tagf(TagfConfig(iterations=3, time_mixing="relative"), dims, window=None).eval()
    features = {m: torch.randn(2, 11, d) for m, d in dims.items()}
    present = {m: torch.rand(2, 11) < 0.7 for m in dims}
    out = fusion(features, present)
    for m, fused in zip(dims, out.fused.split(tuple(dims.values()), dim=-1), strict=True):
        weights = out.gates[f"candidate/{m}"]
        assert weights.shape == (2, 11, 4)
        candidates = fusion.attention(features, present)[m]
        assert torch.equal(candidates[0], features[m])
        torch.testing.assert_close(fused, sum(weights[..., t, None] * x for t, x in enumerate(candidates)))
        torch.testing.assert_close(out.gates[f"attended/{m}"], weights[..., 1:].sum(-1, keepdim=True))


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"tau": 0.0}])
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="tagf needs"):
        TagfConfig(**wrong)
