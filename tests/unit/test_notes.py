"""What is said of rows without an estimate is true of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avgate.core.types import Trace
from avgate.features.tracks import Extracted
from avgate.inference.notes import notes_of

RATE = 10.0
NONE: list[tuple[float, float]] = []


def said(
    known: list[bool],
    *,
    face: list[bool] | None = None,
    heard: list[tuple[float, float]] = NONE,
    sounding: list[tuple[float, float]] = NONE,
) -> str:
    """The note on rows without an estimate, of ten rows a second; without `face`, of sound alone."""
    n = len(known)
    time_s = np.arange(n) / RATE
    masks = {"face": np.zeros(n, bool), "audio": np.zeros(n, bool)}
    masks["face" if face else "audio"] = np.array(known)
    trace = Trace(time_s, {"valence": np.where(known, 0.0, np.nan)}, masks)
    found = np.array(face or [], bool)
    extracted = Extracted(
        name="made",
        collected=(),
        time_s=time_s if face else time_s[:0],
        face=found,
        others=np.zeros(n, int),
        notes=(),
        heard_s=np.array(heard).reshape(-1, 2),
        sounding_s=np.array(sounding).reshape(-1, 2),
        end_s=n / RATE,
        box=np.zeros((0, 4)),
    )
    recording: Any = SimpleNamespace(has_frames=bool(face))
    return next((note for note in notes_of(trace, extracted, recording, RATE) if "no estimate" in note), "")


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        ({}, "there was no sound"),
        ({"heard": [(0.0, 0.4)]}, "the sound was digital silence"),
        ({"heard": [(0.0, 0.4)], "sounding": [(0.0, 0.4)]}, "there was too little sound"),
    ],
)
def test_the_reason_is_that_of_the_sound(sound: dict[str, Any], reason: str):
    assert said([False] * 4, face=[False] * 4, **sound) == (
        f"4 of 4 frames have no estimate: no face was found, and {reason}."
    )
    assert said([False] * 4, **sound) == f"4 of 4 rows have no estimate: {reason}."


def test_a_face_that_was_found_and_left_out_is_not_called_missing():
    assert said([True, False], face=[True, True]) == (
        "1 of 2 frames have no estimate: the face was seen for a moment only, and there was no sound."
    )


def test_several_reasons_are_counted():
    found = said([False, False, False, True], face=[False] * 4, heard=[(0.0, 0.2)], sounding=[(0.0, 0.1)])
    assert found == (
        "3 of 4 frames have no estimate: no face was found in 3; "
        "there was no sound in 1, the sound was digital silence in 1, there was too little sound in 1."
    )


def test_nothing_is_said_where_every_row_has_an_estimate():
    assert said([True, True]) == ""


def test_sound_for_a_single_row_has_the_models_step():
    heard = np.ones(1, bool)
    trace = Trace(np.zeros(1), {"valence": np.zeros(1)}, {"audio": heard, "voice": heard})
    whole = np.array([[0.0, 0.1]])
    extracted = Extracted(
        "made", (), np.zeros(0), np.zeros(0, bool), np.zeros(0, int), (), whole, whole, 0.1, np.zeros((0, 4))
    )
    recording: Any = SimpleNamespace(has_frames=False)
    (note,) = notes_of(trace, extracted, recording, RATE)
    assert note == "There is sound alone, and no face to see: the estimate has a row every 0.1 s."


def test_rows_of_sound_alone_in_which_nobody_speaks_are_counted():
    n = 5
    audio, voice, face = np.ones(n, bool), np.array([1, 0, 0, 0, 0], bool), np.array([0, 0, 0, 1, 1], bool)
    trace = Trace(np.arange(n) / RATE, {"valence": np.zeros(n)}, {"audio": audio, "voice": voice, "face": face})
    whole = np.array([[0.0, n / RATE]])
    extracted = Extracted(
        "made", (), trace.time_s, face, np.zeros(n, int), (), whole, whole, n / RATE, np.zeros((0, 4))
    )
    recording: Any = SimpleNamespace(has_frames=True)
    (note,) = notes_of(trace, extracted, recording, RATE)
    assert note == "2 of 5 frames rest on sound alone in which nobody seems to speak, and mean little."
