"""What of a trace is shown to a reader, in which order and in what words; the report and the figure draw it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from avgate.core.types import Trace

AXIS_ENDS = {"valence": ("unpleasant", "pleasant"), "arousal": ("calm", "activated")}
"""What -1 and +1 mean, in a word each."""

QUADRANTS = {(1, 1): "excited, joyful", (-1, 1): "angry, afraid", (-1, -1): "sad, bored", (1, -1): "calm, content"}
"""Words for the corners of the plane, by the signs of valence and arousal."""

EVIDENCE = {
    "face": "whether the face was found",
    "voice": "whether someone spoke",
    "audio": "whether there is sound at all",
}
"""What a presence mask says."""

SOURCES = {"face": "face", "video": "face", "voice": "voice", "audio": "sound"}
"""What a presence mask or a modality is called; names that aren't here stand for themselves."""


@dataclass(frozen=True)
class Row:
    """One strip over time.

    Attributes:
        label: what the row is called.
        values: float64 [n] in [0, 1], NaN where unknown.
        hue: "face", "voice", "sound" or another modality's name.
    """

    label: str
    values: np.ndarray
    hue: str

    @property
    def mean(self) -> float:
        """Mean over the frames where the value is known, NaN if it is known nowhere."""
        return known_mean(self.values)


@dataclass(frozen=True)
class Panel:
    """Strips that belong together.

    Attributes:
        name: a short identifier.
        title: a heading.
        text: what the strips show, for a reader who has never heard of the method.
        low: what a pale stretch (0) means.
        high: what a strong stretch (1) means.
        rows: the strips.
    """

    name: str
    title: str
    text: str
    low: str
    high: str
    rows: tuple[Row, ...]


def known_mean(values: np.ndarray) -> float:
    """Mean of the values that aren't NaN; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def frame_edges(time_s: np.ndarray) -> np.ndarray:
    """Where each frame begins and the last one ends, float64 [n + 1] seconds.

    A frame lasts until the next one; the last one lasts as long as frames usually do here.
    """
    usual = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.04
    return np.append(time_s, time_s[-1] + usual)


def strip_panels(trace: Trace) -> list[Panel]:
    """The panels of strips that this trace has values for: presence, reliability, attended, iterations, other gates."""
    gates = _sorted_gates(trace)
    masks = [name for name in EVIDENCE if name in trace.present]
    masks += [name for name in trace.present if name not in masks]
    present = [_row(SOURCES.get(name, name), name, np.asarray(trace.present[name], np.float64)) for name in masks]
    panels = [
        Panel(
            "presence",
            "What there was to see and hear",
            f"For every frame: {', '.join(EVIDENCE.get(name, name) for name in masks)}. "
            "Where one source is missing, the estimate rests on what is left.",
            "missing",
            "there",
            tuple(present),
        ),
        Panel(
            "reliability",
            "Which was relied on?",
            "How far the model judges the voice, and the face, to be as they should be: pale where one of them is "
            "missing or mere noise, so that the estimate falls back on the other.",
            "not relied on",
            "relied on",
            tuple(gates["reliability"]),
        ),
        Panel(
            "attended",
            "Did voice and face help each other?",
            "At every moment the model decides, for the voice and for the face, whether to mix in what the other one "
            "suggests or to leave its own impression untouched, for example because the other one is unclear.",
            "left untouched",
            "mixed in the other one",
            tuple(gates["attended"]),
        ),
        Panel(
            "iterations",
            "Which iteration was used?",
            "The model compares voice and face several times in a row, each iteration building on the one before, and "
            "then chooses between them. Strong rows are the iterations that the estimate was made from.",
            "not used",
            "used",
            tuple(gates["iterations"]),
        ),
        Panel("gates", "Other gates", "Further weights that the model gave.", "0", "1", tuple(gates["others"])),
    ]
    return [panel for panel in panels if panel.rows]


def _sorted_gates(trace: Trace) -> dict[str, list[Row]]:
    """The gates as rows, by kind: what a gate says of which modality stands in its name; other names are others."""
    found: dict[str, list[Row]] = {"reliability": [], "attended": [], "iterations": [], "others": []}
    for name, values in trace.gates.items():
        if match := re.fullmatch(r"(\w+?)_(reliability|attended)", name):
            found[match[2]].append(_row(SOURCES.get(match[1], match[1]), match[1], values))
        elif match := re.fullmatch(r"(\w+?)_iteration_(\d+)", name):
            found["iterations"].append(_row(f"{SOURCES.get(match[1], match[1])}, {match[2]}", match[1], values))
        else:
            found["others"].append(_row(name, name, values))
    return found


def _row(label: str, name: str, values: np.ndarray) -> Row:
    return Row(label, np.asarray(values, np.float64), SOURCES.get(name, name))
