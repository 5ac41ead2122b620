"""The interface of a label format, and helpers that formats share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.text import listed
from avgate.core.timeline import LONGEST_S
from avgate.core.types import LabelTrack

DECIMALS = 6
"""Decimals of values and of seconds in the text files that are written."""

_CLOSEST_S = 1e-9
"""Times that are closer than this are the same."""

Frames = Callable[[], np.ndarray]
"""Gives the timestamps of the video's frames, float64 [n] seconds, to formats without times."""


class LabelFormat(Protocol):
    """A file format for labels: it reads a file to a LabelTrack, and writes one.

    Attributes:
        name: its name on the command line.
        program: the name of the program, or the challenge, that the files are of, for people.
        suffix: how its file names end, dot included.
        single: whether a file holds one target only.
        scaled: whether files state their lowest and highest value; reading then maps these to [-1, 1].
    """

    @property
    def name(self) -> str:
        """Its name on the command line."""

    @property
    def program(self) -> str:
        """The name of the program, or the challenge, that the files are of."""

    @property
    def suffix(self) -> str:
        """How its file names end, dot included."""

    @property
    def single(self) -> bool:
        """Whether a file holds one target only."""

    @property
    def scaled(self) -> bool:
        """Whether files state their lowest and highest value."""

    def recognises(self, path: Path) -> bool:
        """Whether a file with this suffix looks like this format; may read its first line."""

    def read(self, path: Path, frames: Frames | None) -> LabelTrack:
        """Read a file.

        Args:
            path: the file.
            frames: gives the timestamps of the video's frames; used by formats without times.

        Returns:
            The labels; values as in the file unless the format is `scaled`.

        Raises:
            CorpusError: it can't be read, or is malformed.
        """

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write labels atomically.

        Args:
            labels: one target only if the format is `single`.
            path: the file.

        Raises:
            OutputError: it can't be written.
        """


def beginning(path: Path, size: int = 8192) -> str:
    """The first bytes of a text file without its byte order mark; empty where the file can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    except OSError:
        return ""


def first_line(path: Path) -> str:
    """First line of a text file, see `beginning`."""
    return beginning(path).split("\n", 1)[0].strip()


def checked_times(time_s: np.ndarray, path: Path, hint: str, lines: Sequence[int] = ()) -> np.ndarray:
    """The same times, float [n] seconds.

    Args:
        time_s: times of labels.
        path: the file, for messages.
        hint: the next step, for messages.
        lines: the line of the file that each time stands on.

    Raises:
        CorpusError: there are none, or one is missing, further from 0 than LONGEST_S, or not later than the one before.
    """
    if not len(time_s):
        raise CorpusError("there are no labels in it", where=path, hint=hint)
    if (np.abs(time_s) > LONGEST_S).any():
        what = f"its times reach from {np.nanmin(time_s):g} to {np.nanmax(time_s):g} s"
        raise CorpusError(what, where=path, hint="times count from the beginning of the video, in the unit of the file")
    wrong = np.flatnonzero(~(np.diff(time_s, prepend=-np.inf) > _CLOSEST_S))
    if len(wrong):
        row = int(wrong[0])
        place = f"line {lines[row]}" if len(lines) else f"label {row + 1}"
        what = f"times must increase, but {place} has no time or isn't later than the one before"
        raise CorpusError(what, where=path, hint=hint)
    return time_s


def checked_ends(labels: LabelTrack, path: Path, hint: str, lines: Sequence[int] = ()) -> LabelTrack:
    """The same labels; CorpusError where an interval ends too late, before it begins, or after the next one begins."""
    start_s, until_s = labels.time_s, labels.until_s
    if until_s is None:
        return labels

    def wrong(rows: np.ndarray, what: str) -> None:
        if rows.any():
            row = int(np.argmax(rows))
            place = f"line {lines[row]}" if len(lines) else f"the label at {start_s[row]:.2f} s"
            raise CorpusError(f"{place} {what}", where=path, hint=hint)

    wrong(~(until_s - start_s > _CLOSEST_S), "must end later than it begins")
    wrong(~(until_s <= LONGEST_S), f"ends later than {LONGEST_S:g} s")
    wrong(until_s[:-1] > start_s[1:] + 1e-6, "ends after the next one begins")
    return labels


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values mapped linearly from [low, high] to [-1, 1]."""
    return (values - (high + low) / 2) / ((high - low) / 2)


def left_out(names: Sequence[str], what: str) -> tuple[str, ...]:
    """A note that names what isn't a target; none where there is nothing to name."""
    return (f"left out, because they hold no numbers: {what} {listed(names)}",) if names else ()


def seconds_per_unit(times: np.ndarray, least_ms: float = 100) -> float | None:
    """The unit of times whose file doesn't say it, by the usual distance between labels.

    Args:
        times: float [n], in the file's unit.
        least_ms: least distance that is taken for milliseconds. In seconds, 100 were one label in two minutes or so.

    Returns:
        1 where labels are up to 5 apart: in milliseconds, that were 200 a second or more. 1e-3 where they are from
        `least_ms` to 10,000 apart. None in between, where it may be either, and above, where it may be microseconds.
    """
    finite = times[np.isfinite(times)]
    usual = float(np.median(np.abs(np.diff(finite)))) if len(finite) > 1 else float(np.abs(finite).sum())
    return 1.0 if usual <= 5 else 1e-3 if least_ms <= usual <= 10_000 else None
