"""Hazumi: people in spoken dialogue with an agent, each exchange rated; features, no videos.

Komatani and Okada, "Multimodal Human-Agent Dialogue Corpus with Annotations at Utterance and Dialogue Levels", ACII
2021. The authors publish one CSV file per session; users clone the repositories themselves.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.text import number, reason
from avgate.core.timeline import Grid
from avgate.core.types import Clip, FeatureTrack, LabelTrack, Modality
from avgate.corpora.base import splits_of

CLONES = ("Hazumi2010", "Hazumi2012", "Hazumi2105")
TARGETS = {"impression": "UI", "continuance": "TC"}
"""Target -> prefix of its raters' columns: user impression (like valence), topic continuance (like engagement)."""
RATERS = 5
SCALE = (1, 7)
EXCHANGES = Grid(rate=1.0)
"""Grid of labels and features. Its unit is the exchange, not the second: step i is exchange i, however long."""

_VERSION = 1
_TIMES = ("start(exchange)", "end(system)", "end(exchange)")
_CLONE = (
    "clone the authors' repositories https://github.com/ouktlab/Hazumi2010, .../Hazumi2012 and .../Hazumi2105 "
    "into one folder, and give that folder"
)
_AGAIN = "put the authors' own file back, for example with `git checkout .` in the clone"


@dataclass(frozen=True)
class _Block:
    """The columns of one modality's features, which stand side by side: the first, the last and their number."""

    modality: Modality
    backbone: str
    first: str
    last: str
    width: int


_BLOCKS = (
    _Block("audio", "is09", "pcm_RMSenergy_sma_max", "F0_sma_de_kurtosis", 384),
    _Block("video", "openface", "17_acceleration_max", "AU45_c_mean", 66),
)


@dataclass(frozen=True)
class Session:
    """A session of n exchanges.

    Attributes:
        times_s: float64 [n 3] seconds: start of the exchange, end of the system's utterance (NaN where unknown), end of
            the exchange.
        ratings: float64 [n 2 5] in [1, 7], by target and rater, raters in the file's order; NaN where missing.
        tracks: audio features, then video features.
    """

    times_s: np.ndarray
    ratings: np.ndarray
    tracks: tuple[FeatureTrack, ...]


class Hazumi:
    """A folder with clones of the authors' three repositories. A clip is a session, named like its file.

    `group` is the person; Hazumi2105 recorded people of the other two again. `video` of a clip is the session's CSV
    file, since there is no video. Files are read on first use, then cached.

    Args:
        root: the folder.

    Raises:
        CorpusError: a clone, its sessions or its list of people who were recorded twice is missing or malformed.
    """

    name = "hazumi"
    targets: tuple[str, ...] = tuple(TARGETS)
    synthetic = False

    def __init__(self, root: Path):
        self.root = Path(root)
        self._sessions: dict[Path, Session] = {}
        self._clips = self._find_clips()

    def clips(self) -> list[Clip]:
        """All sessions by year and name. Splits hold 60, 20 and 20 % of the people, the same ones every time."""
        return list(self._clips)

    def session(self, clip: Clip) -> Session:
        """The session of a clip; CorpusError where its file is missing or malformed."""
        if clip.video not in self._sessions:
            self._sessions[clip.video] = _read_session(clip.video)
        return self._sessions[clip.video]

    def labels(self, clip: Clip) -> LabelTrack:
        """Mean of the five raters, mapped from [1, 7] to [-1, 1]: (mean - 4) / 3, at time i + 0.5 for exchange i.

        An exchange with a missing rating is NaN in both targets.

        Raises:
            CorpusError: the session's file is missing or malformed.
        """
        ratings = self.session(clip).ratings
        low, high = SCALE
        values = (ratings.mean(2) - (high + low) / 2) / ((high - low) / 2)
        values[np.isnan(values).any(1)] = np.nan
        return LabelTrack(EXCHANGES.times(len(values)), values.astype(np.float32), self.targets)

    def rater_error(self, clip: Clip) -> np.ndarray:
        """Standard error of each label: the five raters' deviation over the root of five; see Rated."""
        low, high = SCALE
        return self.session(clip).ratings.std(2, ddof=1) / np.sqrt(RATERS) / ((high - low) / 2)

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """The authors' features, one step per exchange (not per second): audio [n 384], then video [n 66].

        Audio is openSMILE's IS09 set. Video is 48 statistics of landmark motion, then 18 means of OpenFace's action
        units. An exchange is absent where a value is missing or not finite, or where all values are 0: the files hold
        zeros where nothing could be measured.

        Raises:
            CorpusError: the session's file is missing or malformed.
        """
        return list(self.session(clip).tracks)

    def findings(self) -> dict[str, list[str]]:
        """Nothing: whatever is wrong raises an error instead."""
        return {}

    def _find_clips(self) -> list[Clip]:
        files: list[Path] = []
        for clone in CLONES:
            folder = self.root / clone / "dumpfiles"
            if not folder.is_dir():
                raise CorpusError(f"there is no folder {clone}/dumpfiles", where=self.root, hint=_CLONE)
            # Participants are numbered within a year; only with the year is a name unique in the corpus.
            found = sorted(folder.glob(f"{clone.removeprefix('Hazumi')}*.csv"))
            if not found:
                raise CorpusError("there are no sessions", where=folder, hint=_CLONE)
            files += found
        group = {file.stem: file.stem for file in files} | _earlier_sessions(found)
        splits = splits_of(group[file.stem] for file in files)
        return [Clip(f.stem, f, splits[group[f.stem]], group[f.stem], labels=f) for f in files]


def _earlier_sessions(files: Sequence[Path]) -> dict[str, str]:
    """Session of Hazumi2105 -> person ID: the name of the person's session in Hazumi2010 or 2012.

    That session need not have a file. A session of Hazumi2105 that isn't listed is an error, since its person could be
    anybody in the other two.
    """
    path = files[0].parents[1] / "correspondence.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = f"the list of people who were recorded twice can't be read: {reason(error)}"
        raise CorpusError(what, where=path, hint=_AGAIN) from error
    for row in rows:
        if len(row) != 2 or not all(row):
            what = f"a row must be two sessions of one person, not '{','.join(row)}'"
            raise CorpusError(what, where=path, hint=_AGAIN)
    earlier = dict(rows)
    unlisted = [file.stem for file in files if file.stem not in earlier]
    if unlisted:
        what = f"it doesn't say who is in {', '.join(unlisted)}, so a person could end up in two splits"
        raise CorpusError(what, where=path, hint=_AGAIN)
    return {file.stem: earlier[file.stem] for file in files}


def _read_session(path: Path) -> Session:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(f"the file can't be read as CSV: {reason(error)}", where=path, hint=_AGAIN) from error
    for i, row in enumerate(rows, 1):
        if len(row) != len(header):
            what = f"line {i + 1} has {len(row)} fields, and the header has {len(header)}"
            raise CorpusError(what, where=path, hint=_AGAIN)
    header = [name.strip() for name in header]
    where = _Columns(header, path)
    times = [where.one(name) for name in _TIMES]
    raters = [where.raters(prefix) for prefix in TARGETS.values()]
    blocks = [where.block(block) for block in _BLOCKS]

    def read(columns: list[int]) -> np.ndarray:
        return np.array([[_number(row[c]) for c in columns] for row in rows], np.float64).reshape(-1, len(columns))

    return Session(
        _times(read(times), path),
        np.stack([_ratings(read(columns), path) for columns in raters], axis=1),
        tuple(_track(block, read(c), tuple(header[i] for i in c)) for block, c in zip(_BLOCKS, blocks, strict=True)),
    )


def _number(text: str) -> float:
    """Number in a cell, NaN where there is none: some cells are empty or hold a word."""
    value = number(text.strip())
    return np.nan if value is None else value


class _Columns:
    """Finds columns by name in a file's header; CorpusError where they are missing."""

    def __init__(self, header: list[str], path: Path):
        self._header, self._path = header, path

    def one(self, name: str) -> int:
        if name not in self._header:
            raise CorpusError(f"the column '{name}' is missing", where=self._path, hint=_AGAIN)
        return self._header.index(name)

    def raters(self, prefix: str) -> list[int]:
        """Columns such as UI_F1 and UI_M2 (female and male raters), but not their average UI_Aver."""
        found = [i for i, name in enumerate(self._header) if re.fullmatch(rf"{prefix}_[FM]\d+", name)]
        if len(found) != RATERS:
            what = f"there must be {RATERS} columns of ratings {prefix}_F1, {prefix}_M1, ..., not {len(found)}"
            raise CorpusError(what, where=self._path, hint=_AGAIN)
        return found

    def block(self, block: _Block) -> list[int]:
        first, last = self.one(block.first), self.one(block.last)
        if last - first + 1 != block.width:
            what = f"there must be {block.width} columns from {block.first} to {block.last}, not {last - first + 1}"
            raise CorpusError(what, where=self._path, hint=_AGAIN)
        return list(range(first, last + 1))


def _times(milliseconds: np.ndarray, path: Path) -> np.ndarray:
    if not len(milliseconds):
        raise CorpusError("there are no exchanges", where=path, hint=_AGAIN)
    start, system, end = milliseconds.T
    right = np.isfinite(start) & np.isfinite(end) & (start <= end)
    right[1:] &= start[1:] >= end[:-1]
    if not right.all():
        what = f"line {int(np.argmin(right)) + 2}: an exchange must begin after the one before, and end after its start"
        raise CorpusError(what, where=path, hint=_AGAIN)
    # Some files of 2012 have the time of an exchange minutes away here, some of 2010 and 2105 have none.
    system = np.where((start <= system) & (system <= end), system, np.nan)
    return np.stack([start, system, end], axis=1) / 1000


def _ratings(values: np.ndarray, path: Path) -> np.ndarray:
    low, high = SCALE
    wrong = (values < low) | (values > high)
    if wrong.any():
        row = int(np.argmax(wrong.any(1)))
        what = f"line {row + 2}: ratings must lie between {low} and {high}, not be {values[row][wrong[row]][0]:g}"
        raise CorpusError(what, where=path, hint=_AGAIN)
    return values


def _track(block: _Block, values: np.ndarray, columns: tuple[str, ...]) -> FeatureTrack:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    present = np.isfinite(values).all(1) & (values != 0).any(1)
    values[~present] = np.nan
    text = "\n".join((block.backbone, str(_VERSION), *columns))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    return FeatureTrack(values, present, EXCHANGES, block.backbone, block.modality, columns, fingerprint)
