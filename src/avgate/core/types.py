"""The values that pass between rooms, with their shapes, units and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avgate.core.gates import Gate
from avgate.core.timeline import Grid

Modality = str
"""Name of a modality; the table in core/modalities.py has them all."""

SAMPLE_RATE = 16_000
"""Samples per second of every Waveform."""

CROP_SIZE = 112
"""Side of an aligned face crop in pixels."""

MESH_POINTS = 478
"""Points of the face mesh, iris included."""

BLENDSHAPES = (
    "neutral",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""mediapipe's 52 face blendshapes, in its order; its own name of the first one is _neutral."""


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame: `time_s` from the container, `image` uint8 [h w 3] RGB, upright (rotation applied)."""

    time_s: float
    image: np.ndarray


@dataclass(frozen=True)
class Waveform:
    """Mono sound: `samples` float32 [n] in [-1, 1] at SAMPLE_RATE, the first one at `start_s` on the video's clock."""

    samples: np.ndarray
    start_s: float = 0.0

    @property
    def end_s(self) -> float:
        """When the last sample ends, in seconds."""
        return self.start_s + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class FaceTrack:
    """The followed person's face in n consecutive frames.

    Attributes:
        time_s: float64 [n], container timestamps in seconds.
        present: bool [n], False where the followed person's face was not found.
        mesh: float32 [n 478 3], x and y in pixels of the upright frame, z in the same unit (smaller is nearer); NaN
            where absent.
        box: float32 [n 4], x0 y0 x1 y1 of the mesh in pixels; NaN where absent.
        crop: uint8 [n 112 112 3] RGB aligned on eyes and mouth (0 where absent), or None when no backbone asked for
            crops.
        others: int [n], how many further faces were in view.
        frame_size: width and height of the frames in pixels.
        blendshapes: float32 [n 52] in [0, 1], mediapipe's scores in the order of BLENDSHAPES (NaN where absent), or
            None when no backbone asked for them.
    """

    time_s: np.ndarray
    present: np.ndarray
    mesh: np.ndarray
    box: np.ndarray
    crop: np.ndarray | None
    others: np.ndarray
    frame_size: tuple[int, int]
    blendshapes: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.time_s)


@dataclass(frozen=True)
class FeatureTrack:
    """One backbone's features of one clip on a regular grid.

    Attributes:
        values: float32 [n d]; rows that aren't present are NaN.
        present: bool [n], where the modality exists at all (a face was found; the file has sound at that time).
        grid: the clock of the n steps.
        backbone: name of the backbone.
        modality: "audio", "video" or another row of core/modalities.py.
        columns: d names.
        fingerprint: hash of the backbone's code version, parameters and weights.
        active: float32 [n] in [0, 1], share of the step with voice activity; None where the backbone can't tell.
    """

    values: np.ndarray
    present: np.ndarray
    grid: Grid
    backbone: str
    modality: Modality
    columns: tuple[str, ...]
    fingerprint: str
    active: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, d = self.values.shape
        if (
            self.present.shape != (n,)
            or len(self.columns) != d
            or (self.active is not None and self.active.shape != (n,))
        ):
            raise ValueError(
                f"{self.backbone}: values {self.values.shape}, present {self.present.shape} "
                f"and {len(self.columns)} columns disagree"
            )


@dataclass(frozen=True)
class LabelTrack:
    """Labels of one or more targets over time.

    Attributes:
        time_s: float64 [n] seconds, increasing: time of each label, or start of its interval.
        values: float32 [n k] in [-1, 1]; NaN where unknown.
        targets: k names.
        until_s: float64 [n] seconds, end of each label's interval, infinity for the end of the clip; None where labels
            are of single times.
        notes: what the user must know of the file they come from (columns or tiers left out, ...), one sentence each.
    """

    time_s: np.ndarray
    values: np.ndarray
    targets: tuple[str, ...]
    until_s: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus.

    Attributes:
        name: unique in the corpus, usable as a file name.
        video: the media file.
        split: "train", "validation" or "test".
        group: person ID; a person is never in two splits.
        labels: the label file, or None for unlabelled clips.
        crops: the folder of the person's face crops, one per frame (00001.jpg is the first), or None where the face is
            to be found in the video.
        source: where the recording comes from, in a corpus of several, such as stills and speech. A training
            batch holds clips of one source, and validation weighs sources alike.
        weight: how often training sees the clip in an epoch; 0.5 is every second epoch.
    """

    name: str
    video: Path
    split: str
    group: str
    labels: Path | None = None
    crops: Path | None = None
    source: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Trace:
    """The estimate for one video, one row per decoded frame.

    Attributes:
        time_s: float64 [n], the frames' container timestamps.
        targets: name -> float64 [n] in [-1, 1], post-processed as the recipe says; NaN where no modality gave any
            evidence.
        raw: the same before post-processing.
        present: name -> bool [n]: "face", "audio" (the file has sound there) and "voice" (someone speaks).
        gates: gate -> float64 [n] in [0, 1]; NaN like the targets. `trace.gates[Gate("attended", "video")]` is how far
            the model mixed into the face what the voice suggests.
        source: the video file's name.
        notes: what the user must know (truncated file, limits of the weights, ...), one sentence each.
        provenance: checkpoint, recipe, versions, fingerprints: what is needed to measure it again.
        low: lower end of each target's interval, in [-1, 1]; NaN like the targets. Empty for models without intervals.
        high: upper end.
        level: share of the true values that intervals are made to hold, such as 0.9; None without intervals.
        face_box: float64 [n 4], x0 y0 x1 y1 of the followed person's face as fractions of the picture's width and
            height (pictures of another shape than the first are centred in its shape); NaN where it wasn't found. None
            where no face was looked for.
    """

    time_s: np.ndarray
    targets: Mapping[str, np.ndarray]
    present: Mapping[str, np.ndarray]
    gates: Mapping[Gate, np.ndarray] = field(default_factory=dict)
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    low: Mapping[str, np.ndarray] = field(default_factory=dict)
    high: Mapping[str, np.ndarray] = field(default_factory=dict)
    level: float | None = None
    face_box: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.time_s)
