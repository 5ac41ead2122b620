"""What a reader sees of a trace, in order and in words; the report and the figure draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgate.core.gates import Gate
from avgate.core.modalities import Mask, in_order, mask_named, modality_named
from avgate.core.types import Trace

AXIS_ENDS = {"valence": ("unpleasant", "pleasant"), "arousal": ("calm", "activated")}
"""What -1 and +1 mean, in a word each."""

QUADRANTS = {(1, 1): "excited, joyful", (-1, 1): "angry, afraid", (-1, -1): "sad, bored", (1, -1): "calm, content"}
"""Words for the corners of the plane, by the signs of valence and arousal."""


@dataclass(frozen=True)
class Row:
    """One strip over time.

    Attributes:
        label: what the row is called.
        values: float64 [n] in [0, 1], NaN where unknown.
        hue: name of the mask whose colours it has, see core/modalities.py.
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


def band_words(trace: Trace) -> str:
    """What the bands about the curves are called, such as "90 % interval"; "" where there are none."""
    return f"{100 * trace.level:g} % interval" if trace.low and trace.level is not None else ""


def interval_words(trace: Trace, name: str) -> str:
    """A target's interval in the only frame, such as "90 % interval −0.12 to +0.40"; "" where there is none."""
    if name not in trace.low or np.isnan(trace.low[name][0]):
        return ""
    ends = f"{trace.low[name][0]:+.2f} to {trace.high[name][0]:+.2f}".replace("-", "−")
    return f"{band_words(trace)} {ends}"


def strip_panels(trace: Trace) -> list[Panel]:
    """The panels of strips that this trace has values for: presence, reliability, attended, iterations, other gates."""
    masks = in_order(list(trace.present))
    present = [_row(mask_named(name), np.asarray(trace.present[name], np.float64)) for name in masks]
    by_kind: dict[str, list[Gate]] = {kind: [] for kind in ("reliability", "attended", "iteration")}
    others: list[Gate] = []
    for gate in trace.gates:
        by_kind.get(gate.kind, others).append(gate)
    labels = [_mask_of(gate).label for gate in by_kind["reliability"] or by_kind["attended"]]
    named, rest = _listed(labels), "the other one" if len(labels) == 2 else "the rest"
    own = " 0 is before any comparison." if any(gate.iteration == 0 for gate in by_kind["iteration"]) else ""
    panels = [
        Panel(
            "presence",
            "What there was to see and hear",
            f"For every frame: {', '.join(mask_named(name).says for name in masks)}. "
            "Where one source is missing, the estimate rests on what is left.",
            "missing",
            "there",
            tuple(present),
        ),
        Panel(
            "reliability",
            "How much was each relied on?",
            f"How far the model trusted {named}. It learned this from recordings with noise and gaps, and it can be "
            "wrong: a strong stretch is no proof that there was much to hear or see.",
            "not relied on",
            "relied on",
            _gate_rows(trace, by_kind["reliability"]),
        ),
        Panel(
            "attended",
            f"Taken alone, or mixed with {rest}?",
            f"For {named} each, at every moment: pale where the model took it as it is, strong where it mixed in what "
            f"{rest} suggests.",
            "taken alone",
            "mixed",
            _gate_rows(trace, by_kind["attended"]),
        ),
        Panel(
            "iterations",
            "How many rounds of comparison were used?",
            f"The model compares {named} in several rounds, each building on the one before; strong rows are the "
            f"rounds that the estimate was made from.{own}",
            "not used",
            "used",
            _gate_rows(trace, by_kind["iteration"]),
        ),
        Panel("gates", "Other gates", "Further weights that the model gave.", "0", "1", _gate_rows(trace, others)),
    ]
    return [panel for panel in panels if panel.rows]


def _gate_rows(trace: Trace, gates: Sequence[Gate]) -> tuple[Row, ...]:
    return tuple(_row(_mask_of(gate), _where_there(trace, gate), _label(gate)) for gate in gates)


def _where_there(trace: Trace, gate: Gate) -> np.ndarray:
    """A gate's values, NaN where its modality is absent: what a model decides about nothing tells a reader nothing."""
    there = trace.present.get(modality_named(gate.modality).presence) if gate.modality else None
    return trace.gates[gate] if there is None else np.where(there, trace.gates[gate], np.nan)


def _mask_of(gate: Gate) -> Mask:
    """Whose words and colours a gate has."""
    return mask_named(modality_named(gate.modality).plain if gate.modality else gate.name)


def _label(gate: Gate) -> str:
    """What a gate's strip is called inside its panel."""
    if gate.kind in ("reliability", "attended"):
        return _mask_of(gate).label
    return f"{_mask_of(gate).label}, {gate.iteration}" if gate.kind == "iteration" else gate.name


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: voice and face; voice, face and text."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "the modalities"


def _row(mask: Mask, values: np.ndarray, label: str = "") -> Row:
    return Row(label or mask.label, np.asarray(values, np.float64), mask.name)
