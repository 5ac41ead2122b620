"""The model card says what the shipped weights are made of and how right they are, and claims nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from avgate.models.checkpoint import SHIPPED
from tests.tiny import make_checkpoint
from tools import model_card

SCORES = {"validation": {"smoothed": {t: {"ccc": 0.5, "pcc": 0.6, "rmse": 0.25} for t in ("valence", "arousal")}}}


def of_groups(train: list[str], validation: list[str], **more: str):
    about = {"train_clips": 12, "validation_clips": 3, "train_groups": train, "validation_groups": validation}
    return replace(make_checkpoint(), trained_on=about | more, scores=SCORES, notes=("Not for decisions.",))


def row(what: str, measured: float, *, needed: float | None = None, holds: bool | None = None, command: str = "make x"):
    return {
        "what": what,
        "measured": measured,
        "low": measured - 0.1,
        "high": measured + 0.1,
        "needed": needed,
        "holds": holds,
        "command": command,
    }


@pytest.mark.parametrize("kind", SHIPPED)
def test_the_page_is_the_one_of_the_shipped_weights(kind):
    assert model_card.CARDS[kind].read_text() == model_card.shipped_card(kind)


def test_the_default_weights_scores_on_the_same_clips_stand_beside_those_for_live_use():
    default, live = of_groups(["person00"], ["person01"]), of_groups(["person00"], ["person01"])
    lower = {"validation": {"smoothed": {t: {"ccc": 0.4, "pcc": 0.5, "rmse": 0.3} for t in ("valence", "arousal")}}}
    page = model_card.card(replace(live, scores=lower), None, "live", default)
    assert page.startswith("# Model card of the weights for live use\n")
    assert "| target | CCC | PCC | RMSE | CCC, default weights |" in page
    assert "| valence | 0.400 | 0.500 | 0.300 | 0.500 | 0.600 | 0.250 |" in page


def test_sources_are_named_with_their_persons_and_licences_where_they_were_used():
    people = of_groups(["emodb03", "emodb08", "face-p1", "person00"], ["emodb09", "face-p2"], emotion_map="A map 1977")
    page = model_card.card(people, None)
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in page.splitlines() if line[:1] == "|"}
    assert cells["EmoDB"][2:4] == ["2", "1"]
    assert "CC0" in cells["EmoDB"][4]
    assert cells["still photographs"][2:4] == ["1", "1"]
    assert "Apache-2.0" in cells["still photographs"][4]
    assert cells["rendered clips"][2:4] == ["1", "0"]
    assert "A map 1977" in page
    assert "- Not for decisions." in page
    alone = model_card.card(of_groups(["person00"], ["person01"]), None)
    assert "EmoDB" not in alone
    assert "photographs" not in alone


def test_without_measurements_the_card_says_so():
    page = model_card.card(of_groups(["person00"], ["person01"]), None)
    assert "On real people, that hasn't been measured." in page
    assert "| valence | 0.500 | 0.600 | 0.250 |" in page


def test_every_figure_stands_below_its_command_and_a_missed_bar_is_not_hidden():
    rows = [
        row("face, valence", 0.92, needed=0.91, holds=True),
        row("voice, valence", 0.7, needed=0.72, holds=False),
        row("together", 0.5, command="make y"),
    ]
    rows[-1] |= {"low": None, "high": None}  # real-people.json has null where there is no interval
    page = model_card.card(of_groups(["person00"], ["person01"]), {"rows": rows})
    first, second = page.split("Measured by `make x`:")[1].split("Measured by `make y`:")
    assert "| face, valence | 0.920 [0.820, 1.020] | 0.91 | yes |" in first
    assert "| voice, valence | 0.700 [0.600, 0.800] | 0.72 | **no** |" in first
    assert "| together | 0.500 |  |  |" in second
    assert "1 of 2 bars that were set beforehand are reached." in page


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        model_card.card(of_groups(["person00"], ["person01"]), {"rows": [row("a", 0.1), row("a", 0.2)]})
