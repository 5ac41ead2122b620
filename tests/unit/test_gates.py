"""Gates as values: what each is called, and how they come from what a fusion gives back."""

from __future__ import annotations

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.gates import Gate, gates_of
from avgate.core.modalities import MASKS, MODALITIES, in_order, mask_named, refuse_modality


@pytest.mark.parametrize(
    ("gate", "name"),
    [
        (Gate("attended", "audio"), "voice_attended"),
        (Gate("iteration", "video", 0), "face_iteration_0"),
        (Gate("reliability", "text"), "text_reliability"),
        (Gate("weight", "video"), "face_weight"),
        (Gate("attended", "body_pose"), "body_pose_attended"),
        (Gate("iteration", "body_pose", 12), "body_pose_iteration_12"),
        (Gate("leader"), "leader"),
    ],
)
def test_a_gate_has_one_name_that_leads_back_to_it(gate, name):
    assert gate.name == name
    assert Gate.named(name) == gate


def test_every_modality_has_a_mask_with_words_and_colours_of_its_own():
    assert {m.presence for m in MODALITIES} | {m.plain for m in MODALITIES} <= {mask.name for mask in MASKS}
    assert len({mask.colours for mask in MASKS}) == len(MASKS)
    assert len({m.plain for m in MODALITIES}) == len(MODALITIES), "else a gate's name doesn't lead back to it"


@pytest.mark.parametrize("name", ["voice", "face", "a/b", "", "two words", "1st"])
def test_a_modality_whose_gates_or_files_would_be_another_ones_is_refused(name):
    with pytest.raises(UsageError, match="can't be a modality"):
        refuse_modality(name)


@pytest.mark.parametrize("name", ["audio", "text", "body_pose", "Thermo2"])
def test_any_other_name_is_a_modality(name):
    refuse_modality(name)


def test_masks_stand_in_the_tables_order_and_unknown_ones_behind():
    assert in_order(["zebra", "audio", "face", "ant"]) == ["face", "audio", "zebra", "ant"]
    assert mask_named("zebra").label == "zebra"


def test_the_attended_share_is_weighted_by_the_stage_gate():
    attended, stage = np.array([[0.2, 0.6], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.0, 1.0]])
    gates = gates_of({"attended/video": attended, "iteration/video": stage}, ("audio", "video"))

    assert set(gates) == {Gate("attended", "video"), Gate("iteration", "video", 1), Gate("iteration", "video", 2)}
    assert gates[Gate("attended", "video")] == pytest.approx([0.25 * 0.2 + 0.75 * 0.6, 0.0])
    np.testing.assert_array_equal(gates[Gate("iteration", "video", 2)], stage[:, 1])


def test_without_a_stage_gate_only_the_last_iteration_counts():
    gates = gates_of({"attended/audio": np.array([[0.2, 0.6], [1.0, 0.25]])}, ("audio",))

    assert set(gates) == {Gate("attended", "audio")}
    assert gates[Gate("attended", "audio")].tolist() == [0.6, 0.25]


def test_reliability_is_told_of_each_modality_that_the_model_reads():
    reliability = {"reliability/audio": np.array([[0.25], [0.75]]), "reliability/video": np.array([[1.0], [0.0]])}
    gates = gates_of(reliability, ("audio", "video"))

    assert set(gates) == {Gate("reliability", "audio"), Gate("reliability", "video")}
    assert gates[Gate("reliability", "audio")].tolist() == [0.25, 0.75]
    assert gates[Gate("reliability", "video")].tolist() == [1.0, 0.0]
    assert set(gates_of(reliability, ("video",))) == {Gate("reliability", "video")}


def test_a_fusion_without_gates_shows_none():
    assert gates_of({}, ("audio", "video")) == {}
