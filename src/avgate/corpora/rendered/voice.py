"""Voice synthesiser: a source and a filter per speaker, with voice parameters that follow valence and arousal.

The source is a band-limited sawtooth, mixed from a soft and a pressed version (spectral tilt), plus breath noise. The
filter is a cascade of four formant resonators per vowel, after Klatt, "Software for a cascade/parallel formant
synthesizer" (JASA 67, 1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, sosfilt

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.speech import CONTROL_RATE, VOWELS, Speech, speak
from avgate.corpora.rendered.trajectory import Mark, mark_level, slow_noise

SIGNS = {
    "pitch": (0.1, 0.8),
    "level": (0.0, 0.9),
    "tempo": (0.0, 0.7),
    "tilt": (0.0, 0.9),
    "formants": (0.9, 0.0),
    "range": (0.6, 0.3),
    "breath": (-0.6, -0.3),
}
"""Voice parameter -> its change per unit of shown valence and of shown arousal."""

PITCH_SEMITONES = 5.0
"""Semitones per unit of "pitch"."""

LEVEL_DB = 7.0
"""Decibel per unit of "level"."""

FORMANT_SPREAD = 0.1
"""Change of all formant frequencies per unit of "formants" (lips spread by a smile), relative to their value."""

BANDWIDTHS = (70.0, 100.0, 150.0, 220.0)
"""Bandwidths of the four formants in Hz."""

SPEECH_RMS = 0.06
"""RMS of the speech of a speaker of mean loudness at arousal 0; full scale is 1."""


@dataclass(frozen=True)
class Speaker:
    """One person's voice.

    Attributes:
        pitch_hz: pitch at rest.
        tract: factor on all formant frequencies.
        loudness_db: loudness relative to the mean speaker.
        background_db: level of the room's background sound, relative to SPEECH_RMS.
        gain: float64 [7], expressiveness of each parameter in SIGNS, above 0.
        rest: float64 [7], value of each parameter in SIGNS at rest.
    """

    pitch_hz: float
    tract: float
    loudness_db: float
    background_db: float
    gain: np.ndarray
    rest: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, config: RenderConfig) -> Speaker:
        """Draw a person at random; high voices tend to have short vocal tracts."""
        difficulty, height = config.difficulty, rng.uniform(-1, 1)
        gain = np.maximum(1 + difficulty.gain_spread * rng.standard_normal(len(SIGNS)), 0.2)
        rest = difficulty.voice_rest * rng.standard_normal(len(SIGNS))
        return cls(
            pitch_hz=150 * 2 ** (0.6 * height),
            tract=1 + 0.08 * height + 0.03 * rng.uniform(-1, 1),
            loudness_db=difficulty.loudness_spread_db * rng.standard_normal(),
            background_db=difficulty.background_db + difficulty.background_spread_db * rng.standard_normal(),
            gain=gain,
            rest=rest,
        )


def voice(
    rng: np.random.Generator, config: RenderConfig, speaker: Speaker, trajectory: np.ndarray, marks: list[Mark]
) -> tuple[Waveform, np.ndarray]:
    """Sound of a clip.

    Args:
        rng: source of randomness.
        config: strengths and nuisances.
        speaker: the person's voice.
        trajectory: float64 [n 2] in [-1, 1], valence and arousal of each frame.
        marks: those of kind "silent", "drowned" and "neutral" take effect here.

    Returns:
        The sound of all n frames, and the loudness of the speech in each frame, heard or not, float64 [n] in [0, 1].
    """
    difficulty = config.difficulty
    frame_s = np.arange(len(trajectory)) / config.fps
    control_s = np.arange(round(len(trajectory) / config.fps * CONTROL_RATE)) / CONTROL_RATE
    sample_s = np.arange(round(len(trajectory) / config.fps * SAMPLE_RATE)) / SAMPLE_RATE

    strength = np.array([difficulty.voice_valence, difficulty.voice_arousal])
    shown = (1 - mark_level(marks, "neutral", frame_s))[:, None] * trajectory * strength
    noise = slow_noise(rng, len(trajectory), 2 + len(SIGNS), config.fps, config.time_constant_s)
    shown = shown + difficulty.voice_shared * noise[:, :2]
    signs = speaker.gain * (shown @ np.array(list(SIGNS.values())).T) + speaker.rest
    signs += difficulty.voice_each * noise[:, 2:]
    sign = {name: np.interp(control_s, frame_s, column) for name, column in zip(SIGNS, signs.T, strict=True)}

    speech = speak(rng, sign["tempo"], sign["range"])
    sound = _synthesise(rng, speaker, sign, speech, control_s, sample_s)
    sound *= 1 - mark_level(marks, "silent", sample_s)
    room = speaker.background_db + difficulty.background_spread_db / 2 * rng.standard_normal()
    sound += SPEECH_RMS * _db(room) * _room(rng, sample_s)
    drowned = mark_level(marks, "drowned", sample_s)
    if drowned.any():
        disturbance = _music(rng, sample_s) if rng.random() < 0.5 else _room(rng, sample_s)
        sound += drowned * SPEECH_RMS * _db(difficulty.drown_db + speaker.loudness_db) * disturbance
    return Waveform(np.tanh(sound).astype(np.float32)), np.interp(frame_s, control_s, speech.voiced)


def _synthesise(
    rng: np.random.Generator,
    speaker: Speaker,
    sign: dict[str, np.ndarray],
    speech: Speech,
    control_s: np.ndarray,
    sample_s: np.ndarray,
) -> np.ndarray:
    """The voice without background sound, float64 [samples].

    Args:
        rng: source of randomness.
        speaker: the person's voice.
        sign: voice parameter -> float64 [m], its value at control_s.
        speech: control signals at control_s.
        control_s: float64 [m], times of control signals in seconds.
        sample_s: float64 [samples], times of samples in seconds.
    """

    def fine(values: np.ndarray) -> np.ndarray:
        return np.interp(sample_s, control_s, values)

    jitter = 0.25 * rng.standard_normal(len(control_s))
    semitones = PITCH_SEMITONES * sign["pitch"] + speech.melody + jitter
    pressed = 1 / (1 + np.exp(-2.2 * sign["tilt"] + 0.3))
    breath = 0.12 * 2 ** (1.5 * np.clip(sign["breath"], -2, 2))
    shimmer = 1 + 0.05 * rng.standard_normal(len(control_s))
    level = SPEECH_RMS * _db(speaker.loudness_db + LEVEL_DB * sign["level"]) * shimmer

    step = fine(speaker.pitch_hz * 2 ** (np.clip(semitones, -18, 18) / 12)) / SAMPLE_RATE
    sharp = _sawtooth(step)
    soft = 3.5 * _low_pass(sharp, 350.0)
    source = soft + fine(pressed) * (sharp - soft) + fine(breath) * rng.standard_normal(len(sample_s))
    source *= fine(speech.voiced)

    spread = fine(np.clip(0.5 + 0.5 * sign["formants"], 0, 1))
    sound = np.zeros(len(sample_s))
    for vowel, share in zip(VOWELS.values(), speech.vowels.T, strict=True):
        excited = fine(share) * source
        for weight, shift in ((1 - spread, -FORMANT_SPREAD), (spread, FORMANT_SPREAD)):
            sound += _formants(weight * excited, speaker.tract * (1 + shift) * np.array(vowel))
    hiss = np.diff(rng.standard_normal(len(sample_s)), n=2, prepend=[0.0, 0.0])
    sound += 0.12 * fine(speech.hiss) * hiss
    return fine(level) * sound


def _formants(source: np.ndarray, centres_hz: np.ndarray) -> np.ndarray:
    """The source through a cascade of resonators with a gain of 1 at 0 Hz, float64 [samples]."""
    centres_hz = np.minimum(centres_hz, 0.47 * SAMPLE_RATE)
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * centres_hz / SAMPLE_RATE), radius**2
    zero = np.zeros(len(a1))
    sections = np.column_stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2])
    return sosfilt(sections, source)


def _sawtooth(step: np.ndarray) -> np.ndarray:
    """Band-limited sawtooth in [-1, 1], float64 [n]; `step` float64 [n] is its frequency in cycles per sample.

    A polynomial rounds off every jump (PolyBLEP; Valimaki and Huovilainen, IEEE Signal Processing Magazine 2007).
    """
    phase = np.cumsum(step) % 1.0
    wave = 2 * phase - 1
    after, before = phase < step, phase > 1 - step
    t = phase[after] / step[after]
    wave[after] -= t + t - t * t - 1
    t = (phase[before] - 1) / step[before]
    wave[before] -= t * t + t + t + 1
    return wave


def _room(rng: np.random.Generator, sample_s: np.ndarray) -> np.ndarray:
    """Background sound of a room, float64 [samples]: low-passed noise of RMS 1, mains hum and a faint tone."""
    noise = _low_pass(rng.standard_normal(len(sample_s)), rng.uniform(300, 3000))
    hum = np.sin(2 * np.pi * rng.choice([50, 60]) * sample_s) * rng.uniform(0, 0.6)
    tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * sample_s) * rng.uniform(0, 0.2)
    return noise / noise.std() + hum + tone


def _music(rng: np.random.Generator, sample_s: np.ndarray) -> np.ndarray:
    """Music of RMS 1, float64 [samples]: chords that change twice a second."""
    beat = (2 * sample_s).astype(int)
    root = 110 * 2 ** (rng.integers(0, 12, beat[-1] + 1) / 12)
    cycles = np.cumsum(root[beat]) / SAMPLE_RATE
    decay = np.exp(-3 * (2 * sample_s % 1)) * np.minimum(40 * (2 * sample_s % 1), 1)
    chord = sum(np.sin(2 * np.pi * ratio * cycles) / ratio for ratio in (1, 1.25, 1.5, 2, 3, 4, 5, 8))
    wave = decay * chord
    return wave / wave.std()


def _low_pass(wave: np.ndarray, corner_hz: float) -> np.ndarray:
    """The wave through a one-pole low-pass, float64 [n]."""
    pole = np.exp(-2 * np.pi * corner_hz / SAMPLE_RATE)
    return lfilter([1 - pole], [1, -pole], wave)


def _db(value: np.ndarray | float) -> np.ndarray | float:
    """Factor on amplitudes for a level in decibel."""
    return 10 ** (value / 20)
