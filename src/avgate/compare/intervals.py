"""The tables of a comparison's intervals: whether they hold what they say, and how wide they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avgate.compare.markdown import markdown_table, numbers
from avgate.compare.outcome import Outcome
from avgate.compare.stress import CLEAN, HALF, Condition
from avgate.core.metrics import interval_scores
from avgate.evaluation.sureness import SHARES
from avgate.features.corruption import CORRUPTIONS
from avgate.models.intervals import DEFAULT_LEVEL

_SCORES = ("coverage", "width", "winkler")


def summarise_intervals(outcomes: Sequence[Outcome], targets: Sequence[str]) -> dict[str, Any]:
    """Condition, or CLEAN -> target -> scores, each per seed: those of interval_scores, `rank`, `risk`, `constant`."""
    found: dict[str, Any] = {}
    for condition in outcomes[0].sure:
        found[condition] = {}
        for k, target in enumerate(targets):
            by_seed = [o.sure[condition][:, k].sum(0) for o in outcomes]
            own, constant = ([interval_scores(sums[part]) for sums in by_seed] for part in (slice(4), slice(4, 8)))
            told = np.array([o.told[condition][target] for o in outcomes])
            found[condition][target] = {
                **{name: [scores[name] for scores in own] for name in _SCORES},
                "rank": told[:, 0],
                "risk": told[:, 1:],
                "constant": {name: [scores[name] for scores in constant] for name in _SCORES},
            }
    return found


def intervals_table(results: Mapping[str, Any]) -> str:
    """Scores of the intervals on clean clips; "" where none were measured."""
    targets = results["targets"]
    found = {name: row["intervals"][CLEAN] for name, row in results["fusions"].items() if row.get("intervals")}
    if not found:
        return ""
    head = (
        f"**{100 * DEFAULT_LEVEL:g} % intervals**, {' / '.join(targets)}, mean over seeds: share of the labels inside; "
        "mean width; Winkler score, the smaller the better, and how much of it is saved against intervals of constant "
        "width about the estimates; rank correlation of width and absolute error; mean absolute error over the "
        f"{100 * SHARES[0]:g} % of the steps with the narrowest intervals, and over all."
    )
    rows = {}
    for name, of in found.items():
        saved = [1 - _mean(of[t]["winkler"]) / _mean(of[t]["constant"]["winkler"]) for t in targets]
        risks = [numbers(of[t]["risk"]).mean(0) for t in targets]
        rows[name] = [
            *(" / ".join(f"{_mean(of[t][score]):.3f}" for t in targets) for score in _SCORES),
            " / ".join(f"{100 * x:+.1f} %" for x in saved),
            " / ".join(f"{_mean(of[t]['rank']):.2f}" for t in targets),
            " / ".join(f"{risk[0]:.3f} of {risk[-1]:.3f}" for risk in risks),
        ]
    columns = ["coverage", "width", "Winkler", "saved", "rank", "error of the surest"]
    return markdown_table(head, "fusion", columns, rows)


def stressed_intervals_table(results: Mapping[str, Any], modality: str) -> str:
    """Scores of the intervals where half of a modality is corrupted; "" where none were measured."""
    targets = results["targets"]
    found = {name: row["intervals"] for name, row in results["fusions"].items() if row.get("intervals")}
    if not found:
        return ""
    head = (
        f"**{100 * DEFAULT_LEVEL:g} % intervals, {modality} corrupted in half of the steps**, {' / '.join(targets)}: "
        "coverage; width; Winkler score, in brackets that of constant width."
    )
    rows = {}
    for name, of in found.items():
        cells = []
        for condition in (Condition(modality, kind, HALF).name for kind in CORRUPTIONS):
            by_target = of.get(condition, of[CLEAN])  # what a model doesn't read changes nothing
            parts = [" / ".join(f"{_mean(by_target[t][score]):.2f}" for t in targets) for score in _SCORES]
            constant = " / ".join(f"{_mean(by_target[t]['constant']['winkler']):.2f}" for t in targets)
            cells.append("; ".join(parts) + f" ({constant})")
        rows[name] = cells
    return markdown_table(head, "fusion", list(CORRUPTIONS), rows)


def _mean(by_seed: Sequence[float | None]) -> float:
    return float(numbers(by_seed).mean())
