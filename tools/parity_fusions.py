"""Rows of docs/parity.md about the fusions: each against a NumPy form of its equations."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from avgate.models.fusions import FUSIONS, Fusion
from tests.golden.reference_fusions import REFERENCES
from tests.golden.test_fusions import MODALITIES, WINDOW, random_batch, random_fusion

INTRO = "Each fusion against a NumPy form that was written from the equations alone, in float64."


def rows() -> list[tuple[str, str, str, float]]:
    """One row per fusion."""
    return [
        (f"`{fusion.name}`", "its equations in NumPy", "4 sequences with absences", difference(fusion))
        for fusion in FUSIONS
    ]


def difference(fusion: type[Fusion]) -> float:
    """The largest difference of the fused features, by default settings and random weights."""
    settings = {f.name: f.default for f in fields(fusion.Config) if f.name != "dropout"}
    rng = np.random.default_rng(1)
    features, present = random_batch(MODALITIES[0], WINDOW, rng)
    dims = {m: features[m].shape[-1] for m in fusion.modalities(tuple(features))}
    module = random_fusion(fusion, settings, dims, seed=0)
    shape = next(iter(present.values())).shape
    features |= {name: rng.normal(size=(*shape, d)) for name, d in module.inputs.items() if name not in dims}
    with torch.no_grad():
        ours = module(
            {m: torch.from_numpy(x) for m, x in features.items()}, {m: torch.from_numpy(p) for m, p in present.items()}
        ).fused.numpy()
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    others = [
        REFERENCES[fusion.name](
            weights, {m: x[i] for m, x in features.items()}, {m: p[i] for m, p in present.items()}, **settings
        )[0]
        for i in range(len(ours))
    ]
    return float(np.abs(ours - np.stack(others)).max())
