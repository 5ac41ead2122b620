"""Praat's files, text and binary, as the tiers that they hold.

Boersma and Weenink, "Praat: doing phonetics by computer", manual pages "TextGrid file formats" and "Text files". In a
text file, only free-standing numbers, flags in <> and strings in quotes count; what is between them is commentary, and
an exclamation mark begins a comment.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

from avgate.core.text import number, quoted
from avgate.labels.formats.base import DECIMALS
from avgate.labels.formats.tiers import Tier

_BINARY = b"ooBinaryFile"
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF16_LE, "utf-16"))
_TOKEN = re.compile(r'![^\n\r]*|"((?:[^"]|"")*)"|(<\w+>)|([^\s"!<]+|<)')
_INTERVALS, _POINTS = "IntervalTier", "TextTier"


class _Source(Protocol):
    """The values of a file, one after the other. Each method raises ValueError where there is none of its kind."""

    def real(self) -> float:
        """The next number."""

    def whole(self) -> int:
        """The next number, which counts something."""

    def text(self) -> str:
        """The next string."""

    def kind(self) -> str:
        """The next name of a class."""

    def flag(self) -> bool:
        """Whether something exists."""


def tiers_of(data: bytes) -> list[Tier]:
    """The tiers of a TextGrid: long, short, chronological or binary; a point lasts until the next one.

    Raises:
        ValueError: it isn't a TextGrid, or breaks off.
    """
    if data.startswith(_BINARY):
        source: _Source = _Binary(data)
        return _tiers(source)
    words = _Words(decoded(data))
    first = words.text()
    if first.startswith("Praat chronological TextGrid"):
        return _chronological(words)
    if not first.startswith("ooTextFile") or words.text() != "TextGrid":
        raise ValueError("it doesn't begin like a TextGrid")
    return _tiers(words)


def text_of(tiers: Sequence[Tier], start: float, end: float) -> str:
    """A long TextGrid from start to end, in seconds, of tiers of intervals; between these, intervals are empty.

    Args:
        tiers: their annotations follow each other and don't overlap.
        start: where the TextGrid begins.
        end: where it ends.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *_bounds(start, end, "")]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for k, tier in enumerate(tiers, 1):
        rows: list[tuple[float, float, str]] = []
        for begins, ends, text in [*tier.annotations, (end, end, "")]:
            before = rows[-1][1] if rows else start
            if begins > before + 1e-9:
                rows.append((before, begins, ""))
            if ends > begins:
                rows.append((begins, ends, text))
        lines += [f"    item [{k}]:", f'        class = "{_INTERVALS}"', f"        name = {_in_quotes(tier.name)}"]
        lines += [*_bounds(start, end, " " * 8), f"        intervals: size = {len(rows)}"]
        for i, (begins, ends, text) in enumerate(rows, 1):
            lines += [f"        intervals [{i}]:", *_bounds(begins, ends, " " * 12)]
            lines.append(f"            text = {_in_quotes(text)}")
    return "\n".join([*lines, ""])


def _bounds(start: float, end: float, indent: str) -> list[str]:
    return [f"{indent}xmin = {round(start, DECIMALS)}", f"{indent}xmax = {round(end, DECIMALS)}"]


def _in_quotes(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def decoded(data: bytes) -> str:
    """A text file's text: UTF-8, UTF-16, or else Latin-1, as Praat's older versions write it."""
    codec = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if codec is None and b"\0" in data[:4]:
        codec = "utf-16-be" if data[0] == 0 else "utf-16-le"
    try:
        return data.decode(codec or "utf-8")
    except UnicodeDecodeError:
        if codec is not None:
            raise
        return data.decode("latin-1")


def _tiers(source: _Source) -> list[Tier]:
    source.real(), source.real()
    if not source.flag():
        return []
    found = []
    for _ in range(source.whole()):
        kind, name = source.kind(), source.text()
        source.real()
        end = source.real()
        count = source.whole()
        if kind == _INTERVALS:
            rows = [(source.real(), source.real(), source.text()) for _ in range(count)]
        elif kind == _POINTS:
            rows = _lasting([(source.real(), source.text()) for _ in range(count)], end)
        else:
            raise ValueError(f"there is no kind of tier '{quoted(kind)}'")
        found.append(Tier(name, rows))
    return found


def _chronological(source: _Words) -> list[Tier]:
    _, end = source.real(), source.real()
    tiers = []
    for _ in range(source.whole()):
        kind, name = source.kind(), source.text()
        source.real(), source.real()
        if kind not in (_INTERVALS, _POINTS):
            raise ValueError(f"there is no kind of tier '{quoted(kind)}'")
        tiers.append((kind, name))
    rows: list[list[tuple[float, float, str]]] = [[] for _ in tiers]
    points: list[list[tuple[float, str]]] = [[] for _ in tiers]
    while source.more():
        k = source.whole() - 1
        if not 0 <= k < len(tiers):
            raise ValueError(f"there is no tier {k + 1}")
        if tiers[k][0] == _INTERVALS:
            rows[k].append((source.real(), source.real(), source.text()))
        else:
            points[k].append((source.real(), source.text()))
    return [
        Tier(name, rows[k] if kind == _INTERVALS else _lasting(points[k], end)) for k, (kind, name) in enumerate(tiers)
    ]


def _lasting(points: list[tuple[float, str]], end: float) -> list[tuple[float, float, str]]:
    """Points as intervals until the next one, the last until the tier's end."""
    points = sorted(points, key=lambda point: point[0])
    ends = [*(time for time, _ in points), end][1:] if points else []
    return [(time, until, text) for (time, text), until in zip(points, ends, strict=True)]


class _Words:
    """Values of a text file."""

    def __init__(self, text: str):
        self._tokens = self._values(text)
        self._next = next(self._tokens, None)

    @staticmethod
    def _values(text: str) -> Iterator[float | str | bool]:
        """Numbers as float, strings as str, flags as bool; all else is commentary."""
        for match in _TOKEN.finditer(text):
            string, flag, word = match.groups()
            if string is not None:
                yield string.replace('""', '"')
            elif flag is not None:
                yield flag == "<exists>"
            elif word is not None and (value := number(word)) is not None:
                yield value

    def more(self) -> bool:
        """Whether there is a further value."""
        return self._next is not None

    def _take(self, kind: type, name: str) -> float | str | bool:
        value = self._next
        if value is None:
            raise ValueError(f"it breaks off where {name} should follow")
        if not isinstance(value, kind):
            raise ValueError(f"{name} should stand where '{quoted(str(value))}' stands")
        self._next = next(self._tokens, None)
        return value

    def real(self) -> float:
        return float(self._take(float, "a number"))

    def whole(self) -> int:
        value = self.real()
        if value != int(value) or not 0 <= value < 2**31:
            raise ValueError(f"a count can't be {value:g}")
        return int(value)

    def text(self) -> str:
        return str(self._take(str, "a text in quotes"))

    def kind(self) -> str:
        return self.text()

    def flag(self) -> bool:
        return bool(self._take(bool, "<exists>"))


class _Binary:
    """Values of a binary file, big-endian."""

    def __init__(self, data: bytes):
        self._data, self._at = data, len(_BINARY)
        if self.kind() != "TextGrid":
            raise ValueError("it doesn't hold a TextGrid")

    def _bytes(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("it breaks off")
        self._at += count
        return taken

    def real(self) -> float:
        return float(struct.unpack(">d", self._bytes(8))[0])

    def whole(self) -> int:
        return int(struct.unpack(">i", self._bytes(4))[0])

    def text(self) -> str:
        length = struct.unpack(">h", self._bytes(2))[0]
        if length == -1:  # 16 bits per character follow
            length = struct.unpack(">h", self._bytes(2))[0]
            return self._bytes(2 * max(0, length)).decode("utf-16-be")
        return self._bytes(max(0, length)).decode("latin-1")

    def kind(self) -> str:
        return self._bytes(self._bytes(1)[0]).decode("latin-1")

    def flag(self) -> bool:
        return self._bytes(1) != b"\0"
