"""The interface of a corpus: clips in splits, with labels at times of each clip."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.text import from_cell
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.labels import tracks


class Corpus(Protocol):
    """A folder of recordings, opened for reading. Opening it raises CorpusError where it is malformed.

    A corpus whose labels are emotion words also has `emotion_map`, the source of the words' places in the plane; models
    that are trained on it carry it. Any corpus may have `about()`: name -> one line for `avgate inspect`.

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


@runtime_checkable
class Rated(Protocol):
    """A corpus whose labels are means over raters, and that knows each of them."""

    def rater_error(self, clip: Clip) -> np.ndarray:
        """Standard error of each label as the mean over its raters, float64 [n k], on the labels' scale."""


SPLITS = ("train", "validation", "test")
"""Names of the splits."""


def splits_of(groups: Iterable[str], seed: int = 0) -> dict[str, str]:
    """Group -> split: in the order of a seeded hash, the first 60 % are train, 20 % validation, 20 % test."""
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).hexdigest())
    train, validation = round(0.6 * len(order)), round(0.8 * len(order))
    return {g: "train" if i < train else "validation" if i < validation else "test" for i, g in enumerate(order)}


def whole_clip(valence: float, arousal: float) -> LabelTrack:
    """One label for all of a clip, however long it is."""
    return tracks.whole_clip({"valence": valence, "arousal": arousal})


def tally(values: Iterable[str]) -> str:
    """How often each value occurs, most frequent first: "anger 127, boredom 81"."""
    return ", ".join(f"{value} {count}" for value, count in Counter(values).most_common())


def sexes(of_person: Iterable[str]) -> str:
    """How many people there are of each sex: "10 (5 female, 5 male)"."""
    counts = Counter(of_person)
    return f"{counts.total()} ({', '.join(f'{counts[sex]} {sex}' for sex in sorted(counts))})"


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
            return [{k: from_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"the file can't be read as CSV: {error}", where=path, hint=hint) from error
