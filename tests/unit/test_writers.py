from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgate.apps.predict.outputs import writers_named
from avgate.core.errors import UsageError
from avgate.core.files import json_values
from avgate.core.gates import Gate
from avgate.core.types import Trace
from avgate.labels.formats import LABEL_FORMATS, read_labels
from avgate.labels.tracks import values_at
from avgate.report.writers.csv import CsvRows, CsvWriter
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
    assert rows[0][:6] == ["time_s", "valence", "arousal", "valence_low", "valence_high", "interval_level"]
    assert [row[3:5] for row in rows[1:]] == [["-1.000000", "-0.500000"], ["", ""], ["-0.250000", "0.500000"]]
    assert [row[5] for row in rows[1:]] == ["0.8"] * 3


def part_of(trace: Trace, rows: slice) -> Trace:
    """Some rows of a trace."""
    kinds = ("targets", "raw", "low", "high", "present", "gates")
    columns = {kind: {name: values[rows] for name, values in getattr(trace, kind).items()} for kind in kinds}
    return replace(trace, time_s=trace.time_s[rows], **columns)


@pytest.mark.parametrize("size", [1, 7, 500])
def test_rows_that_come_part_by_part_make_the_same_csv(size: int, tmp_path: Path):
    trace = replace(make_trace(), provenance={"demonstration": True})
    CsvWriter().write(trace, tmp_path / "whole.csv")
    with (tmp_path / "parts.csv").open("w", encoding="utf-8", newline="") as file:
        rows = CsvRows(file)
        for first in range(0, len(trace), size):
            rows.add(part_of(trace, slice(first, first + size)))
            written = (tmp_path / "parts.csv").read_bytes()
            assert written.count(b"\n") == 1 + min(first + size, len(trace)), "a row reaches the file at once"
    assert written == (tmp_path / "whole.csv").read_bytes()


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


def test_boxes_come_back_from_json_and_are_null_where_no_face_was_found(tmp_path: Path):
    boxes = np.array([[0.1, 0.2, 0.3, 0.45678], [np.nan] * 4, [-0.05, 0.5, 0.9, 1.1]])
    JsonWriter().write(replace(small_trace(), face_box=boxes), tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["face_box"][1] is None
    np.testing.assert_allclose(read_json(tmp_path / "t.json").face_box, boxes, atol=5.1e-5)
    JsonWriter().write(small_trace(), tmp_path / "t.json")
    assert read_json(tmp_path / "t.json").face_box is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"time_s": 3}', "\x00"],
    ids=["empty", "other object", "no columns", "binary"],
)
def test_what_is_no_trace_is_refused(text: str, tmp_path: Path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UsageError, match="not a trace") as caught:
        read_json(tmp_path / "t.json")
    assert caught.value.where == str(tmp_path / "t.json")


@pytest.mark.parametrize("text", ["[]", "3", '"trace"', "null"])
def test_what_is_no_object_is_said_in_words(text: str, tmp_path: Path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UsageError, match=r"this is not a trace \(it holds no JSON object\)"):
        read_json(tmp_path / "t.json")


def test_a_trace_with_a_short_column_is_refused(tmp_path: Path):
    JsonWriter().write(small_trace(), tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    document["targets"]["valence"].pop()
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="not a trace"):
        read_json(tmp_path / "t.json")


def changed(trace: Trace, path: Path, *place: str | int, value: object) -> Path:
    """A trace's file with one value replaced."""
    JsonWriter().write(trace, path)
    document = json.loads(path.read_text())
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("time_s", 1), None, "row 2: time_s must be a number"),
        (("time_s", 1), 10**500, "not a trace"),
        (("time_s", 1), 1e300, "row 2: time_s must be a number"),
        (("time_s", 1), "0.04", "time_s must be a list of numbers"),
        (("time_s", 2), 0.01, "row 3: time_s runs backwards"),
        (("time_s", 2), 0.04, "row 3: time_s is that of the row before"),
        (("raw", "valence", 1), 1e308, "row 2: raw: valence must be from -10 to 10"),
        (("time_s", 0), float("nan"), "row 1: time_s"),
        (("targets", "valence", 2), 55, "row 3: targets: valence must be from -1 to 1"),
        (("targets", "arousal", 0), float("-inf"), "row 1: targets: arousal"),
        (("targets", "arousal", 0), True, "targets: arousal must be a list of numbers"),
        (("targets", "valence"), {"0": 1}, "targets: valence must be a list of numbers"),
        (("raw", "valence", 0), float("inf"), "row 1: raw: valence"),
        (("low", "valence", 3), -1.5, "row 4: low: valence"),
        (("high", "valence", 3), -0.9, "row 4: the interval of 'valence' ends below its start"),
        (("level",), 90.0, "level must be between 0 and 1"),
        (("gates", "face_attended", 4), 1.01, "row 5: gates: face_attended must be from 0 to 1"),
        (("present", "face", 0), None, "present: face must be a list of true and false"),
        (("present", "face", 0), "yes", "present: face must be a list of true and false"),
        (("notes",), [3], "source and notes must be texts"),
        (("source",), None, "source and notes must be texts"),
        (("provenance",), 3, "its 'provenance' is no JSON object"),
        (("targets",), [], "its 'targets' is no JSON object"),
        (("face_box",), [None] * 9, "unequal length"),
        (("face_box",), [[0, 0, 1]] * 10, "face_box must be a list of boxes"),
        (("face_box",), [[0, 0, 1, "1"]] * 10, "face_box must be a list of numbers"),
        (("face_box",), [[0, 0, 1, 1e9]] * 10, "row 1: face_box must be from -10 to 10"),
    ],
)
def test_values_that_no_trace_has_are_refused_by_their_row(place, value, said, tmp_path: Path):
    with pytest.raises(UsageError, match=said) as caught:
        read_json(changed(make_trace(10), tmp_path / "t.json", *place, value=value))
    assert caught.value.where == str(tmp_path / "t.json")
    assert len(caught.value.what) < 300


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
def test_endless_nesting_is_refused(text: str, tmp_path: Path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UsageError, match=r"not a trace \(it is nested too deep\)"):
        read_json(tmp_path / "t.json")


def test_a_pipe_is_refused_without_waiting_for_what_comes_out_of_it(tmp_path: Path):
    os.mkfifo(tmp_path / "t.json")
    with pytest.raises(UsageError, match="no regular file"):
        read_json(tmp_path / "t.json")


def test_model_outputs_before_post_processing_may_exceed_the_range_of_targets(tmp_path: Path):
    file = changed(make_trace(10), tmp_path / "t.json", "raw", "valence", 2, value=1.2)
    assert read_json(file).raw["valence"][2] == 1.2


def test_a_missing_trace_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        read_json(tmp_path / "t.json")


def test_an_unknown_format_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'json'") as caught:
        writers_named(["jsn"])
    assert "csv" in str(caught.value)
    assert "textgrid" in str(caught.value)


LABELS = [f.name for f in LABEL_FORMATS if f.name != "csv"]


@pytest.mark.parametrize("name", LABELS)
def test_a_trace_is_written_as_labels_that_read_back(name: str, tmp_path: Path):
    trace = make_trace(120)
    (writer,) = writers_named([name])
    writer.write(trace, tmp_path / f"t{writer.suffix}")
    for file in (f for f in tmp_path.iterdir() if not f.name.endswith("~")):
        back = read_labels(file, frames=lambda: trace.time_s)
        for k, target in enumerate(back.targets):
            target = next((t for t in trace.targets if f".{t}." in file.name), target)
            values = values_at(back, trace.time_s)[:, k]
            near = np.interp(trace.time_s, trace.time_s, trace.targets[target])
            assert np.nanmax(np.abs(values - near)) < 0.06, (file.name, target)
            assert np.isfinite(values).mean() == pytest.approx(np.isfinite(trace.targets[target]).mean(), abs=0.05)


@pytest.mark.parametrize("name", LABELS)
def test_the_labels_of_an_image_are_written_too(name: str, tmp_path: Path):
    (writer,) = writers_named([name])
    writer.write(make_trace(1), tmp_path / f"t{writer.suffix}")
    assert list(tmp_path.iterdir())


def test_formats_are_found_by_suffix_and_never_share_a_file():
    assert [w.name for w in writers_named(["eaf", "TextGrid", "annotation"])] == ["elan", "textgrid", "nova"]
    writers = writers_named(["csv", "muse", "carma", "elan", "eaf", "nova", "nova-binary"])
    suffixes = [".csv", ".muse.csv", ".carma.csv", ".eaf", ".annotation", ".nova-binary.annotation"]
    assert [w.suffix for w in writers] == suffixes


def test_columns_of_unequal_length_are_never_written(tmp_path: Path):
    trace = make_trace(10)
    short = Trace(time_s=trace.time_s, targets={"valence": np.zeros(9)}, present={})
    with pytest.raises(ValueError, match="shorter"):
        CsvWriter().write(short, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
