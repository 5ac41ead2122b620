from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import UsageError
from avgate.core.files import json_values
from avgate.core.gates import Gate
from avgate.core.types import Trace
from avgate.report.writers import find_writer
from avgate.report.writers.csv import CsvWriter
from avgate.report.writers.json import JsonWriter, read_json
from tests.traces import make_trace


def small_trace() -> Trace:
    return Trace(
        time_s=np.array([0.0, 1 / 3, 0.1 + 0.2 + 0.4]),
        targets={"valence": np.array([-1.0, np.nan, -1e-9]), "arousal": np.array([0.25, np.nan, 0.123456789])},
        raw={"valence": np.array([-0.5, np.nan, 1.0])},
        present={
            "audio": np.array([True, True, False]),
            "face": np.array([True, False, False]),
            "voice": np.zeros(3, bool),
        },
        gates={Gate("attended", "video"): np.array([0.5, np.nan, 1.0])},
        source="a, b.mp4",
        notes=("One.", "Two."),
        provenance={"epochs": np.int64(3), "ccc": np.float32(0.5), "worst": float("nan"), "path": Path("x") / "y"},
    )


def test_csv_is_this_text(tmp_path: Path):
    CsvWriter().write(small_trace(), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes().decode() == (
        "time_s,valence,arousal,valence_raw,face_present,voice_present,audio_present,face_attended\n"
        "0.000000,-1.000000,0.250000,-0.500000,1,0,1,0.500000\n"
        "0.333333,,,,0,0,1,\n"
        "0.700000,0.000000,0.123457,1.000000,0,0,0,1.000000\n"
    )


def test_the_ends_of_intervals_stand_beside_their_target_in_csv(tmp_path: Path):
    ends = {"valence": np.array([-1.0, np.nan, -0.25])}, {"valence": np.array([-0.5, np.nan, 0.5])}
    CsvWriter().write(replace(small_trace(), low=ends[0], high=ends[1], level=0.8), tmp_path / "t.csv")
    rows = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()]
    assert rows[0][:6] == ["time_s", "valence", "arousal", "valence_low", "valence_high", "valence_raw"]
    assert [row[3:5] for row in rows[1:]] == [["-1.000000", "-0.500000"], ["", ""], ["-0.250000", "0.500000"]]


def test_json_holds_everything_that_the_trace_does(tmp_path: Path):
    JsonWriter().write(small_trace(), tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text()) == {
        "source": "a, b.mp4",
        "notes": ["One.", "Two."],
        "provenance": {"epochs": 3, "ccc": 0.5, "worst": None, "path": str(Path("x") / "y")},
        "frames": 3,
        "time_s": [0.0, 0.333333, 0.7],
        "targets": {"valence": [-1.0, None, 0.0], "arousal": [0.25, None, 0.123457]},
        "raw": {"valence": [-0.5, None, 1.0]},
        "present": {"face": [True, False, False], "voice": [False] * 3, "audio": [True, True, False]},
        "gates": {"face_attended": [0.5, None, 1.0]},
    }


def test_a_trace_comes_back_from_json_whole(tmp_path: Path):
    trace = make_trace(source="naïve 面.mp4")
    JsonWriter().write(trace, tmp_path / "t.json")
    back = read_json(tmp_path / "t.json")
    assert (back.source, back.notes, back.provenance) == (trace.source, trace.notes, json_values(trace.provenance))
    assert back.level == trace.level == 0.9
    for kind in ("targets", "raw", "low", "high", "present", "gates"):
        assert set(getattr(back, kind)) == set(getattr(trace, kind)) != set()
        for name, values in getattr(trace, kind).items():
            np.testing.assert_allclose(getattr(back, kind)[name], values, rtol=0, atol=5.1e-7)
            assert getattr(back, kind)[name].dtype == values.dtype


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"time_s": 3}', "\x00"],
    ids=["empty", "list", "other object", "no columns", "binary"],
)
def test_what_is_no_trace_is_refused(text: str, tmp_path: Path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UsageError, match="not a trace") as caught:
        read_json(tmp_path / "t.json")
    assert caught.value.where == str(tmp_path / "t.json")


def test_a_trace_with_a_short_column_is_refused(tmp_path: Path):
    JsonWriter().write(small_trace(), tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    document["targets"]["valence"].pop()
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="not a trace"):
        read_json(tmp_path / "t.json")


def test_a_missing_trace_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        read_json(tmp_path / "t.json")


def test_an_unknown_format_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'json'") as caught:
        find_writer("jsn")
    assert "csv" in str(caught.value)


def test_columns_of_unequal_length_are_never_written(tmp_path: Path):
    trace = make_trace(10)
    short = Trace(time_s=trace.time_s, targets={"valence": np.zeros(9)}, present={})
    with pytest.raises(ValueError, match="shorter"):
        CsvWriter().write(short, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
