"""A folder in Hazumi's own layout, with the oddities of its real files, small enough to write in a test."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

SESSIONS = {
    "Hazumi2010": ("2010F2001", "2010M3001", "2010M4001"),
    "Hazumi2012": ("2012F2001", "2012M5001"),
    "Hazumi2105": ("2105F2001", "2105M3001"),
}
SAME_PERSON = {"2105F2001": "2012F2001", "2105M3001": "2010M3001"}
RATERS = {"Hazumi2012": ("F1", "F2", "F3", "M1", "M2")}
TIMES = ("start(exchange)", "end(system)", "end(exchange)")
AUDIO = ("pcm_RMSenergy_sma_max", *(f"lld{i}_amean" for i in range(382)), "F0_sma_de_kurtosis\n")
VIDEO = ("17_acceleration_max", *(f"landmark{i}_std" for i in range(64)), "AU45_c_mean")

Row = dict[str, str]


def write_hazumi(root: Path, n: int = 6) -> Path:
    """Seven sessions of five persons, n exchanges each, random but for the times; some files have a BOM, some CRLF."""
    for k, (clone, names) in enumerate(SESSIONS.items()):
        folder = root / clone / "dumpfiles"
        folder.mkdir(parents=True)
        for i, name in enumerate(names):
            write_rows(folder / f"{name}.csv", _rows(np.random.default_rng((k, i)), clone, n), bom=i == 0)
    pairs = "".join(f"{later},{first}\r\n" for later, first in SAME_PERSON.items())
    (root / "Hazumi2105" / "correspondence.csv").write_bytes(b"\xef\xbb\xbf" + pairs.encode())
    return root


def write_rows(path: Path, rows: list[Row], bom: bool = False) -> None:
    """Write a session's file; a header with a line break in it is quoted, as in the real files."""
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n" if bom else "\r\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[Row]:
    """A session's file, every cell as text."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def edit(path: Path, change: Callable[[list[Row]], object]) -> None:
    """Change a session's file in place."""
    rows = read_rows(path)
    change(rows)
    write_rows(path, rows)


def _rows(rng: np.random.Generator, clone: str, n: int) -> list[Row]:
    raters = RATERS.get(clone, ("F1", "F2", "F3", "F4", "M1"))
    rated = [f"{target}_{rater}" for target in ("UI", "TC") for rater in raters]
    columns = ("ID", *TIMES, "dialogue_act", *rated, "UI_Aver", "TC_Aver", *AUDIO, *VIDEO, "ADJ", "bert0")
    rows = []
    for i in range(n):
        row = dict(zip(columns, rng.standard_normal(len(columns)).round(4).astype(str), strict=True))
        row |= dict(zip(TIMES, (str(12_000 * i), str(12_000 * i + 4_000), str(12_000 * (i + 1))), strict=True))
        row |= {column: str(rng.integers(1, 8)) for column in rated}
        rows.append(row | {"ID": str(i), "dialogue_act": "question"})
    return rows
