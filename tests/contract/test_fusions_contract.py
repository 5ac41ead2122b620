"""What every fusion promises by itself, with every choice in its config; a new one in FUSIONS needs no new test.

What a whole model promises with it is in test_models_contract.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from avgate.core.errors import UsageError
from avgate.models.fusions import FUSIONS, Fusion, build_fusion, fusion_class, fusion_named
from avgate.models.fusions.single import AudioConfig, VideoConfig
from tests.small_models import DIMS, VARIANTS, WINDOW, make_batch, seeded

pytestmark = pytest.mark.usefixtures("one_thread", "no_grad")

WITH_FIXED_WINDOW = [v for v in VARIANTS if getattr(v.values[0], "time_mixing", None) == "window"]


def make_fusion(config: Any) -> Fusion:
    seeded(0)
    dims = {m: DIMS[m] for m in fusion_class(config).modalities(tuple(DIMS))}
    return build_fusion(config, dims, WINDOW).eval()


def fused_batch(fusion: Fusion, steps: int = WINDOW) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a fusion by itself reads, further views of the modalities among it, and their presence."""
    _, present = make_batch(steps)
    features = {name: torch.randn(7, steps, d) for name, d in fusion.inputs.items()}
    return features, {m: present[m] for m in fusion.dims}


@pytest.mark.parametrize("config", VARIANTS)
class TestFusion:
    @pytest.mark.parametrize("training", [True, False], ids=("train", "eval"))
    def test_fused_features_and_gates_have_the_promised_shapes_and_ranges(self, config, training):
        fusion = make_fusion(config).train(training)
        out = fusion(*fused_batch(fusion))
        assert out.fused.shape == (7, WINDOW, fusion.out_dim)
        assert torch.isfinite(out.fused).all()
        for name, gate in out.gates.items():
            assert gate.shape[:2] == (7, WINDOW), name
            assert gate.ndim == 3, name
            assert ((gate >= 0) & (gate <= 1)).all(), name
            if not name.startswith(("attended/", "reliability/")):
                torch.testing.assert_close(gate.sum(-1), torch.ones(7, WINDOW), msg=name)

    def test_a_fusion_that_falls_back_says_what_it_fuses_of_one_modality_alone(self, config):
        fusion = make_fusion(config)
        features, _ = fused_batch(fusion)
        if fusion.falls_back:
            shapes = {m: x.shape for m, x in fusion.alone(features).items()}
            assert shapes == dict.fromkeys(fusion.dims, (7, WINDOW, fusion.out_dim))
        else:
            with pytest.raises(NotImplementedError, match=f"{fusion.name} doesn't fall back"):
                fusion.alone(features)


@pytest.mark.parametrize("config", WITH_FIXED_WINDOW)
class TestFusionWithFixedWindow:
    def test_longer_input_is_refused_with_both_lengths(self, config):
        fusion = make_fusion(config)
        with pytest.raises(ValueError, match=rf"window .*{WINDOW} steps .*{WINDOW + 1}"):
            fusion(*fused_batch(fusion, steps=WINDOW + 1))

    def test_no_window_length_is_refused_with_the_way_out(self, config):
        with pytest.raises(ValueError, match="relative"):
            build_fusion(config, DIMS, window=None)


@pytest.mark.parametrize("config", [v for v in VARIANTS if getattr(v.values[0], "time_mixing", "window") != "window"])
def test_time_mixing_without_a_window_takes_any_length(config):
    fusion = build_fusion(config, DIMS, window=None)
    assert fusion(*fused_batch(fusion, steps=5 * WINDOW)).fused.shape[1] == 5 * WINDOW


def test_names_and_configs_find_their_fusion_and_no_other():
    for fusion in FUSIONS:
        assert fusion_named(fusion.name) is fusion
        assert fusion_class(fusion.Config()) is fusion
    with pytest.raises(UsageError, match=r"did you mean 'hgrjca'\? choose one of: audio, video"):
        fusion_named("hgrja")


@pytest.mark.parametrize(
    ("config", "missing", "available"), [(AudioConfig(), "audio", "video"), (VideoConfig(), "video", "audio")]
)
def test_fusions_of_one_modality_refuse_features_without_it(config, missing, available):
    with pytest.raises(UsageError, match=rf"needs {missing} features.* only: {available}"):
        fusion_class(config).modalities((available,))
