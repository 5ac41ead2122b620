"""Errors that a user can act on: what happened, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from avgate.core.text import one_line, printable


class AvgateError(Exception):
    """A failure that the user can act on; the command line prints it as one message and exits with `exit_code`.

    Args:
        what: what is wrong, in one sentence.
        where: the file, clip, column or option that it is wrong in.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, hint: str | None = None):
        self.what, self.where, self.hint = what, None if where is None else str(where), hint
        place = f"{one_line(self.where)}: " if self.where else ""
        super().__init__(printable(f"{place}{what}" + (f"\n  -> {hint}" if hint else "")))


class UsageError(AvgateError):
    """An option or a name that doesn't exist or doesn't fit the others."""

    exit_code = 2


class MediaError(AvgateError):
    """A file that can't be decoded as video or audio."""

    exit_code = 3


class ModelFileError(AvgateError):
    """A face model or backbone weights that are missing, can't be downloaded, or aren't what they should be."""

    exit_code = 4


class CheckpointError(AvgateError):
    """A file that isn't an avgate checkpoint, or one that doesn't fit this version or these features."""

    exit_code = 5


class FeatureError(AvgateError):
    """Features that are missing, don't match the checkpoint, or hold values that can't be used."""

    exit_code = 6


class CorpusError(AvgateError):
    """A corpus folder, manifest or label file with something wrong in it."""

    exit_code = 7


class OutputError(AvgateError):
    """A file or folder that can't be written."""

    exit_code = 8


class WorkerError(AvgateError):
    """A worker process was killed, most often because memory ran out; or memory ran out in this one."""

    exit_code = 9


class PlaceError(AvgateError):
    """An address, such as s3://bucket/folder, that can't be reached or read."""

    exit_code = 10


_Choice = TypeVar("_Choice")


def choose(kind: str, name: str, choices: Mapping[str, _Choice]) -> _Choice:
    """The choice of that name, or a UsageError that lists what there is and guesses what was meant.

    Args:
        kind: what is being chosen ("fusion", "recipe", ...), for the message.
        name: what the user wrote.
        choices: name -> value.
    """
    if name in choices:
        return choices[name]
    near = difflib.get_close_matches(name, choices, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(f"there is no {kind} '{name}'", hint=f"{guess}choose one of: {', '.join(choices)}")
