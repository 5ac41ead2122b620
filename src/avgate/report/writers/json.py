"""JSON: everything that a trace holds, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.files import atomic_write, json_values
from avgate.core.gates import Gate
from avgate.core.text import printable, reason
from avgate.core.timeline import LONGEST_S
from avgate.core.types import Trace
from avgate.report.writers.base import TIME_DECIMALS, VALUE_DECIMALS, presence, rounded

FURTHEST = 10.0
"""Fractions of the picture further out than this are nobody's face; a face may reach beyond the picture's edges."""


@dataclass(frozen=True)
class JsonWriter:
    """One object with `source`, `notes`, `provenance` and `frames`, and the columns.

    They are `time_s`, and by name those of `targets`, `raw`, `present` and `gates`; where the model has intervals, also
    `low` and `high`, their ends, and `level`, such as 0.9; where faces were looked for, `face_box` (see Trace). Times,
    targets and gates have up to six decimals, boxes four; an unknown value is null. Strict JSON, ASCII only.
    """

    name: str = "json"
    suffix: str = ".json"

    def write(self, trace: Trace, path: Path) -> None:
        """Write `trace` to `path`; see Writer."""
        document = {
            "source": trace.source,
            "notes": list(trace.notes),
            "provenance": json_values(trace.provenance),
            "frames": len(trace),
            "time_s": rounded(trace.time_s, TIME_DECIMALS),
            "targets": _columns(trace.targets),
            "raw": _columns(trace.raw),
            "present": presence(trace),
            "gates": _columns({gate.name: values for gate, values in trace.gates.items()}),
        }
        if trace.low:
            document |= {"level": trace.level, "low": _columns(trace.low), "high": _columns(trace.high)}
        if trace.face_box is not None:
            document["face_box"] = rounded(trace.face_box, 4)
        with atomic_write(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
            _dump(document, file)
            file.write("\n")


def _dump(value: object, file: TextIO) -> None:
    """Write plain values and arrays as json.dump writes them; of arrays no more than one is in memory as text."""
    if isinstance(value, Mapping):
        for i, (name, item) in enumerate(value.items()):
            file.write(f"{', ' if i else '{'}{json.dumps(name)}: ")
            _dump(item, file)
        file.write("}" if value else "{}")
    elif isinstance(value, np.ndarray) and value.ndim == 2:  # rows that are unknown as a whole
        rows = [None if row[0] is None else row for row in json_values(value)]
        file.write(json.dumps(rows, allow_nan=False))
    else:
        file.write(json.dumps(json_values(value), allow_nan=False))


def read_json(path: Path) -> Trace:
    """The trace that JsonWriter wrote to `path`.

    Raises:
        UsageError: there is no such file, it holds something else, or values that no trace has.
    """
    try:
        if path.exists() and not path.is_file():
            hint = "give the .json file that avgate predict wrote"
            raise UsageError("this is no regular file but a folder, device, pipe or socket", where=path, hint=hint)
        document = json.loads(path.read_text("utf-8"))
        if not isinstance(document, dict):
            raise ValueError("it holds no JSON object")
        for part in ("targets", "raw", "low", "high", "present", "gates", "provenance"):
            if not isinstance(document.get(part, {}), dict):
                raise ValueError(f"its '{part}' is no JSON object")
        low, high = (_arrays(document.get(end, {}), end, (-1, 1)) for end in ("low", "high"))
        trace = Trace(
            time_s=_times(document["time_s"]),
            targets=_arrays(document["targets"], "targets", (-1, 1)),
            raw=_arrays(document["raw"], "raw", (-10, 10)),  # before post-processing, which may clip
            low=low,
            high=high,
            level=document.get("level"),
            present={name: _mask(values, name) for name, values in document["present"].items()},
            gates={Gate.named(name): gate for name, gate in _arrays(document["gates"], "gates", (0, 1)).items()},
            source=_text(document["source"]),
            notes=tuple(_text(note) for note in document["notes"]),
            provenance=dict(document["provenance"]),
            face_box=_boxes(document.get("face_box")),
        )
        of_targets = (trace.targets, trace.raw, trace.low, trace.high)
        columns = [column for kind in (*of_targets, trace.present, trace.gates) for column in kind.values()]
        rows = [len(trace)] if trace.face_box is None else [len(trace), len(trace.face_box)]
        if any(column.shape != trace.time_s.shape for column in columns) or len({*rows}) > 1:
            raise ValueError("its columns are of unequal length")
        if low.keys() != high.keys() or not low.keys() <= trace.targets.keys():
            raise ValueError("its intervals lack an end or a target")
        if low and not (isinstance(trace.level, float) and 0 < trace.level < 1):
            raise ValueError("its intervals' level must be between 0 and 1")
        for name, ends in low.items():
            _refuse_rows(ends > high[name], f"the interval of '{name}' ends below its start")
    except OSError as error:
        raise UsageError(f"can't be read ({reason(error)})", where=path, hint="check the path") from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        hint = "give the .json file that avgate predict wrote"
        raise UsageError(f"this is not a trace ({reason(error)})", where=path, hint=hint) from error
    return trace


def _times(values: object) -> np.ndarray:
    times = _numbers(values, "time_s")
    _refuse_rows(~(np.abs(times) <= LONGEST_S), f"time_s must be a number of seconds, at most {LONGEST_S:g}")
    steps = np.diff(times, prepend=-np.inf)
    _refuse_rows(steps < 0, "time_s runs backwards")
    _refuse_rows(steps == 0, "time_s is that of the row before")
    return times


def _arrays(columns: Mapping[str, object], kind: str, limits: tuple[float, float]) -> dict[str, np.ndarray]:
    """Columns of numbers; ValueError where one isn't within the limits. An unknown value (null) is NaN."""
    arrays = {_text(name): _numbers(values, f"{kind}: {name}") for name, values in columns.items()}
    for name, values in arrays.items():
        outside = (values < limits[0]) | (values > limits[1])
        _refuse_rows(outside, f"{kind}: {name} must be from {limits[0]:g} to {limits[1]:g}")
    return arrays


def _numbers(values: object, name: str) -> np.ndarray:
    if not isinstance(values, list) or not {type(value) for value in values} <= {int, float, type(None)}:
        raise ValueError(f"{name} must be a list of numbers")
    return np.array(values, np.float64)


def _mask(values: object, name: str) -> np.ndarray:
    if not isinstance(values, list) or not {type(value) for value in values} <= {bool}:
        raise ValueError(f"present: {name} must be a list of true and false")
    return np.array(values, bool)


def _boxes(values: object) -> np.ndarray | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(
        box is None or (isinstance(box, list) and len(box) == 4) for box in values
    ):
        raise ValueError("face_box must be a list of boxes: four numbers, or null")
    flat = _numbers([x for box in values for x in box or [None] * 4], "face_box")
    boxes = flat.reshape(-1, 4)
    _refuse_rows((np.abs(boxes) > FURTHEST).any(1), f"face_box must be from {-FURTHEST:g} to {FURTHEST:g}")
    return boxes


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("source and notes must be texts")
    return printable(value)


def _refuse_rows(wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        raise ValueError(f"row {int(np.argmax(wrong)) + 1}: {what}")


def _columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: rounded(values, VALUE_DECIMALS) for name, values in columns.items()}
