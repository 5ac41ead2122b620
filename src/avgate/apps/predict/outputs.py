"""The files that a prediction writes: which ones are asked for, and which ones it may replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avgate.core.errors import OutputError, choose
from avgate.core.files import is_file
from avgate.core.places import Place, begin_of
from avgate.core.types import LabelTrack, Trace
from avgate.labels.formats import LABEL_FORMATS, LabelFormat, files_of, write_labels
from avgate.report.writers import WRITERS, Writer


@dataclass(frozen=True)
class LabelWriter:
    """Writes a trace's targets as a label file, for annotation programs; see Writer.

    Formats that hold one target per file make one of each: NAME.valence.annotation.
    """

    format: LabelFormat
    suffix: str

    @property
    def name(self) -> str:
        """The format's name."""
        return self.format.name

    def write(self, trace: Trace, path: Path) -> None:
        """Write the label files of a trace; OutputError where one can't be written."""
        values = np.stack([*trace.targets.values()], axis=1).astype(np.float32)
        write_labels(LabelTrack(trace.time_s, values, tuple(trace.targets)), path, self.format.name)


def writers_named(names: Sequence[str]) -> list[Writer]:
    """The writers of data files and label files of these names, each once.

    A label format may also be called by its suffix (eaf, TextGrid). Where several that are asked for share a suffix,
    the format's name is part of it: NAME.muse.csv.

    Raises:
        UsageError: there is no such format; the hint lists those that exist.
    """
    writers: dict[str, Writer] = {writer.name: writer for writer in WRITERS}
    formats = [f for f in LABEL_FORMATS if f.name not in writers]
    choices = writers | {f.name: LabelWriter(f, f.suffix) for f in formats}
    by_suffix = {f.suffix.removeprefix(".").lower(): f.name for f in reversed(formats)}
    taken = {writer.suffix for writer in WRITERS}
    chosen: dict[str, Writer] = {}
    for asked in names:
        name = asked if asked in choices else by_suffix.get(asked.lower(), asked)
        writer = choose("output format", name, choices)
        if name not in chosen and isinstance(writer, LabelWriter):
            if writer.suffix in taken:
                writer = replace(writer, suffix=f".{name}{writer.suffix}")
            taken.add(writer.suffix)
        chosen.setdefault(name, writer)
    return [*chosen.values()]


def results(file: Place, writers: Sequence[Writer], report: bool, targets: Sequence[str]) -> dict[Place, str]:
    """All files that are written of one recording -> what each is, its format's name.

    Args:
        file: their path without their suffixes.
        writers: of the data and label files.
        report: whether there are reports.
        targets: the model's.
    """
    found: dict[str, str] = {}
    for writer in writers:
        one = Path(file.name + writer.suffix)
        names = files_of(one, targets, writer.name) if isinstance(writer, LabelWriter) else [one]
        found |= dict.fromkeys((name.name for name in names), writer.name)
    if report:
        found |= {f"{file.name}.html": "report", f"{file.name}.png": "report"}
    return {file.with_name(name): kind for name, kind in found.items()}


_OURS = {".csv": b"_present", ".json": b'"provenance"', ".html": b"avgate", ".png": b"Matplotlib"}
"""Suffix -> what files that predict wrote have near their beginning."""

_NEAR = 1 << 16

_SAYING = {*(writer.name for writer in WRITERS), "report"}
"""The formats whose files say that avgate wrote them."""


def refuse_strangers(files: Mapping[Place, str]) -> None:
    """Refuse to replace files that predict didn't write, such as transcripts or a person's own annotation.

    Label files don't say who wrote them, so none is replaced.

    Args:
        files: what will be written -> its format's name, or "report".
    """
    for file, kind in files.items():
        if is_file(file) and not (kind in _SAYING and _OURS[file.suffix] in begin_of(file, _NEAR)):
            what = "there is another file of this name, which may be someone's work"
            raise OutputError(what, where=file, hint="choose another --out, or move it away")
