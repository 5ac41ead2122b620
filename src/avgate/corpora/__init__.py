"""Corpora: folders of recordings with labels. A new kind is a file here and a line in CORPORA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from avgate.core.console import console
from avgate.core.errors import choose
from avgate.corpora.affwild2 import AffWild2
from avgate.corpora.base import Corpus
from avgate.corpora.cremad import CremaD
from avgate.corpora.emodb import EmoDB
from avgate.corpora.hazumi import Hazumi
from avgate.corpora.manifest import Manifest
from avgate.corpora.ravdess import Ravdess
from avgate.corpora.rendered import Rendered

CORPORA: dict[str, Callable[[Path], Corpus]] = {
    "rendered": Rendered,
    "hazumi": Hazumi,
    "affwild2": AffWild2,
    "cremad": CremaD,
    "emodb": EmoDB,
    "ravdess": Ravdess,
    "manifest": Manifest,
}
"""Kind of corpus -> class that opens a folder (for manifest also a CSV file) as such a corpus."""


def open_corpus(name: str, root: Path) -> Corpus:
    """Open a corpus, and print its notes.

    Args:
        name: kind of corpus, a name in CORPORA.
        root: its folder, or a manifest's CSV file.

    Raises:
        UsageError: there is no such kind.
        CorpusError: the folder doesn't hold such a corpus.
    """
    corpus = choose("corpus", name, CORPORA)(root)
    for note in getattr(corpus, "notes", ()):
        console.print(f"[yellow]{escape(str(root))}:[/] {escape(note)}", soft_wrap=True)
    return corpus
