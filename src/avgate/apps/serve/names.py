"""Names of recordings, which their owners choose: as they are shown, and as they can be on any disk."""

from __future__ import annotations

import re
import unicodedata

from avgate.core.text import as_name, quoted

_LONGEST_STEM, _LONGEST_SUFFIX, _LONGEST_SHOWN = 60, 8, 120
"""Characters of names, on disk and as they are shown."""


def shown_name(name: str) -> str:
    r"""A file's name as its owner calls it, without folders, printable and not too long.

    >>> shown_name("C:\\holiday\\Zoé.mp4")
    'Zoé.mp4'
    """
    return quoted(as_name(_last(name)), _LONGEST_SHOWN).strip() or "recording"


def safe_name(name: str) -> str:
    """A name for a file on any disk, from the one that its owner gave: letters, digits, _, - and dots.

    >>> safe_name("../Zoé & me.MP4")
    'Zoe_me.mp4'
    """
    plain = unicodedata.normalize("NFKD", _last(name))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    stem, dot, suffix = plain.rpartition(".")
    if not dot or not re.fullmatch(rf"[A-Za-z0-9]{{1,{_LONGEST_SUFFIX}}}", suffix):
        stem, suffix = plain, ""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:_LONGEST_STEM].strip("._-")
    # Windows has devices of these names, whatever their suffix.
    if not stem or re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", stem, re.IGNORECASE):
        stem = "recording"
    return f"{stem}.{suffix.lower()}" if suffix else stem


def _last(name: str) -> str:
    """A name without the folders before it, whatever system it comes from."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]
