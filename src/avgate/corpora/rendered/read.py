"""Reads a rendered corpus from its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.text import number, quoted
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import SPLITS, Row, read_table
from avgate.corpora.rendered.trajectory import Mark

TARGETS = ("valence", "arousal")
MANIFEST_COLUMNS = ("clip", "video", "labels", "marks", "split", "group")
LABEL_COLUMNS = ("time_s", *TARGETS)
MARK_COLUMNS = ("start_s", "end_s", "modality", "kind")

_AGAIN = (
    "delete the file, if it is there, and run `avgate render` with the same options again: it makes what is missing"
)


class Rendered:
    """A folder written by `avgate render`, opened for reading.

    Args:
        root: the folder; its manifest.csv lists the clips with paths relative to it.

    Raises:
        CorpusError: the folder or its manifest is missing, incomplete or malformed.
    """

    name = "rendered"
    targets: tuple[str, ...] = TARGETS
    synthetic = True

    def __init__(self, root: Path):
        self.root = Path(root)
        self._marks: dict[str, Path] = {}
        self._clips = self._read_manifest()

    def clips(self) -> list[Clip]:
        """All clips, in the manifest's order."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """Valence and arousal at every frame, each in [-1, 1].

        Raises:
            CorpusError: the file is missing or malformed, or holds values outside [-1, 1].
        """
        if clip.labels is None:
            raise CorpusError(f"the clip '{clip.name}' has no labels", where=self.root)
        table = _numbers(read_table(clip.labels, LABEL_COLUMNS, _AGAIN), LABEL_COLUMNS, clip.labels)
        if not len(table) or (np.diff(table[:, 0]) <= 0).any():
            raise CorpusError("there must be rows, with times that increase", where=clip.labels, hint=_AGAIN)
        if (np.abs(table[:, 1:]) > 1).any():
            raise CorpusError("labels must lie in [-1, 1]", where=clip.labels, hint=_AGAIN)
        return LabelTrack(table[:, 0], table[:, 1:].astype(np.float32), TARGETS)

    def marks(self, clip: Clip) -> list[Mark]:
        """The stretches in which a modality misleads, in order of time; CorpusError as for labels."""
        file = self._marks[clip.name]
        rows = read_table(file, MARK_COLUMNS, _AGAIN)
        spans = _numbers(rows, MARK_COLUMNS[:2], file)
        marks = []
        for (start_s, end_s), row in zip(spans.tolist(), rows, strict=True):
            if not start_s < end_s or row["modality"] not in ("audio", "video"):
                what = "a stretch must end after its start, in 'audio' or 'video'"
                raise CorpusError(what, where=file, hint=_AGAIN)
            marks.append(Mark(start_s, end_s, "audio" if row["modality"] == "audio" else "video", row["kind"]))
        return marks

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the videos."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """Nothing: whatever is wrong raises an error instead."""
        return {}

    def _read_manifest(self) -> list[Clip]:
        manifest = self.root / "manifest.csv"
        if not manifest.is_file():
            what = "there is no such folder" if not self.root.is_dir() else "the folder has no manifest.csv"
            hint = f"make the corpus, or finish an interrupted one, with: avgate render --out {self.root}"
            if self.root.is_file():
                what = "this is a file, not the folder of a rendered corpus"
                hint = "for your own list of clips, add --corpus manifest"
            raise CorpusError(what, where=self.root, hint=hint)
        clips: dict[str, Clip] = {}
        home: dict[str, str] = {}
        for row in read_table(manifest, MANIFEST_COLUMNS, _AGAIN):
            clip = self._clip(row, manifest)
            if clip.name in clips:
                raise CorpusError(f"the clip '{clip.name}' is listed twice", where=manifest, hint=_AGAIN)
            if home.setdefault(clip.group, clip.split) != clip.split:
                what = f"the group '{clip.group}' is in the {home[clip.group]} and the {clip.split} split"
                raise CorpusError(what, where=manifest, hint="keep all clips of a group in one split")
            clips[clip.name] = clip
        if not clips:
            raise CorpusError("no clip is listed", where=manifest, hint=_AGAIN)
        return list(clips.values())

    def _clip(self, row: dict[str, str], manifest: Path) -> Clip:
        name = row["clip"]
        if not name or not row["group"] or row["split"] not in SPLITS:
            what = f"the clip '{name}' needs a name, a group and one of the splits {', '.join(SPLITS)}"
            raise CorpusError(what, where=manifest, hint=_AGAIN)
        files = {column: self.root / row[column] for column in ("video", "labels", "marks")}
        for column, file in files.items():
            if not row[column] or not file.is_file():
                raise CorpusError(f"the clip '{name}' has no file of {column} there", where=file, hint=_AGAIN)
        self._marks[name] = files["marks"]
        return Clip(name, files["video"], row["split"], row["group"], files["labels"])


def _numbers(rows: list[Row], columns: tuple[str, ...], path: Path) -> np.ndarray:
    """The cells of these columns as float64 [n k]; CorpusError where one isn't a finite number."""
    table = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for k, column in enumerate(columns):
            value = number(row[column])
            if value is None:
                what = f"line {row.line}, column {column}: '{quoted(row[column])}' isn't a number"
                raise CorpusError(what, where=path, hint=_AGAIN)
            table[i, k] = value
    return table
