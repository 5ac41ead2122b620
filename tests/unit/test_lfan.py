"""What leader-follower attention promises beyond the contract of all fusions."""

from __future__ import annotations

import pytest
import torch

from avgate.core.errors import UsageError
from avgate.models.fusions.lfan import Lfan, LfanConfig

DIMS = {"audio": 6, "video": 9, "text": 4}
STEPS = 40


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def make(config: LfanConfig | None = None) -> Lfan:
    torch.manual_seed(0)
    return Lfan(config or LfanConfig(dim=8, heads=2), DIMS, window=None).eval()


def batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    features = {m: torch.randn(3, STEPS, d, generator=generator) for m, d in DIMS.items()}
    return features, {m: torch.rand(3, STEPS, generator=generator) < 0.6 for m in DIMS}


@pytest.mark.parametrize("leader", DIMS)
def test_the_leaders_own_features_come_first_and_untouched(leader):
    fusion = make(LfanConfig(leader=leader, dim=8))
    features, present = batch()
    fused = fusion(features, present).fused
    assert fused.shape[-1] == fusion.out_dim == DIMS[leader] + 3 * 8
    assert torch.equal(fused[..., : DIMS[leader]], features[leader])


def test_a_leader_that_is_not_among_the_features_is_refused_with_the_way_out():
    with pytest.raises(UsageError, match=r"led by video features.* only: audio, text\n.*model\.fusion\.leader"):
        Lfan(LfanConfig(), {"audio": 6, "text": 4}, window=None)


def test_absent_followers_get_no_attention_and_change_only_their_own_part():
    fusion = make()
    features, present = batch()
    before = fusion(features, present).fused
    elsewhere = {**features, "text": torch.where(present["text"][..., None], features["text"], 5.0)}
    after = fusion(elsewhere, present).fused
    assert torch.equal(before[..., :-8], after[..., :-8])
    assert not torch.equal(before[..., -8:], after[..., -8:])


def test_no_step_sees_another():
    fusion = make()
    features, present = batch()
    before = fusion(features, present).fused
    bumped = {m: x.clone() for m, x in features.items()}
    for x in bumped.values():
        x[:, 17] += 1.0
    changed = (fusion(bumped, present).fused != before).any(-1).any(0)
    assert changed.nonzero().tolist() == [[17]]


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"heads": 0}, {"dim": 10, "heads": 4}, {"dropout": 1.0}])
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="lfan needs"):
        LfanConfig(**wrong)
