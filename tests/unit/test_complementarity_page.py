"""The page about people's judgements of voice and face: its numbers are those of a count by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from avgate.corpora.cremad import CremaD
from tests.conftest import SHARED
from tests.open_corpora import write_cremad

pytestmark = pytest.mark.slow  # it measures what a page says, and nothing that the package does

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    import complementarity

    return complementarity


def test_shares_are_those_of_a_count_by_hand(page, tmp_path):
    write_cremad(tmp_path)
    clips = page.judged(CremaD(tmp_path))
    rows = page.disagreements(clips)
    # Of each actor's two clips, voice, face and both agree in the first, and all winners differ in the second.
    assert rows["all"] == ["20", *["50 [50, 50]"] * 4]
    assert rows["anger"] == ["10", *["0 [0, 0]"] * 4]
    assert rows["happiness"] == ["10", *["100 [100, 100]"] * 4]
    assert rows["high level"][0] == "10"
    scores = page.scores(clips)
    assert scores["face alone"][0] == "0.500 [0.500, 0.500]"
    # Half the votes for the voice and half of those for the face are those for both.
    assert scores["mean of both"][0] == "1.000 [1.000, 1.000]"


@pytest.mark.long
def test_the_page_is_the_one_that_the_tool_writes(page):
    if not (SHARED / "data" / "cremad").is_dir():
        pytest.skip("cremad is missing: no shared/data folder beside the project")
    written = page.page(CremaD(SHARED / "data" / "cremad"))
    assert "| all | 7442 | 55 [53, 57] |" in written
    assert written == (TOOLS.parent / "docs" / "complementarity.md").read_text()
