"""EmoDB: acted German speech of ten speakers, ten sentences in seven emotions; sound without pictures.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005. A file's name holds its speaker, sentence,
emotion and take: 03a01Fa.wav.
"""

from __future__ import annotations

import re
from pathlib import Path

from avgate.core.errors import CorpusError
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.corpora.base import no_recordings, sexes, splits_of, tally, usable, whole_clip
from avgate.labels.categories import SOURCE, place

SPEAKERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
"""Speaker -> sex."""

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""Letter in a file's name (of the German word) -> emotion."""

_NAME = re.compile(rf"({'|'.join(SPEAKERS)})[ab]\d\d([{''.join(EMOTIONS)}])[a-z]")


class EmoDB:
    """A folder of the recordings, or one with a folder `wav` of them. A clip is a recording, a group a speaker.

    A label is the place of the acted emotion in the plane, for the whole clip.

    Args:
        root: the folder.

    Raises:
        CorpusError: there are no recordings in it.
    """

    name = "emodb"
    targets: tuple[str, ...] = ("valence", "arousal")
    synthetic = False
    emotion_map = SOURCE

    def __init__(self, root: Path):
        self.root = Path(root)
        media = [file for form in ("*", "wav/*") for file in self.root.glob(form) if file.suffix.lower() == ".wav"]
        files, self._findings = usable(media, self.root, "EmoDB", _NAME)
        found = {name: (file, parts[1], EMOTIONS[parts[2]]) for name, (file, parts) in files.items()}
        if not found:
            hint = "give the folder of the recordings, which are called like 03a01Fa.wav"
            raise CorpusError(no_recordings("EmoDB", self._findings), where=self.root, hint=hint)
        splits = splits_of(SPEAKERS)
        self._clips = [Clip(name, file, splits[who], who, labels=file) for name, (file, who, _) in found.items()]
        self._emotions = {name: emotion for name, (_, _, emotion) in found.items()}

    def clips(self) -> list[Clip]:
        """All recordings by name. Splits hold 6, 2 and 2 of the ten speakers, whether or not all are there."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """The place of the acted emotion."""
        return whole_clip(*place(self._emotions[clip.name]))

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from the recordings."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """Sound files that are left out: by their name, as copies, or because Git LFS left a pointer."""
        return {name: list(why) for name, why in self._findings.items()}

    def about(self) -> dict[str, str]:
        """Speakers, emotions, and the emotions' map."""
        return {
            "speakers": sexes(SPEAKERS[who] for who in sorted({clip.group for clip in self._clips})),
            "emotions": tally(self._emotions.values()),
            "emotions' places": SOURCE,
        }
