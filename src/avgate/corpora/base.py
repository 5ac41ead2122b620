"""The interface of a corpus: clips in splits, with labels at times of each clip."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.tables import read_rows
from avgate.core.text import listed
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.labels import tracks


class Corpus(Protocol):
    """A folder of recordings, opened for reading. Opening it raises CorpusError where it is malformed.

    A corpus whose labels are emotion words also has `emotion_map`, the source of the words' places in the plane; models
    that are trained on it carry it. Any corpus may have `about()`: name -> one line for `avgate inspect`, and
    `notes`: what the user must know before it is used.

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


class Row(dict[str, str]):
    """A row of a table: column -> cell, empty where the row is short.

    Attributes:
        line: the line on which it begins, as an editor counts.
        comma: whether its numbers may have a decimal comma.
        surplus: whether it has more cells than there are columns.
    """

    line = 0
    comma = False
    surplus = False


def read_table(path: Path, columns: tuple[str, ...], hint: str) -> list[Row]:
    """Read a CSV file with a header; cells may be separated by commas, semicolons or tabs.

    Args:
        path: the file, in UTF-8.
        columns: columns that it must have, once each.
        hint: the next step, for messages.

    Returns:
        Its rows, without those that are empty.

    Raises:
        CorpusError: it can't be read, or columns are missing or there twice.
    """
    text = read_rows(path, hint=hint)
    titles = text.rows[0]
    for what, names in (
        ("are there twice", [column for column in columns if titles.count(column) > 1]),
        ("are missing", [column for column in columns if column not in titles]),
    ):
        if names:
            shown = listed(name or "(without a title)" for name in names)
            raise CorpusError(f"the columns {shown} {what}", where=path, hint=hint)
    rows = []
    for cells, line in zip(text.rows[1:], text.lines[1:], strict=True):
        row = Row(zip_longest(titles, cells[: len(titles)], fillvalue=""))
        row.line, row.comma, row.surplus = line, text.comma, any(cells[len(titles) :])
        rows.append(row)
    return rows


_POINTER, _POINTER_SIZE = b"version https://git-lfs.github.com/spec/v1", 1024


def is_pointer(path: Path) -> bool:
    """Whether Git LFS left a pointer in place of a file."""
    with contextlib.suppress(OSError):
        if path.stat().st_size <= _POINTER_SIZE:
            return path.read_bytes().startswith(_POINTER)
    return False


def usable(
    files: Iterable[Path], root: Path, corpus: str, pattern: re.Pattern[str]
) -> tuple[dict[str, tuple[Path, re.Match[str]]], dict[str, list[str]]]:
    """The files of a corpus that keeps its labels in their names.

    Args:
        files: media files.
        root: the corpus' folder.
        corpus: its name, for findings.
        pattern: what a name without its suffix must match.

    Returns:
        Name -> file and match, by name; and what is left out -> why: files of other names, pointers of Git LFS, and
        copies of a name.
    """
    found: dict[str, tuple[Path, re.Match[str]]] = {}
    findings: dict[str, list[str]] = {}
    for file in sorted(files, key=lambda file: (file.name, str(file))):
        parts = pattern.fullmatch(file.stem)
        if parts is None:
            why = f"its name isn't one of {corpus}'s: it is left out"
        elif is_pointer(file):
            why = "Git LFS left a pointer in its place: it is left out; to fetch it, run git lfs pull there"
        elif file.stem in found:
            why = f"{found[file.stem][0].relative_to(root)} has the same name: this one is left out"
        else:
            found[file.stem] = (file, parts)
            continue
        findings[str(file.relative_to(root))] = [why]
    return found, findings


def no_recordings(corpus: str, findings: dict[str, list[str]]) -> str:
    """What is wrong where none of a corpus' recordings can be used."""
    what = f"there are no recordings of {corpus}"
    name = next(iter(findings), None)
    return what if name is None else f"{what}; {len(findings)} files can't be used, such as {name}: {findings[name][0]}"
