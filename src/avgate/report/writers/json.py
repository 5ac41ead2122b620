"""JSON: everything that a trace holds, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.files import atomic_write, json_values
from avgate.core.gates import Gate
from avgate.core.types import Trace
from avgate.report.writers.base import TIME_DECIMALS, VALUE_DECIMALS, presence, rounded


@dataclass(frozen=True)
class JsonWriter:
    """One object with `source`, `notes`, `provenance` and `frames`, and the columns.

    They are `time_s`, and by name those of `targets`, `raw`, `present` and `gates`; where the model has intervals, also
    `low` and `high`, their ends, and `level`, such as 0.9. Times, targets and gates have up to six decimals; an unknown
    value is null. Strict JSON, ASCII only.
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
            "time_s": json_values(rounded(trace.time_s, TIME_DECIMALS)),
            "targets": _columns(trace.targets),
            "raw": _columns(trace.raw),
            "present": {name: mask.tolist() for name, mask in presence(trace).items()},
            "gates": _columns({gate.name: values for gate, values in trace.gates.items()}),
        }
        if trace.low:
            document |= {"level": trace.level, "low": _columns(trace.low), "high": _columns(trace.high)}
        with atomic_write(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
            json.dump(document, file, allow_nan=False)
            file.write("\n")


def read_json(path: Path) -> Trace:
    """The trace that JsonWriter wrote to `path`.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        trace = Trace(
            time_s=np.array(document["time_s"], np.float64),
            targets=_arrays(document["targets"], np.float64),
            raw=_arrays(document["raw"], np.float64),
            low=_arrays(document.get("low", {}), np.float64),
            high=_arrays(document.get("high", {}), np.float64),
            level=document.get("level"),
            present=_arrays(document["present"], bool),
            gates={Gate.named(name): gate for name, gate in _arrays(document["gates"], np.float64).items()},
            source=document["source"],
            notes=tuple(document["notes"]),
            provenance=document["provenance"],
        )
        of_targets = (trace.targets, trace.raw, trace.low, trace.high)
        columns = [column for kind in (*of_targets, trace.present, trace.gates) for column in kind.values()]
        if any(column.shape != trace.time_s.shape for column in columns):
            raise ValueError("columns of unequal length")
        if trace.low.keys() != trace.high.keys() or (trace.low and not isinstance(trace.level, float)):
            raise ValueError("intervals without one of their ends, or without their level")
    except OSError as error:
        raise UsageError(f"can't be read ({error.strerror})", where=path, hint="check the path") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "this is not a trace", where=path, hint="give the .json file that avgate predict wrote"
        ) from error
    return trace


def _columns(columns: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
    return {name: json_values(rounded(values, VALUE_DECIMALS)) for name, values in columns.items()}


def _arrays(columns: Mapping[str, list[float | None]], dtype: type) -> dict[str, np.ndarray]:
    return {name: np.array(values, dtype) for name, values in columns.items()}
