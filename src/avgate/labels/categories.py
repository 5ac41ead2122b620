"""Emotion words as places in the valence-arousal plane, by one published map.

Russell and Mehrabian (1977), "Evidence for a three-factor theory of emotions", Journal of Research in Personality 11,
273-294, let people rate 151 emotion terms for pleasure, arousal and dominance. Its table 1 gives the mean of each in
[-1, 1]. Pleasure is valence here; dominance is left out. The table has no neutral state: neutral is the origin by
definition. It has no calm either: calm is its "relaxed".

The values are those of public transcriptions of that table: the article itself wasn't at hand. Happy, angry, disgusted,
fearful, sad and surprised stand in the file Emotion-PAD.md of github.com/GamSeong-HwaBaek/GamSeong-HwaBaek, with the
terms' numbers in the table, and alike in another project's complete list. Bored stands in that list and, alike, in
programs that quote Mehrabian's own page. The other terms were found in that list alone.

A category's place is a convention, not a measurement of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping

from avgate.core.errors import UsageError, choose
from avgate.core.text import quoted

SOURCE = (
    "Russell and Mehrabian 1977, mean pleasure and arousal of emotion terms "
    "(J. Res. Pers. 11:273-294, table 1, by public transcriptions)"
)
"""The map in one line, for checkpoints and reports."""

TERMS: Mapping[str, str] = {
    "anger": "angry",
    "boredom": "bored",
    "calm": "relaxed",
    "contempt": "contempt",
    "disgust": "disgusted",
    "excitement": "excited",
    "fear": "fearful",
    "frustration": "frustrated",
    "happiness": "happy",
    "joy": "joyful",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Category -> the term of the table that stands for it."""

RATINGS: Mapping[str, tuple[float, float]] = {
    "angry": (-0.51, 0.59),
    "bored": (-0.65, -0.62),
    "contempt": (-0.23, 0.31),
    "disgusted": (-0.60, 0.35),
    "excited": (0.62, 0.75),
    "fearful": (-0.64, 0.60),
    "frustrated": (-0.64, 0.52),
    "happy": (0.81, 0.51),
    "joyful": (0.76, 0.48),
    "relaxed": (0.68, -0.46),
    "sad": (-0.63, -0.27),
    "surprised": (0.40, 0.67),
}
"""Term -> mean pleasure and arousal, as transcribed."""

PLANE: Mapping[str, tuple[float, float]] = {
    **{category: RATINGS[term] for category, term in TERMS.items()},
    "neutral": (0.0, 0.0),
}
"""Category -> valence and arousal in [-1, 1]."""

_SYNONYMS = {term: category for category, term in TERMS.items()} | {"afraid": "fear", "calmness": "calm"}


def category(word: str) -> str:
    """The category that an emotion word stands for: happy, Happiness and HAPPY are "happiness".

    Raises:
        UsageError: the word isn't known; the message lists those that are.
    """
    known = {**{name: name for name in PLANE}, **_SYNONYMS}
    return choose("emotion", quoted(word.strip().lower()), known)


def place(word: str, intensity: float = 1.0) -> tuple[float, float]:
    """Valence and arousal of an emotion word.

    Args:
        word: a category of PLANE, or an adjective such as angry.
        intensity: in [0, 1]; scales the place linearly, so that 0 is neutral.

    Raises:
        UsageError: the word isn't known, or the intensity is outside [0, 1].
    """
    if not 0 <= intensity <= 1:
        raise UsageError(f"an emotion's intensity must be between 0 and 1, not {intensity:g}")
    valence, arousal = PLANE[category(word)]
    return intensity * valence, intensity * arousal
