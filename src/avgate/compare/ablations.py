"""`avgate compare --ablate`: hgrjca with one thing changed at a time, to see what each of its choices is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from avgate.compare.protocol import Variant
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.recipe import Recipe

PUBLISHED = "as published"
"""Name of the variant without changes, the reference."""

CHANGES: dict[str, dict[str, Any]] = {
    PUBLISHED: {},
    **{f"{n} iteration{'s' * (n > 1)}": {"iterations": n} for n in (1, 2, 4, 5)},
    "no gate": {"iteration_gate": False, "stage_gate": False},
    "iteration gate only": {"stage_gate": False},
    "stage gate only": {"iteration_gate": False},
    **{f"tau {tau:g}": {"tau": tau} for tau in (0.05, 0.5, 1.0)},
    "gate sees both": {"gate_sees": "both"},
    "gate sees all": {"gate_sees": "all"},
    "attended features feed the next iteration": {"next_input": "attended"},
    "time mixing relative": {"time_mixing": "relative"},
    "no final ReLU": {"final_relu": False},
    "correlations divided by steps too": {"scale": "sqrt_d_and_steps"},
    "inputs scaled by reliability": {"reliability": "scaled"},
    "fallback by reliability": {"reliability": "fallback"},
    "no final ReLU, fallback, one encoder": {"final_relu": False, "reliability": "fallback", "one_encoder": True},
    "no final ReLU, fallback (rhgrjca)": {"final_relu": False, "reliability": "fallback"},
}
"""Name -> fields of HgrjcaConfig that differ from what was published: 3 iterations, both gates, tau 0.1, and so on."""


PARTS = (
    PUBLISHED,
    "no final ReLU",
    "gate sees all",
    "inputs scaled by reliability",
    "fallback by reliability",
    "no final ReLU, fallback, one encoder",
    "no final ReLU, fallback (rhgrjca)",
)
"""The changes that lead from hgrjca to rhgrjca."""


def ablations(recipe: Recipe, names: Sequence[str] = tuple(CHANGES)) -> list[Variant]:
    """A variant of the recipe for each of these changes of hgrjca as published; its dropout stays the recipe's."""
    dropout = getattr(recipe.model.fusion, "dropout", HgrjcaConfig.dropout)
    fusions = {name: HgrjcaConfig(dropout=dropout, **CHANGES[name]) for name in names}
    return [Variant(n, replace(recipe, model=replace(recipe.model, fusion=f))) for n, f in fusions.items()]
