"""Speech of a rendered person: phrases, syllables and intonation, as control signals for the voice synthesiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONTROL_RATE = 200
"""Steps per second of the control signals."""

VOWELS = {
    "a": (730.0, 1250.0, 2500.0, 3500.0),
    "e": (480.0, 1900.0, 2550.0, 3550.0),
    "i": (300.0, 2250.0, 2950.0, 3650.0),
    "o": (480.0, 900.0, 2450.0, 3400.0),
    "u": (330.0, 850.0, 2300.0, 3400.0),
}
"""Vowel -> its four formants in Hz, for a vocal tract of mean length."""

SYLLABLES_PER_SECOND = 4.2
"""Syllables per second of a person at rest."""


@dataclass(frozen=True)
class Speech:
    """Control signals of n steps at CONTROL_RATE.

    Attributes:
        voiced: float64 [n] in [0, 1], amplitude of the vowels.
        hiss: float64 [n] in [0, 1], amplitude of the consonants.
        vowels: float64 [n 5], mixture of VOWELS; rows sum to 1.
        melody: float64 [n], pitch in semitones above the speaker's own: accents, and a fall within each phrase.
    """

    voiced: np.ndarray
    hiss: np.ndarray
    vowels: np.ndarray
    melody: np.ndarray


def speak(rng: np.random.Generator, tempo: np.ndarray, liveliness: np.ndarray) -> Speech:
    """Draw speech without words: phrases of 4 to 10 syllables, with pauses between them.

    Args:
        rng: source of randomness.
        tempo: float64 [n]; one unit more is 1.4 times as fast.
        liveliness: float64 [n]; one unit more is 1.6 times the range of the melody.
    """
    n = len(tempo)
    voiced, hiss, melody = np.zeros(n), np.zeros(n), np.zeros(n)
    vowel = np.zeros(n, np.int64)
    position, left, length = round(rng.uniform(0, 0.3) * CONTROL_RATE), 0, 1
    while position < n:
        speed = SYLLABLES_PER_SECOND * 2 ** (0.5 * float(np.clip(tempo[position], -1.6, 1.6)))
        if left == 0:
            left = length = int(rng.integers(4, 11))
            position += round(rng.uniform(0.9, 2.2) / speed * CONTROL_RATE)
            if position >= n:
                break
        steps = max(8, round(rng.uniform(0.75, 1.25) / speed * CONTROL_RATE))
        part = slice(position, min(position + steps, n))
        stress = rng.uniform(0.45, 1.0)
        arc = np.sin(np.pi * (np.arange(steps) + 0.5) / steps)[: part.stop - part.start]
        onset = min(round(0.3 * steps), part.stop - part.start) if rng.random() < 0.7 else 0
        voiced[part] = stress * arc**0.7
        voiced[position : position + onset] *= 0.25
        hiss[position : position + onset] = stress * np.hanning(onset + 2)[1:-1]
        vowel[part] = rng.integers(len(VOWELS))
        melody[part] = 3.0 * (stress - 0.7) * arc + 2.0 * (left / length - 0.5)
        position += steps
        left -= 1
    smooth = np.hanning(13) / np.hanning(13).sum()
    vowels = np.stack([np.convolve(row, smooth, "same") for row in np.eye(len(VOWELS))[vowel].T], -1)
    return Speech(
        voiced=np.convolve(voiced, smooth, "same"),
        hiss=hiss,
        vowels=vowels / vowels.sum(-1, keepdims=True),
        melody=np.convolve(melody, smooth, "same") * 1.6 ** np.clip(liveliness, -2, 2),
    )
