"""The demonstration weights that came with version 0.1.0 give the trace that they gave then, on made-up features."""

from pathlib import Path

import numpy as np
import pytest

from avgate.core.timeline import Grid
from avgate.core.types import FeatureTrack
from avgate.inference.clip import on_common_grid
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import Checkpoint
from avgate.report.writers.json import read_json

WEIGHTS = Path(__file__).parent / "demonstration.safetensors"
THEN = Path(__file__).parent / "demonstration_trace.json"
"""Written by version 0.1.0."""


def made_up_tracks(checkpoint: Checkpoint, n: int = 240) -> list[FeatureTrack]:
    """A random walk around the training mean; audio and video are absent for a while, and for a second both are."""
    random = np.random.default_rng(2025)
    absent = {"audio": slice(60, 100), "video": slice(90, 150)}
    found = []
    for spec in checkpoint.features:
        stats = checkpoint.stats[spec.modality]
        walk = np.cumsum(random.normal(size=(n, len(spec.columns))), 0)
        values = (stats.mean + stats.std * walk / 8).astype(np.float32)
        present = np.ones(n, bool)
        present[absent[spec.modality]] = False
        values[~present] = np.nan
        grid = Grid(checkpoint.recipe.label_rate)
        how = (grid, spec.backbone, spec.modality, spec.columns, spec.fingerprint)
        found.append(FeatureTrack(values, present, *how))
    return found


def test_the_demonstration_weights_give_the_same_trace_as_ever():
    estimator, then = Estimator(WEIGHTS), read_json(THEN)
    clip = on_common_grid("made up", made_up_tracks(estimator.checkpoint), estimator.recipe.grid)
    now = estimator.trace(clip, then.time_s)

    assert np.isnan(then.targets["valence"]).sum() > 5, "both modalities are absent for a while"
    # The file has six decimals, and batches round otherwise than the single windows of then.
    for kind, tolerance in (("targets", 1e-6), ("raw", 1e-6), ("gates", 2e-6)):
        expected, found = getattr(then, kind), getattr(now, kind)
        assert list(found) == list(expected)
        for name in expected:
            assert found[name] == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name
    assert {name: mask.tolist() for name, mask in now.present.items()} == {
        name: mask.tolist() for name, mask in then.present.items()
    }
