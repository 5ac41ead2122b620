"""Tiers of annotations as labels: what ELAN's and Praat's files have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.text import listed, number, quoted
from avgate.core.timeline import LONGEST_S
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import left_out
from avgate.labels.tracks import track_of_tiers

_CORRECT = "correct it, or leave it empty where the value is unknown"


@dataclass(frozen=True)
class Tier:
    """A tier: its name, and start and end in seconds and text of each annotation."""

    name: str
    annotations: Sequence[tuple[float, float, str]]


def labels_of_tiers(tiers: Sequence[Tier], path: Path, hint: str) -> LabelTrack:
    """The tiers whose annotations are all numbers as labels; the others are named in the notes.

    A number has a decimal point or comma. Annotations without text are passed over: the label is unknown there.

    Args:
        tiers: the file's tiers.
        path: the file, for messages.
        hint: the next step, for messages.

    Raises:
        CorpusError: no tier is numeric; one of mostly numbers has other text, too; two numeric ones have one name; or
            an annotation's times aren't possible.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    at: dict[str, int] = {}
    others = []
    for i, tier in enumerate(tiers, 1):
        spoken = [(start, end, text.strip()) for start, end, text in tier.annotations if text.strip()]
        numbers = [(start, end, value) for start, end, text in spoken if (value := _value(text)) is not None]
        if len(numbers) == len(spoken) > 0:
            if tier.name in found:
                what = f"tiers {at[tier.name]} and {i} are both called '{quoted(tier.name)}'"
                raise CorpusError(what, where=path, hint="give each a name of its own, or each rater a file")
            _check(tier.name, numbers, path)
            found[tier.name], at[tier.name] = numbers, i
        elif len(numbers) > len(spoken) / 2:
            start, text = next((start, text) for start, _, text in spoken if _value(text) is None)
            what = f"tier '{quoted(tier.name)}' holds numbers, but at {start:.2f} s '{quoted(text)}'"
            raise CorpusError(what, where=path, hint=_CORRECT)
        else:
            others.append(tier.name)
    if not found:
        names = listed(tier.name for tier in tiers)
        raise CorpusError(f"no tier holds numbers; tiers: {names or 'none'}", where=path, hint=hint)
    return replace(track_of_tiers(found), notes=left_out(others, "tiers"))


def _value(text: str) -> float | None:
    return number(text, comma=True)


def _check(name: str, annotations: list[tuple[float, float, float]], path: Path) -> None:
    """Refuse annotations that end before they begin, overlap, or lie too late; sorts them."""
    annotations.sort()
    before = -LONGEST_S
    for start, end, _ in annotations:
        if not start < end:
            what = "ends before it begins"
        elif start < before - 1e-3:
            what = "begins before the one before it ends"
        elif end > LONGEST_S:
            what = f"ends later than {LONGEST_S:g} s"
        else:
            before = end
            continue
        raise CorpusError(f"tier '{quoted(name)}': the annotation at {start:.2f} s {what}", where=path, hint=_CORRECT)
