from __future__ import annotations

import re

import numpy as np
import pytest

from avgate.core.gates import Gate
from avgate.core.types import Trace
from avgate.report.panels import frame_edges, strip_panels
from tests.traces import make_trace


def test_panels_of_the_default_model_in_order():
    panels = strip_panels(make_trace())
    assert [panel.name for panel in panels] == ["presence", "attended", "iterations"]
    assert [row.label for row in panels[0].rows] == ["face", "voice", "sound"]
    assert [row.label for row in panels[1].rows] == ["voice", "face"]
    assert [row.label for row in panels[2].rows] == [f"{m}, {t}" for m in ("voice", "face") for t in (1, 2, 3)]
    assert [row.hue for row in panels[2].rows] == ["voice"] * 3 + ["face"] * 3


def test_a_model_without_gates_has_only_presence():
    assert [panel.name for panel in strip_panels(make_trace(gates=False))] == ["presence"]


def test_only_what_there_is_is_spoken_of():
    trace = Trace(np.arange(3.0), {"valence": np.zeros(3)}, {"audio": np.ones(3, bool)})
    (panel,) = strip_panels(trace)
    assert "sound" in panel.text
    assert "face" not in panel.text
    assert "spoke" not in panel.text


def test_a_gate_of_another_name_or_modality_is_not_lost():
    gates = {
        Gate.named(name): np.zeros(3) for name in ("leader", "text_attended", "text_iteration_12", "text_reliability")
    }
    panels = strip_panels(Trace(np.arange(3.0), {"valence": np.zeros(3)}, {}, gates))
    assert [(panel.name, [row.label for row in panel.rows]) for panel in panels] == [
        ("reliability", ["text"]),
        ("attended", ["text"]),
        ("iterations", ["text, 12"]),
        ("gates", ["leader"]),
    ]


def test_means_leave_out_what_is_unknown():
    gates = {Gate("attended", "video"): np.array([0.25, np.nan, 0.75]), Gate("attended", "audio"): np.full(3, np.nan)}
    (panel,) = strip_panels(Trace(np.arange(3.0), {"valence": np.zeros(3)}, {}, gates))
    assert panel.rows[0].mean == 0.5
    assert np.isnan(panel.rows[1].mean)


def test_gates_are_empty_where_their_modality_is_absent():
    names = ("face_attended", "voice_attended", "face_iteration_1", "voice_reliability", "leader")
    present = {
        "face": np.array([True, False, True]),
        "audio": np.array([True, True, False]),
        "voice": np.zeros(3, bool),
    }
    gates = {Gate.named(name): np.full(3, 0.5) for name in names}
    panels = {panel.name: panel for panel in strip_panels(Trace(np.arange(3.0), {}, present, gates))}
    face, voice, all_along = [0.5, np.nan, 0.5], [0.5, 0.5, np.nan], [0.5] * 3
    for name, rows in {
        "attended": [face, voice],
        "iterations": [face],
        "reliability": [voice],
        "gates": [all_along],
    }.items():
        np.testing.assert_array_equal([row.values for row in panels[name].rows], rows, err_msg=name)


def test_panels_are_for_readers_who_have_not_read_the_paper():
    gates = {Gate.named(f"{m}_{kind}"): np.zeros(3) for m in ("voice", "face") for kind in ("attended", "iteration_0")}
    panels = strip_panels(Trace(np.arange(3.0), {}, {}, gates))
    for panel in panels:
        assert not re.search("iteration|attended|attention|gate|modalit", f"{panel.title} {panel.text} {panel.high}")
        assert "voice and face" in panel.text
    assert "0 is before any comparison" in panels[1].text


@pytest.mark.parametrize(
    ("time_s", "edges"),
    [([0.0, 0.1, 0.2], [0, 0.1, 0.2, 0.3]), ([1.0, 1.5, 3.5, 4.0], [1, 1.5, 3.5, 4, 4.5]), ([2.0], [2, 2.04])],
    ids=["regular", "variable", "single"],
)
def test_frames_last_until_the_next_one(time_s: list[float], edges: list[float]):
    np.testing.assert_allclose(frame_edges(np.array(time_s)), edges)
