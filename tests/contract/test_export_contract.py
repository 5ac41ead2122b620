"""What exported programs promise: the numbers of their model, whatever is absent, for every fusion that avgate has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from avgate.apps.export.check import differences
from avgate.apps.export.files import Steps, as_onnx, run_onnx
from avgate.apps.export.program import Program, record_step, record_window
from avgate.models.checkpoint import Checkpoint
from avgate.models.encoders import GruConfig, LstmConfig, TcnConfig
from avgate.models.fusions.concat import ConcatConfig
from avgate.models.fusions.hgrjca import RhgrjcaConfig
from avgate.models.fusions.jca import JcaConfig
from avgate.models.fusions.tagf import TagfConfig
from avgate.models.intervals import LEVELS, Intervals
from tests.few import few
from tests.small_models import VARIANTS
from tests.tiny import RECIPE, TARGETS, make_checkpoint

# Exports take long. A fast one is in tests/unit/test_export.py.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

TCN = TcnConfig(channels=(8,))

REPRESENTATIVE = ("rhgrjca", "jca", "tagf", "hgrjca-form=additive", "LstmConfig", "concat-lstm")
"""Cases that .ci/run has time for; the others bring no operation that these lack, or are their neighbours."""


def case(fusion: Any, encoder: Any, name: str) -> Any:
    return pytest.param(fusion, encoder, id=name, marks=() if name in REPRESENTATIVE else pytest.mark.long)


def checkpoint_of(fusion: Any, encoder: Any = TCN, seed: int = 0) -> Checkpoint:
    """With random weights, and with widths that depend on what is absent."""
    model = replace(RECIPE.model, fusion=fusion, encoders={"audio": encoder, "video": encoder})
    found = make_checkpoint(replace(RECIPE, model=model), seed)
    torch.manual_seed(seed)
    weights = {n: w + 0.1 * torch.randn_like(w) if w.is_floating_point() else w for n, w in found.weights.items()}
    widths = {t: np.linspace(0.5, 2, len(LEVELS)) for t in TARGETS}
    lost = {"valence": {"audio": 1.0, "video": 1.9}, "arousal": {"audio": 1.2, "video": 1.1}}
    if len(found.build().modalities) == 1:
        lost = {t: {} for t in TARGETS}
    intervals = Intervals(30, widths, widths, lost, {"valence": 0.5, "arousal": 1.0})
    return replace(found, weights=weights, intervals=intervals)


def columns(checkpoint: Checkpoint, program: Program) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(program.outputs, checkpoint.targets) | {"gates": program.gates}


def cases() -> list[Any]:
    """Every fusion, and what brings other operations, in two iterations at most; and recurrent encoders."""
    more = ("hgrjca-time_mixing=relative", "hgrjca-form=additive")
    found = [
        case(in_iterations(v.values[0], 1 if "=" in v.id else 2), TCN, v.id)
        for v in VARIANTS
        if "=" not in v.id or v.id in more
    ]
    for encoder in (LstmConfig(dim=8), GruConfig(dim=8)):
        found.append(case(ConcatConfig(), encoder, type(encoder).__name__))
    return found


def in_iterations(fusion: Any, most: int) -> Any:
    """The fusion with at most so many iterations, each of which takes seconds to export."""
    return replace(fusion, iterations=min(most, fusion.iterations)) if hasattr(fusion, "iterations") else fusion


CAUSAL_TCN = TcnConfig(channels=(8, 8), causal=True)
CAUSAL = [
    case(RhgrjcaConfig(iterations=2, time_mixing="decay"), CAUSAL_TCN, "rhgrjca"),
    case(JcaConfig(time_mixing="decay"), CAUSAL_TCN, "jca-decay"),
    case(TagfConfig(time_mixing="decay"), CAUSAL_TCN, "tagf-decay"),
    case(ConcatConfig(), LstmConfig(dim=8, causal=True), "concat-lstm"),
    case(ConcatConfig(), GruConfig(dim=8, layers=2, causal=True), "concat-gru"),
]


@pytest.mark.parametrize(("fusion", "encoder"), few([*CAUSAL[1:], CAUSAL[0]], 1, pytest.mark.long))
def test_the_onnx_file_of_a_step_gives_the_models_numbers_over_a_thousand_steps(fusion, encoder):
    checkpoint = checkpoint_of(fusion, encoder)
    program = record_step(checkpoint)
    run = Steps(run_onnx(as_onnx(program, {})), program)
    found = differences({"onnx": run}, program, checkpoint, columns(checkpoint, program))["onnx"]
    assert {d.steps for d in found} == {1000}
    assert max(d.found for d in found) <= 1e-5


@pytest.mark.parametrize(
    ("fusion", "encoder"),
    few([*cases(), case(RhgrjcaConfig(iterations=1, time_mixing="decay"), CAUSAL_TCN, "decay")], 2, pytest.mark.long),
)
def test_the_onnx_file_of_a_model_gives_its_numbers_at_any_length_it_takes(fusion, encoder):
    checkpoint = checkpoint_of(fusion, encoder)
    program = record_window(checkpoint)
    run = run_onnx(as_onnx(program, {}))
    found = differences({"onnx": run}, program, checkpoint, columns(checkpoint, program))["onnx"]
    assert [d for d in found if d.fault] == []
    assert max(d.found for d in found if d.output == "targets") <= 1e-5
    mixes_windows = getattr(fusion, "time_mixing", None) == "window"
    lengths = {1, 17, 20} if mixes_windows else {1, 17, 120, 200, 1000}
    assert {d.steps for d in found} == (lengths if isinstance(encoder, TcnConfig) else {20})
