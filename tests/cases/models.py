"""Models that users had trouble with, as backbones; and traces, as `avgate report FILE --out o.html`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from avgate.apps.report import report
from avgate.core.errors import AvgateError, UsageError
from avgate.core.types import FaceTrack, VideoFrame, Waveform
from avgate.faces import FaceTracker
from avgate.features.registry import build_backbones
from avgate.features.steps import features_of
from tests.cases.measure import Case, Found, measured
from tests.sounds import babble


def _face() -> FaceTrack:
    from skimage.data import astronaut

    picture = np.ascontiguousarray(astronaut()[:300, 60:400])
    frames = [VideoFrame(i / 10, picture) for i in range(5)]
    (track,) = FaceTracker(crops=True).track(frames, block=len(frames))
    return track


def _features(name: str) -> np.ndarray:
    """The present features of a face, or of five seconds of syllables."""
    (backbone,) = build_backbones([name], 10.0)
    hears = backbone.modality == "audio"
    track = features_of(backbone, [Waveform(babble(5.0), 0.0) if hears else _face()], 5.0 if hears else 0.5)
    assert track.values.shape[1] == len(track.columns)
    return track.values[track.present]


def _columns(name: str, kind: str, right: str, expected: list[float] | int) -> Case:
    """A model that gives rows of these values, or of so many columns."""

    def look(folder: Path) -> Found:
        found = measured(lambda: _features(f"{kind}:{folder / name}"))
        if found.error is not None:
            return str(found), False
        values = found.result
        if isinstance(expected, int):
            return f"{values.shape[1]} columns", values.shape[1] == expected and bool(np.isfinite(values).all())
        return f"{values[0].round(3).tolist()}", values.shape[1] == len(expected) and np.allclose(values, expected)

    return Case("models", name, right, look)


def _unnormalised(folder: Path) -> Found:
    """The preprocessor's own word counts: features are nearer to the library's than those of normalised pictures."""
    source = folder / "vit_without_normalisation"
    own, wrong = _features(f"hf_image:{source}"), _of_the_library(source, do_normalize=True)
    apart = float(np.abs(own - _of_the_library(source)).max())
    return f"{apart:.3f} from the library's own features, {np.abs(own - wrong).max():.2f} from normalised ones", (
        apart < 0.05 and apart < np.abs(own - wrong).max() / 5
    )


def _of_the_library(source: Path, **changes: object) -> np.ndarray:
    """A face's features as transformers' own processor and model give them, averaged over tokens."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    settings = json.loads((source / "preprocessor_config.json").read_text())
    kind = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
    inputs = kind(**{**settings, **changes})(list(_face().crop), return_tensors="pt")
    with torch.no_grad():
        return transformers.AutoModel.from_pretrained(source).eval()(**inputs).last_hidden_state.mean(1).numpy()


def _adapter(folder: Path) -> Found:
    found = measured(lambda: _features(f"hf_audio:{folder / 'wav2vec2_with_adapter'}"))
    if found.error is not None:
        return str(found), found.clear
    return f"{found.result.shape[1]} columns", bool(np.isfinite(found.result).all())


def _trace(name: str, right: str, suffixes: tuple[str, ...], names: tuple[str, ...] = ()) -> Case:
    """A trace that is refused, with an error that holds these words."""

    def look(folder: Path) -> Found:
        said = []
        holds = True
        for suffix in suffixes:
            with tempfile.TemporaryDirectory() as root:
                out = Path(root) / f"o{suffix}"
                found = measured(lambda out=out: report(folder / name, out))
                holds &= isinstance(found.error, UsageError | AvgateError) and not out.exists()
                holds &= all(word in str(found.error) for word in names) and found.seconds < 2
            said.append(f"{suffix}: {found}")
        return "; ".join(said), holds

    return Case("traces", name, right, look)


MODELS = (
    _columns("tokens.onnx", "onnx_image", "averaged over tokens: 0..7", [0, 1, 2, 3, 4, 5, 6, 7]),
    _columns("nhwc_map.onnx", "onnx_image", "averaged over places: 0..5", [0, 1, 2, 3, 4, 5]),
    _columns("two1d.onnx", "onnx_image", "one column", 1),
    _columns("snd1d.onnx", "onnx_audio", "one column", 1),
    Case("models", "vit_without_normalisation", "the preprocessor's own settings count", _unnormalised),
    Case("models", "wav2vec2_with_adapter", "features, or a clear error", _adapter),
)
TRACES = (
    _trace("deep.json", "one clear error", (".html", ".png")),
    _trace("bigint.json", "one clear error", (".html", ".png")),
    _trace("outofrange.json", "refused, naming the row", (".html", ".png"), ("row",)),
)
