"""From a recording to a trace: an Estimator with feature extractors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.places import Place
from avgate.core.timeline import Grid
from avgate.core.types import Trace
from avgate.faces import Person
from avgate.features.store import source_fingerprint
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.clip import on_common_grid
from avgate.inference.estimator import Estimator
from avgate.inference.notes import notes_of
from avgate.media import Images, InMemory, Media, Recording, open_recording
from avgate.models.checkpoint import Checkpoint, FeatureSpec
from avgate.models.intervals import DEFAULT_LEVEL


class Predictor:
    """A trained model, ready for recordings: `Predictor()("video.mp4")` is a Trace.

    Args:
        checkpoint: an Estimator, a checkpoint, its file or its run's folder, or the address of either; None takes the
            weights that come with avgate.
        face_model: face_landmarker.task; None takes mediapipe's own, or AVGATE_FACE_MODEL.
        level: share of the true values that intervals are made to hold, from 0.5 to 0.99; an Estimator brings its own.
        faces_every: n: the face is measured in every n-th frame, and interpolated between.

    Attributes:
        estimator: the model.
        backbones: its feature extractors.

    Raises:
        CheckpointError: the file is no checkpoint, or one whose features can't be made of a recording.
    """

    def __init__(
        self,
        checkpoint: Estimator | Checkpoint | str | Place | None = None,
        face_model: str | Path | None = None,
        level: float = DEFAULT_LEVEL,
        faces_every: int = 1,
    ):
        if faces_every < 1:
            raise UsageError(
                f"faces can't be measured in every {faces_every}th frame", where="faces_every", hint="use 1 or more"
            )
        self.estimator = checkpoint if isinstance(checkpoint, Estimator) else Estimator(checkpoint, level=level)
        self.face_model, self.faces_every = face_model, faces_every
        self.backbones = self.estimator.extractors(
            "a video", where=None if isinstance(checkpoint, Estimator | Checkpoint) else checkpoint
        )

    def __call__(
        self,
        video: str | Path | np.ndarray | Sequence[np.ndarray],
        times: np.ndarray | Sequence[float] | None = None,
        sound: np.ndarray | None = None,
        rate: int | None = None,
        *,
        fps: float | None = None,
        person: str | None = None,
    ) -> Trace:
        """The trace of one recording, in constant memory but for features and trace.

        It has one row per frame. Of sound alone it has one per step of the model's label rate, from 0 s on. After a
        pause longer than the model's window, in which nothing is seen or heard, the estimate begins anew.

        Args:
            video: a video file, sound file, image or folder of images; or frames: uint8 [n h w 3], RGB and upright.
            times: of frames in memory: float [n], when each is shown, in seconds, increasing.
            sound: beside frames in memory: float [m] mono or [m 2] stereo in [-1, 1], from 0 s on; None is no sound.
            rate: of that sound, in samples per second.
            fps: images per second in a folder without times.csv.
            person: whom to follow: left, middle, right, largest, a number from the left (1, 2, ...), or time,x,y
                (seconds, and fractions of the picture where x and y are at most 1, else pixels). Unless given, the
                largest face.

        Raises:
            MediaError: the file can't be decoded, or nothing gives the times of a folder's images.
            UsageError: frames, times and sound don't fit together, or that person isn't there.
        """
        if not isinstance(video, str | Path):
            recording: Recording = InMemory(video, () if times is None else times, sound, rate)
        elif times is not None or sound is not None:
            raise UsageError("a file has its own times and sound", where=video, hint="give the file alone")
        else:
            recording = open_recording(video, fps)
        whom = None if person is None else Person.named(person)
        extracted = extract_tracks(
            recording, self.backbones, self.face_model, person=whom, faces_every=self.faces_every
        )
        return self.trace(extracted, recording, whom)

    def trace(self, extracted: Extracted, recording: Recording, person: Person | None = None) -> Trace:
        """The trace of features that were extracted from a recording, of a person who may have been chosen."""
        recipe = self.estimator.recipe
        file = recording.path if isinstance(recording, Media | Images) else None
        name = file.resolve().name if file else recording.name
        parts = []
        for tracks, rows in extracted.sections(self.estimator.pause_s):
            self.estimator.check([FeatureSpec.of(t) for t in tracks], recording.name)
            clip = on_common_grid(name, tracks, Grid(recipe.label_rate, tracks[0].grid.start_s))
            times = clip.grid.start_s + np.arange(len(clip)) / clip.grid.rate
            parts.append(self.estimator.trace(clip, extracted.time_s[rows] if recording.has_frames else times))
        trace = _joined(parts)
        said = notes_of(trace, extracted, recording, recipe.label_rate)
        face = {"face": extracted.face} if len(extracted.face) else {}
        chosen: dict[str, object] = {"person": person.text} if person else {}
        if self.faces_every > 1:
            chosen["faces_every"] = self.faces_every
        source = {"video": name, "video_fingerprint": source_fingerprint(file)} if file else {}
        return replace(
            trace,
            present={**trace.present, **face},
            notes=(*trace.notes, *extracted.notes, *said),
            provenance={**source, **chosen, **trace.provenance},
            face_box=extracted.box if len(extracted.box) else None,
        )


def _joined(parts: Sequence[Trace]) -> Trace:
    """One trace of the traces of a recording's sections."""
    if len(parts) == 1:
        return parts[0]

    def column(of: Callable[[Trace], Mapping[Any, np.ndarray]]) -> dict[Any, np.ndarray]:
        return {name: np.concatenate([of(part)[name] for part in parts]) for name in of(parts[0])}

    return replace(
        parts[0],
        time_s=np.concatenate([part.time_s for part in parts]),
        targets=column(lambda part: part.targets),
        raw=column(lambda part: part.raw),
        low=column(lambda part: part.low),
        high=column(lambda part: part.high),
        present=column(lambda part: part.present),
        gates=column(lambda part: part.gates),
    )
