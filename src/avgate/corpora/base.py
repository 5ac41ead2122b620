"""The interface of a corpus: clips in splits, with labels at times of each clip."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Protocol

from avgate.core.errors import CorpusError
from avgate.core.types import Clip, FeatureTrack, LabelTrack


class Corpus(Protocol):
    """A folder of recordings, opened for reading. Opening it raises CorpusError where it is malformed.

    Attributes:
        name: name of this kind of corpus on the command line.
        targets: names of what is labelled, such as valence.
        synthetic: whether the people are synthetic; models trained on such a corpus are marked as demonstrations.
    """

    name: str
    targets: tuple[str, ...]
    synthetic: bool

    def clips(self) -> list[Clip]:
        """All clips, in the same order every time."""

    def labels(self, clip: Clip) -> LabelTrack:
        """A clip's labels; CorpusError where the file is missing or wrong."""

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """Features that come with the corpus; None where they have to be extracted from its videos."""

    def findings(self) -> dict[str, list[str]]:
        """Clip, or a name in brackets for the whole corpus -> what is missing or contradictory, yet no error."""


SPLITS = ("train", "validation", "test")
"""Names of the splits."""


def read_table(path: Path, columns: tuple[str, ...], hint: str) -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Args:
        path: the file, in UTF-8.
        columns: columns that it must have, once each.
        hint: the next step, for messages.

    Returns:
        One mapping of column to cell per row.

    Raises:
        CorpusError: it can't be read, or columns are missing or there twice.
    """
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
