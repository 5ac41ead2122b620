"""Emotion words as places in the valence-arousal plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from avgate.core.errors import UsageError
from avgate.labels.categories import PLANE, TERMS, category, place


@pytest.mark.parametrize(
    ("word", "expected"),
    [("happiness", (0.81, 0.51)), ("Angry", (-0.51, 0.59)), (" sad ", (-0.63, -0.27)), ("neutral", (0.0, 0.0))],
)
def test_a_word_or_its_synonym_is_at_its_published_rating(word, expected):
    assert place(word) == expected


def test_every_category_lies_in_the_plane_in_its_quadrant():
    assert all(abs(v) <= 1 and abs(a) <= 1 for v, a in PLANE.values())
    positive = {word for word, (v, _) in PLANE.items() if v > 0}
    assert positive == {"happiness", "joy", "excitement", "calm", "surprise"}
    assert {word for word, (_, a) in PLANE.items() if a < 0} == {"sadness", "boredom", "calm"}


def test_intensity_moves_the_place_towards_neutral_in_a_straight_line():
    valence, arousal = place("anger", 0.5)
    assert (valence, arousal) == pytest.approx((-0.255, 0.295))
    assert place("anger", 0.0) == (0.0, 0.0)


def test_an_unknown_word_is_answered_with_those_that_are_known():
    with pytest.raises(UsageError, match=r"did you mean 'anger'.*disgust"):
        category("angerr")


@pytest.mark.parametrize("intensity", [-0.1, 1.5, float("nan")])
def test_an_intensity_outside_its_range_is_refused(intensity):
    with pytest.raises(UsageError, match="between 0 and 1"):
        place("anger", intensity)


def test_the_page_of_open_corpora_has_every_word_and_its_place():
    page = (Path(__file__).parents[2] / "docs" / "open-corpora.md").read_text("utf-8")
    table = [line for line in page.splitlines() if line.count("|") == 5 and ("+" in line or "-0" in line)]
    rows = [f"| {word} | {TERMS.get(word, '')} | {v:+.2f} | {a:+.2f} |" for word, (v, a) in sorted(PLANE.items())]
    assert table == rows
