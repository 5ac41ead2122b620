"""The trace of a part of a recording equals that part of the whole's, away from the seams (docs/predict.md)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from avgate.core.types import SAMPLE_RATE, Trace, VideoFrame, Waveform
from avgate.features.tracks import extract_tracks
from avgate.inference.predictor import Predictor
from avgate.media import Media

FPS, WHOLE_S, NEAR_S, ALIKE = 25, 45, 11.0, 0.003


class Part:
    """A part of a recording, as frames and sound on a clock of its own."""

    name, has_frames = "part", True

    def __init__(self, images: list[np.ndarray], sound: np.ndarray, begin_s: float, end_s: float):
        self.notes: list[str] = []
        self.images = images[round(begin_s * FPS) : round(end_s * FPS)]
        self.samples = sound[round(begin_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]
        self.sound_end_s = end_s - begin_s

    def frames(self) -> Iterator[VideoFrame]:
        yield from (VideoFrame(i / FPS, image) for i, image in enumerate(self.images))

    def frame_times(self) -> np.ndarray:
        return np.arange(len(self.images)) / FPS

    def sound(self) -> Iterator[Waveform]:
        yield Waveform(self.samples, 0.0)


def film(clips: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """45 s of several people who speak, each for 3 s."""
    media = [Media(path) for path in sorted(clips.glob("grid_*.mpg"))]
    images = [[frame.image for frame in one.frames()] for one in media]
    sounds = [np.concatenate([piece.samples for piece in one.sound()]) for one in media]
    shown = list(islice((image for of_one in cycle(images) for image in of_one[: 3 * FPS]), WHOLE_S * FPS))
    heard = np.concatenate(list(islice((np.resize(s, 3 * SAMPLE_RATE) for s in cycle(sounds)), WHOLE_S // 3)))
    return shown, heard


def apart(whole: Trace, part: Trace, begin_s: float) -> np.ndarray:
    """By how much the targets differ in each of the part's frames, the largest."""
    rows = slice(round(begin_s * FPS), round(begin_s * FPS) + len(part))
    return np.max([np.abs(whole.targets[name][rows] - part.targets[name]) for name in whole.targets], axis=0)


@pytest.mark.slow  # it looks at faces for 75 s
def test_a_part_is_estimated_as_within_the_whole_away_from_its_seams(clips_dir, any_face_model):
    predictor = Predictor(faces_every=5)
    images, sound = film(clips_dir)

    def trace(begin_s: float, end_s: float) -> Trace:
        part = Part(images, sound, begin_s, end_s)
        return predictor.trace(extract_tracks(part, predictor.backbones, faces_every=5), part)

    whole = trace(0, WHOLE_S)
    recipe = predictor.estimator.recipe
    hop_s, near = recipe.hop / recipe.label_rate, round(NEAR_S * FPS)
    assert recipe.window / recipe.label_rate + predictor.estimator.smooth_s / 2 <= NEAR_S
    begin_s = 2 * hop_s
    differs = apart(whole, trace(begin_s, begin_s + 30), begin_s)
    assert differs[near:-near].max() < ALIKE
    assert differs[:FPS].max() > ALIKE, "else the seams needn't be spoken of"
