"""The files that a prediction writes: which ones are asked for, and which ones it may replace."""

from __future__ import annotations

from collections.abc import Sequence
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


_OURS = {".csv": b"_present", ".json": b'"provenance"', ".html": b"avgate", ".png": b"Matplotlib"}
"""Suffix -> what files that predict wrote have near their beginning."""

_NEAR = 1 << 16


def refuse_strangers(files: Sequence[Place], writers: Sequence[LabelWriter] = (), targets: Sequence[str] = ()) -> None:
    """Refuse to replace files that predict didn't write, such as transcripts or a person's own annotation.

    Label files don't say who wrote them, so none is replaced.
    """
    for file in files:
        labels = next((writer for writer in writers if file.name.endswith(writer.suffix)), None)
        found = [Path(file.name)] if labels is None else files_of(Path(file.name), targets, labels.name)
        for one in found:
            place = file.with_name(one.name)
            if is_file(place) and (labels is not None or _OURS[place.suffix] not in begin_of(place, _NEAR)):
                what = "there is another file of this name, which may be someone's work"
                raise OutputError(what, where=place, hint="choose another --out, or move it away")
