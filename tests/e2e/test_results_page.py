"""`make results`, small: both corpora from clips to a page whose numbers are those of the comparisons."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.dialogues import write_hazumi

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of trainings and of the page, after a small run on clips that are rendered and extracted already."""
    sys.path.insert(0, str(ROOT / "tools"))
    import results

    root = tmp_path_factory.mktemp("results")
    hazumi = write_hazumi(root / "hazumi", n=10)
    shutil.copytree(corpus, root / "work" / "rendered")
    before = sys.argv
    args = ["--hazumi", hazumi, "--work", root / "work", "--out", root / "out", "--small", "--workers", "1"]
    sys.argv = ["results.py", *map(str, args)]
    try:
        results.main()
    finally:
        sys.argv = before
        sys.path.remove(str(ROOT / "tools"))
    return root / "work", root / "out"


def test_the_page_shows_both_corpora_and_every_figure_that_it_names(made):
    _, out = made
    page = (out / "results.md").read_text()
    assert "## Real people, trained for absence" in page
    assert "## Rendered people, trained for absence" in page
    figures = re.findall(r"!\[.*?\]\((.+?)\)", page)
    assert len(figures) == 2
    assert all((out / figure).stat().st_size > 10_000 for figure in figures)


def test_numbers_on_the_page_are_those_of_the_comparison(made):
    work, out = made
    page = (out / "results.md").read_text()
    results = json.loads((work / "hazumi-absence" / "results.json").read_text())
    row = results["fusions"]["rhgrjca"]
    shown = " / ".join(f"{row['ccc'][t][0]:.3f}" for t in results["targets"])
    assert re.search(rf"\| rhgrjca, trained for absence, clean \| 0.785 / 0.670 \| {re.escape(shown)} \|", page)
    curves = [row["stress"]["audio absent"][t]["curve"][0][-1] for t in results["targets"]]
    shown = " / ".join(f"{x:.3f}" for x in curves)
    assert f"| rhgrjca, all of the audio absent | 0.545 / 0.449 | {shown} |" in page


def test_claims_say_yes_only_where_the_measured_number_is_enough(made):
    _, out = made
    claims = re.findall(
        r"^\| .+? \| ([-0-9. /]+) \| ([-0-9. /]+) \| (yes|\*\*no\*\*) \|$", (out / "results.md").read_text(), re.M
    )
    assert len(claims) > 10
    for needed, measured, verdict in claims:
        pairs = zip(map(float, needed.split("/")), map(float, measured.split("/")), strict=True)
        # Numbers are rounded on the page, so equal ones may fall either way.
        margins = [got - wanted for wanted, got in pairs]
        assert verdict == "yes" if min(margins) > 0.001 else verdict == "**no**" or min(margins) >= -0.001


def test_published_numbers_are_marked_as_quoted(made):
    _, out = made
    page = (out / "results.md").read_text()
    assert "Quoted from the papers, not measured here" in page
    assert "| GRJCA | .623 | .561 | .660 | .620 |" in page
