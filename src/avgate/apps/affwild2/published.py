"""What papers report on Aff-Wild2; quoted, not measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """CCC on Aff-Wild2 as a paper reports it; empty where it doesn't.

    Attributes:
        valence_validation: on the official validation set.
        valence_test: on the test set.
        arousal_validation: on the official validation set.
        arousal_test: on the test set.
    """

    valence_validation: str
    valence_test: str
    arousal_validation: str
    arousal_test: str


AFFWILD2: dict[str, Published] = {
    "LFAN": Published(".469", ".463", ".649", ".492"),
    "JCA": Published(".663", ".374", ".584", ".363"),
    "RJCMA": Published(".585", ".542", ".674", ".619"),
    "GRJCA": Published(".623", ".561", ".660", ".620"),
    "one linear layer on HSEmotion face features": Published(".470", "", ".536", ""),
    "the same after a 100-frame mean filter": Published(".519", "", ".616", ""),
}
"""Method -> its CCC."""

COLUMNS = ("valence, validation", "valence, test", "arousal, validation", "arousal, test")
"""What a table calls them, in the order of the attributes."""
