"""Settings of the rendered corpus: its size, and how hard it is to estimate valence and arousal from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from avgate.core.errors import UsageError


@dataclass(frozen=True)
class Difficulty:
    """How strongly face and voice show valence and arousal, and what disturbs them.

    Strengths are factors on valence or arousal in [-1, 1]. Nuisances are standard deviations of slow random processes
    on the same scale. Spreads are standard deviations between people. Each of them is switched off by 0.

    Attributes:
        face_valence: how strongly the face shows valence (smile, cheeks, brow lowering).
        face_arousal: how strongly the face shows arousal (eye widening, brow raising, head motion, blink rate).
        voice_valence: how strongly the voice shows valence (formant spread, pitch range, breathiness).
        voice_arousal: how strongly the voice shows arousal (pitch, level, tempo, spectral tilt).
        face_shared: nuisance common to all action units that show a target; no feature of the face can undo it.
        face_each: independent nuisance on each action unit.
        voice_shared: nuisance common to all voice parameters that show a target.
        voice_each: independent nuisance on each voice parameter.
        face_rest: spread of each action unit at rest.
        voice_rest: spread of each voice parameter at rest.
        loudness_spread_db: spread of the loudness, in decibel.
        gain_spread: spread of the expressiveness of each action unit and voice parameter, relative to its mean of 1.
        speech_jaw: how far speech opens the jaw, 0 to 1.
        camera_noise: standard deviation of the camera's noise in grey levels.
        flicker: standard deviation of the brightness between frames, relative to its mean.
        background_db: mean level of the background sound relative to the speech, in decibel.
        background_spread_db: spread of that level between people and between clips, in decibel.
        drown_db: level of the noise or music that drowns the voice, relative to the speech, in decibel.
        marked_share: share of the time in which one modality misleads, 0 to 0.8.
        stretch_min_s: shortest stretch of such time, in seconds.
        stretch_max_s: longest stretch of such time, in seconds.
        both_share: share of these stretches in which the other modality misleads, too, in the second half.
    """

    face_valence: float = 1.0
    face_arousal: float = 0.4
    voice_valence: float = 0.4
    voice_arousal: float = 1.0
    face_shared: float = 0.2
    face_each: float = 0.2
    voice_shared: float = 0.2
    voice_each: float = 0.2
    face_rest: float = 0.12
    voice_rest: float = 0.12
    loudness_spread_db: float = 3.0
    gain_spread: float = 0.15
    speech_jaw: float = 0.6
    camera_noise: float = 2.0
    flicker: float = 0.01
    background_db: float = -26.0
    background_spread_db: float = 4.0
    drown_db: float = 8.0
    marked_share: float = 0.4
    stretch_min_s: float = 2.0
    stretch_max_s: float = 6.0
    both_share: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 <= self.marked_share <= 0.8:
            hint = "use a share from 0 to 0.8"
            raise UsageError(f"marked_share={self.marked_share} can't be placed", where="Difficulty", hint=hint)
        if not 0 < self.stretch_min_s <= self.stretch_max_s:
            what = f"stretches of {self.stretch_min_s} to {self.stretch_max_s} s can't be placed"
            hint = "use a shortest stretch above 0 and not above the longest"
            raise UsageError(what, where="Difficulty", hint=hint)


@dataclass(frozen=True)
class RenderConfig:
    """What to render. Equal configs give equal corpora.

    Attributes:
        identities: number of people, at least 3 (one per split).
        clips_per_identity: clips of each person.
        seconds: length of a clip.
        fps: frames per second.
        size: side of the square frames in pixels, a multiple of 16.
        seed: seed of everything random.
        train_share: share of the people in the training split.
        validation_share: share of the people in the validation split; the rest is the test split.
        time_constant_s: time constant of valence and arousal in seconds; larger means slower.
        crf: H.264 quality, 0 (lossless) to 51.
        difficulty: strengths and nuisances.
    """

    identities: int = 14
    clips_per_identity: int = 2
    seconds: float = 28.0
    fps: int = 25
    size: int = 256
    seed: int = 0
    train_share: float = 0.57
    validation_share: float = 0.15
    time_constant_s: float = 3.0
    crf: int = 23
    difficulty: Difficulty = field(default_factory=Difficulty)

    def __post_init__(self) -> None:
        """Check the settings."""
        wrong = [
            (self.identities < 3, "identities", "at least 3, one per split"),
            (self.clips_per_identity < 1, "clips_per_identity", "at least 1"),
            (self.fps < 1, "fps", "at least 1"),
            (self.frames < 16, "seconds", "long enough for 16 frames"),
            (self.size < 128 or self.size % 16, "size", "a multiple of 16 from 128 on"),
            (self.seed < 0, "seed", "0 or above"),
            (not 0 <= self.crf <= 51, "crf", "0 to 51"),
            (self.time_constant_s <= 0, "time_constant_s", "above 0"),
            (self.train_share <= 0 or self.validation_share <= 0, "train_share", "above 0, as validation_share"),
            (self.train_share + self.validation_share >= 1, "train_share", "below 1 together with validation_share"),
        ]
        for bad, name, need in wrong:
            if bad:
                what = f"{name}={getattr(self, name)} can't be rendered"
                raise UsageError(what, where="RenderConfig", hint=f"{name} must be {need}")

    @property
    def frames(self) -> int:
        """Frames per clip."""
        return round(self.seconds * self.fps)

    def split(self, identity: int) -> str:
        """Split of a person: the first people are train, the last ones test; no split is empty."""
        train = min(max(1, round(self.train_share * self.identities)), self.identities - 2)
        validation = min(max(1, round(self.validation_share * self.identities)), self.identities - train - 1)
        return "train" if identity < train else "validation" if identity < train + validation else "test"
