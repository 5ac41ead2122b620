"""The bullets that open docs/results.md say what the page's own tables say."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCORES = """# What gating does: results

Made by `python tools/results.py`.

## Real people, every fusion

hazumi, 9 clips: CCC pooled over all held-out steps

| fusion | impression | impression, less hgrjca | p | continuance | continuance, less hgrjca | p | minutes |
|---|---|---|---|---|---|---|---|
| audio | 0.500 ± 0.001 | -0.200 [-0.300, -0.100] | 0.049 | 0.500 ± 0.001 | -0.100 [-0.300, +0.100] | 0.050 | 3.1 |
| concat | {concat} ± 0.001 | +0.001 [-0.100, +0.100] | 0.900 | 0.610 | +0.010 [-0.100, +0.100] | 1.000 | 3.1 |
| hgrjca | 0.700 ± 0.001 |  |  | 0.600 ± 0.001 |  |  | 3.1 |
"""

HALF = """
## Real people, trained for absence

**audio corrupted in half of the steps**, CCC; in brackets, how much less than clean: impression / continuance.

| fusion | absent | noise | swapped | frozen | shifted | mean |
|---|---|---|---|---|---|---|
| concat | 0.1 / 0.1 | 0.1 / 0.1 | 0.500 / 0.400 (0 / 0) | 0.500 / 0.400 (0 / 0) | 0.500 / 0.400 (0 / 0) | |
| rhgrjca | 0.1 / 0.1 | 0.1 / 0.1 | {swapped} (0 / 0) | {frozen} (0 / 0) | 0.600 / 0.500 (0 / 0) | |
"""


@pytest.fixture
def summary(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import summary

    return summary


def bullets(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("- **")]


def test_the_page_opens_with_the_bullets_that_its_tables_give(summary):
    page = (ROOT / "docs" / "results.md").read_text()
    assert summary.with_bullets(page) == page, "run python tools/summary.py"
    assert 5 <= len(bullets(page)) <= 7
    assert page.splitlines()[2].startswith("- **")


def test_every_number_in_the_bullets_stands_in_a_table_of_the_page():
    page = (ROOT / "docs" / "results.md").read_text()
    below = page.partition("\nMade by ")[2]
    found = re.findall(r"[-+]?\d\.\d\d+", " ".join(bullets(page)))
    assert len(found) > 30
    assert [number for number in found if number not in below] == []


def test_headings_are_those_that_the_page_is_made_with(summary):
    import results

    made = {p.title[0].upper() + p.title[1:] for p in results.plans(results.Size(ablations=True))}
    assert {summary.ALL, summary.CLEAN, summary.ABSENCE, summary.RENDERED} <= made


def test_bullets_follow_the_tables(summary):
    best, chance, _ = bullets(summary.with_bullets(SCORES.format(concat="0.701")))
    assert "concat scores highest" in best
    assert "0.701 / 0.610 (impression / continuance)" in best
    assert "hgrjca (the published gates) 0.700 / 0.600" in best
    assert "hgrjca scores highest" in bullets(summary.with_bullets(SCORES.format(concat="0.601")))[0]
    assert "the voice alone -0.200 in impression (p = 0.049); all other differences may be chance." in chance


@pytest.mark.parametrize(
    ("swapped", "frozen", "verdict"),
    [
        ("0.600 / 0.500", "0.600 / 0.500", "rhgrjca is better than concat"),
        ("0.600 / 0.300", "0.600 / 0.500", "rhgrjca is neither better nor worse than concat"),
    ],
)
def test_a_verdict_needs_all_kinds_and_both_targets(summary, swapped, frozen, verdict):
    page = summary.with_bullets(SCORES.format(concat="0.701") + HALF.format(swapped=swapped, frozen=frozen))
    assert any(verdict in bullet for bullet in bullets(page))


def test_bullets_are_made_anew_and_nothing_else_is_touched(summary):
    page = SCORES.format(concat="0.701")
    once = summary.with_bullets(page)
    assert summary.with_bullets(once) == once
    assert once.partition("\nMade by ")[2] == page.partition("\nMade by ")[2]
    assert summary.with_bullets(once.replace("| 0.610 |", "| 0.810 |")) == summary.with_bullets(
        page.replace("| 0.610 |", "| 0.810 |")
    )
