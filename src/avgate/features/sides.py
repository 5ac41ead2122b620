"""The two sides of a recording, what is heard and what is seen: their features so far, and how these are kept.

A long recording is gone through in parts of `faces.tracker.PART_S` seconds. At the end of each, a run may keep what it
has; a run of the same after one that was cut begins there, and ends with the same features, to the bit.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avgate.core.console import console
from avgate.core.errors import OutputError
from avgate.core.files import make_folder
from avgate.core.scratch import PREFIX
from avgate.core.state import Stateful, read_state, write_state
from avgate.core.types import FaceTrack, Waveform
from avgate.faces import LONGEST_SIDE, part_of
from avgate.features.audio.chunks import Chunks
from avgate.features.base import Extraction
from avgate.features.steps import Collected

MOMENT_S = 1e-3
"""Seconds that an only frame lasts; less than any step."""


_PART = re.compile(r"[a-z]+-\d{5}\.safetensors")
"""The name of a kept part."""


class Kept:
    """A folder in which a run keeps the parts of a recording until it is done.

    Args:
        folder: where; made with the first part.
        of: all that the features depend on, in one text; parts of anything else aren't used.
    """

    def __init__(self, folder: Path, of: str):
        self._folder, self._of = folder, of
        linked = folder.is_symlink() or folder.parent.is_symlink()
        self._full = self._closed = linked  # what a link leads to is somebody's

    def read(self, side: str) -> list[dict[str, Any]]:
        """The parts of a side in order, up to the first that is missing, damaged or of something else."""
        found: list[dict[str, Any]] = []
        while not self._closed:
            try:
                kept = read_state(self._file(side, len(found)))
            except (OSError, ValueError):
                return found
            if kept.get("of") != self._of:
                return found
            found.append(kept["part"])
        return found

    def write(self, side: str, number: int, part: Mapping[str, Any]) -> None:
        """Keep the next part of a side; where there is no room for it, say so, and keep no more."""
        if self._full:
            return
        try:
            make_folder(self._folder)
            write_state(self._file(side, number), {"of": self._of, "part": part})
        except OutputError as error:
            self._full = True
            console.say((f"{self._folder}: {error.what}; if this run is cut, the next one begins earlier", "yellow"))

    def remove(self) -> None:
        """Remove all parts, and the folder, unless something else is in it."""
        with contextlib.suppress(OSError):
            if not self._closed:
                for file in self._folder.iterdir():
                    if _PART.fullmatch(file.name) or file.name.startswith(PREFIX):
                        file.unlink()
                self._folder.rmdir()

    def _file(self, side: str, number: int) -> Path:
        return self._folder / f"{side}-{number:05d}.safetensors"


class _Side(Stateful):
    """The features of one side so far.

    Args:
        name: of the side.
        started: its extractions, and what they gave.
        kept: where its parts are kept; None where they aren't.
    """

    STATE: ClassVar[tuple[str, ...]] = ("taken", "_extractions")

    def __init__(self, name: str, started: Sequence[tuple[Extraction, Collected]], kept: Kept | None):
        self._name, self._kept = name, kept
        self._extractions, self._collected = [extraction for extraction, _ in started], [given for _, given in started]
        self.taken = 0  # frames, or pieces of sound
        self._parts = 0

    def _resume(self) -> None:
        """Take what a run that was cut has kept."""
        parts = self._kept.read(self._name) if self._kept else []
        for part in parts:
            self._add_news(part["news"])
        if parts:
            self.restore(parts[-1]["state"])
        self._parts = len(parts)

    def _keep(self) -> None:
        """Keep the part that ends here."""
        if self._kept is not None:
            self._kept.write(self._name, self._parts, {"state": self.state(), "news": self._news()})
            self._parts += 1

    def _news(self) -> dict[str, Any]:
        """What this part added to what lasts."""
        return {"features": [collected.news() for collected in self._collected]}

    def _add_news(self, news: Mapping[str, Any]) -> None:
        for collected, of_one in zip(self._collected, news["features"], strict=True):
            collected.add_news(of_one)


class Heard(_Side):
    """What is heard; see _Side.

    Attributes:
        taken: pieces that needn't come again.
        stretches: the sound's, digital silence apart.
        heard_s: [k 2] seconds, start and end of the stretches of sound, digital silence included.
    """

    STATE = (*_Side.STATE, "stretches", "heard_s", "_part")

    def __init__(self, started: Sequence[tuple[Extraction, Collected]], kept: Kept | None):
        super().__init__("sound", started, kept)
        self.stretches, self.heard_s = Chunks(1, 0), list[list[float]]()
        self._part = 0
        self._resume()

    def take(self, piece: Waveform) -> None:
        """Take the next piece of sound."""
        if self.heard_s and piece.start_s - self.heard_s[-1][1] < MOMENT_S:
            self.heard_s[-1][1] = piece.end_s
        else:
            self.heard_s.append([piece.start_s, piece.end_s])
        self.stretches.push(piece)
        for extraction, collected in zip(self._extractions, self._collected, strict=True):
            collected.add(extraction.push(piece))
        self.taken += 1
        if (part := part_of(piece.end_s)) > self._part:
            self._part = part
            self._keep()


class Seen(_Side):
    """What is seen of the followed person; see _Side.

    Attributes:
        taken: frames that needn't come again.
        tracker: the face tracker's state after them; None at the beginning.
        huge: how many frames are too large for a face to be looked for.
    """

    STATE = (*_Side.STATE, "tracker", "huge", "_first_size")

    def __init__(self, started: Sequence[tuple[Extraction, Collected]], kept: Kept | None):
        super().__init__("faces", started, kept)
        self.tracker: Mapping[str, Any] | None = None
        self.huge = 0
        self._first_size: tuple[int, int] | None = None
        none = {"time_s": np.zeros(0), "face": np.zeros(0, bool), "others": np.zeros(0, int), "box": np.zeros((0, 4))}
        self._rows = {name: [column] for name, column in none.items()}
        self._new = 0  # the first rows that aren't kept yet
        self._resume()

    def take(self, block: FaceTrack) -> None:
        """Take the next frames."""
        for extraction, collected in zip(self._extractions, self._collected, strict=True):
            collected.add(extraction.push(block))
        self._first_size = self._first_size or block.frame_size
        self.huge += len(block) * (max(block.frame_size) > LONGEST_SIDE)
        self.taken += len(block)
        box = box_fractions(block, self._first_size)
        self._add_rows({"time_s": block.time_s, "face": block.present, "others": block.others, "box": box})

    def end_part(self, tracker: Mapping[str, Any]) -> None:
        """Be told that a part has ended, and what the tracker's state is there."""
        self.tracker = tracker
        self._keep()

    def rows(self, name: str) -> np.ndarray:
        """A column of what is known of the frames, one row each: time_s, face, others or box."""
        return np.concatenate(self._rows[name])

    def _news(self) -> dict[str, Any]:
        new = {name: np.concatenate(column[self._new :]) for name, column in self._rows.items()}
        self._new = len(self._rows["time_s"])
        return super()._news() | {"rows": new}

    def _add_news(self, news: Mapping[str, Any]) -> None:
        super()._add_news(news)
        self._add_rows(news["rows"])
        self._new = len(self._rows["time_s"])

    def _add_rows(self, rows: Mapping[str, np.ndarray]) -> None:
        for name, values in rows.items():
            self._rows[name].append(values)


def box_fractions(block: FaceTrack, first_size: tuple[int, int]) -> np.ndarray:
    """Boxes of a block, float64 [n 4], as fractions of the picture, which is centred in the first one's shape."""
    (width, height), (first_width, first_height) = block.frame_size, first_size
    whole = max(width, height * first_width / first_height), max(height, width * first_height / first_width)
    aside = (whole[0] - width) / 2, (whole[1] - height) / 2
    return (block.box.astype(np.float64) + np.tile(aside, 2)) / np.tile(whole, 2)
