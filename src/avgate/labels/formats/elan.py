"""ELAN: EAF files with one tier per target and a number in every annotation (Wittenburg et al. 2006)."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.text import number, quoted
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames
from avgate.labels.formats.tiers import Tier, labels_of_tiers
from avgate.labels.formats.xml import read_xml
from avgate.labels.tracks import intervals

_HINT = "save the annotation in ELAN again, with a tier of numbers for each target"

_TYPE = "default-lt"
_SCHEMA = {
    "AUTHOR": "avgate",
    "FORMAT": "3.0",
    "VERSION": "3.0",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}

Span = tuple[float, float]
"""Start and end of an annotation in seconds."""


@dataclass(frozen=True)
class Elan:
    """A tier whose annotations are all numbers is a target; other tiers (words, gestures) are named in the notes.

    A tier that depends on another one has its times: an annotation that refers to another lasts as long, several that
    refer to one share its time evenly, and so do those of a subdivision where no time stands between them. All times
    begin at the TIME_ORIGIN of the first media file. Times that are written are whole milliseconds; where a label is
    unknown, there is no annotation.
    """

    name: str = "elan"
    program: str = "ELAN"
    suffix: str = ".eaf"
    single: bool = False
    scaled: bool = False

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read all numeric tiers; see LabelFormat."""
        document = _Document(read_xml(path, _HINT), path)
        return labels_of_tiers(document.tiers(), path, _HINT)

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write one tier per target; see LabelFormat."""
        root = ET.Element(
            "ANNOTATION_DOCUMENT", {**_SCHEMA, "DATE": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S+00:00}"}
        )
        ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
        order = ET.SubElement(root, "TIME_ORDER")
        number_of = count(1)
        for k, target in enumerate(labels.targets):
            tier = ET.SubElement(root, "TIER", {"TIER_ID": target, "LINGUISTIC_TYPE_REF": _TYPE})
            for *span, value in zip(*intervals(labels), labels.values[:, k].tolist(), strict=True):
                first, last = (round(time * 1000) for time in span)
                if math.isnan(value) or first >= last:
                    continue
                i = next(number_of)
                ends = {"TIME_SLOT_REF1": f"ts{2 * i - 1}", "TIME_SLOT_REF2": f"ts{2 * i}"}
                for slot, time in zip(ends.values(), (first, last), strict=True):
                    ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time)})
                holder = ET.SubElement(tier, "ANNOTATION")
                annotation = ET.SubElement(holder, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{i}", **ends})
                ET.SubElement(annotation, "ANNOTATION_VALUE").text = f"{value:.{DECIMALS}f}"
        ET.SubElement(root, "LINGUISTIC_TYPE", {"LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"})
        ET.indent(root)
        with atomic_write(path) as temporary:
            ET.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


class _Document:
    """An EAF document's tiers, with the time of every annotation that has one."""

    def __init__(self, root: ET.Element, path: Path):
        self._path = path
        if root.tag != "ANNOTATION_DOCUMENT":
            raise self._error(f"its root is {quoted(root.tag)}, not ANNOTATION_DOCUMENT")
        head = root.find("HEADER")
        units = "milliseconds" if head is None else head.get("TIME_UNITS", "milliseconds")
        if units != "milliseconds":
            raise self._error(f"its times are {quoted(units)}, not milliseconds")
        media = root.find("HEADER/MEDIA_DESCRIPTOR")
        origin = 0.0 if media is None else self._seconds(media, "TIME_ORIGIN") or 0.0
        slots = {
            slot.get("TIME_SLOT_ID", ""): self._seconds(slot, "TIME_VALUE")
            for slot in root.findall("TIME_ORDER/TIME_SLOT")
        }
        self._slots = {name: origin + time for name, time in slots.items() if time is not None}
        self._tiers = root.findall("TIER")
        self._spans: dict[str, Span] = {}
        for tier in self._tiers:
            self._spans |= self._aligned(tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION"))
        waiting = self._tiers
        while waiting:  # a tier may refer to one that refers to another
            before = len(self._spans)
            for tier in waiting:
                self._spans |= self._referring(tier.findall("ANNOTATION/REF_ANNOTATION"))
            waiting = waiting if len(self._spans) > before else []

    def tiers(self) -> list[Tier]:
        """All tiers, in the file's order; an annotation that has no time is an error if it is a number."""
        found = []
        for tier in self._tiers:
            name, annotations = tier.get("TIER_ID", ""), []
            for annotation in _annotations(tier):
                text = annotation.findtext("ANNOTATION_VALUE") or ""
                span = self._spans.get(annotation.get("ANNOTATION_ID", ""))
                if span is not None:
                    annotations.append((*span, text))
                elif number(text.strip(), comma=True) is not None:
                    raise self._error(f"tier '{quoted(name)}': '{quoted(text.strip())}' has no time")
            found.append(Tier(name, annotations))
        return found

    def _aligned(self, annotations: list[ET.Element]) -> dict[str, Span]:
        """Annotation -> its time. Between two slots with times, those without share the time evenly."""
        ends = {a.get("TIME_SLOT_REF1", ""): a.get("TIME_SLOT_REF2", "") for a in annotations}
        times = dict(self._slots)
        for first in ends:
            if first not in self._slots:
                continue
            chain = {first: None}  # in order, and quick to look up
            last = first
            while (following := ends.get(last)) is not None and following not in chain:
                chain[following], last = None, following
                if following in self._slots:
                    start, end = self._slots[first], self._slots[following]
                    step = (end - start) / (len(chain) - 1)
                    times |= {slot: start + i * step for i, slot in enumerate(list(chain)[1:-1], 1)}
                    break
        return {
            a.get("ANNOTATION_ID", ""): (times[first], times[last])
            for a in annotations
            if (first := a.get("TIME_SLOT_REF1", "")) in times and (last := a.get("TIME_SLOT_REF2", "")) in times
        }

    def _referring(self, annotations: list[ET.Element]) -> dict[str, Span]:
        """Annotation -> its share of the time of the annotation that it refers to, where that is known."""
        children: dict[str, list[ET.Element]] = {}
        for annotation in annotations:
            children.setdefault(annotation.get("ANNOTATION_REF", ""), []).append(annotation)
        found = {}
        for parent, own in children.items():
            if parent in self._spans:
                start, end = self._spans[parent]
                step = (end - start) / len(own)
                for i, annotation in enumerate(_in_order(own)):
                    last = end if i + 1 == len(own) else start + (i + 1) * step
                    found[annotation.get("ANNOTATION_ID", "")] = (start + i * step, last)
        return found

    def _seconds(self, element: ET.Element, attribute: str) -> float | None:
        """Milliseconds in an attribute, as seconds; None where there is none."""
        text = element.get(attribute)
        if text is None:
            return None
        value = number(text.strip())
        if value is None:
            raise self._error(f"{attribute} is '{quoted(text)}', not a number of milliseconds")
        return value / 1000

    def _error(self, what: str) -> CorpusError:
        return CorpusError(what, where=self._path, hint=_HINT)


def _annotations(tier: ET.Element) -> list[ET.Element]:
    return [a for a in tier.findall("ANNOTATION/*") if a.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")]


def _in_order(siblings: list[ET.Element]) -> list[ET.Element]:
    """Annotations that refer to one, each behind its PREVIOUS_ANNOTATION; the file's order where none is given."""
    after: Mapping[str, ET.Element] = {a.get("PREVIOUS_ANNOTATION", ""): a for a in siblings}
    names = {a.get("ANNOTATION_ID", "") for a in siblings}
    ordered: dict[ET.Element, None] = {}
    for first in siblings:
        if first.get("PREVIOUS_ANNOTATION", "") not in names:
            following: ET.Element | None = first
            while following is not None and following not in ordered:
                ordered[following] = None
                following = after.get(following.get("ANNOTATION_ID", ""))
    return list(ordered) if len(ordered) == len(siblings) else siblings
