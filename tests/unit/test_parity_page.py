"""The page about parity tells the truth: it has every fusion and form, and its figures come out again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avgate.models.fusions import FUSIONS
from avgate.models.recipe import choices_of
from tools import parity, parity_fusions, parity_labels

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "parity.md").read_text()
ROUNDING = {"float64": 1e-11, "float32": 1e-3}


def table(title: str) -> list[tuple[str, str, str, float]]:
    """The rows of one section of the page."""
    text = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.+) \| (.+) \| (.+) \| (\d[\d.e-]*) \|$", text, re.M)
    return [(what, against, over, float(largest)) for what, against, over, largest in found]


def assert_agreement(rows, written) -> None:
    """The same rows, and no figure that is larger than the page says, but for other processors' rounding."""
    number = re.compile(r"^\d+ ")  # of trials, which are fewer here
    assert [row[:2] for row in rows] == [row[:2] for row in written], "run python -m tools.parity"
    for (what, _, over, largest), (*_, there, said) in zip(rows, written, strict=True):
        assert number.sub("", over) == number.sub("", there)
        most = max(30 * said, 1e-15) if said < 1e-3 else 1.05 * said
        assert largest <= most, f"{what}: run python -m tools.parity"


@pytest.fixture
def few_trials(monkeypatch):
    monkeypatch.setattr(parity_fusions, "TRIALS", 1)
    monkeypatch.setattr(parity_labels, "TRIALS", 3)


def test_the_page_has_every_section_and_says_how_it_was_made():
    assert "Made by `python -m tools.parity` (`make parity`); every number comes from that command." in PAGE
    assert re.findall(r"^## (.+)$", PAGE, re.M) == [title for title, *_ in parity.SECTIONS]
    for _, intro, _ in parity.SECTIONS:
        assert intro in PAGE, "run python -m tools.parity"


def test_every_fusion_and_form_agrees_with_its_equations_up_to_rounding():
    expected = []
    for fusion in FUSIONS:
        forms = choices_of(fusion.Config, "form")
        expected += [f"`{fusion.name}`, form `{form}`" for form in forms] or [f"`{fusion.name}`"]
    written = table("Fusions")
    assert [what for what, *_ in written] == [what for what in expected for _ in ROUNDING]
    for what, _, over, largest in written:
        assert largest < ROUNDING[over.rsplit(", ", 1)[1]], what


@pytest.mark.slow
def test_differences_from_the_equations_come_out_again(few_trials):
    assert_agreement(parity_fusions.equations(), table("Fusions"))


def test_differences_from_released_code_come_out_again_and_all_but_one_are_rounding(few_trials):
    written = table("Released code")
    assert_agreement(parity_fusions.as_released(), written)
    *models, as_theirs, by_n = [largest for *_, largest in written]
    assert max(models) < 1e-13
    # The loss begins with 1 - CCC: n - 1 in place of n makes 1 / 300 of a CCC, and our denominator is 1e-8 larger.
    assert 1e-4 < as_theirs < 1 / 300
    assert by_n < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("title", ["Metrics", "Merging", "Label formats"])
def test_differences_in_metrics_merging_and_formats_come_out_again(few_trials, title):
    written = table(title)
    assert_agreement(next(rows for name, _, rows in parity.SECTIONS if name == title)(), written)
    other = [what for what, against, *_ in written if "MuSe-Toolbox" in against]
    assert other == (["EWE"] if title == "Merging" else [])
    assert all(largest < 1e-13 for _, against, _, largest in written if "MuSe-Toolbox" not in against)


def test_an_error_in_a_fusion_would_be_seen(monkeypatch):
    monkeypatch.setattr(parity_fusions.released, "relu", lambda x: abs(x))
    assert parity_fusions.rjca("released")(parity_fusions.np.random.default_rng(0)) > 0.01


def test_a_difference_is_shown_with_two_digits_and_none_as_0():
    text = parity.section("Title", "Intro.", [("one", "other", "much", 0.0), ("two", "other", "much", 0.01234)])
    assert text.splitlines()[-2:] == ["| one | other | much | 0 |", "| two | other | much | 1.2e-02 |"]
