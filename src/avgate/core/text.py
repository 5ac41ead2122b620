"""Text from outside, such as names and cells of files: numbers in it, and how it is shown and quoted."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterable

QUOTED = 80
"""Most characters of one cell or name that an error quotes."""

LISTED = 200
"""Most characters of a list of names that an error or a note quotes."""

_SHOWN = {"\n", "\u200c", "\u200d"}
"""Line ends, and the joiners that scripts and emoji need."""

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that control a terminal or the direction of text, or are no text at all."""

_NONE = {"\ufffe", "\uffff"}
"""Unicode's places for no character; XML forbids them."""

_LARGEST = 3.4e38
"""Values are kept in 32 bits, which hold no larger ones."""

_RUN = ("=", "+", "-", "@", "\t")
"""What the cells of a table begin with that spreadsheets run as formulas."""

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

_FOLDERS = re.compile(r"(?<![\w/:.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+")
"""The folders of an absolute path."""


def printable(text: str) -> str:
    r"""The same text with escapes in place of characters that a terminal would obey or that turn text around.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in _SHOWN or unicodedata.category(c) not in _OBEYED else _escape(c) for c in text)


def one_line(text: str) -> str:
    """`printable`, and with escapes in place of line ends, too."""
    return printable(text).replace("\n", _escape("\n"))


def as_name(text: str) -> str:
    r"""A name as a file of any kind can hold it: as `one_line` shows it, and without characters that XML can't hold.

    >>> as_name("a\x01b")
    'a\\x01b'
    """
    return "".join(_escape(c) if c in _NONE else c for c in one_line(text))


def spelling_apart(name: str) -> str:
    """A name without what is only its spelling: blanks around it, case, and how accents are encoded.

    >>> spelling_apart("Zoé") == spelling_apart(" ZOE\u0301")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def as_cell(text: str) -> str:
    """Text as a cell of a CSV file: a name that a spreadsheet would run gets an apostrophe before it.

    Carriage returns become blanks, since many readers begin a new row there.

    >>> as_cell("=1+2"), as_cell("-0.5"), as_cell("valence")
    ("'=1+2", '-0.5', 'valence')
    """
    text = text.replace("\r", " ")
    if not text.startswith(_RUN):
        return text
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return f"'{text}"


def from_cell(text: str) -> str:
    """What `as_cell` made a cell of."""
    return text[1:] if text.startswith("'") and as_cell(text[1:]) == text else text


def reason(error: object, longest: int = 200) -> str:
    """Why something failed, in the words of the system or of another library: one line, without numbers of errors.

    Args:
        error: the exception.
        longest: most characters of the result.
    """
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8 text" if error.encoding.startswith("utf-8") else f"it isn't {error.encoding} text"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, KeyError):
        return f"it has no {one_line(str(error))}"[:longest]
    error = getattr(error, "reason", None) or error  # as urllib's errors have it
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return printable(text.splitlines()[0])[:longest]


def number(text: str, *, comma: bool = False) -> float | None:
    """A text as a number that 32 bits can hold; None if it isn't one.

    A number is written in the digits 0 to 9, with a decimal point, and an exponent if need be. Unlike `float`, this
    takes no 1_000, no digits of other scripts, no infinity and no NaN.

    Args:
        text: the text, without blanks around it.
        comma: whether a decimal comma is as good as a point.
    """
    if not _NUMBER.fullmatch(text) or ("," in text and not comma):
        return None
    value = float(text.replace(",", "."))
    return value if abs(value) <= _LARGEST else None


def quoted(text: str, most: int = QUOTED) -> str:
    """A text of a file as an error quotes it: on one line, and cut where it is long."""
    shown = one_line(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def listed(names: Iterable[str], most: int = LISTED) -> str:
    """Names of a file, separated by commas, as far as they fit: "a, b and 3 more"."""
    parts = [quoted(name, QUOTED // 2) for name in names]
    fit, length = 0, 0
    while fit < len(parts) and length + len(parts[fit]) + 2 <= most - len(" and 1000000 more"):
        length += len(parts[fit]) + 2
        fit += 1
    more = f" and {len(parts) - fit} more" if fit < len(parts) else ""
    return ", ".join(parts[:fit]) + more


def without_folders(text: str, known: Iterable[str] = ()) -> str:
    """A message without the folders of this machine, for readers elsewhere: only the last part of each path stays.

    Args:
        text: the message.
        known: folders that may be in it; those with blanks in their names wouldn't be found otherwise.

    >>> without_folders("create the folder /srv/data/jobs first; MP4/MOV will do")
    'create the folder jobs first; MP4/MOV will do'
    """
    for folder in sorted({folder.rstrip("/\\") for folder in known} - {""}, key=len, reverse=True):
        text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "").replace(folder, "")
    return _FOLDERS.sub("", text).replace(" ()", "")
