"""Live use: frames and sound in as they come, one estimate per frame out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import CheckpointError, UsageError
from avgate.core.gates import Gate
from avgate.core.modalities import modality_named
from avgate.core.state import Stateful, read_state, write_state
from avgate.core.types import Trace, VideoFrame, Waveform
from avgate.faces import FaceTracker
from avgate.features.sides import MOMENT_S, box_fractions
from avgate.inference.estimator import Estimator
from avgate.inference.live_features import LiveFeatures, LiveStep
from avgate.inference.notes import Tally
from avgate.inference.stepper import Stepper
from avgate.media.live_clock import LiveClock
from avgate.models.checkpoint import LIVE_WEIGHTS, Checkpoint
from avgate.models.intervals import DEFAULT_LEVEL

_MEDIA = {"audio": "sound", "video": "video"}

_GAPS = 4096
"""How many of the last frames' gaps decide how long the last frame lasts."""


@dataclass(frozen=True)
class Result:
    """The estimate for one frame, or for one step of sound alone; NaN where nothing gives evidence.

    Attributes:
        time_s: the frame's time in seconds; of sound alone, the step's start.
        targets: name -> estimate in [-1, 1], smoothed as the weights say.
        raw: the same before smoothing.
        low: lower end of each target's interval; empty for weights without intervals.
        high: upper end.
        gates: gate -> value in [0, 1].
        present: "face" (found in this frame), "audio" (there is sound) and "voice" (someone speaks), as far as the
            model looks for them.
        delay_s: by how much the newest input was later than time_s when this became known.
        looked: whether a face was searched in this frame.
        heard: whether the sound of its step was analysed; without, the step counts as sounding like the one before.
        face_box: x0 y0 x1 y1 of the followed person's face as fractions of this frame's width and height; None where
            it wasn't found.
        others: how many further faces were in view when they were last counted, about once a second.
    """

    time_s: float
    targets: Mapping[str, float]
    raw: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    gates: Mapping[Gate, float]
    present: Mapping[str, bool]
    delay_s: float
    looked: bool = True
    heard: bool = True
    face_box: tuple[float, float, float, float] | None = None
    others: int = 0


class Streamer(Stateful):
    """A trained causal model for one live stream of frames, sound, or both.

        with Streamer() as stream:
            for piece in camera_and_microphone:       # VideoFrame and Waveform, with times on one clock
                for result in stream.push(piece):
                    print(result.time_s, result.targets["valence"])

    A frame's result is known when its step is over and both media have come until then. It is what `Predictor` says of
    the whole recording with the same weights. Time and memory per frame are constant, however long the stream.

    Several streams run side by side, each in a thread of its own if need be; give them one Estimator, so that they
    share its model.

    Args:
        checkpoint: a causal Estimator or checkpoint, its file or its run's folder; None takes the weights for live use
            that come with avgate.
        face_model: face_landmarker.task; None takes mediapipe's own, or AVGATE_FACE_MODEL.
        level: share of the true values that intervals are made to hold, from 0.5 to 0.99; an Estimator brings its own.
        video: whether frames will come.
        sound: whether sound will come.
        wait_s: how long a medium that lags behind the other is waited for; longer than the longest piece of sound.

    Attributes:
        estimator: the model.
        step_s: length of a step in seconds.

    Raises:
        CheckpointError: the weights can't be used live, or their features can't be made of frames and sound.
        UsageError: the model reads nothing of what will come.
    """

    STATE = (
        "clock",
        "_features",
        "_tracker",
        "_stepper",
        "_frames",
        "_gaps",
        "_last_s",
        "_newest_s",
        "_face",
        "_box",
        "_others",
        "_tally",
    )

    def __init__(
        self,
        checkpoint: Estimator | Checkpoint | str | Path | None = None,
        face_model: str | Path | None = None,
        level: float = DEFAULT_LEVEL,
        *,
        video: bool = True,
        sound: bool = True,
        wait_s: float = 1.0,
    ):
        given = LIVE_WEIGHTS if checkpoint is None else checkpoint
        self.estimator = given if isinstance(given, Estimator) else Estimator(given, level=level)
        self.clock, self._video, self._sound = LiveClock(video, sound, wait_s), video, sound
        self._wait_s = float(wait_s)
        backbones = self.estimator.extractors("a stream")
        media = {m for m, comes in (("audio", sound), ("video", video)) if comes}
        if not any(b.modality in media for b in backbones):
            reads = " and ".join(sorted({_MEDIA[b.modality] for b in backbones}))
            raise UsageError("the model reads nothing of what will come", where="stream", hint=f"give it {reads}")
        self.step_s = 1 / self.estimator.recipe.label_rate
        self._stepper = Stepper(self.estimator.step_program)
        self._features = LiveFeatures(backbones, media, self.estimator.pause_s)
        # Frames without a result: [time, whether a face was searched, whether it was found, its box, other faces].
        self._frames: list[list[Any]] = []
        self._gaps: list[float] = []
        self._last_s: float | None = None
        self._newest_s = 0.0
        self._face = self._closed = False
        self._box: list[float] | None = None
        self._others = 0
        self._open = ExitStack()
        needs = frozenset[str]().union(*(b.needs for b in backbones if b.modality in media))
        self._tracker = None
        if needs:
            faces = FaceTracker(face_model, crops="crop" in needs, blendshapes="blendshapes" in needs)
            self._tracker = self._open.enter_context(faces.live())
        self._tally = Tally("frames" if video else "rows", self._tracker is not None)

    def __enter__(self) -> Streamer:
        """The stream, which is closed when the block ends."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Free the face model; what hasn't become known is dropped."""
        self._closed = True
        self._open.close()

    def push(self, piece: VideoFrame | Waveform, *, look: bool = True, every: int = 1) -> list[Result]:
        """Take the next frame or the next sound, of any length.

        Args:
            piece: a frame, uint8 [h w 3], RGB and upright; or mono sound at 16 kHz with the time of its first sample.
            look: whether to search a face in the frame; without, the frame gets the face of the last one.
            every: of so many steps of sound, one is analysed, and the next ones get its features.

        Returns:
            The results that have become known, in the order of their times.

        Raises:
            UsageError: it is closed; or the time, samples or image aren't possible. The stream is as it was before.
        """
        self._refuse_closed("something came")
        if isinstance(piece, Waveform):
            for part in self.clock.sound(piece):
                self._features.seen(part.start_s, part.end_s)
                self._features.push(part, every)
                self._newest_s = max(self._newest_s, part.end_s)
        elif isinstance(piece, VideoFrame):
            _check_image(piece)
            if self.clock.frame(piece.time_s):
                self._take(replace(piece, time_s=float(piece.time_s)), look)
        else:
            hint = "push VideoFrame and Waveform"
            raise UsageError(f"{type(piece).__name__} is neither a frame nor sound", where="stream", hint=hint)
        return self._results(self._features.advance(self.clock.known_s))

    def finish(self) -> list[Result]:
        """End the stream; returns the remaining results. UsageError where it is closed."""
        self._refuse_closed("it was to be finished")
        self.clock.finish()
        end_s = self._newest_s
        if self._last_s is not None:
            end_s = self._last_s + (float(np.median(self._gaps)) if self._gaps else MOMENT_S)
        return self._results(self._features.finish(end_s))

    @property
    def notes(self) -> list[str]:
        """What the user must know of these estimates, one sentence each."""
        return [*self.estimator.notes, *self._tally.notes(), *self.clock.notes()]

    def trace(self, results: Sequence[Result]) -> Trace:
        """The results as a Trace, for writers and reports."""
        first = results[0] if results else None

        def column(name: str) -> dict[Any, np.ndarray]:
            keys = getattr(first, name) if first else {}
            return {key: np.array([getattr(result, name)[key] for result in results]) for key in keys}

        low = column("low")
        return Trace(
            time_s=np.array([result.time_s for result in results], np.float64),
            targets=column("targets"),
            raw=column("raw"),
            low=low,
            high=column("high"),
            level=self.estimator.level if low else None,
            present=column("present"),
            gates=column("gates"),
            source="stream",
            notes=tuple(self.notes),
            provenance=self.estimator.provenance,
        )

    def save(self, path: str | Path) -> None:
        """Save the stream in the middle, for `resume`; both go on alike, to the bit.

        The face model can't be saved: both find the face anew in their next frame.

        Raises:
            OutputError: the file can't be written.
            UsageError: the stream is closed.
        """
        self._refuse_closed("it was to be saved")
        write_state(path, {"of": self._kind, "stream": self.state()})

    def resume(self, path: str | Path) -> None:
        """Go on where a stream with the same weights, level, media and wait was saved.

        Raises:
            CheckpointError: the file is damaged, or of a stream of another kind.
            UsageError: the stream is closed.
        """
        self._refuse_closed("it was to go on")
        hint = "give a file that Streamer.save wrote, and the same weights, settings and version of avgate"
        try:
            saved = read_state(path)
            of = saved.get("of", {})
            other = [name for name, value in self._kind.items() if of.get(name) != value]
            if other:
                raise ValueError(f"it was saved with other settings: {', '.join(other)}")
            self.restore(saved["stream"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"this stream can't go on ({error})", where=path, hint=hint) from error

    def _refuse_closed(self, what: str) -> None:
        if self._closed:
            raise UsageError(f"{what} after the stream was closed", where="stream", hint="begin a new stream")

    def _take(self, frame: VideoFrame, look: bool) -> None:
        if look and self._tracker is not None:
            track = self._tracker.look(frame)
            self._face = bool(track.present[0])
            self._box = box_fractions(track, track.frame_size)[0].tolist() if self._face else None
            self._others = int(track.others[0])
            self._tally.see(self._others)
            self._features.push(track)
        if self._last_s is not None:
            self._gaps.append(frame.time_s - self._last_s)
            del self._gaps[:-_GAPS]
        self._last_s = frame.time_s
        self._newest_s = max(self._newest_s, frame.time_s)
        self._features.seen(frame.time_s, frame.time_s)
        self._frames.append([frame.time_s, look, self._face, self._box, self._others])

    def _results(self, steps: Sequence[LiveStep]) -> list[Result]:
        found: list[Result] = []
        grid = self.estimator.recipe.grid
        for step in steps:
            if step.anew:
                self._stepper.begin_anew()
            said = self._stepper(step.values, step.present)
            present = {modality_named(m).presence: here for m, here in step.present.items()}
            if step.voice is not None:
                present["voice"] = step.voice
            if not self._video:
                self._frames.append([step.number / self.estimator.recipe.label_rate, True, False, None, 0])
            while self._frames and (cell := grid.cell(self._frames[0][0])) <= step.number:
                time_s, looked, face, box, others = self._frames.pop(0)
                # Steps begin at 0 s; what a frame before that shows isn't known.
                one, here = (said, present) if cell >= 0 else (said.unknown, dict.fromkeys(present, False))
                shown = here | ({"face": face} if self._tracker is not None else {})
                delay_s = self._newest_s - time_s
                estimate = (one.targets, one.raw, one.low, one.high, one.gates)
                box = None if box is None else tuple(box)
                found.append(Result(time_s, *estimate, shown, delay_s, looked, step.heard, box, others))
                self._tally.count(not any(map(math.isnan, one.targets.values())), shown, not step.heard)
        return found

    @property
    def _kind(self) -> dict[str, object]:
        """What a saved stream must have in common with one that goes on."""
        weights, level = self.estimator.checkpoint.fingerprint, self.estimator.level
        media = {"video": self._video, "sound": self._sound, "wait_s": self._wait_s}
        return {"weights": weights, "level": level} | media


def _check_image(frame: VideoFrame) -> None:
    image = frame.image
    pixels = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if pixels and image.shape[2] == 3 and image.size:
        return
    found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    hint = "give uint8 pixels of shape [height, width, 3], RGB and upright"
    raise UsageError(f"the image at {frame.time_s!r} s is {found}", where="stream", hint=hint)
