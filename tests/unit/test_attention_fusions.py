"""The fusions on cross-attention: what they take from where, and how each follows from the others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from avgate.core.gates import Gate, gates_of
from avgate.models.fusions import Fusion, build_fusion
from avgate.models.fusions.ca import Ca, CaConfig
from avgate.models.fusions.dca import Dca, DcaConfig
from avgate.models.fusions.grjca import Grjca, GrjcaConfig
from avgate.models.fusions.hgrjca import Hgrjca, HgrjcaConfig
from avgate.models.fusions.iaca import Iaca, IacaConfig
from avgate.models.fusions.jca import Jca, JcaConfig
from avgate.models.fusions.rjca import Rjca, RjcaConfig

DIMS = {"audio": 3, "video": 4}
WINDOW = 6
ON_CROSS_ATTENTION = (CaConfig, DcaConfig, IacaConfig)
ON_JOINT_CROSS_ATTENTION = (JcaConfig, RjcaConfig, GrjcaConfig)


@pytest.fixture(autouse=True)
def _in_double_precision_without_gradients():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        yield
    torch.set_default_dtype(torch.float32)


class Always(nn.Module):
    """A gate that always takes the same choice."""

    def __init__(self, choice: int, choices: int):
        super().__init__()
        self.weights = nn.functional.one_hot(torch.tensor(choice), choices).double()

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        return self.weights.expand(*x.shape[:2], -1)


def complete(dims: dict[str, int] = DIMS) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two sequences where everything is present."""
    present = {m: torch.ones(2, WINDOW, dtype=torch.bool) for m in dims}
    return {m: torch.randn(2, WINDOW, d) for m, d in dims.items()}, present


def with_gaps() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Five sequences, absent steps at random."""
    return {m: torch.randn(5, WINDOW, d) for m, d in DIMS.items()}, {m: torch.rand(5, WINDOW) < 0.7 for m in DIMS}


def random_fusion(config: object) -> Fusion:
    """Every parameter off its initial value, so that no identity hides a mistake."""
    fusion = build_fusion(config, DIMS, WINDOW).eval()
    for parameter in fusion.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


@pytest.mark.parametrize("config", ON_CROSS_ATTENTION + ON_JOINT_CROSS_ATTENTION)
def test_the_absence_vector_reaches_no_other_step(config):
    fusion, (features, present) = random_fusion(config()), with_gaps()
    changed = {m: torch.where(present[m][..., None], x, 9.0) for m, x in features.items()}
    before, after = fusion(features, present).fused, fusion(changed, present).fused
    both = present["audio"] & present["video"]
    assert torch.equal(before[both], after[both])
    assert not torch.equal(before[~both], after[~both])


def test_without_correlation_every_step_receives_the_mean_of_the_present_ones():
    fusion, (features, present) = Ca(CaConfig(), DIMS, None), complete()
    fusion.attention.w["audio_video"].zero_()
    present["audio"][:, 4] = False
    mean = features["audio"][:, [0, 1, 2, 3, 5]].mean(1, keepdim=True)
    out = fusion(features, present).fused[..., :3]
    torch.testing.assert_close(out, torch.tanh(features["audio"] + mean))


def test_at_a_low_temperature_a_step_receives_the_one_that_fits_the_other_modality_best():
    """Audio steps are the unit vectors; each video step points at one of them, and at a fourth that is absent."""
    features = {"audio": torch.eye(4)[None], "video": torch.eye(4)[None, [2, 0, 1, 3]]}
    present = {m: torch.ones(1, 4, dtype=torch.bool) for m in features}
    features["video"][0, 1, 3] = 5.0
    present["audio"][0, 3] = False
    fusion = Ca(CaConfig(temperature=1e-3), {"audio": 4, "video": 4}, None)
    fusion.attention.w["audio_video"].copy_(torch.eye(4))
    received = torch.atanh(fusion(features, present).fused[0, :, :4]) - features["audio"][0]
    torch.testing.assert_close(received[:3], torch.eye(4)[[2, 0, 1]])


def test_both_modalities_share_one_correlation():
    """Video's attention, computed as if video were the first modality, with the transposed weight."""
    fusion, (features, present) = Ca(CaConfig(), DIMS, None), complete()
    turned = Ca(CaConfig(), dict(reversed(DIMS.items())), None)
    turned.attention.w["video_audio"].copy_(fusion.attention.w["audio_video"].T)
    audio, video = fusion(features, present).fused.split([3, 4], dim=-1)
    torch.testing.assert_close(turned(features, present).fused, torch.cat([video, audio], dim=-1))


def test_a_third_modality_attends_to_the_concatenation_of_the_other_two():
    dims = {"audio": 3, "video": 4, "text": 2}
    fusion, (features, present) = Ca(CaConfig(), dims, None), complete(dims)
    merged = Ca(CaConfig(), {"both": 7, "text": 2}, None)
    weights = fusion.attention.w
    merged.attention.w["both_text"].copy_(torch.cat([weights["audio_text"], weights["video_text"]]))
    both = {"both": torch.cat([features["audio"], features["video"]], dim=-1), "text": features["text"]}
    expected = merged(both, {"both": present["audio"], "text": present["text"]}).fused[..., 7:]
    torch.testing.assert_close(fusion(features, present).fused[..., 7:], expected)


def test_where_the_other_modality_is_absent_nothing_is_attended_to():
    fusion, (features, present) = Ca(CaConfig(), DIMS, None), complete()
    present["video"][0] = False
    present["video"][1, 2] = False
    out = fusion(features, present).fused
    alone = torch.tanh(features["audio"])
    assert torch.equal(out[0, :, :3], alone[0])
    assert torch.equal(out[1, 2, :3], alone[1, 2])
    assert not torch.equal(out[1, 1, :3], alone[1, 1])
    assert torch.equal(out[0, :, 3:], torch.tanh(features["video"][0]))


def test_an_absent_step_receives_what_fits_the_other_modality():
    """The present video step still says which audio steps belong to it."""
    fusion, (features, present) = Ca(CaConfig(), DIMS, None), complete()
    present["audio"][0, 2] = False
    assert not torch.equal(fusion(features, present).fused[0, 2, :3], torch.tanh(features["audio"][0, 2]))


@pytest.mark.parametrize(("choice", "share"), [(0, 0.0), (1, 1.0)], ids=("untouched", "attended"))
def test_dca_gives_a_rectified_choice_between_the_input_and_ca(choice, share):
    dca, (features, present) = Dca(DcaConfig(), DIMS, None), complete()
    ca = Ca(CaConfig(), DIMS, None)
    ca.attention.load_state_dict(dca.gated.attention.state_dict())
    for m in DIMS:
        dca.gated.gate[m] = Always(choice, 2)
    out = dca(features, present)
    expected = ca(features, present).fused if choice else torch.cat(list(features.values()), dim=-1)
    torch.testing.assert_close(out.fused, torch.relu(expected))
    assert all((out.gates[f"attended/{m}"] == share).all() for m in DIMS)


def test_iaca_weighs_the_modalities_of_dca():
    iaca, (features, present) = Iaca(IacaConfig(), DIMS, None), complete()
    dca = Dca(DcaConfig(), DIMS, None)
    dca.load_state_dict({k: v for k, v in iaca.state_dict().items() if k.startswith("gated.")})
    out, first_stage = iaca(features, present), dca(features, present)
    weights = out.gates["modality"].repeat_interleave(torch.tensor([3, 4]), dim=-1)
    torch.testing.assert_close(out.fused, weights * first_stage.fused)
    for name, gate in first_stage.gates.items():
        torch.testing.assert_close(out.gates[name], gate)


def test_iaca_can_rely_on_one_modality_alone():
    iaca, (features, present) = Iaca(IacaConfig(), DIMS, None), complete()
    iaca.modality_gate = Always(1, 2)
    assert not iaca(features, present).fused[..., :3].any()
    assert iaca(features, present).fused[..., 3:].any()


def hgrjca_with_attention_of(fusion: Jca | Rjca | Grjca, **settings: object) -> Hgrjca:
    iterations = len(fusion.attention.iterations)
    other = Hgrjca(HgrjcaConfig(iterations=iterations, **settings), DIMS, WINDOW).eval()
    for mine, its in zip(fusion.attention.iterations, other.iterations, strict=True):
        for m in DIMS:
            its.attention[m].load_state_dict(mine[m].state_dict())
    return other


@pytest.mark.parametrize("mixing", ["window", "relative"])
def test_jca_is_rjca_with_one_iteration(mixing):
    jca = random_fusion(JcaConfig(time_mixing=mixing, reach=2))
    rjca = Rjca(RjcaConfig(time_mixing=mixing, reach=2, iterations=1), DIMS, WINDOW).eval()
    rjca.load_state_dict(jca.state_dict())
    features, present = with_gaps()
    assert torch.equal(jca(features, present).fused, rjca(features, present).fused)


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_rjca_is_hgrjca_whose_gates_always_take_the_last_attended_features(iterations):
    rjca, (features, present) = random_fusion(RjcaConfig(iterations=iterations)), with_gaps()
    hgrjca = hgrjca_with_attention_of(rjca, next_input="attended", final_relu=False)
    for m in DIMS:
        hgrjca.stage_gate[m] = Always(iterations - 1, iterations)
        for iteration in hgrjca.iterations:
            iteration.gate[m] = Always(1, 2)
    torch.testing.assert_close(rjca(features, present).fused, hgrjca(features, present).fused)


@pytest.mark.parametrize("final_relu", [True, False])
@pytest.mark.parametrize("gate_sees", ["attended", "both"])
def test_grjca_with_one_iteration_is_hgrjca_with_one_iteration(gate_sees, final_relu):
    settings = {"gate_sees": gate_sees, "final_relu": final_relu}
    grjca, (features, present) = random_fusion(GrjcaConfig(iterations=1, **settings)), with_gaps()
    hgrjca = hgrjca_with_attention_of(grjca, **settings)
    for m in DIMS:
        hgrjca.iterations[0].gate[m].load_state_dict(grjca.gate[m].state_dict())
    one, other = grjca(features, present), hgrjca(features, present)
    torch.testing.assert_close(one.fused, other.fused)
    for m in DIMS:
        torch.testing.assert_close(one.gates[f"attended/{m}"], other.gates[f"attended/{m}"])


@pytest.mark.parametrize("choice", [1, 2, 3])
def test_grjca_that_takes_one_iteration_is_rjca_with_as_many(choice):
    grjca, (features, present) = random_fusion(GrjcaConfig()), with_gaps()
    rjca = Rjca(RjcaConfig(iterations=choice), DIMS, WINDOW).eval()
    rjca.load_state_dict({k: v for k, v in grjca.state_dict().items() if k in rjca.state_dict()})
    for m in DIMS:
        grjca.gate[m] = Always(choice, 4)
    torch.testing.assert_close(grjca(features, present).fused, torch.relu(rjca(features, present).fused))


def test_grjca_can_leave_the_input_untouched_and_says_so():
    grjca, (features, present) = random_fusion(GrjcaConfig(final_relu=False)), with_gaps()
    for m in DIMS:
        grjca.gate[m] = Always(0, 4)
    out = grjca(features, present)
    assert torch.equal(out.fused, torch.cat(list(features.values()), dim=-1))
    assert not any(out.gates[f"attended/{m}"].any() for m in DIMS)


def test_the_attended_share_of_grjca_in_words_is_all_but_the_inputs_weight():
    gates = random_fusion(GrjcaConfig())(*with_gaps()).gates
    words = gates_of({name: gate[0].numpy() for name, gate in gates.items()}, ("audio", "video"))
    torch.testing.assert_close(
        torch.from_numpy(words[Gate("attended", "video")]),
        gates["candidate/video"][0, :, 1:].sum(-1),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("config", "wrong"),
    [(config, "temperature") for config in ON_CROSS_ATTENTION]
    + [(config, "tau") for config in (DcaConfig, IacaConfig, GrjcaConfig)]
    + [(config, "iterations") for config in (RjcaConfig, GrjcaConfig)],
)
def test_zero_is_refused_where_it_makes_no_sense(config, wrong):
    with pytest.raises(ValueError, match=wrong):
        config(**{wrong: 0})


@pytest.mark.parametrize("config", ON_JOINT_CROSS_ATTENTION)
@pytest.mark.parametrize("wrong", [{"reach": -1}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str)
def test_settings_of_joint_cross_attention_that_cannot_be_are_refused(config, wrong):
    with pytest.raises(ValueError, match="joint cross-attention needs"):
        config(**wrong)
