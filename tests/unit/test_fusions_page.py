"""The page about the fusions tells the truth: its counts agree with counts by hand, and its checks can say no."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import avgate.models.fusions
from avgate.models.fusions import FUSIONS, Fusion, FusionOutput, fusion_named

pytestmark = pytest.mark.slow  # it measures what a page says, and nothing that the package does

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    """tools/fusions.py, with one seed instead of several, for speed."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import fusions

    monkeypatch.setattr(fusions, "SEEDS", (0,))
    return fusions


def rows(text: str) -> list[dict[str, str]]:
    """Column -> cell of every row of the only table in a page."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def test_the_written_page_has_one_row_per_fusion_and_the_counts_of_today(page):
    text = (TOOLS.parent / "docs" / "fusions.md").read_text()
    assert "Made by `python tools/fusions.py` (`make docs`); every number comes from that command." in text
    found = rows(text)
    assert [row["fusion"] for row in found] == [f"`{fusion.name}`" for fusion in FUSIONS], "run python tools/fusions.py"
    for row, fusion in zip(found, FUSIONS, strict=True):
        config = fusion.Config()
        assert row["citation"] == page.citation(fusion), "run python tools/fusions.py"
        for column, count in (("parameters", page.parameters), ("multiply-adds per step", page.multiply_adds)):
            default, *_ = row[column].split(";")
            assert int(default.replace(",", "")) == count(config), f"{fusion.name}: run python tools/fusions.py"


def test_what_is_measured_is_what_the_page_says(page):
    measured = [page.row(fusion_named(name)) for name in ("concat", "jca")]
    text = page.text(measured)
    assert rows(text) == measured
    assert "64 audio and 64 video features and a window of 128 steps" in text
    concat, jca = measured
    assert concat == {
        "fusion": "`concat`",
        "citation": "none",
        "parameters": "0",
        "multiply-adds per step": "0",
        "encoders": "1",
        "length": "any",
        "causal": "yes",
        "handles absence": "yes",
        "exports": "yes",
    }
    # Per modality W_c and W_h, and as W_j one weight for every pair of steps, or for every offset within the reach.
    assert jca["parameters"] == f"{2 * (64 * 64 + 128 * 64 + 128 * 128):,}; relative: {2 * (12288 + 2 * 50 + 1):,}"
    assert jca["length"] == "window; relative: any"
    assert jca["causal"] == "no"


def test_multiply_adds_are_those_counted_by_hand(page):
    d, steps = 64, page.STEPS
    assert {"audio": d, "video": d} == page.DIMS
    # X^T W_j, its product with J, X W_c, its product with C, and H W_h
    joint = d * steps + d * 2 * d + d * d + d * 2 * d + 2 * d * d
    candidates, k, hidden = 3, 32, 4 * d
    # four gates of an LSTM, from input and state; then the score of both directions' states
    gate = candidates * (2 * 4 * d * (d + d) + 2 * d)
    by_hand = {
        "audio": 0,
        "concat": 0,
        "ca": d * d + d * steps + 2 * steps * d,  # X_a W, its product with X_v, and one mean over steps per modality
        "jca": 2 * joint,
        "rjca": 3 * 2 * joint,
        "tagf": 2 * (2 * joint + gate),
        "lfan": 2 * 3 * d * k + 2 * (2 * 2 * k),  # queries, keys and values; each modality compared with both
        "crossmodal": 2 * 2 * (4 * d * k + 2 * steps * k + 2 * d * hidden),
    }
    assert {name: page.multiply_adds(fusion_named(name).Config()) for name in by_hand} == by_hand


def test_work_that_the_counter_cannot_see_is_an_error_and_not_zero(page):
    class Hiding(nn.Module):
        def forward(self, x):
            return torch.mv(x, x[0])

    with torch.no_grad():
        assert page.count(nn.Linear(5, 3, bias=False), torch.ones(7, 5)) == 2 * 7 * 5 * 3
        with pytest.raises(RuntimeError, match=r"aten\.mv isn't counted"):
            page.count(Hiding(), torch.ones(5, 5))


def test_only_fusions_within_a_step_are_causal(page):
    causal = {fusion.name for fusion in FUSIONS if page.is_causal(fusion.Config())}
    assert causal == {"audio", "video", "concat", "lfan"}


def test_only_weights_per_step_need_a_window(page):
    needing = {fusion.name for fusion in FUSIONS if not page.takes_any_length(fusion.Config())}
    assert needing == {"jca", "rjca", "grjca", "hgrjca", "rhgrjca", "tagf"}


def test_the_citation_is_found_across_a_line_break_and_may_be_missing(page):
    assert page.citation(fusion_named("ca")) == "[2111.05222](https://arxiv.org/abs/2111.05222)"
    assert page.citation(fusion_named("audio")) == "none"


@dataclass(frozen=True)
class FlawedConfig:
    """Which flaw."""

    flaw: str


class Flawed(Fusion):
    """Both modalities added up, with a flaw that a check must find."""

    name = "flawed"
    Config = FlawedConfig

    def __init__(self, config, dims, window):
        super().__init__(config, dims, window)
        self.out_dim = next(iter(dims.values()))

    def forward(self, features, present):
        total = sum(features.values())
        some = torch.stack(list(present.values())).any(0)
        if self.config.flaw == "features ahead":
            total = total + 1e-3 * total[:, -1:]
        if self.config.flaw == "presence ahead":
            total = total * some.all(1)[:, None, None]
        if self.config.flaw == "mean of nothing":
            for m, x in features.items():
                here = present[m][..., None]
                total = total + (x * here).sum(1, keepdim=True) / here.sum(1, keepdim=True)
        if self.config.flaw == "branch" and total[0, 0, 0] > 0:
            total = 2 * total
        return FusionOutput(total)


@pytest.mark.parametrize(
    ("flaw", "causal", "handles_absence", "exports"),
    [
        ("none", True, True, True),
        ("features ahead", False, True, True),
        ("presence ahead", False, True, True),
        ("mean of nothing", False, False, True),
        ("branch", True, True, False),
    ],
)
def test_every_check_can_say_no(page, monkeypatch, flaw, causal, handles_absence, exports):
    monkeypatch.setattr(avgate.models.fusions, "FUSIONS", (*FUSIONS, Flawed))
    config = FlawedConfig(flaw)
    assert page.is_causal(config) == causal
    assert page.handles_absence(config) == handles_absence
    assert page.exports(config) == exports
