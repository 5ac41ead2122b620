"""What an exported file says of itself: all that its user needs beside the numbers, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avgate.apps.export.program import Program
from avgate.core.files import json_values
from avgate.core.gates import gates_of
from avgate.inference.estimator import Estimator
from avgate.models.intervals import LEVELS
from avgate.models.recipe import to_plain


def about(program: Program, estimator: Estimator, gates: tuple[str, ...]) -> dict[str, str]:
    """The metadata of a file: name -> JSON; docs/export.md has their meaning.

    Args:
        program: what the file holds.
        estimator: the model that it came from.
        gates: names of the columns of the output `gates`.
    """
    checkpoint, recipe = estimator.checkpoint, estimator.recipe
    intervals = checkpoint.intervals
    found: dict[str, Any] = {
        "avgate": estimator.provenance["avgate"],
        "form": program.form,
        "targets": checkpoint.targets,
        "gates": gates,
        "features": [vars(spec) for spec in checkpoint.features],
        "statistics": {
            m: {name: values.tolist() for name, values in vars(stats).items()} for m, stats in checkpoint.stats.items()
        },
        "label_rate": recipe.label_rate,
        "window": recipe.window,
        "hop": recipe.hop,
        "longest": program.longest,
        "fixed_length": program.fixed,
        "smooth_steps": checkpoint.smooth_steps,
        "smooth_one_sided": estimator.model.causal,
        "intervals": None if intervals is None else intervals.to_plain() | {"levels": LEVELS},
        "notes": estimator.notes,
        "demonstration": checkpoint.demonstration,
        "recipe": to_plain(recipe),
        "trained_by": checkpoint.avgate,
        "weights_sha256": digest(checkpoint.weights),
    }
    return {f"avgate.{name}": json.dumps(json_values(value), ensure_ascii=False) for name, value in found.items()}


def gate_names(estimator: Estimator) -> tuple[str, ...]:
    """The columns of the output `gates`, in order; none for a model without gates."""
    model, stats = estimator.model, estimator.checkpoint.stats
    with torch.no_grad():
        blank = {m: torch.zeros(1, 1, len(stats[m].mean)) for m in model.modalities}
        out = model(blank, {m: torch.ones(1, 1, dtype=torch.bool) for m in model.modalities})
    return tuple(gate.name for gate in gates_of(out.gates, model.modalities))


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's weights: of each by name, its name, type, shape and bytes."""
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        found.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        found.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
