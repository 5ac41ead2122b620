"""What a stream shows in the terminal: a line of the newest result, or its point in the valence-arousal plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from avgate.core.modalities import in_order, mask_named
from avgate.core.text import one_line
from avgate.inference.streaming import Result

AXES = ("valence", "arousal")
"""The targets of the plane: to the right and up."""

COLUMNS, ROWS = 41, 13
"""Size of the plane in characters: odd, so that 0 has a row and a column; all fits into a terminal of 24 rows."""

_BAR = 20
"""Characters of a bar from 0 to 1."""

_ASCII = str.maketrans("●•·╌╎─│┼┌┐└┘├┤┬┴█░", "@o..:-|+++++++++#.")
"""For terminals that have no other characters."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """What is to be seen of a stream.

    Attributes:
        result: the newest one.
        delay_s: how long after its frame it came, by the clock.
        skipped: faces that were skipped.
        trail: valence and arousal of the results before, oldest first.
    """

    result: Result
    delay_s: float
    skipped: int
    trail: Sequence[Point] = ()

    def line(self) -> Text:
        """All of it on one line, the most important first: time, delay, targets with their intervals, who is there."""
        result = self.result
        parts = [f"{result.time_s:.1f} s", f"{1000 * self.delay_s:.0f} ms late"]
        parts += [f"{name} {_value(result, name)}" for name in result.targets]
        there = {mask_named(name).label: here for name, here in result.present.items() if name != "audio"}
        parts += [", ".join(name if here else f"no {name}" for name, here in there.items()), _skipped(self.skipped)]
        return Text(one_line("   ".join(filter(None, parts))), no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True)
class Plane:
    """Draws a stream: its values, their point in the plane with a short trail, and the gates.

    Of a model without valence and arousal there is no plane.
    """

    shown: Shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, in the characters that the terminal has."""
        for line in self.lines():
            text = one_line(line)
            text = text.translate(_ASCII) if options.ascii_only else text
            yield Text(text, no_wrap=True, overflow="crop")

    def lines(self) -> list[str]:
        """What is drawn, line by line; what matters least is last, where a small terminal cuts it off."""
        result = self.shown.result
        gates = {gate.name: value for gate, value in result.gates.items() if gate.kind != "iteration"}
        width = max(len(name) for name in (*result.targets, *gates, "present"))
        said = [f"{1000 * self.shown.delay_s:.0f} ms late", _skipped(self.shown.skipped)]
        lines = [f"{f'{result.time_s:.1f} s':<{width}}  {', '.join(filter(None, said))}"]
        lines += [f"{name:<{width}}  {_value(result, name)}" for name in result.targets]
        lines.append(f"{'present':<{width}}  {', '.join(_states(result.present))}")
        if set(AXES) <= result.targets.keys():
            point = (result.targets[AXES[0]], result.targets[AXES[1]])
            lines += plane(point, self.shown.trail, [_ends(result, name) for name in AXES])
        return lines + [f"{name:<{width}}  {_bar(value)}" for name, value in gates.items()]


def plane(
    point: Point, trail: Sequence[Point] = (), ends: Sequence[tuple[float, float] | None] = (None, None)
) -> list[str]:
    """The plane as lines of text: valence to the right, arousal up, both from -1 to 1.

    Args:
        point: valence and arousal; where one is NaN, there is no point.
        trail: points before, oldest first.
        ends: the interval's ends of valence and of arousal, or None; drawn as lines through the point.
    """
    cells = [[" "] * COLUMNS for _ in range(ROWS)]
    for row in range(ROWS):
        cells[row][COLUMNS // 2] = "│"
    cells[ROWS // 2] = ["─"] * COLUMNS
    cells[ROWS // 2][COLUMNS // 2] = "┼"
    for i, before in enumerate(trail):
        if (place := _place(before)) is not None:
            cells[place[0]][place[1]] = "·" if i < len(trail) / 2 else "•"
    if (place := _place(point)) is not None:
        row, column = place
        across, up = ends
        if across is not None:
            first, last = (_cell(x, COLUMNS) for x in across)
            cells[row][first : last + 1] = ["╌"] * (last + 1 - first)
        if up is not None:
            low, high = (ROWS - 1 - _cell(x, ROWS) for x in up)
            for i in range(high, low + 1):
                cells[i][column] = "╎"
        cells[row][column] = "●"
    sides = [" "] * ROWS
    sides[ROWS // 2] = "0"
    ruler = f"-1{AXES[0].center(COLUMNS - 2)}1"
    return [
        f" {AXES[1]} 1",
        f" ┌{'─' * COLUMNS}┐",
        *(f"{side}│{''.join(row)}│" for side, row in zip(sides, cells, strict=True)),
        f" └{'─' * COLUMNS}┘",
        f" {ruler}",
    ]


def _place(point: Point) -> tuple[int, int] | None:
    """Row and column of a point in the plane, or None where it isn't known."""
    if not all(map(math.isfinite, point)):
        return None
    return ROWS - 1 - _cell(point[1], ROWS), _cell(point[0], COLUMNS)


def _cell(value: float, cells: int) -> int:
    """The cell, from 0 on, of a value from -1 to 1."""
    return round((min(1.0, max(-1.0, value)) + 1) / 2 * (cells - 1))


def _ends(result: Result, name: str) -> tuple[float, float] | None:
    low, high = result.low.get(name, math.nan), result.high.get(name, math.nan)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _value(result: Result, name: str) -> str:
    value, ends = result.targets[name], _ends(result, name)
    if not math.isfinite(value):
        return "unknown"
    return f"{value:+.2f}" + ("" if ends is None else f" [{ends[0]:+.2f} {ends[1]:+.2f}]")


def _bar(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    full = round(min(1.0, max(0.0, value)) * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {value:.2f}"


def _states(present: Mapping[str, bool]) -> list[str]:
    """Each presence mask in words: "face in view"."""
    masks = [mask_named(name) for name in in_order([*present])]
    return [f"{mask.label} {mask.present if present[mask.name] else mask.absent}" for mask in masks]


def _skipped(count: int) -> str:
    return f"{count} face{'s' * (count != 1)} skipped" if count else ""
