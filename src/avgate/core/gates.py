"""Gates as values, and the one place where they get their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avgate.core.modalities import MODALITIES, modality_named


@dataclass(frozen=True)
class Gate:
    """One gate of a model; its values over time are in [0, 1].

    Attributes:
        kind: what it decides.
            `attended`: share of attended (cross-modal) features in what the model used of the modality; 0 is untouched.
            `iteration`: weight of one iteration's output; iteration 0 is the modality's own input.
            `reliability`: how far the modality was relied on.
            `weight`: weight of the modality beside the others.
            Any other word is a gate of a fusion of its own.
        modality: whose gate it is, such as "audio" or "video"; empty where it is nobody's.
        iteration: which iteration, for that kind only.
    """

    kind: str
    modality: str = ""
    iteration: int | None = None

    @property
    def name(self) -> str:
        """Its name in files: `face_attended`, `voice_iteration_2`."""
        parts = [modality_named(self.modality).plain if self.modality else "", self.kind]
        parts += [] if self.iteration is None else [str(self.iteration)]
        return "_".join(filter(None, parts))

    @classmethod
    def named(cls, name: str) -> Gate:
        """The gate that a file calls by that name; the inverse of `name`."""
        found = re.fullmatch(r"(.+)_(attended|reliability|weight)|(.+)_iteration_(0|[1-9][0-9]{0,3})", name)
        if found is None:
            return cls(name)
        plain = found[1] or found[3]
        modality = next((m.name for m in MODALITIES if m.plain == plain), plain)
        return cls("iteration", modality, int(found[4])) if found[4] else cls(found[2], modality)


def gates_of(output: Mapping[str, Any], modalities: Sequence[str]) -> dict[Gate, Any]:
    """The gates, each [...], from what a fusion gives back.

    Args:
        output: a FusionOutput's gates, [... n] each: arrays or tensors.
        modalities: the model's, in their order.
    """
    gates: dict[Gate, Any] = {}
    for i, m in enumerate(modalities):
        attended, stage = output.get(f"attended/{m}"), output.get(f"iteration/{m}")
        if attended is not None:
            # Without a stage gate, only the last iteration's output is used.
            share = attended[..., -1] if stage is None else (attended * stage).sum(-1)
            # Weights that add up to 1 do so but for rounding.
            gates[Gate("attended", m)] = share.clip(0, 1)
        if stage is not None:
            gates |= {Gate("iteration", m, t + 1): stage[..., t] for t in range(stage.shape[-1])}
        if (candidate := output.get(f"candidate/{m}")) is not None:
            gates |= {Gate("iteration", m, t): candidate[..., t] for t in range(candidate.shape[-1])}
        if f"reliability/{m}" in output:
            gates[Gate("reliability", m)] = output[f"reliability/{m}"][..., 0]
        if "modality" in output:
            gates[Gate("weight", m)] = output["modality"][..., i]
    return gates
