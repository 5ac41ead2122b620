"""A causal model step by step: what it says of the whole recording, at any time, and after it was saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avgate.core.errors import CheckpointError
from avgate.core.state import pack, unpack
from avgate.inference.estimator import Estimator
from avgate.inference.stepper import StepEstimate, Stepper, StepProgram
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import RhgrjcaConfig
from avgate.models.intervals import LEVELS, Intervals
from avgate.models.network import ModelConfig
from tests.tiny import RECIPE, TARGETS, make_checkpoint, make_clip

CAUSAL = replace(
    RECIPE,
    model=ModelConfig(
        fusion=RhgrjcaConfig(iterations=2, time_mixing="decay", reach=10),
        encoders=dict.fromkeys(("audio", "video"), TcnConfig(channels=(8, 8), causal=True)),
    ),
)
INTERVALS = Intervals(
    persons=40,
    scaled={t: np.linspace(0.5, 2.5, len(LEVELS)) for t in TARGETS},
    constant={t: np.linspace(0.2, 0.9, len(LEVELS)) for t in TARGETS},
    lost={"valence": {"audio": 1.5}},
    power={"valence": 0.5},
)
CLIP = make_clip(200, absent={"audio": range(50, 90), "video": (*range(70, 120), 130)})


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return Estimator(replace(make_checkpoint(CAUSAL), intervals=INTERVALS))


@pytest.fixture(scope="module")
def program(estimator) -> StepProgram:
    return StepProgram(estimator)


def step(stepper: Stepper, i: int) -> StepEstimate:
    present = {m: bool(here[i]) for m, here in CLIP.present.items()}
    return stepper({m: x[i] for m, x in CLIP.values.items()}, present)


def test_steps_say_what_the_whole_recording_says(estimator, program):
    trace = estimator.trace(CLIP, CLIP.grid.times(len(CLIP)))
    stepper = Stepper(program)
    found = [step(stepper, i) for i in range(len(CLIP))]

    assert np.isnan(trace.targets["valence"]).sum() == 20  # neither voice nor face
    for t in TARGETS:
        for name in ("targets", "raw", "low", "high"):
            steps = [getattr(one, name)[t] for one in found]
            np.testing.assert_allclose(steps, getattr(trace, name)[t], rtol=0, atol=1e-5, err_msg=name)
    assert set(found[0].gates) == set(trace.gates)
    for gate, values in trace.gates.items():
        np.testing.assert_allclose([one.gates[gate] for one in found], values, rtol=0, atol=1e-4)


def test_a_causal_estimate_holds_its_steps_value_and_sees_nothing_later(estimator):
    cut = make_clip(200, absent={m: range(100, 200) for m in ("audio", "video")})
    cut = replace(cut, values={m: np.where(np.arange(200)[:, None] < 100, CLIP.values[m], np.nan) for m in cut.values})
    cut = replace(cut, present={m: CLIP.present[m] & (np.arange(200) < 100) for m in cut.present})
    times = np.array([0.0, 0.099, 5.0, 5.05, 9.99])
    whole, begun = estimator.trace(CLIP, times), estimator.trace(cut, times)

    for t in TARGETS:
        np.testing.assert_allclose(begun.targets[t], whole.targets[t], atol=1e-12)
        assert whole.targets[t][0] == whole.targets[t][1]
        assert whole.targets[t][2] == whole.targets[t][3]


def test_a_saved_stepper_goes_on_to_the_bit(program):
    one, other = Stepper(program), Stepper(program)
    for i in range(83):
        step(one, i)
    other.restore(unpack(pack(one.state())))
    assert str([step(one, i) for i in range(83, 130)]) == str([step(other, i) for i in range(83, 130)])  # NaN too


def test_streams_that_share_a_program_know_nothing_of_each_other(program):
    alone, one, other = Stepper(program), Stepper(program), Stepper(program)
    expected = [step(alone, i) for i in range(40)]
    found = []
    for i in range(40):
        found.append(step(one, i))
        step(other, 199 - i)
    assert found == expected


def test_a_stepper_that_begins_anew_has_forgotten_everything(program):
    fresh, used = Stepper(program), Stepper(program)
    for i in range(30):
        step(used, 100 + i)
    used.begin_anew()
    assert [step(used, i) for i in range(10)] == [step(fresh, i) for i in range(10)]


@pytest.mark.slow
def test_the_state_of_other_weights_is_refused(program):
    wider = replace(CAUSAL.model, encoders=dict.fromkeys(("audio", "video"), TcnConfig(channels=(6,), causal=True)))
    other = Stepper(StepProgram(Estimator(make_checkpoint(replace(CAUSAL, model=wider)))))
    with pytest.raises(ValueError, match="other weights"):
        other.restore(Stepper(program).state())


def test_weights_that_see_later_steps_are_refused_with_a_way_out():
    with pytest.raises(CheckpointError, match=r"later\n  -> .*--checkpoint live; avgate predict takes these weights"):
        StepProgram(Estimator(make_checkpoint()))
