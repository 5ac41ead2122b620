"""What an exported file says of itself: all that its user needs beside the numbers, as JSON."""

from __future__ import annotations

import json
from typing import Any

from avgate.apps.export.program import Program
from avgate.core.files import json_values
from avgate.inference.estimator import Estimator
from avgate.models.intervals import LEVELS
from avgate.models.recipe import to_plain


def about(program: Program, estimator: Estimator) -> dict[str, str]:
    """The metadata of a file: name -> JSON; docs/export.md has their meaning.

    Args:
        program: what the file holds.
        estimator: the model that it came from.
    """
    checkpoint, recipe = estimator.checkpoint, estimator.recipe
    intervals = checkpoint.intervals
    found: dict[str, Any] = {
        "avgate": estimator.provenance["avgate"],
        "form": program.form,
        "targets": checkpoint.targets,
        "gates": program.gates,
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
        "fingerprint": checkpoint.fingerprint,
    }
    return {f"avgate.{name}": json.dumps(json_values(value), ensure_ascii=False) for name, value in found.items()}
