"""Damage to files: what disks, transfers, other programs and careless hands do to them, and what an attacker would.

`damage` changes a file in place. What it does follows from the random numbers alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from tests.fuzz.structures import JSON_WAYS, MEDIA_WAYS, ONNX_WAYS, SEALED_WAYS, TEXTS, Way

NUMBERS = (
    "nan", "inf", "-inf", "Infinity", "1e308", "-1e308", "1e309", "1e-320", "-0", "0", "-1", "1", "0.1", "2", "1e9",
    "4294967296", "-9223372036854775809", "9" * 30, "9" * 400, "", " ", "NA", "NULL", "None", "true", "0x1F", "1_000",
    "1,5", "1.5.2", "٣", "１２", "²", "½", "1e", "+-1", "00:00:01.5", "1/2", "−1", "1\u00a0000", "1e5000", "604800",
)  # fmt: skip
WORDS_OF_BYTES = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for value in (0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1)
    for order in ("big", "little")
)
"""0, 1, -1, and the largest and smallest numbers of every width."""

MARKS = (
    *b"moov mvhd tkhd mdhd elst stts ctts stsz stsc stco stsd avc1 avcC mp4a esds edts mdat".split(),
    *b"RIFF avih strh strf idx1 movi fmt data fLaC OggS OpusHead OpusTags IHDR IDAT WEBP VP8 ID3 FORM COMM".split(),
    b"\x1a\x45\xdf\xa3", b"\x2a\xd7\xb1", b"\x44\x89", b"\x1f\x43\xb6\x75\x01", b"\xe7", b"\xa3", b"\xae", b"\xb5",
    b"\x00\x00\x01\xe0", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"G@", b"GA", b"\xff\xd8", b"\xff\xc0", b"\xff\xfb",
)  # fmt: skip
"""Where containers and images hold sizes, times and counts: they follow within some bytes."""

LINE = re.compile(rb"[^\n]*\n?")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORD = re.compile(r"[A-Za-z_]{2,}")
TAG = re.compile(r"<[^<>]+>")
ATTRIBUTE = re.compile(r'\s[\w:]+="[^"]*"')
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]>"
)
"""Ten levels of entities: 10 GB, if they are expanded."""

TEXT_SUFFIXES = (".csv", ".txt", ".eaf", ".textgrid", ".annotation", ".annotation~", ".json")


def damage(file: Path, random: Random) -> str:
    """Change a file once, twice or three times, and say how."""
    said = []
    for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
        content = file.read_bytes()
        ways = _ways(file)
        way = random.choice(ways)
        try:
            changed = way(content, random, file)
        except Exception:  # an earlier change has spoilt its structure
            way, changed = flip_bits, flip_bits(content, random, file)
        file.unlink()  # it may be a link to the original
        file.write_bytes(changed)
        said.append(way.__name__)
    return ", ".join(said)


def _ways(file: Path) -> list[Way]:
    suffix = file.suffix.lower()
    if suffix == ".json":
        return [*JSON_WAYS * 3, *TEXT_WAYS, *BYTE_WAYS]
    if suffix in TEXT_SUFFIXES:
        return [*TEXT_WAYS * 3, *BYTE_WAYS]
    if suffix == ".safetensors":
        return [*SEALED_WAYS * 3, *BYTE_WAYS]
    if suffix == ".onnx":
        return [*ONNX_WAYS * 3, *BYTE_WAYS]
    if suffix in (".mp4", ".mkv", ".avi", ".mov", ".webm", ".ts", ".mpg"):
        return [*BYTE_WAYS, *[near_a_mark] * 3, *MEDIA_WAYS * 3]
    return [*BYTE_WAYS, *[near_a_mark] * 4]


# Any file.


def flip_bits(content: bytes, random: Random, file: Path) -> bytes:
    """Flip up to 30 bits, most often one."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 5, 30))):
        if changed:
            changed[_place(random, len(changed) - 1)] ^= 1 << random.randrange(8)
    return bytes(changed)


def lose_a_run(content: bytes, random: Random, file: Path) -> bytes:
    """Zero, fill, remove, repeat or insert a run of bytes."""
    start = _place(random, len(content))
    end = min(len(content), start + int(2 ** random.uniform(0, 13)))
    run = content[start:end]
    new = random.choice(
        (b"", bytes(len(run)), b"\xff" * len(run), run * 2, run * 20, random.randbytes(len(run)), run[::-1])
    )
    return content[:start] + new + content[end:]


def cut(content: bytes, random: Random, file: Path) -> bytes:
    """Keep the first part, or the last."""
    place = _place(random, len(content))
    return content[:place] if random.random() < 0.8 else content[place:]


def write_a_number(content: bytes, random: Random, file: Path) -> bytes:
    """Overwrite a place with 0, 1, -1, or the largest or smallest number of some width."""
    start, new = _place(random, len(content)), random.choice(WORDS_OF_BYTES)
    return content[:start] + new + content[start + len(new) :]


def near_a_mark(content: bytes, random: Random, file: Path) -> bytes:
    """Overwrite a size, time or count."""
    mark = random.choice([mark for mark in MARKS if mark in content] or [content[:1]])
    places = [found.end() for found in re.finditer(re.escape(mark), content)]
    start = random.choice(places) + random.choice((-8, -4, 0, 0, 1, 2, 4, 4, 8, 8, 12, 16, 20, 24, 32))
    start, new = max(0, start), random.choice(WORDS_OF_BYTES)
    return content[:start] + new + content[start + len(new) :]


def _place(random: Random, length: int) -> int:
    """A place in a file; headers and indices, at both ends, are likelier."""
    end = random.random()
    if end < 0.3:
        return random.randint(0, min(length, 512))
    if end < 0.4:
        return length - random.randint(0, min(length, 512))
    return random.randint(0, max(0, length))


BYTE_WAYS: list[Way] = [flip_bits, lose_a_run, cut, write_a_number]

# Texts, as Latin-1, so that every byte is a character and none is lost.


def change_a_number(content: bytes, random: Random, file: Path) -> bytes:
    """Put something odd in the place of a number."""
    text = content.decode("l1")
    found = list(NUMBER.finditer(text))
    one = random.choice(found[:40] if random.random() < 0.3 else found)
    return _with(text, one.start(), one.end(), random.choice(NUMBERS).encode().decode("l1"))


def scale_a_number(content: bytes, random: Random, file: Path) -> bytes:
    """Make a number larger or smaller, or negative."""
    text = content.decode("l1")
    one = random.choice(list(NUMBER.finditer(text)))
    value = float(one.group()) * random.choice((-1, 10, 1e3, 1e6, 1e12, 0.001, 1 + 1e-9))
    return _with(text, one.start(), one.end(), random.choice((f"{value:g}", str(round(value)), repr(value))))


def change_a_word(content: bytes, random: Random, file: Path) -> bytes:
    """Remove, double or replace a word, also by another one of the file."""
    text = content.decode("l1")
    found = list(WORD.finditer(text))
    one = random.choice(found[:40] if random.random() < 0.5 else found)
    new = random.choice((random.choice(TEXTS).encode().decode("l1"), random.choice(found).group(), one.group() * 2))
    return _with(text, one.start(), one.end(), new)


def change_a_cell(content: bytes, random: Random, file: Path) -> bytes:
    """Remove, double, empty or replace a field of a line."""
    lines = content.decode("l1").splitlines(keepends=True)
    i = random.choice((0, random.randrange(len(lines))))
    mark = random.choice([m for m in ",;\t =" if m in lines[i]] or [","])
    cells = lines[i].split(mark)
    k = random.randrange(len(cells))
    one = cells[k]
    cells[k : k + 1] = random.choice(([], [one, one], [""], [random.choice(TEXTS).encode().decode("l1")], [f'"{one}']))
    lines[i] = mark.join(cells)
    return "".join(lines).encode("l1")


def change_a_line(content: bytes, random: Random, file: Path) -> bytes:
    """Remove, double, repeat, move or mix lines."""
    lines = content.decode("l1").splitlines(keepends=True)
    i, k = random.randrange(len(lines)), random.randrange(len(lines))
    way = random.randrange(6)
    if way == 0:
        del lines[i]
    elif way == 1:
        lines.insert(k, lines[i])
    elif way == 2:
        lines[i] = lines[i] * 3000
    elif way == 3:
        lines[i], lines[k] = lines[k], lines[i]
    elif way == 4:
        random.shuffle(lines)
    else:
        del lines[min(i, k) : max(i, k)]
    return "".join(lines).encode("l1")


def change_a_mark(content: bytes, random: Random, file: Path) -> bytes:
    """Insert or remove a quote, bracket, delimiter or other character with a meaning."""
    text = content.decode("l1")
    place = random.randrange(len(text) + 1)
    if random.random() < 0.5:
        new = random.choice("\"'<>&;,{}[]=/\\\0\t\r\n\x1a\x85\xa0.:~#%")
        return _with(text, place, place, new * random.choice((1, 1, 1, 2, 1000)))
    found = [m.start() for m in re.finditer("[\"'<>&;,{}\\[\\]=/\n]", text)]
    one = random.choice(found)
    return _with(text, one, one + 1, "")


def change_a_tag(content: bytes, random: Random, file: Path) -> bytes:
    """Remove or double a tag, or an attribute, or begin with entities that expand without end."""
    text = content.decode("l1")
    one = random.choice(list(TAG.finditer(text)))
    within = list(ATTRIBUTE.finditer(one.group()))
    way = random.randrange(5)
    if way == 0:
        return _with(text, one.start(), one.end(), "")
    if way == 1:
        return _with(text, one.start(), one.end(), one.group() * 2)
    if way == 2 and "?>" in text:
        at = text.index("?>") + 2
        return (
            _with(text, at, at, BOMB).replace(b'="', b'="&j;', 1)
            if random.random() < 0.5
            else _with(text, at, at, BOMB)
        )
    attribute = random.choice(within)
    start, end = one.start() + attribute.start(), one.start() + attribute.end()
    name, _, value = attribute.group().partition("=")
    new = (
        "",
        attribute.group() * 2,
        f'{name}="{random.choice((*NUMBERS, *TEXTS))}"'.encode().decode("l1"),
        f"{name}x={value}",
    )
    return _with(text, start, end, random.choice(new))


def change_the_encoding(content: bytes, random: Random, file: Path) -> bytes:
    """Another encoding, a byte order mark, other line ends, or a byte that no encoding has."""
    text = content.decode("utf-8", "replace")
    way = random.randrange(6)
    if way == 0:
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")))
    if way == 1:
        return random.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0")) + content
    if way == 2:
        return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b", "\u2028".encode())))
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice((b"\x80", b"\xc3", b"\xf4\x90\x80\x80", b"\0")) + content[place:]


def _with(text: str, start: int, end: int, new: str) -> bytes:
    return (text[:start] + new + text[end:]).encode("l1")


TEXT_WAYS: list[Way] = [
    change_a_number, change_a_number, scale_a_number, change_a_word, change_a_cell, change_a_line, change_a_mark,
    change_a_tag, change_the_encoding,
]  # fmt: skip
