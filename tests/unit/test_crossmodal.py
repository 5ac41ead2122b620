"""What the cross-modal transformer promises beyond the contract of all fusions."""

from __future__ import annotations

import math

import pytest
import torch

from avgate.models.fusions.crossmodal import Crossmodal, CrossmodalConfig, positions

DIMS = {"audio": 6, "video": 9}
STEPS = 70


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def make(dims: dict[str, int] = DIMS) -> Crossmodal:
    torch.manual_seed(0)
    return Crossmodal(CrossmodalConfig(dim=8, heads=2), dims, window=None).eval()


def batch(dims: dict[str, int] = DIMS) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    features = {m: torch.randn(3, STEPS, d, generator=generator) for m, d in dims.items()}
    return features, {m: torch.rand(3, STEPS, generator=generator) < 0.6 for m in dims}


def test_a_source_that_is_absent_throughout_leaves_the_other_untouched_and_no_other_sequence():
    fusion = make()
    features, present = batch()
    before = fusion(features, present).fused
    present["audio"][1] = False
    fused = fusion(features, present).fused
    assert torch.equal(fused[1, :, 6:], features["video"][1])
    assert not torch.equal(before[1, :, 6:], features["video"][1])
    assert torch.equal(fused[[0, 2]], before[[0, 2]])


def test_absent_steps_of_the_source_are_no_keys():
    fusion = make()
    features, present = batch()
    elsewhere = {**features, "audio": torch.where(present["audio"][..., None], features["audio"], 5.0)}
    before, after = fusion(features, present).fused, fusion(elsewhere, present).fused
    assert torch.equal(before[..., 6:], after[..., 6:])
    assert torch.equal(before[..., :6][present["audio"]], after[..., :6][present["audio"]])


def test_every_pair_of_more_modalities_has_a_part_in_order():
    dims = {"audio": 3, "video": 5, "text": 4}
    fusion = make(dims)
    features, present = batch(dims)
    assert list(fusion.pairs) == [
        "audio_from_video",
        "audio_from_text",
        "video_from_audio",
        "video_from_text",
        "text_from_audio",
        "text_from_video",
    ]
    before = fusion(features, present).fused
    assert before.shape[-1] == fusion.out_dim == 24
    part = make({"video": 5, "text": 4})
    part.load_state_dict({name: x for name, x in fusion.state_dict().items() if "audio" not in name})
    alone = part(features, present).fused
    torch.testing.assert_close(before[..., 11:16], alone[..., :5])
    torch.testing.assert_close(before[..., 20:], alone[..., 5:])


def test_one_modality_passes_unchanged():
    features, present = batch()
    fused = make({"video": 9})(features, present).fused
    assert torch.equal(fused, features["video"])


def test_order_matters_because_of_the_positions():
    fusion = make()
    features, present = batch()
    reverse = fusion({**features, "audio": features["audio"].flip(1)}, {**present, "audio": present["audio"].flip(1)})
    assert not torch.allclose(fusion(features, present).fused[..., 6:], reverse.fused[..., 6:])


@pytest.mark.parametrize("dim", [1, 6, 7])
def test_positions_are_sines_and_cosines_of_falling_rate(dim):
    found = positions(STEPS, torch.zeros(2, dim, dtype=torch.float64))
    for s in range(STEPS):
        for c in range(dim):
            angle = s / 10000 ** ((c - c % 2) / dim)
            assert found[s, c].item() == pytest.approx(math.cos(angle) if c % 2 else math.sin(angle), abs=1e-12)


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"dim": 10}, {"expansion": 0}, {"dropout": 1.0}])
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="crossmodal needs"):
        CrossmodalConfig(**wrong)
