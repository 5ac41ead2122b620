"""The voice synthesiser: a speaker's syllables through a source and a filter, coloured by valence and arousal.

The source is a band-limited sawtooth between a soft and a pressed version (spectral tilt) with breath noise; the filter
is a cascade of four formant resonators per vowel after Klatt, "Software for a cascade/parallel formant synthesizer"
(JASA 67, 1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, sosfilt

from avgate.core.types import SAMPLE_RATE, Waveform
from avgate.corpora.base import Mark
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.paths import presence, slow_noise
from avgate.corpora.rendered.speech import CONTROL_RATE, VOWELS, Speech, speak

SIGNS = {
    "pitch": (0.1, 0.8),
    "level": (0.0, 0.9),
    "tempo": (0.0, 0.7),
    "tilt": (0.0, 0.9),
    "formants": (0.9, 0.0),
    "range": (0.6, 0.3),
    "breath": (-0.6, -0.3),
}
"""How each voice parameter answers to shown valence and arousal."""

PITCH_SEMITONES = 5.0
"""How far one unit of "pitch" raises the voice."""

LEVEL_DB = 7.0
"""How far one unit of "level" raises the voice."""

FORMANT_SPREAD = 0.1
"""How far one unit of "formants" (lips spread by a smile) raises all formants, as a share."""

BANDWIDTHS = (70.0, 100.0, 150.0, 220.0)
"""Widths of the four formants in Hz."""

SPEECH_RMS = 0.06
"""Level of a speaker of mean loudness at arousal 0, full scale being 1."""


@dataclass(frozen=True)
class Speaker:
    """One person's voice.

    Attributes:
        pitch_hz: at rest.
        tract: factor on all formants.
        loudness_db: against the mean speaker.
        background_db: of the room, against SPEECH_RMS.
        gain: float64 [7], expressiveness per sign in SIGNS, above 0.
        rest: float64 [7], resting value per sign in SIGNS.
    """

    pitch_hz: float
    tract: float
    loudness_db: float
    background_db: float
    gain: np.ndarray
    rest: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, config: RenderConfig) -> Speaker:
        """A person at random; high voices tend to have short vocal tracts."""
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
    rng: np.random.Generator, config: RenderConfig, speaker: Speaker, path: np.ndarray, marks: list[Mark]
) -> tuple[Waveform, np.ndarray]:
    """A clip's sound.

    Args:
        rng: source of randomness.
        config: strengths and nuisances.
        speaker: whose voice it is.
        path: float64 [n 2], valence and arousal at every frame.
        marks: "silent", "drowned" and "neutral" ones happen here.

    Returns:
        The sound of all n frames, and float64 [n] in [0, 1], how loud the person speaks at each frame (heard or not).
    """
    difficulty = config.difficulty
    frame_s = np.arange(len(path)) / config.fps
    control_s = np.arange(round(len(path) / config.fps * CONTROL_RATE)) / CONTROL_RATE
    sample_s = np.arange(round(len(path) / config.fps * SAMPLE_RATE)) / SAMPLE_RATE

    strength = np.array([difficulty.voice_valence, difficulty.voice_arousal])
    shown = (1 - presence(marks, "neutral", frame_s))[:, None] * path * strength
    noise = slow_noise(rng, len(path), 2 + len(SIGNS), config.fps, config.time_constant_s)
    shown = shown + difficulty.voice_shared * noise[:, :2]
    signs = speaker.gain * (shown @ np.array(list(SIGNS.values())).T) + speaker.rest
    signs += difficulty.voice_each * noise[:, 2:]
    sign = {name: np.interp(control_s, frame_s, column) for name, column in zip(SIGNS, signs.T, strict=True)}

    speech = speak(rng, sign["tempo"], sign["range"])
    sound = _synthesise(rng, speaker, sign, speech, control_s, sample_s)
    sound *= 1 - presence(marks, "silent", sample_s)
    room = speaker.background_db + difficulty.background_spread_db / 2 * rng.standard_normal()
    sound += SPEECH_RMS * _db(room) * _room(rng, sample_s)
    drowned = presence(marks, "drowned", sample_s)
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
    """The bare voice, float64 [samples].

    Args:
        rng: source of randomness.
        speaker: whose voice it is.
        sign: voice parameter -> float64 [m] at control_s.
        speech: what is said, at control_s.
        control_s: float64 [m] seconds.
        sample_s: float64 [samples] seconds.
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
    """The source through a cascade of resonators, brought to about the level it came in with, float64 [samples]."""
    centres_hz = np.minimum(centres_hz, 0.47 * SAMPLE_RATE)
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * centres_hz / SAMPLE_RATE), radius**2
    zero = np.zeros(len(a1))
    sections = np.column_stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2])
    return sosfilt(sections, source)


def _sawtooth(step: np.ndarray) -> np.ndarray:
    """A sawtooth in [-1, 1] without audible aliasing, float64 [n]; `step` is its frequency in cycles per sample.

    Around every jump a polynomial rounds it off (PolyBLEP; Valimaki and Huovilainen, IEEE Signal Processing
    Magazine 2007).
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
    """Background sound of unit level, float64 [samples]: noise of random colour, mains hum and a distant tone."""
    noise = _low_pass(rng.standard_normal(len(sample_s)), rng.uniform(300, 3000))
    hum = np.sin(2 * np.pi * rng.choice([50, 60]) * sample_s) * rng.uniform(0, 0.6)
    tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * sample_s) * rng.uniform(0, 0.2)
    return noise / noise.std() + hum + tone


def _music(rng: np.random.Generator, sample_s: np.ndarray) -> np.ndarray:
    """Chords that change twice a second, of unit level, float64 [samples]."""
    beat = (2 * sample_s).astype(int)
    root = 110 * 2 ** (rng.integers(0, 12, beat[-1] + 1) / 12)
    cycles = np.cumsum(root[beat]) / SAMPLE_RATE
    decay = np.exp(-3 * (2 * sample_s % 1)) * np.minimum(40 * (2 * sample_s % 1), 1)
    chord = sum(np.sin(2 * np.pi * ratio * cycles) / ratio for ratio in (1, 1.25, 1.5, 2, 3, 4, 5, 8))
    wave = decay * chord
    return wave / wave.std()


def _low_pass(wave: np.ndarray, corner_hz: float) -> np.ndarray:
    """The wave through one pole, float64 [n]."""
    pole = np.exp(-2 * np.pi * corner_hz / SAMPLE_RATE)
    return lfilter([1 - pole], [1, -pole], wave)


def _db(value: np.ndarray | float) -> np.ndarray | float:
    """Decibel as a factor on amplitudes."""
    return 10 ** (value / 20)
