"""A small causal model with real features, and recordings played as streams, for the tests of live use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avgate.core.types import SAMPLE_RATE, Trace, VideoFrame, Waveform
from avgate.features.registry import build_backbones
from avgate.features.stats import FeatureStats
from avgate.features.tracks import extract_tracks
from avgate.inference.estimator import Estimator
from avgate.inference.predictor import Predictor
from avgate.inference.streaming import Result, Streamer
from avgate.media import Recording, open_recording
from avgate.models.checkpoint import Checkpoint, FeatureSpec, modality_dims
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import RhgrjcaConfig
from avgate.models.intervals import LEVELS, Intervals
from avgate.models.network import Model, ModelConfig
from avgate.models.recipe import Recipe

BACKBONES = ("egemaps?level=false&causal=true", "facemesh?causal=true")
TARGETS = ("valence", "arousal")


def causal_recipe(backbones: tuple[str, ...] = BACKBONES) -> Recipe:
    """Two-second windows, so that pauses of more than three seconds begin anew."""
    encoder = TcnConfig(channels=(8, 8), causal=True)
    fusion = RhgrjcaConfig(iterations=2, time_mixing="decay", reach=20)
    model = ModelConfig(fusion=fusion, encoders=dict.fromkeys(("audio", "video"), encoder))
    return Recipe(name="live-test", backbones=backbones, window_s=2.0, hop_s=1.0, model=model)


def causal_checkpoint(recording: Path, backbones: tuple[str, ...] = BACKBONES) -> Checkpoint:
    """Random weights whose statistics are those of a recording."""
    recipe = causal_recipe(backbones)
    made = build_backbones(backbones, recipe.label_rate)
    tracks = extract_tracks(open_recording(recording), made).tracks
    specs = tuple(FeatureSpec.of(track) for track in tracks)
    stats = {t.modality: FeatureStats.fit([t.values], [t.present]) for t in tracks}
    torch.manual_seed(0)
    model = Model(recipe.model, modality_dims(specs), len(TARGETS), recipe.window)
    widths = {t: np.linspace(0.5, 2.5, len(LEVELS)) for t in TARGETS}
    checkpoint = Checkpoint(recipe, specs, TARGETS, stats, model.state_dict(), smooth_steps=5)
    return replace(checkpoint, intervals=Intervals(40, widths, widths))


def pieces_of(
    recording: Recording, chunk_s: float = 0.02, late_s: float = 0.0, skip: frozenset[int] = frozenset()
) -> list[VideoFrame | Waveform]:
    """Frames and sound in the order in which they would come.

    Args:
        recording: what is played.
        chunk_s: sound comes in pieces of this length, each when it is complete. Where there is none, that is said.
        late_s: how much later sound comes than it was heard.
        skip: numbers of frames that never come.
    """
    frames = [frame for i, frame in enumerate(recording.frames()) if i not in skip]
    sound = [*chunks(recording, chunk_s)]
    coming: list[tuple[float, int, VideoFrame | Waveform]] = [(frame.time_s, 1, frame) for frame in frames]
    coming += [(piece.end_s + late_s, 0, piece) for piece in sound]
    starts, ends = (np.array([getattr(p, name) for p in sound] or [0.0]) for name in ("start_s", "end_s"))
    for frame in frames:
        at = int(np.searchsorted(starts, frame.time_s, side="right")) - 1
        if at < 0 or frame.time_s > ends[at] + 1e-3:
            coming.append((frame.time_s + late_s, 0, Waveform(np.zeros(0, np.float32), frame.time_s)))
    return [piece for _, _, piece in sorted(coming, key=lambda one: one[:2])]


def chunks(recording: Recording, chunk_s: float) -> Iterator[Waveform]:
    """A recording's sound in pieces of one length, but for those before gaps."""
    size = max(1, round(chunk_s * SAMPLE_RATE))
    for piece in recording.sound():
        for first in range(0, len(piece.samples), size):
            yield Waveform(piece.samples[first : first + size], piece.start_s + first / SAMPLE_RATE)


def played(stream: Streamer, pieces: list[VideoFrame | Waveform]) -> list[Result]:
    """All results of a stream."""
    return [result for piece in pieces for result in stream.push(piece)] + stream.finish()


def assert_same_trace(found: Trace, expected: Trace, tolerance: float = 1e-4) -> None:
    """Times, targets, intervals, gates and presence, unknown at the same places."""
    np.testing.assert_array_equal(found.time_s, expected.time_s)
    for name in ("targets", "raw", "low", "high", "gates"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert set(ours) == set(theirs), name
        for key, values in theirs.items():
            np.testing.assert_allclose(ours[key], values, rtol=0, atol=tolerance, err_msg=f"{name} {key}")
    assert set(found.present) == set(expected.present)
    for key, mask in expected.present.items():
        np.testing.assert_array_equal(found.present[key], mask, err_msg=key)


class Given:
    """A recording of these frames and this sound, with whatever holes they have."""

    name, has_frames = "given", True

    def __init__(self, frames: list[VideoFrame], sound: list[Waveform]):
        self.notes: list[str] = []
        self._frames, self._sound = frames, sound
        self.has_frames = bool(frames)
        self.sound_end_s = sound[-1].end_s if sound else 0.0

    def frames(self) -> Iterator[VideoFrame]:
        """See Recording."""
        return iter(self._frames)

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return np.array([frame.time_s for frame in self._frames])

    def sound(self) -> Iterator[Waveform]:
        """See Recording."""
        return iter(self._sound)


def shifted(piece: VideoFrame | Waveform, by_s: float) -> VideoFrame | Waveform:
    """The same later."""
    if isinstance(piece, VideoFrame):
        return replace(piece, time_s=piece.time_s + by_s)
    return replace(piece, start_s=piece.start_s + by_s)


def offline(estimator: Estimator, recording: Recording) -> Trace:
    """What Predictor says of the whole recording."""
    predictor = Predictor(estimator)
    return predictor.trace(extract_tracks(recording, predictor.backbones), recording)
