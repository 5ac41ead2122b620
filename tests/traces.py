"""A trace as the default model makes it, for the tests of what is written and shown."""

from __future__ import annotations

import numpy as np

from avgate.core.gates import Gate
from avgate.core.types import Trace

UNKNOWN_S = (6.0, 7.2)
"""The stretch of `make_trace` without any evidence, in seconds."""


def make_trace(frames: int = 500, rate: float = 25.0, *, gates: bool = True, source: str = "interview.mp4") -> Trace:
    """Smooth curves, a stretch without a face, pauses in the speech, and a stretch where nothing is known."""
    time_s = np.round(np.arange(frames) / rate, 6)
    unknown = (time_s >= UNKNOWN_S[0]) & (time_s < UNKNOWN_S[1])
    face = ~unknown & ~((time_s % 19 > 12) & (time_s % 19 < 14.5))
    voice = ~unknown & (np.sin(time_s * 0.9) + 0.5 * np.sin(time_s * 2.3) > -0.45)
    valence = 0.55 * np.sin(time_s * 0.42 + 0.3) + 0.12 * np.sin(time_s * 1.7)
    arousal = 0.35 * np.sin(time_s * 0.31 + 1.9) + 0.25 * np.sin(time_s * 1.1) + 0.1
    targets = {"valence": valence, "arousal": arousal}
    raw = {name: values + 0.06 * np.sin(time_s * 9) for name, values in targets.items()}
    columns: dict[Gate, np.ndarray] = {}
    for modality, shift in (("audio", 0.0), ("video", 1.4)) if gates else ():
        columns[Gate("attended", modality)] = 1 / (1 + np.exp(-4 * np.sin(time_s * 0.8 + shift)))
        logits = np.stack([np.sin(time_s * (0.5 + 0.2 * t) + shift + t) for t in range(3)]) / 0.3
        weights = np.exp(logits) / np.exp(logits).sum(0)
        columns |= {Gate("iteration", modality, t + 1): weights[t] for t in range(3)}
    half = 0.25 + 0.1 * np.cos(time_s * 0.6)
    low = {name: np.clip(values - half, -1, 1) for name, values in targets.items()}
    high = {name: np.clip(values + half, -1, 1) for name, values in targets.items()}
    for values in (*targets.values(), *raw.values(), *low.values(), *high.values(), *columns.values()):
        values[unknown] = np.nan
    return Trace(
        time_s=time_s,
        targets=targets,
        raw=raw,
        low=low,
        high=high,
        level=0.9,
        present={"face": face, "voice": voice, "audio": np.ones(frames, bool)},
        gates=columns,
        source=source,
        notes=("Demonstration weights: the numbers show how avgate works, not how a person feels.",),
        provenance={
            "checkpoint": {"name": "demo", "sha256": "0f" * 32},
            "recipe": {"fusion": {"name": "hgrjca", "iterations": 3}, "targets": ("valence", "arousal")},
            "validation": {"valence": np.float32(0.5), "arousal": float("nan")},
        },
    )
