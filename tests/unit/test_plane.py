"""What a stream shows in the terminal, as text."""

from __future__ import annotations

import io
import math

import pytest
from rich.live import Live

from avgate.apps.plane import COLUMNS, ROWS, Plane, Shown, plane
from avgate.core.console import Terminal
from avgate.core.gates import Gate
from tests.streams import make_result


def place(lines: list[str], sign: str) -> list[tuple[int, int]]:
    """Row and column within the plane of each such character."""
    inside = [line[2:-1] for line in lines[2 : 2 + ROWS]]
    return [(r, c) for r, line in enumerate(inside) for c, found in enumerate(line) if found == sign]


@pytest.mark.parametrize(
    ("point", "row", "column"),
    [
        ((0.0, 0.0), ROWS // 2, COLUMNS // 2),
        ((1.0, 1.0), 0, COLUMNS - 1),
        ((-1.0, -1.0), ROWS - 1, 0),
        ((0.5, -0.5), 9, 30),
        ((7.0, -7.0), ROWS - 1, COLUMNS - 1),
    ],
)
def test_valence_is_to_the_right_and_arousal_up(point, row, column):
    assert place(plane(point), "●") == [(row, column)]


def test_an_unknown_point_is_nowhere():
    for point in ((math.nan, 0.0), (0.0, math.nan)):
        assert place(plane(point), "●") == []


def test_the_trail_fades_and_unknown_points_of_it_are_left_out():
    lines = plane((0.0, 0.0), [(-1.0, 1.0), (math.nan, 0.0), (0.0, 1.0), (1.0, 1.0)])
    assert place(lines, "·") == [(0, 0)]
    assert place(lines, "•") == [(0, COLUMNS // 2), (0, COLUMNS - 1)]


def test_intervals_are_lines_through_the_point():
    lines = plane((0.5, 0.5), ends=[(0.0, 1.0), (0.0, 1.0)])
    (row, column) = place(lines, "●")[0]
    assert {r for r, _ in place(lines, "╌")} == {row}
    assert [c for _, c in place(lines, "╌")] == [c for c in range(COLUMNS // 2, COLUMNS) if c != column]
    assert place(lines, "╎") == [(r, column) for r in range(ROWS // 2 + 1) if r != row]


def test_the_plane_is_this_picture():
    assert plane((1.0, 0.0), [(-1.0, 0.0)])[:4] + plane((1.0, 0.0), [(-1.0, 0.0)])[8:9] == [
        " arousal 1",
        " ┌" + "─" * COLUMNS + "┐",
        " │" + " " * (COLUMNS // 2) + "│" + " " * (COLUMNS // 2) + "│",
        " │" + " " * (COLUMNS // 2) + "│" + " " * (COLUMNS // 2) + "│",
        "0│·" + "─" * (COLUMNS // 2 - 1) + "┼" + "─" * (COLUMNS // 2 - 1) + "●│",
    ]


def test_values_intervals_presence_delay_and_gates_are_named():
    lines = Plane(Shown(make_result(2.0), 0.0834, 3)).lines()
    assert lines[:4] == [
        "2.0 s           83 ms late, 3 faces skipped",
        "valence         +0.91 [-1.00 +1.00]",
        "arousal         -0.50 [-0.75 +0.00]",
        "present         face in view, voice silent, sound present",
    ]
    assert lines[-2:] == [
        "voice_attended  █████░░░░░░░░░░░░░░░ 0.25",
        "face_attended   ████████████████████ 1.00",
    ]
    assert len(lines) < 24, "it fits into a usual terminal"


def test_what_is_unknown_is_called_so_and_models_without_intervals_have_none():
    unknown = make_result(targets={"valence": math.nan, "arousal": 0.0}, low={}, high={}, gates={Gate("x"): math.nan})
    lines = Plane(Shown(unknown, 0.0, 0)).lines()
    assert lines[0].endswith("0 ms late")
    assert lines[1:3] == ["valence  unknown", "arousal  +0.00"]
    assert lines[-1] == "x        unknown"


def test_a_model_of_other_targets_is_shown_without_a_plane():
    lines = Plane(Shown(make_result(targets={"joy": 0.5}, low={}, high={}, gates={}), 0.0, 0)).lines()
    assert [line.split()[0] for line in lines] == ["1.0", "joy", "present"]


def test_the_line_of_a_stream_says_the_same_in_one_line():
    assert Shown(make_result(2.0), 0.0834, 1).line().plain == (
        "2.0 s   83 ms late   valence +0.91 [-1.00 +1.00]   arousal -0.50 [-0.75 +0.00]   face, no voice   "
        "1 face skipped"
    )


def drawn(encoding: str, what, width: int = 60) -> str:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    terminal = Terminal(
        file=screen, width=width, height=30, force_terminal=True, color_system=None, legacy_windows=False
    )
    with Live(what, console=terminal, auto_refresh=False, transient=False):
        pass
    screen.flush()
    return screen.buffer.getvalue().decode(encoding)


def test_a_terminal_without_these_characters_gets_plain_ones():
    assert "●" in drawn("utf-8", Plane(Shown(make_result(), 0.0, 0)))
    plain = drawn("ascii", Plane(Shown(make_result(), 0.0, 0)))
    assert "@" in plain
    assert "#####....." in plain


def test_a_narrow_terminal_cuts_lines_and_never_wraps_them():
    terminal, shown = Terminal(width=30, file=io.StringIO()), Shown(make_result(), 0.0, 0)
    assert len(terminal.render_lines(shown.line())) == 1
    assert len(terminal.render_lines(Plane(shown))) == len(Plane(shown).lines())


def test_names_from_a_checkpoint_cannot_command_the_terminal():
    hostile = make_result(targets={"a\x1b[31m\nb": 0.5}, low={}, high={}, gates={Gate("c\x9b2J"): 0.5})
    for what in (Plane(Shown(hostile, 0.0, 0)), Shown(hostile, 0.0, 0).line()):
        said = drawn("utf-8", what, 120)
        assert r"a\x1b[31m\nb" in said
        assert "\x1b[31m" not in said
        assert "\x9b" not in said
