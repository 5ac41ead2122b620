"""Your own corpus: a CSV file that lists videos, their label files, splits and persons.

    clip,video,labels,split,group,limits
    s01,videos/s01.mp4,labels/s01.eaf,train,anna,
    s02,videos/s02.mp4,valence=v/s02.csv; arousal=a/s02.csv,test,ben,1 7

Paths are relative to the CSV file. `labels` is a file in any format of `avgate.labels.formats`, or several files with
different targets, separated by semicolons; NAME= names a file's only target. `group` is a person ID; a person is never
in two splits. `limits` (optional) is the lowest and highest value of the labels' scale, where it isn't [-1, 1] and the
files don't state it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from avgate.core.errors import AvgateError, CorpusError
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import SPLITS, read_table
from avgate.labels.formats import read_labels
from avgate.labels.tracks import side_by_side
from avgate.media import Media

COLUMNS = ("clip", "video", "labels", "split", "group")

_COLUMNS_HINT = "columns are clip, video, labels, split, group and, if labels aren't in [-1, 1], limits"
_MOST = 30
"""How many problems are listed."""


class Manifest:
    """A CSV file, or a folder with a manifest.csv, opened for reading.

    Opening it checks the list and all label files, and reports all problems at once. Clips without labels can be used
    for extraction and prediction only.

    Args:
        root: the file or the folder.

    Raises:
        CorpusError: anything is wrong; lists each problem with its file and row.
    """

    name = "manifest"
    synthetic = False

    def __init__(self, root: Path):
        self.path = Path(root) / "manifest.csv" if Path(root).is_dir() else Path(root)
        if not self.path.is_file():
            what = "there is no such file, nor a folder with a manifest.csv"
            raise CorpusError(what, where=root, hint=f"write one: its {_COLUMNS_HINT}")
        self._problems: list[str] = []
        self._labels: dict[str, LabelTrack] = {}
        self._clips = self._read()
        self.targets: tuple[str, ...] = self._common_targets()
        if self._problems:
            count = len(self._problems)
            listed = "".join(f"\n  {problem}" for problem in self._problems[:_MOST])
            more = f"\n  ... and {count - _MOST} more" if count > _MOST else ""
            what = f"{count} thing{'s are' if count > 1 else ' is'} wrong:{listed}{more}"
            raise CorpusError(what, where=self.path, hint="correct them and run the same command again")

    def clips(self) -> list[Clip]:
        """All clips, in the file's order."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """Labels of a clip, with targets in the corpus' order; CorpusError for a clip without labels."""
        if clip.name not in self._labels:
            raise CorpusError(f"the clip '{clip.name}' has no labels", where=self.path)
        labels = self._labels[clip.name]
        order = [labels.targets.index(target) for target in self.targets]
        return LabelTrack(labels.time_s, labels.values[:, order], self.targets, labels.until_s)

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the videos."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """Nothing: whatever is wrong raises an error instead."""
        return {}

    def _read(self) -> list[Clip]:
        rows = read_table(self.path, COLUMNS, _COLUMNS_HINT)
        if not rows:
            raise CorpusError("no clip is listed", where=self.path, hint=_COLUMNS_HINT)
        clips: dict[str, Clip] = {}
        home: dict[str, tuple[str, int]] = {}
        shown: dict[Path, tuple[str, int]] = {}
        for number, cells in enumerate(rows, 1):
            row = {key: (value or "").strip() for key, value in cells.items() if key is not None}
            clip = self._clip(row, number)
            if clip.name in clips:
                self._wrong(number, f"the clip '{clip.name}' is listed twice")
            elif clip.name:
                clips[clip.name] = clip
            split, first = home.setdefault(clip.group, (clip.split, number))
            if clip.group and clip.split in SPLITS and split in SPLITS and split != clip.split:
                what = f"the group '{clip.group}' is in the {clip.split} split here, but in {split} in row {first}"
                self._wrong(number, what)
            split, first = shown.setdefault(clip.video.resolve(), (clip.split, number))
            if row["video"] and clip.split in SPLITS and split in SPLITS and split != clip.split:
                what = f"the video '{row['video']}' is in the {clip.split} split here, but in {split} in row {first}"
                self._wrong(number, what)
            labels = self._read_labels(row, number, clip)
            if labels is not None:
                self._labels[clip.name] = labels
        return list(clips.values())

    def _clip(self, row: dict[str, str], number: int) -> Clip:
        name, video = row["clip"], self.path.parent / row["video"]
        if not name or any(c in name for c in '/\\:*?"<>|\0') or name.startswith(".") or len(name.encode()) > 200:
            self._wrong(number, f"'{name}' can't be a clip's name, because its files are named after it")
        if not row["video"] or not video.is_file():
            self._wrong(number, f"there is no video '{row['video']}'")
        if row["split"] not in SPLITS:
            self._wrong(number, f"the split must be {', '.join(SPLITS)}, not '{row['split']}'")
        if not row["group"]:
            self._wrong(number, "there is no group: give a person ID, the same for all clips of a person")
        first = next((file for _, file in _label_files(row["labels"], self.path.parent)), None)
        return Clip(name, video, row["split"], row["group"], first)

    def _read_labels(self, row: dict[str, str], number: int, clip: Clip) -> LabelTrack | None:
        limits = None
        if row.get("limits"):
            try:
                low, high = (float(part) for part in row["limits"].replace("..", " ").split())
                if not (math.isfinite(low) and math.isfinite(high) and low < high):
                    raise ValueError
                limits = low, high
            except ValueError:
                self._wrong(number, f"limits must be the lowest and the highest value, not '{row['limits']}'")
                return None
        tracks: list[LabelTrack] = []
        for target, file in _label_files(row["labels"], self.path.parent):
            try:
                tracks.append(read_labels(file, frames=lambda: _frame_times(clip.video), limits=limits, target=target))
            except AvgateError as error:
                self._wrong(number, f"{error.where}: {error.what}")
        try:
            return side_by_side(tracks) if tracks else None
        except ValueError as error:
            self._wrong(number, f"in its label files {error}")
            return None

    def _common_targets(self) -> tuple[str, ...]:
        kinds = {name: labels.targets for name, labels in self._labels.items()}
        if not kinds:
            if not self._problems:
                hint = "put a label file into the column 'labels'"
                raise CorpusError("no clip has labels", where=self.path, hint=hint)
            return ()
        first, targets = next(iter(kinds.items()))
        for name, found in kinds.items():
            if set(found) != set(targets):
                what = f"the clip '{name}' has labels for {', '.join(found)}, but '{first}' for {', '.join(targets)}"
                self._problems.append(what)
        return targets

    def _wrong(self, number: int, what: str) -> None:
        self._problems.append(f"row {number}: {what}")


def _label_files(cell: str, folder: Path) -> list[tuple[str | None, Path]]:
    """The label files in a cell, each with the name given to its only target, or None."""
    found: list[tuple[str | None, Path]] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        target, equals, file = part.partition("=")
        found.append((target.strip(), folder / file.strip()) if equals else (None, folder / part))
    return found


def _frame_times(video: Path) -> np.ndarray:
    return Media(video).frame_times()
