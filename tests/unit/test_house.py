"""The house stays one that a newcomer can walk through: few rooms, short files, a word on each room's door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import avgate

HOUSE = Path(avgate.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
ROOMS = sorted({path.parent for path in FILES})
MOST_ROOMS, MOST_LINES = 14, 350


def inside(path: Path) -> str:
    return path.relative_to(HOUSE.parent).as_posix()


def test_there_are_few_rooms_and_no_file_lies_in_the_hall():
    found = {path.name for path in HOUSE.iterdir() if path.name != "__pycache__"}
    rooms = {name for name in found if (HOUSE / name).is_dir()}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
    assert found - rooms == {"__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("room", ROOMS, ids=inside)
def test_every_room_says_what_it_holds(room):
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert said
    if room != HOUSE:
        assert len(said.splitlines()) == 1


def test_no_file_is_long():
    lines = {inside(path): len(path.read_text().splitlines()) for path in FILES}
    assert {path: n for path, n in lines.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("name", avgate.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(avgate, name) is not None


def test_a_name_that_is_not_public_is_refused():
    with pytest.raises(AttributeError, match="'avgate' has no attribute 'Predictr'"):
        avgate.Predictr  # noqa: B018 (looking the name up is the test)


def test_the_star_imports_what_is_public():
    found: dict[str, object] = {}
    exec("from avgate import *", found)
    assert set(avgate.__all__) <= set(found)
