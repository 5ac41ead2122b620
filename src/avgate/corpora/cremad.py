"""CREMA-D: 91 actors, 12 sentences, 6 emotions; people judged voice alone, face alone and both.

Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing 5(4),
2014. Files that are read, in a clone of https://github.com/CheyneyComputerScience/CREMA-D:

    processedResults/tabulatedVotes.csv    votes for each emotion and their mean level, per clip and presentation
    VideoDemographics.csv                  the actors
    VideoFlash/NAME.flv, AudioWAV/NAME.wav the clips, in Git LFS; NAME is actor_sentence_emotion_level
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.text import number, quoted
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import is_pointer, read_table, sexes, splits_of, tally, whole_clip
from avgate.labels.categories import PLANE, SOURCE

Presentation = Literal["voice", "face", "both"]
PRESENTATIONS: Mapping[str, Presentation] = {"1": "voice", "2": "face", "3": "both"}
"""First digit of a row's number in tabulatedVotes.csv -> what was presented."""

EMOTIONS = {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness"}
"""Column of votes -> emotion."""

LEVELS = ("LO", "MD", "HI", "XX")
"""Levels at which emotions were acted: low, medium, high, unspecified."""

ACTED = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
"""Part of a clip's name -> emotion that the actor was asked for."""

FETCH = 'git lfs pull --include "VideoFlash/*"'
"""Command that fetches the videos, in the clone."""

_PLACES = np.array([PLANE[emotion] for emotion in EMOTIONS.values()])
_COLUMNS = tuple(f"mean{word}Resp" for word in ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad"))
"""Columns of the mean level at which those who chose an emotion saw or heard it, in the order of EMOTIONS."""
_MOST_VOTES = 1000
"""Far above the number of people who judged any clip."""

_CLONE = "clone https://github.com/CheyneyComputerScience/CREMA-D and give that folder"


@dataclass(frozen=True)
class Votes:
    """What the raters of one presentation of a clip said.

    Attributes:
        counts: float64 [6], how many chose each of EMOTIONS.
        levels: float64 [6] in [0, 1], how strong they found it, on average; 0 where nobody chose the emotion.
    """

    counts: np.ndarray
    levels: np.ndarray

    @property
    def winner(self) -> str:
        """The letter with most votes; several, joined by colons, where they are equal, as in the corpus' own tables."""
        return ":".join(np.array(list(EMOTIONS))[self.counts == self.counts.max()])

    @property
    def place(self) -> tuple[float, float]:
        """Valence and arousal: the mean over raters of the place of the emotion that each chose, at its level.

        All votes count, and not the winning one alone: six clips in a hundred have no single winner, and how far
        raters disagree is a part of what they say.
        """
        valence, arousal = (self.counts * self.levels) @ _PLACES / self.counts.sum()
        return float(valence), float(arousal)

    def overlap(self, other: Votes) -> float:
        """Share of votes that two presentations have in common, in [0, 1]: the sum of the smaller share per emotion."""
        return float(np.minimum(self.counts / self.counts.sum(), other.counts / other.counts.sum()).sum())


class CremaD:
    """A clone of the authors' repository. A clip is named like its files; a group is an actor.

    A clip's media file is its video, or its sound where only that is there. Without Git LFS a clone holds pointers in
    their place: such clips are left out and told in `findings`. A label is for the whole clip, see Votes.place.

    Args:
        root: the clone.
        judged: whose votes are the labels. `both` is the default, since a model is given both senses, too.

    Raises:
        CorpusError: the tables of votes or actors are missing or malformed.
    """

    name = "cremad"
    targets: tuple[str, ...] = ("valence", "arousal")
    synthetic = False
    emotion_map = f"{SOURCE}; mean over raters, at the levels they gave"

    def __init__(self, root: Path, judged: Presentation = "both"):
        self.root, self.judged = Path(root), judged
        self._table = self.root / "processedResults" / "tabulatedVotes.csv"
        rows = read_table(self.root / "VideoDemographics.csv", ("ActorID", "Sex"), _CLONE)
        self.sex = {row["ActorID"]: row["Sex"].lower() for row in rows}
        self.votes = _read_votes(self._table)
        unknown = sorted({name for name in self.votes if name.split("_")[0] not in self.sex})
        if unknown:
            what = f"the actor of {quoted(unknown[0])} isn't in VideoDemographics.csv"
            raise CorpusError(what, where=self.root, hint=_CLONE)
        splits = splits_of(self.sex)
        self._pointers = 0
        self._clips = [
            Clip(name, media, splits[actor], actor, labels=self._table)
            for name, actor in ((name, name.split("_")[0]) for name in self.votes)
            if (media := self._media(name)) is not None
        ]

    def clips(self) -> list[Clip]:
        """All clips with media, in the table's order. Splits hold 60, 20 and 20 % of the actors, always the same."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """The place of the votes in the plane."""
        return whole_clip(*self.votes[clip.name][self.judged].place)

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the recordings."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """How many clips have no media, and how to fetch them."""
        gone = len(self.votes) - len(self._clips)
        if not gone:
            return {}
        what = f"{gone} of {len(self.votes)} clips have no media here and are left out"
        kinds = [f"{self._pointers} are Git LFS pointers"] if self._pointers else []
        kinds += [f"{gone - self._pointers} are missing"] if gone > self._pointers else []
        return {"(media)": [f"{what} ({', '.join(kinds)}); to fetch them, run in {self.root}: {FETCH}"]}

    def about(self) -> dict[str, str]:
        """Actors, emotions as acted and as judged, and the emotions' map."""
        winners = (votes[self.judged].winner for votes in self.votes.values())
        return {
            "actors": sexes(self.sex.values()),
            "emotions acted": tally(ACTED.get(name.split("_")[2], "other") for name in self.votes),
            f"emotions judged from {self.judged}": tally(
                EMOTIONS.get(winner, "no single winner") for winner in winners
            ),
            "emotions' places": self.emotion_map,
        }

    def _media(self, name: str) -> Path | None:
        """A clip's video, else its sound, else None; counts the clips that have only pointers."""
        there = [
            file
            for file in (self.root / "VideoFlash" / f"{name}.flv", self.root / "AudioWAV" / f"{name}.wav")
            if file.is_file()
        ]
        real = [file for file in there if not is_pointer(file)]
        self._pointers += bool(there) and not real
        return real[0] if real else None


def _read_votes(path: Path) -> dict[str, dict[Presentation, Votes]]:
    """Clip -> presentation -> votes, in the table's order."""
    found: dict[str, dict[Presentation, Votes]] = {}
    for row in read_table(path, ("", "fileName", *EMOTIONS, *_COLUMNS), _CLONE):
        presentation = PRESENTATIONS.get(row[""][:1])
        counts, levels = (np.array([number(row[c]) for c in columns], float) for columns in (EMOTIONS, _COLUMNS))
        levels[counts == 0] = 0  # the table has -1 there
        votes = (counts >= 0) & (counts == np.floor(counts)) & (levels >= 0) & (levels <= 100)
        if presentation is None or not votes.all() or not 0 < counts.sum() <= _MOST_VOTES:
            what = f"line {row.line} can't be understood: it needs a presentation, whole votes, and levels up to 100"
            raise CorpusError(what, where=path, hint=_CLONE)
        if len(row["fileName"].split("_")) != 4:
            what = f"line {row.line}: '{quoted(row['fileName'])}' isn't a clip's name, such as 1001_IEO_ANG_HI"
            raise CorpusError(what, where=path, hint=_CLONE)
        found.setdefault(row["fileName"], {})[presentation] = Votes(counts, levels / 100)
    for name, votes in found.items():
        if lacking := sorted(set(PRESENTATIONS.values()) - set(votes)):
            what = f"the clip {quoted(name)} has no votes for {', '.join(lacking)}"
            raise CorpusError(what, where=path, hint=_CLONE)
    if not found:
        raise CorpusError("there are no votes", where=path, hint=_CLONE)
    return found
