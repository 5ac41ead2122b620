"""From frames and sound that come live to the steps of a model's features, each as soon as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from avgate.core.state import Stateful
from avgate.core.types import FaceTrack, Waveform
from avgate.features.audio.causal import CausalAudioExtraction
from avgate.features.base import Backbone, Steps


class LiveStep(NamedTuple):
    """One step of features.

    Attributes:
        number: which step it is; it stands for a cell of the common grid.
        values: modality -> float32 [d]; NaN where absent.
        present: modality -> whether it is present.
        voice: whether someone speaks; None where no backbone can tell.
        anew: whether a long pause ended before it, so that nothing earlier counts.
        heard: whether its sound was analysed; without, it counts as what the step before sounded like.
    """

    number: int
    values: dict[str, np.ndarray]
    present: dict[str, bool]
    voice: bool | None
    anew: bool
    heard: bool


class LiveFeatures(Stateful):
    """One stream's features on the common grid, without the steps within long pauses.

    Args:
        backbones: of the model, in its order; on the common grid.
        media: the modalities that will come; the others are absent.
        pause_s: where nothing is seen or heard for longer, the stream begins anew.
    """

    STATE = ("_extractions", "_waiting", "_tells", "_until", "_next", "_sections", "_over")

    def __init__(self, backbones: Sequence[Backbone], media: set[str], pause_s: float):
        self._backbones, self._read = backbones, [b for b in backbones if b.modality in media]
        self._grid, self._pause_s = backbones[0].grid, pause_s
        # Of each backbone that is read: its extraction, and the steps that another backbone doesn't know yet, as
        # [number, values, activity, whether it repeats the step before].
        self._extractions: list[Any] = [b.start() for b in self._read]
        self._waiting: list[list[list[Any]]] = [[] for _ in self._read]
        self._tells = [False for _ in self._read]
        # Whether one of those that aren't read could tell that someone speaks: where nothing is heard, nobody does.
        self._deaf = any(b.start().advance(0.0).active is not None for b in backbones if b not in self._read)
        self._until = [0 for _ in self._read]
        self._next = 0
        # Stretches without long pauses in which something is seen or heard, [start, end] in seconds.
        self._sections = [[0.0, 0.0]]
        self._over = False  # whether the first of them is yet to begin, after a pause

    def push(self, piece: FaceTrack | Waveform, every: int = 1) -> None:
        """Take the next frames or the next piece of sound; of so many steps of sound, one is analysed."""
        modality = "audio" if isinstance(piece, Waveform) else "video"
        for i, extraction in self._of(modality):
            if isinstance(extraction, CausalAudioExtraction):
                extraction.every = every
            self._take(i, extraction.push(piece))

    def seen(self, start_s: float, end_s: float) -> None:
        """Be told that something is seen or heard from start_s to end_s."""
        near = [s for s in self._sections if s[0] - end_s <= self._pause_s and start_s - s[1] <= self._pause_s]
        joined = [min(start_s, *(s[0] for s in near)), max(end_s, *(s[1] for s in near))] if near else [start_s, end_s]
        self._sections = sorted([*(s for s in self._sections if s not in near), joined])

    def advance(self, known_s: float) -> list[LiveStep]:
        """Be told that all that belongs before this time has come; returns the steps that are known by that."""
        for i, extraction in enumerate(self._extractions):
            self._take(i, extraction.advance(known_s))
        return self._known()

    def finish(self, end_s: float) -> list[LiveStep]:
        """End the stream; returns the remaining steps."""
        for i, extraction in enumerate(self._extractions):
            self._take(i, extraction.finish(end_s))
        return self._known()

    def _of(self, modality: str) -> list[tuple[int, Any]]:
        return [(i, self._extractions[i]) for i, b in enumerate(self._read) if b.modality == modality]

    def _take(self, i: int, steps: Steps) -> None:
        active = [None] * len(steps) if steps.active is None else steps.active.tolist()
        repeats = [False] * len(steps) if steps.repeats is None else steps.repeats.tolist()
        self._waiting[i] += map(list, zip(steps.index.tolist(), steps.values, active, repeats, strict=True))
        self._tells[i] |= steps.active is not None
        self._until[i] = steps.until

    def _known(self) -> list[LiveStep]:
        until, found = min(self._until), []
        while self._next < until:
            while len(self._sections) > 1 and self._grid.cell(self._sections[0][1]) < self._next:
                del self._sections[0]
                self._over = True
            first = self._grid.cell(self._sections[0][0]) if self._over else self._next
            # After a pause that is long already, nothing is to be said before something is seen or heard again.
            if first >= until or self._next > self._grid.cell(self._sections[0][1] + self._pause_s) + 1:
                break
            self._next = max(self._next, first)
            found.append(self._step())
            self._next, self._over = self._next + 1, False
        return found

    def _step(self) -> LiveStep:
        rows = [_taken(waiting, self._next) for waiting in self._waiting]
        by_backbone = dict(zip(map(id, self._read), rows, strict=True))
        values: dict[str, list[np.ndarray]] = {}
        present: dict[str, bool] = {}
        for backbone in self._backbones:
            m, row = backbone.modality, by_backbone.get(id(backbone))
            absent = np.full(len(backbone.columns), np.nan, np.float32)
            values.setdefault(m, []).append(absent if row is None else row[1])
            present[m] = present.get(m, True) and row is not None
        heard = [row for row, tells in zip(rows, self._tells, strict=True) if tells]
        voice = (heard[0] is not None and heard[0][2] >= 0.5) if heard else (False if self._deaf else None)
        whole = {m: np.concatenate(parts) for m, parts in values.items()}
        repeats = any(row is not None and row[3] for row in rows)
        return LiveStep(self._next, whole, present, voice, self._over, not repeats)


def _taken(waiting: list[list[Any]], index: int) -> list[Any] | None:
    """Take out the rows up to a step, and give that of the step."""
    found = None
    while waiting and waiting[0][0] <= index:
        row = waiting.pop(0)
        found = row if row[0] == index else None
    return found
