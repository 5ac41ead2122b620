"""RAVDESS: 24 North American actors who say and sing two sentences in eight emotions at two intensities.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5), 2018.
A file's name holds modality, vocal channel, emotion, intensity, statement, repetition and actor:
Actor_01/01-01-03-01-01-01-01.mp4.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import no_recordings, sexes, splits_of, tally, usable, whole_clip
from avgate.labels.categories import SOURCE, place

ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
"""Actors with odd numbers are male, those with even numbers female."""

MODALITIES = {"01": "video with sound", "02": "video only", "03": "sound only"}
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
INTENSITIES = {"01": 0.5, "02": 1.0}
"""Normal is half of strong: a convention, since the corpus says no more than that there are two levels."""

_NAME = re.compile(r"(0[123])-(0[12]-(0[1-8])-(0[12])-0[12]-0[12]-(0[1-9]|1\d|2[0-4]))")
_HINT = "give the folder that holds Actor_01, Actor_02, ..., with files like Actor_01/01-01-03-01-01-01-01.mp4"


class Ravdess:
    """A folder with the folders Actor_01 to Actor_24, or with unpacked archives that hold them. A group is an actor.

    A clip is a performance. The release has each three times: as video with sound, and as its video and its sound alone
    (their names differ in the first number). Where the first is there, the other two are left out; else either is a
    clip. A label is the place of the acted emotion in the plane, scaled by the intensity, for the whole clip.

    Args:
        root: the folder.

    Raises:
        CorpusError: there are no recordings in it.
    """

    name = "ravdess"
    targets: tuple[str, ...] = ("valence", "arousal")
    synthetic = False
    emotion_map = SOURCE

    def __init__(self, root: Path):
        self.root = Path(root)
        folders = [path for form in ("Actor_*", "*/Actor_*") for path in self.root.glob(form) if path.is_dir()]
        media = [file for folder in folders for file in folder.iterdir() if file.suffix.lower() in (".mp4", ".wav")]
        files, self._findings = usable(media, self.root, "RAVDESS", _NAME)
        found = {name: parts for name, (_, parts) in files.items()}
        for name, (file, parts) in files.items():
            if file.parent.name != f"Actor_{parts[5]}":
                what = f"it lies in {file.parent.name}, but its name says actor {parts[5]}, which counts"
                self._findings.setdefault(name, []).append(what)
        if not found:
            raise CorpusError(no_recordings("RAVDESS", self._findings), where=self.root, hint=_HINT)
        whole = {parts[2] for parts in found.values() if parts[1] == "01"}
        self._parts = {name: p for name, p in found.items() if p[1] == "01" or p[2] not in whole}
        splits = splits_of(ACTORS)
        self._clips = [
            Clip(name, files[name][0], splits[parts[5]], parts[5], labels=files[name][0])
            for name, parts in self._parts.items()
        ]

    def clips(self) -> list[Clip]:
        """All clips by name. Splits hold 60, 20 and 20 % of the 24 actors, whether or not all are there."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """The place of the acted emotion, scaled by its intensity."""
        parts = self._parts[clip.name]
        return whole_clip(*place(EMOTIONS[parts[3]], INTENSITIES[parts[4]]))

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the recordings."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """Files that are left out (by name, as copies, as pointers of Git LFS), or lie in another actor's folder."""
        return {name: list(why) for name, why in self._findings.items()}

    def about(self) -> dict[str, str]:
        """Actors, emotions, modalities, and the emotions' map."""
        actors = sorted({clip.group for clip in self._clips})
        kinds = Counter(MODALITIES[parts[1]] for parts in self._parts.values())
        return {
            "actors": sexes("male" if int(actor) % 2 else "female" for actor in actors),
            "emotions": tally(EMOTIONS[parts[3]] for parts in self._parts.values()),
            "recordings": ", ".join(f"{kind} {kinds[kind]}" for kind in MODALITIES.values() if kinds[kind]),
            "emotions' places": f"{SOURCE}; half way to neutral for normal intensity",
        }
