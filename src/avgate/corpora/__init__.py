"""Corpora. A new one is a file here and a line in CORPORA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avgate.core.errors import choose
from avgate.corpora.affwild2 import AffWild2
from avgate.corpora.base import Corpus
from avgate.corpora.hazumi import Hazumi
from avgate.corpora.manifest import Manifest
from avgate.corpora.rendered import Rendered

CORPORA: dict[str, Callable[[Path], Corpus]] = {
    "rendered": Rendered,
    "hazumi": Hazumi,
    "affwild2": AffWild2,
    "manifest": Manifest,
}
"""Name -> what opens a folder, or for some a file, as that corpus."""


def open_corpus(name: str, root: Path) -> Corpus:
    """The corpus of that kind in a folder; UsageError for an unknown kind, CorpusError for a folder that isn't one."""
    return choose("corpus", name, CORPORA)(root)
