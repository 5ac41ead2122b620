"""What every writer of WRITERS must do; a new writer adds how its files are read back to READERS."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avgate.apps.predict.outputs import writers_named
from avgate.core.errors import OutputError
from avgate.core.types import Trace
from avgate.labels.formats import label_format
from avgate.report.writers import WRITERS
from avgate.report.writers.base import Writer
from tests.traces import UNKNOWN_S, make_trace

Columns = dict[str, np.ndarray]


def read_csv(path: Path) -> Columns:
    return {name: column.to_numpy(np.float64) for name, column in pd.read_csv(path).items()}


def read_json(path: Path) -> Columns:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    document = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    columns = {"time_s": document["time_s"], **document["targets"], **document["gates"]}
    for kind in ("raw", "low", "high"):
        columns |= {f"{name}_{kind}": values for name, values in document[kind].items()}
    columns |= {f"{name}_present": values for name, values in document["present"].items()}
    columns["interval_level"] = [document["level"]] * len(document["time_s"])
    return {name: np.array(values, np.float64) for name, values in columns.items()}


READERS: dict[str, Callable[[Path], Columns]] = {"csv": read_csv, "json": read_json}
TOLERANCE = 5.1e-7


def columns_of(trace: Trace) -> Columns:
    present = {f"{name}_present": mask.astype(np.float64) for name, mask in trace.present.items()}
    more = {"raw": trace.raw, "low": trace.low, "high": trace.high}
    beside = {f"{name}_{kind}": values for kind, of in more.items() for name, values in of.items()}
    gates = {gate.name: values for gate, values in trace.gates.items()}
    level = {"interval_level": np.full(len(trace), trace.level)}
    return {"time_s": trace.time_s, **trace.targets, **beside, **level, **present, **gates}


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.name)
def writer(request: pytest.FixtureRequest) -> Writer:
    return request.param


def test_names_and_suffixes_are_unambiguous():
    assert len({writer.name for writer in WRITERS}) == len({writer.suffix for writer in WRITERS}) == len(WRITERS)


def test_is_found_by_its_name(writer: Writer):
    assert writers_named([writer.name]) == [writer]


@pytest.mark.parametrize("gates", [True, False], ids=["gates", "no gates"])
def test_reads_back_the_same_to_its_precision(writer: Writer, gates: bool, tmp_path: Path):
    trace = make_trace(gates=gates)
    path = tmp_path / f"trace{writer.suffix}"
    writer.write(trace, path)
    expected, got = columns_of(trace), READERS[writer.name](path)
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=0, atol=TOLERANCE, equal_nan=True, err_msg=name)


def test_unknown_stays_unknown_and_is_never_zero(writer: Writer, tmp_path: Path):
    trace = make_trace()
    writer.write(trace, tmp_path / "trace")
    got = READERS[writer.name](tmp_path / "trace")
    unknown = (trace.time_s >= UNKNOWN_S[0]) & (trace.time_s < UNKNOWN_S[1])
    assert np.isnan(got["valence"][unknown]).all()
    assert not np.isnan(got["valence"][~unknown]).any()


def test_a_trace_without_frames_keeps_its_columns(writer: Writer, tmp_path: Path):
    trace = make_trace(0)
    writer.write(trace, tmp_path / "trace")
    got = READERS[writer.name](tmp_path / "trace")
    assert set(got) == set(columns_of(trace))
    assert all(len(column) == 0 for column in got.values())


def test_the_same_trace_gives_the_same_bytes(writer: Writer, tmp_path: Path):
    for name in ("one", "two"):
        writer.write(make_trace(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(writer: Writer, tmp_path: Path):
    path = tmp_path / f"trace{writer.suffix}"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match="File too large") as caught:
            writer.write(make_trace(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(path)
    assert caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(writer: Writer, tmp_path: Path):
    with pytest.raises(OutputError, match="create the folder"):
        writer.write(make_trace(10), tmp_path / "nowhere" / "trace")


def test_a_name_that_is_no_unicode_is_written(writer: Writer, tmp_path: Path):
    writer.write(make_trace(10, source="\udcff.mp4"), tmp_path / "trace")
    assert len(READERS[writer.name](tmp_path / "trace")["time_s"]) == 10


def test_a_target_that_a_spreadsheet_would_run_is_quoted_in_csv(tmp_path: Path):
    trace = make_trace(3)
    trace = replace(trace, targets={"=cmd()": trace.targets["valence"]}, raw={}, low={}, high={})
    writers_named(["csv"])[0].write(trace, tmp_path / "a.csv")
    assert list(pd.read_csv(tmp_path / "a.csv"))[:2] == ["time_s", "'=cmd()"]
    assert label_format("csv").read(tmp_path / "a.csv").targets[0] == "=cmd()"
