"""Label files of annotation programs. A new format is a file here and a line in LABEL_FORMATS."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError, UsageError, choose
from avgate.core.files import is_file
from avgate.core.text import as_name, listed, quoted
from avgate.core.types import LabelTrack
from avgate.labels.formats.affwild2 import AffWild2
from avgate.labels.formats.base import Frames, LabelFormat, checked_ends, checked_times, scale
from avgate.labels.formats.carma import Carma
from avgate.labels.formats.elan import Elan
from avgate.labels.formats.muse import Muse
from avgate.labels.formats.nova import Nova
from avgate.labels.formats.table import Table
from avgate.labels.formats.textgrid import TextGrid
from avgate.labels.tracks import only

__all__ = ["LABEL_FORMATS", "LabelFormat", "keeps_times", "label_format", "read_labels", "write_labels"]

LABEL_FORMATS: tuple[LabelFormat, ...] = (
    Nova(),
    Nova("nova-binary", binary=True, program="NOVA, binary"),
    Elan(),
    TextGrid(),
    Carma(),
    Muse(),
    AffWild2(),
    Table(),
)
"""Where several formats share a suffix, the first one that recognises a file reads it."""

_INTERVALS = ("elan", "textgrid", "csv")
"""Formats whose files hold intervals of any length, wherever they begin."""

_HINT = "check what the program exported"

_ROUNDING = 1e-4
"""How far a value may lie outside [-1, 1] by rounding; it is clipped."""


def label_format(name: str) -> LabelFormat:
    """The format of that name; UsageError with the choices where there is none."""
    return choose("label format", name, {f.name: f for f in LABEL_FORMATS})


def read_labels(
    path: Path,
    *,
    frames: Frames | None = None,
    limits: tuple[float, float] | None = None,
    target: str | None = None,
    targets: Sequence[str] = (),
) -> LabelTrack:
    """Read a label file of any format; its suffix and its first line tell which.

    Args:
        path: the file.
        frames: gives the timestamps of the video's frames; needed by formats without times.
        limits: lowest and highest value of the file's scale, mapped to [-1, 1]; ignored by formats whose files state
            their own scale. [-1, 1] unless given.
        target: name for the file's only target, in place of the name in the file.
        targets: targets to take; all unless given. Those that the file lacks are skipped.

    Returns:
        Labels in [-1, 1], NaN where unknown.

    Raises:
        UsageError: limits that aren't a lower and a higher number.
        CorpusError: the file is missing, of an unknown format, malformed, or holds values outside the limits.
    """
    if limits is not None and not (math.isfinite(limits[0]) and math.isfinite(limits[1]) and limits[0] < limits[1]):
        raise UsageError(f"limits must be the lowest and the highest value, not {limits[0]:g} and {limits[1]:g}")
    if not is_file(path):
        raise CorpusError("there is no such label file", where=path, hint="check the path")
    candidates = [f for f in LABEL_FORMATS if path.name.lower().endswith(f.suffix.lower())]
    found = next((f for f in candidates if f.recognises(path)), None)
    if found is None:
        known = ", ".join(dict.fromkeys(f"{f.suffix} ({f.name})" for f in LABEL_FORMATS))
        raise CorpusError("this isn't a label file of a known format", where=path, hint=f"known formats: {known}")
    labels = found.read(path, frames)
    checked_ends(replace(labels, time_s=checked_times(labels.time_s, path, _HINT)), path, _HINT)
    if targets and target is None:
        labels = only(labels, targets)
    try:
        values = scaled(labels.values, labels.targets, None if found.scaled else limits, labels.time_s)
    except CorpusError as error:
        hint = (
            "correct the lowest and highest value in its header"
            if found.scaled
            else "give the lowest and highest value of its scale"
        )
        raise CorpusError(error.what, where=path, hint=f"{hint}, or correct the file") from None
    if target is not None and len(labels.targets) > 1:
        what = f"there are several targets in it ({listed(labels.targets)}), so they can't all be '{target}'"
        raise CorpusError(what, where=path, hint="leave the name out")
    names = labels.targets if target is None else (target,)
    return replace(labels, values=values, targets=names)


def scaled(
    values: np.ndarray,
    targets: Sequence[str],
    limits: tuple[float, float] | None,
    time_s: np.ndarray | None = None,
) -> np.ndarray:
    """Labels mapped from their scale's limits to [-1, 1].

    Args:
        values: float [n k].
        targets: k names.
        limits: the lowest and the highest value of the scale; [-1, 1] for None.
        time_s: float [n] seconds, to say where a value is wrong; None for labels of whole clips.

    Returns:
        float32 [n k].

    Raises:
        CorpusError: a value lies outside the limits.
    """
    low, high = limits or (-1.0, 1.0)
    mapped = scale(values.astype(np.float64), low, high)
    outside = np.argwhere(np.abs(mapped) > 1 + _ROUNDING)
    if len(outside):
        row, column = outside[0]
        place = quoted(targets[column]) + ("" if time_s is None else f" at {time_s[row]:.2f} s")
        raise CorpusError(f"{place}: {values[row, column]:g} is not in [{low:g}, {high:g}]")
    return np.clip(mapped, -1, 1).astype(np.float32)


def write_labels(labels: LabelTrack, path: Path, name: str) -> list[Path]:
    """Write labels in a format: one file, or NAME.TARGET.SUFFIX per target where a file holds one target only.

    Control characters in a target's name are written as escapes, see `as_name`.

    Args:
        labels: what to write; at least one row.
        path: the file; its suffix is the format's.
        name: the format's name.

    Returns:
        The files written.

    Raises:
        UsageError: there is no such format.
        OutputError: a file can't be written.
    """
    chosen, files = label_format(name), files_of(path, labels.targets, name)
    parts = [only(labels, [target]) for target in labels.targets] if len(files) > 1 else [labels]
    for file, part in zip(files, parts, strict=True):
        chosen.write(replace(part, targets=tuple(map(as_name, part.targets))), file)
    return files


def keeps_times(labels: LabelTrack, name: str) -> bool:
    """Whether files of a format can hold these labels at the times that they have, rather than on regular steps."""
    return name in _INTERVALS or (name == "muse" and labels.until_s is None)


def files_of(path: Path, targets: Sequence[str], name: str) -> list[Path]:
    """The files that `write_labels` writes for these targets."""
    chosen = label_format(name)
    if not chosen.single or len(targets) == 1:
        return [path]
    return [_of_target(path, target, chosen) for target in targets]


def _of_target(path: Path, target: str, chosen: LabelFormat) -> Path:
    """NAME.TARGET.SUFFIX, with _ for characters that a file name can't hold."""
    plain = re.sub(r"[^\w .-]", "_", target)
    return path.with_name(f"{path.name.removesuffix(chosen.suffix)}.{plain}{chosen.suffix}")
