"""What the user must know of one recording's estimate, beside what the recording itself gave cause to say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import Trace
from avgate.features.tracks import Extracted
from avgate.media import Images, Recording

_LATE_S = 60.0
"""A picture that begins later than this many seconds after the clock does is worth a note."""


def notes_of(trace: Trace, extracted: Extracted, recording: Recording, rate: float) -> list[str]:
    """Notes on one recording's estimate, one sentence each.

    Args:
        trace: the estimate, with the presence that the model saw.
        extracted: what the features come from.
        recording: what was estimated.
        rate: the model's steps per second.
    """
    notes = []
    if isinstance(recording, Images):
        notes.append("This is a still image, without sound." if recording.single else "The images have no sound.")
    elif recording.has_frames and trace.time_s[0] > _LATE_S:
        notes.append(f"The picture begins at {trace.time_s[0]:,.2f} s; what is heard before has no rows.")
    if not recording.has_frames:
        notes.append(f"There is sound alone, and no face to see: the estimate has a row every {1 / rate:g} s.")
        if len(trace) and round((trace.time_s[-1] - trace.time_s[0]) * rate) >= len(trace):
            notes.append("Long gaps in the sound have no rows.")
    if len(extracted.face) and not extracted.face.any():
        heard = bool(trace.present.get("audio", np.zeros(0, bool)).any())
        notes.append(_faceless("any frame" if len(extracted.face) > 1 else "the image", heard))
    elif len(extracted.face) and not trace.present["face"].any():
        notes.append("A face was seen, but never in two frames in a row: it is left out.")
    if extracted.others.any():
        notes.append(_further(int(extracted.others.max())))
    unknown = ~np.isfinite(next(iter(trace.targets.values())))
    rows = "frames" if recording.has_frames else "rows"
    mute = _unspoken(trace) & ~unknown
    if mute.any():
        notes.append(_mute(np.count_nonzero(mute), len(mute), rows))
    if unknown.any():
        notes.append(_unknown(np.count_nonzero(unknown), len(unknown), rows, _why(trace, extracted, unknown, rate)))
    return notes


class Tally(Stateful):
    """Counts the results of a stream, for the same notes.

    Args:
        rows: what there is a result for: "frames" or "rows".
        faces: whether faces are looked for.
    """

    STATE = ("_results", "_unknown", "_mute", "_heard", "_found", "_others", "_repeated")

    def __init__(self, rows: str, faces: bool):
        self._rows, self._faces = rows, faces
        self._results = self._unknown = self._mute = self._heard = self._found = self._others = 0
        self._repeated = 0

    def see(self, others: int) -> None:
        """Count a frame with so many further faces."""
        self._others = max(self._others, others)

    def count(self, known: bool, present: Mapping[str, bool], repeats: bool) -> None:
        """Count a result: whether it has an estimate, what was present, and whether its sound wasn't analysed."""
        face, audio = present.get("face", False), present.get("audio", False)
        self._results += 1
        self._unknown += not known
        self._mute += known and audio and not face and not present.get("voice", False)
        self._heard += audio
        self._repeated += repeats
        self._found += face

    def notes(self) -> list[str]:
        """What there is to say of the results so far."""
        said = {
            _faceless("any frame", bool(self._heard)): self._faces and self._results and not self._found,
            _further(self._others): self._others,
            _mute(self._mute, self._results, self._rows): self._mute,
            _repeated(self._repeated, self._results, self._rows): self._repeated,
            _unknown(self._unknown, self._results, self._rows, "nothing that the model reads was there"): self._unknown,
        }
        return [note for note, holds in said.items() if holds]


def _faceless(where: str, heard: bool) -> str:
    return f"No face was found in {where}" + (": the estimate rests on the sound alone." if heard else ".")


def _further(faces: int) -> str:
    return f"Further faces were in view (up to {faces}); the estimate is of the one person that was followed."


def _mute(count: int, of: int, rows: str) -> str:
    return f"{count} of {of} {rows} rest on sound alone in which nobody seems to speak, and mean little."


def _repeated(count: int, of: int, rows: str) -> str:
    return (
        f"In {count} of {of} {rows} there was no time to analyse the sound; they count as sounding like those before."
    )


def _unknown(count: int, of: int, rows: str, why: str) -> str:
    return f"{count} of {of} {rows} have no estimate: {why}."


def _unspoken(trace: Trace) -> np.ndarray:
    """Which rows have sound, but neither a face nor somebody who speaks, bool [n]."""
    found = {name: trace.present.get(name, np.zeros(len(trace), bool)) for name in ("face", "voice", "audio")}
    return np.asarray(found["audio"] & ~found["face"] & ~found["voice"], bool)


def _why(trace: Trace, extracted: Extracted, unknown: np.ndarray, rate: float) -> str:
    """Why these rows, bool [n], have no estimate."""
    reasons: list[Mapping[str, int]] = []
    if len(extracted.face):
        found = extracted.face[unknown]
        reasons.append(
            {
                "no face was found": np.count_nonzero(~found),
                "the face was seen for a moment only": np.count_nonzero(found),
            }
        )
    if "audio" in trace.present:
        grid = Grid(rate)
        begin_s = grid.start_s + grid.index(trace.time_s[unknown]) / rate
        some = _within(extracted.sounding_s, begin_s, begin_s + 1 / rate)
        silent = ~some & _within(extracted.heard_s, begin_s, begin_s + 1 / rate)
        reasons.append(
            {
                "there was no sound": np.count_nonzero(~some & ~silent),
                "the sound was digital silence": np.count_nonzero(silent),
                "there was too little sound": np.count_nonzero(some),
            }
        )
    said = [{words: count for words, count in counts.items() if count} for counts in reasons]
    if all(len(counts) == 1 for counts in said):
        return ", and ".join(words for counts in said for words in counts)
    return "; ".join(", ".join(f"{words} in {count}" for words, count in counts.items()) for counts in said)


def _within(stretches_s: np.ndarray, begin_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """Whether each time from begin_s to end_s overlaps one of the stretches [k 2], which are in order: bool [n]."""
    if not len(stretches_s):
        return np.zeros(len(begin_s), bool)
    last = np.searchsorted(stretches_s[:, 0], end_s) - 1
    inside: np.ndarray = (last >= 0) & (stretches_s[np.maximum(last, 0), 1] > begin_s)
    return inside
