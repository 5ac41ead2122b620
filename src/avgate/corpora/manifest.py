"""Your own corpus: a CSV file that lists recordings, their labels, splits and persons.

    clip,video,labels,split,group,limits
    s01,videos/s01.mp4,labels/s01.eaf,train,anna,
    s02,videos/s02.mp4,valence=v/s02.csv; arousal=a/s02.csv,test,ben,1 7
    s03,sounds/s03.wav,valence=0.6; arousal=0.3,train,anna,
    s04,faces/s04.jpg,emotion=anger; intensity=0.5,train,cy,

Paths are relative to the CSV file. `video` is a video, a sound file, an image, or a folder of images with a times.csv.
`labels` is a file in any format of `avgate.labels.formats`, or several files with different targets, separated by
semicolons; NAME= names a file's only target. A number in place of a file, or an emotion, holds for the whole clip.
Where semicolons or tabs separate the list's cells, numbers may have a decimal comma.
`group` is a person ID; a person is never in two splits. Further columns are optional. `limits` is the lowest and
highest value of the labels' scale, where it isn't [-1, 1] and the files don't state it. `source` says where the clip
comes from, in a list of several sources: a training batch holds clips of one. `weight` is how often training sees the
clip in an epoch, 1 where nothing is said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgate.core.errors import AvgateError, CorpusError, UsageError
from avgate.core.files import is_file, is_there
from avgate.core.text import LISTED, listed, number, quoted, spelling_apart
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import SPLITS, Row, read_table
from avgate.labels.categories import SOURCE, place
from avgate.labels.formats import LABEL_FORMATS, read_labels, scaled
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

_SUFFIXES = tuple(dict.fromkeys(form.suffix.lower() for form in LABEL_FORMATS))


class Manifest:
    """A CSV file, or a folder with a manifest.csv, opened for reading.

    Opening it checks the list and all label files, and reports all problems at once. Clips without labels can be
    inspected and extracted; where no clip has labels, there are no targets.

    Args:
        root: the file or the folder.

    Attributes:
        notes: that label files hold more than labels, in one sentence; empty where they don't.
        emotion_map: where the places of emotion words come from; empty where no label is an emotion word.

    Raises:
        CorpusError: anything is wrong; lists each problem with its file and line.
    """

    name = "manifest"
    synthetic = False

    def __init__(self, root: Path):
        self.path = Path(root) / "manifest.csv" if is_there(root) and not is_file(root) else Path(root)
        if not is_file(self.path):
            what = "there is no such file, nor a folder with a manifest.csv"
            raise CorpusError(what, where=root, hint=f"write one: its {_COLUMNS_HINT}")
        self._problems: list[str] = []
        self._labels: dict[str, LabelTrack] = {}
        self._notes: dict[str, list[str]] = {}
        self.emotion_map = ""
        self._clips = self._read()
        self.targets: tuple[str, ...] = self._common_targets()
        self.notes: tuple[str, ...] = ()
        if self._notes:
            clip, notes = next(iter(self._notes.items()))
            what = f"label files of {len(self._notes)} clips hold more than labels, such as those of {clip}: {notes[0]}"
            self.notes = (f"{what}; avgate inspect names all",)
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
        return replace(labels, values=labels.values[:, order], targets=self.targets)

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the recordings."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """What of a clip's label files is no label, by name; whatever is wrong raises an error instead."""
        return {name: list(notes) for name, notes in self._notes.items()}

    def about(self) -> dict[str, str]:
        """The map of emotion words, where some clip has one."""
        return {"emotions' places": self.emotion_map} if self.emotion_map else {}

    def _read(self) -> list[Clip]:
        rows = read_table(self.path, COLUMNS, _COLUMNS_HINT)
        if not rows:
            raise CorpusError("no clip is listed", where=self.path, hint=_COLUMNS_HINT)
        clips: dict[str, Clip] = {}
        spelled: dict[str, str] = {}
        home: dict[str, tuple[str, int]] = {}
        shown: dict[str, tuple[str, int]] = {}
        for row in rows:
            line = row.line
            if row.surplus:
                what = "more cells than columns: put quotes around a cell with a comma, and write decimals with a point"
                self._wrong(line, what)
                continue
            clip = self._clip(row)
            # A person is one however their name is written: as it is in the first of their lines.
            clip = replace(clip, group=spelled.setdefault(spelling_apart(clip.group), clip.group))
            if clip.name in clips:
                self._wrong(line, f"the clip '{quoted(clip.name)}' is listed twice")
            elif clip.name:
                clips[clip.name] = clip
            seen = [("group", clip.group, home.setdefault(clip.group, (clip.split, line)))]
            if row["video"] and is_there(clip.video):
                seen.append(("video", row["video"], shown.setdefault(os.path.realpath(clip.video), (clip.split, line))))
            for kind, name, (split, first) in seen:
                if name and clip.split in SPLITS and split in SPLITS and split != clip.split:
                    what = (
                        f"the {kind} '{quoted(name)}' is in the {clip.split} split here, but in {split} in line {first}"
                    )
                    self._wrong(line, what)
            labels = self._read_labels(row, clip)
            if labels is not None:
                self._labels[clip.name] = labels
                if labels.notes:
                    self._notes[clip.name] = list(labels.notes)
        return list(clips.values())

    def _clip(self, row: Row) -> Clip:
        name, video, line = row["clip"], self.path.parent / row["video"], row.line
        if not name or any(c in name for c in '/\\:*?"<>|\0') or name.startswith(".") or len(name.encode()) > 200:
            self._wrong(line, f"'{quoted(name)}' can't be a clip's name, because its files are named after it")
        if not row["video"] or not is_there(video):
            self._wrong(line, f"there is no file '{quoted(row['video'])}'")
        elif not is_file(video) and not is_file(video / TIMES):
            what = f"the folder '{quoted(row['video'])}' has no {TIMES} with the columns file and time_s of its images"
            self._wrong(line, what)
        if row["split"] not in SPLITS:
            self._wrong(line, f"the split must be {', '.join(SPLITS)}, not '{quoted(row['split'])}'")
        if not row["group"]:
            self._wrong(line, "there is no group: give a person ID, the same for all clips of a person")
        parts = _parts(row["labels"])
        first = next((self.path.parent / value for name, value in parts if _is_file(name, value)), self.path)
        weight = number(row.get("weight") or "1", comma=row.comma)
        if weight is None or not 0 < weight <= _MOST_WEIGHT:
            told = quoted(row["weight"])
            self._wrong(line, f"weight must be a number above 0 and at most {_MOST_WEIGHT}, not '{told}'")
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

    def _read_labels(self, row: Row, clip: Clip) -> LabelTrack | None:
        limits, line = None, row.line
        if row.get("limits"):
            found = [number(part, comma=row.comma) for part in row["limits"].replace("..", " ").split()]
            if len(found) != 2 or found[0] is None or found[1] is None or not found[0] < found[1]:
                told = quoted(row["limits"])
                self._wrong(line, f"limits must be the lowest and the highest value, not '{told}'")
                return None
            limits = found[0], found[1]
        tracks: list[LabelTrack] = []
        parts = _parts(row["labels"])
        for target, value in parts:
            if not _is_file(target, value):
                continue
            try:
                file = self.path.parent / value
                read = read_labels(file, frames=lambda: _frame_times(clip.video), limits=limits, target=target)
                tracks.append(replace(read, notes=tuple(f"{quoted(value)}: {note}" for note in read.notes)))
            except AvgateError as error:
                where = str(error.where).removeprefix(f"{self.path.parent}{os.sep}")
                self._wrong(line, f"{quoted(where, LISTED)}: {error.what}")
        try:
            values = [(name, value) for name, value in parts if not _is_file(name, value)]
            if any(name == _EMOTION for name, _ in values):
                self.emotion_map = SOURCE
            # Files first: their times become those of the clip's labels.
            tracks += _whole_clip(values, limits, comma=row.comma)
            return side_by_side(tracks) if tracks else None
        except AvgateError as error:
            self._wrong(line, error.what + (f": {error.hint}" if error.hint else ""))
        except ValueError as error:
            self._wrong(line, f"in its labels {error}")
        return None

    def _common_targets(self) -> tuple[str, ...]:
        kinds = {name: labels.targets for name, labels in self._labels.items()}
        if not kinds:
            return ()
        first, targets = next(iter(kinds.items()))
        for name, found in kinds.items():
            if set(found) != set(targets):
                here, there = listed(found, 60), listed(targets, 60)
                what = f"the clip '{quoted(name, 40)}' has labels for {here}, but '{quoted(first, 40)}' for {there}"
                self._problems.append(what)
        return targets

    def _wrong(self, line: int, what: str) -> None:
        self._problems.append(f"line {line}: {what}")


def _parts(cell: str) -> list[tuple[str | None, str]]:
    """What stands between the semicolons of a cell: a name or None, and a file, a number or an emotion."""
    found: list[tuple[str | None, str]] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        name, equals, value = part.partition("=")
        name = name.strip()
        if name.lower() in (_EMOTION, _INTENSITY):
            name = name.lower()
        found.append((name, value.strip()) if equals else (None, part))
    return found


def _is_file(name: str | None, value: str) -> bool:
    """Whether a part names a label file: it has no name, or ends like one."""
    return name is None or value.lower().endswith(_SUFFIXES)


def _whole_clip(
    parts: Sequence[tuple[str | None, str]], limits: tuple[float, float] | None, *, comma: bool
) -> list[LabelTrack]:
    """The labels that hold for the whole clip, as at most one track.

    Raises:
        UsageError: something that is neither a number nor a file, an unknown emotion, or an intensity that is out of
            range, or without an emotion.
        CorpusError: a number outside the limits.
        ValueError: a name is there twice.
    """
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"a name is there twice: {listed(map(str, names))}")
    given = {str(name): value for name, value in parts}
    values: dict[str, float] = {}
    intensity = given.pop(_INTENSITY, None)
    emotion = given.pop(_EMOTION, None)
    if emotion is not None:
        share = 1.0 if intensity is None else number(intensity, comma=comma)
        if share is None:
            raise UsageError(f"the intensity must be a number from 0 to 1, not '{quoted(intensity or '')}'")
        values["valence"], values["arousal"] = place(emotion, share)
    elif intensity is not None:
        raise UsageError("there is an intensity, but no emotion")
    for name, text in given.items():
        if name in values:
            raise ValueError(f"both the emotion and a number give the {quoted(name)}")
        value = number(text, comma=comma)
        if value is None:
            files = ", ".join(_SUFFIXES)
            what = f"{quoted(name)}: '{quoted(text)}' isn't a number, such as -0.3, nor a label file ({files})"
            raise UsageError(what)
        values[name] = float(scaled(np.array([[value]]), (name,), limits)[0, 0])
    return [whole_clip(values)] if values else []


def _frame_times(video: Path) -> np.ndarray:
    return open_recording(video).frame_times()
