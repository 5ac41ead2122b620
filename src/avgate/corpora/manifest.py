"""Your own corpus: a CSV file that lists recordings, their labels, splits and persons.

    clip,video,labels,split,group,limits
    s01,videos/s01.mp4,labels/s01.eaf,train,anna,
    s02,videos/s02.mp4,valence=v/s02.csv; arousal=a/s02.csv,test,ben,1 7
    s03,sounds/s03.wav,valence=0.6; arousal=0.3,train,anna,
    s04,faces/s04.jpg,emotion=anger; intensity=0.5,train,cy,

Paths are relative to the CSV file. `video` is a video, a sound file, an image, or a folder of images with a times.csv.
`labels` is a file in any format of `avgate.labels.formats`, or several files with different targets, separated by
semicolons; NAME= names a file's only target. A number in place of a file, or an emotion, holds for the whole clip.
`group` is a person ID; a person is never in two splits. Further columns are optional. `limits` is the lowest and
highest value of the labels' scale, where it isn't [-1, 1] and the files don't state it. `source` says where the clip
comes from, in a list of several sources: a training batch holds clips of one. `weight` is how often training sees the
clip in an epoch, 1 where nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avgate.core.errors import AvgateError, CorpusError, UsageError
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import SPLITS, read_table
from avgate.labels.categories import SOURCE, place
from avgate.labels.formats import read_labels, scaled
from avgate.labels.tracks import side_by_side, whole_clip
from avgate.media import open_recording
from avgate.media.stills import TIMES

COLUMNS = ("clip", "video", "labels", "split", "group")

_COLUMNS_HINT = "columns are clip, video, labels, split, group and, if labels aren't in [-1, 1], limits"
_MOST = 30
"""How many problems are listed."""

_MOST_WEIGHT = 100

_EMOTION, _INTENSITY = "emotion", "intensity"
"""Names in the column `labels` that stand for a place in the plane of valence and arousal."""


class Manifest:
    """A CSV file, or a folder with a manifest.csv, opened for reading.

    Opening it checks the list and all label files, and reports all problems at once. Clips without labels can be used
    for extraction and prediction only.

    Args:
        root: the file or the folder.

    Attributes:
        emotion_map: where the places of emotion words come from; empty where no label is an emotion word.

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
        self.emotion_map = ""
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
        """None: features are extracted from the recordings."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """Nothing: whatever is wrong raises an error instead."""
        return {}

    def about(self) -> dict[str, str]:
        """The map of emotion words, where some clip has one."""
        return {"emotions' places": self.emotion_map} if self.emotion_map else {}

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
        if not row["video"] or not video.exists():
            self._wrong(number, f"there is no file '{row['video']}'")
        elif video.is_dir() and not (video / TIMES).is_file():
            what = f"the folder '{row['video']}' has no {TIMES} with the columns file and time_s of its images"
            self._wrong(number, what)
        if row["split"] not in SPLITS:
            self._wrong(number, f"the split must be {', '.join(SPLITS)}, not '{row['split']}'")
        if not row["group"]:
            self._wrong(number, "there is no group: give a person ID, the same for all clips of a person")
        parts = _parts(row["labels"])
        first = next((self.path.parent / value for name, value in parts if _is_file(name, value)), self.path)
        weight = _number(row.get("weight") or "1")
        if weight is None or not 0 < weight <= _MOST_WEIGHT:
            self._wrong(number, f"weight must be a number above 0 and at most {_MOST_WEIGHT}, not '{row['weight']}'")
            weight = 1.0
        return Clip(
            name,
            video,
            row["split"],
            row["group"],
            first if parts else None,
            source=row.get("source", ""),
            weight=weight,
        )

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
        parts = _parts(row["labels"])
        for target, value in parts:
            if not _is_file(target, value):
                continue
            try:
                file = self.path.parent / value
                tracks.append(read_labels(file, frames=lambda: _frame_times(clip.video), limits=limits, target=target))
            except AvgateError as error:
                self._wrong(number, f"{error.where}: {error.what}")
        try:
            if any(name == _EMOTION and not _is_file(name, value) for name, value in parts):
                self.emotion_map = SOURCE
            # Files first: their times become those of the clip's labels.
            tracks += _whole_clip([(name, value) for name, value in parts if not _is_file(name, value)], limits)
            return side_by_side(tracks) if tracks else None
        except AvgateError as error:
            self._wrong(number, error.what)
        except ValueError as error:
            self._wrong(number, f"in its labels {error}")
        return None

    def _common_targets(self) -> tuple[str, ...]:
        kinds = {name: labels.targets for name, labels in self._labels.items()}
        if not kinds:
            if not self._problems:
                hint = "put a label file, or numbers such as valence=0.6, into the column 'labels'"
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


def _parts(cell: str) -> list[tuple[str | None, str]]:
    """What stands between the semicolons of a cell: a name or None, and a file, a number or an emotion."""
    found: list[tuple[str | None, str]] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        name, equals, value = part.partition("=")
        found.append((name.strip(), value.strip()) if equals else (None, part))
    return found


def _is_file(name: str | None, value: str) -> bool:
    """Whether a part names a label file; an emotion is a word without a suffix."""
    if name is None:
        return True
    emotion = name == _EMOTION and not Path(value).suffix
    return not (emotion or name == _INTENSITY or _number(value) is not None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole_clip(parts: Sequence[tuple[str | None, str]], limits: tuple[float, float] | None) -> list[LabelTrack]:
    """The labels that hold for the whole clip, as at most one track.

    Raises:
        UsageError: NaN, an unknown emotion, or an intensity that is out of range, or without an emotion.
        CorpusError: a number outside the limits.
        ValueError: a name is there twice.
    """
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"a name is there twice: {', '.join(map(str, names))}")
    given = {str(name): value for name, value in parts}
    values: dict[str, float] = {}
    intensity = given.pop(_INTENSITY, None)
    emotion = given.pop(_EMOTION, None)
    if emotion is not None:
        share = 1.0 if intensity is None else _number(intensity)
        if share is None:
            raise UsageError(f"the intensity must be a number from 0 to 1, not '{intensity}'")
        values["valence"], values["arousal"] = place(emotion, share)
    elif intensity is not None:
        raise UsageError("there is an intensity, but no emotion")
    for name, text in given.items():
        if name in values:
            raise ValueError(f"both the emotion and a number give the {name}")
        value = float(text)
        if not math.isfinite(value):
            raise UsageError(f"{name}: '{text}' isn't a number")
        values[name] = float(scaled(np.array([[value]]), (name,), limits)[0, 0])
    return [whole_clip(values)] if values else []


def _frame_times(video: Path) -> np.ndarray:
    return open_recording(video).frame_times()
