"""From a recording to a trace: an Estimator with feature extractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgate.core.errors import CheckpointError, UsageError
from avgate.core.types import Trace
from avgate.features.registry import build_backbones, modality_of
from avgate.features.store import source_fingerprint
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.clip import on_common_grid
from avgate.inference.estimator import Estimator
from avgate.media import Images, InMemory, Media, Recording, open_recording
from avgate.models.checkpoint import Checkpoint, FeatureSpec
from avgate.models.intervals import DEFAULT_LEVEL


class Predictor:
    """A trained model, ready for recordings: `Predictor()("video.mp4")` is a Trace.

    Args:
        checkpoint: an Estimator, a checkpoint, its file or its run's folder; None takes the weights that come with
            avgate.
        face_model: face_landmarker.task; None takes mediapipe's own, or AVGATE_FACE_MODEL.
        level: share of the true values that intervals are made to hold, from 0.5 to 0.99; an Estimator brings its own.

    Attributes:
        estimator: the model.
        backbones: its feature extractors.

    Raises:
        CheckpointError: the file is no checkpoint, or one whose features can't be made of a recording.
    """

    def __init__(
        self,
        checkpoint: Estimator | Checkpoint | str | Path | None = None,
        face_model: str | Path | None = None,
        level: float = DEFAULT_LEVEL,
    ):
        self.estimator = checkpoint if isinstance(checkpoint, Estimator) else Estimator(checkpoint, level=level)
        features = self.estimator.checkpoint.features
        brought = [f.backbone for f in features if not modality_of(f.backbone)]
        if brought:
            what = f"its features ({', '.join(brought)}) come with their corpus; avgate can't make them of a video"
            where = checkpoint if isinstance(checkpoint, str | Path) else None
            raise CheckpointError(what, where=where, hint="take a checkpoint that was trained on extracted features")
        self.face_model = face_model
        self.backbones = build_backbones([f.backbone for f in features], self.estimator.recipe.label_rate)

    def __call__(
        self,
        video: str | Path | np.ndarray | Sequence[np.ndarray],
        times: np.ndarray | Sequence[float] | None = None,
        sound: np.ndarray | None = None,
        rate: int | None = None,
        *,
        fps: float | None = None,
    ) -> Trace:
        """The trace of one recording, in constant memory but for features and trace.

        It has one row per frame. Of sound alone it has one per step of the model's label rate, from 0 s on.

        Args:
            video: a video file, sound file, image or folder of images; or frames: uint8 [n h w 3], RGB and upright.
            times: of frames in memory: float [n], when each is shown, in seconds, increasing.
            sound: beside frames in memory: float [m] mono or [m 2] stereo in [-1, 1], from 0 s on; None is no sound.
            rate: of that sound, in samples per second.
            fps: images per second in a folder without times.csv.

        Raises:
            MediaError: the file can't be decoded, or nothing gives the times of a folder's images.
            UsageError: frames, times and sound don't fit together.
        """
        if not isinstance(video, str | Path):
            recording: Recording = InMemory(video, () if times is None else times, sound, rate)
        elif times is not None or sound is not None:
            raise UsageError("a file has its own times and sound", where=video, hint="give the file alone")
        else:
            recording = open_recording(video, fps)
        return self.trace(extract_tracks(recording, self.backbones, self.face_model), recording)

    def trace(self, extracted: Extracted, recording: Recording) -> Trace:
        """The trace of features that were extracted from a recording."""
        checkpoint = self.estimator.checkpoint
        self.estimator.check([FeatureSpec.of(t) for t in extracted.tracks], recording.name)
        file = recording.path if isinstance(recording, Media | Images) else None
        name = file.resolve().name if file else recording.name
        clip = on_common_grid(name, extracted.tracks, checkpoint.recipe.grid)
        time_s = extracted.time_s if recording.has_frames else np.arange(len(clip)) / clip.grid.rate
        trace = self.estimator.trace(clip, time_s)
        face = {"face": extracted.face} if len(extracted.face) else {}
        source = {"video": name, "video_fingerprint": source_fingerprint(file)} if file else {}
        return replace(
            trace,
            present={**trace.present, **face},
            notes=(*trace.notes, *extracted.notes, *_notes(trace, extracted, recording)),
            provenance={**source, **trace.provenance},
        )


def _notes(trace: Trace, extracted: Extracted, recording: Recording) -> list[str]:
    """What the user must know of this estimate, beside what the recording itself gave cause to say."""
    notes = []
    if isinstance(recording, Images):
        notes.append("This is a still image, without sound." if recording.single else "The images have no sound.")
    if not recording.has_frames:
        step_s = trace.time_s[1] - trace.time_s[0] if len(trace) > 1 else 0
        notes.append(f"There is sound alone, and no face to see: the estimate has a row every {step_s:g} s.")
    if len(extracted.face) and not extracted.face.any():
        heard = trace.present.get("audio", np.zeros(0, bool)).any()
        where = "any frame" if len(extracted.face) > 1 else "the image"
        notes.append(f"No face was found in {where}" + (": the estimate rests on the sound alone." if heard else "."))
    elif len(extracted.face) and not any(t.present.any() for t in extracted.tracks if t.modality == "video"):
        notes.append("A face was seen, but never in two frames in a row: it is left out.")
    if extracted.others.any():
        notes.append(
            f"Further faces were in view (up to {extracted.others.max()}); "
            "the estimate is of the one person that was followed."
        )
    known = np.isfinite(next(iter(trace.targets.values())))
    if not known.all():
        rows = "frames" if recording.has_frames else "rows"
        unknown = f"{(~known).sum()} of {len(known)} {rows} have no estimate"
        notes.append(f"{unknown}: neither a face nor sound was there to judge by.")
    return notes
