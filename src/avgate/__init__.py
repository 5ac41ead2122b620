"""avgate: per-frame valence and arousal from face and voice, fused with gated recursive joint cross-attention.

from avgate import Predictor
trace = Predictor()("video.mp4")      # trace.time_s, trace.targets["valence"], trace.gates, ...
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avgate.core.errors import AvgateError
    from avgate.core.gates import Gate
    from avgate.core.types import Trace
    from avgate.inference.estimator import Estimator
    from avgate.inference.predictor import Predictor
    from avgate.inference.streaming import Streamer
    from avgate.models.checkpoint import load_checkpoint

__version__ = version("avgate")
__all__ = ["AvgateError", "Estimator", "Gate", "Predictor", "Streamer", "Trace", "__version__", "load_checkpoint"]

_HOMES = {
    "AvgateError": "avgate.core.errors",
    "Estimator": "avgate.inference.estimator",
    "Gate": "avgate.core.gates",
    "Predictor": "avgate.inference.predictor",
    "Streamer": "avgate.inference.streaming",
    "Trace": "avgate.core.types",
    "load_checkpoint": "avgate.models.checkpoint",
}


if not TYPE_CHECKING:  # to which any name would be one, a misspelt one too

    def __getattr__(name: str) -> Any:
        # Loaded on first use: importing torch and mediapipe takes seconds, and `avgate --help` needs neither.
        if name not in _HOMES:
            raise AttributeError(f"module 'avgate' has no attribute '{name}'")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
