"""What every corpus is: clips with splits, and labels on the clips' own clock."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from avgate.core.errors import CorpusError
from avgate.core.types import Clip, FeatureTrack, LabelTrack, Modality


@dataclass(frozen=True)
class Mark:
    """A time in which one modality says nothing of the labels, or something wrong.

    Attributes:
        start_s: when it begins, in seconds.
        end_s: when it is over, in seconds.
        modality: the modality that misleads.
        kind: what is the matter, in the corpus' own words.
    """

    start_s: float
    end_s: float
    modality: Modality
    kind: str


class Corpus(Protocol):
    """A folder of recordings, opened for reading; opening raises CorpusError where something is wrong with it.

    Attributes:
        name: what the command line calls this kind of corpus.
        targets: what its labels say.
        synthetic: whether no real person is in it; models trained on it are marked as demonstrations.
    """

    name: str
    targets: tuple[str, ...]
    synthetic: bool

    def clips(self) -> list[Clip]:
        """All clips, in the corpus' own order."""

    def labels(self, clip: Clip) -> LabelTrack:
        """A clip's labels; CorpusError where the file is missing or wrong."""

    def marks(self, clip: Clip) -> list[Mark] | None:
        """The stretches in which a modality is known to mislead; None where the corpus doesn't know."""

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """Features that the corpus brings along; None where they are extracted from its videos."""

    def findings(self) -> dict[str, list[str]]:
        """Clip, or whatever else is meant -> what is missing or disagrees without making the corpus useless."""


SPLITS = ("train", "validation", "test")
"""What a clip can be for."""


def read_table(path: Path, columns: tuple[str, ...], hint: str) -> list[dict[str, str]]:
    """All rows of a CSV file that must have these columns; CorpusError with the hint where it can't be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            titles = list(reader.fieldnames or ())
            twice = [column for column in columns if titles.count(column) > 1]
            if twice:
                raise CorpusError(f"the columns {', '.join(twice)} are there twice", where=path, hint=hint)
            if missing:
                raise CorpusError(f"the columns {', '.join(missing)} are missing", where=path, hint=hint)
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"the file can't be read as CSV: {error}", where=path, hint=hint) from error
