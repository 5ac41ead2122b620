"""Aff-Wild2 as released: raw videos, face crops, and valence and arousal of every frame.

Kollias and Zafeiriou, "Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace", BMVC
2019. Files that are read, in the root or one folder below:

    batch1/VIDEO.mp4, batch2/VIDEO.avi                   raw videos
    cropped_aligned/VIDEO/00001.jpg                      face crops; VIDEO_left and VIDEO_right of two people
    VA_Estimation_Challenge/Train_Set/VIDEO.txt          one line per frame, -5 where unknown
    VA_Estimation_Challenge/Validation_Set/VIDEO.txt
    names_of_videos_in_each_test_set/                    names of each track's test videos, one per line; only the file
        Valence_Arousal_Estimation_Challenge_test_set_release.txt of the track of valence and arousal counts

The list of test videos may also lie in the root or beside the annotations; its name has "test" in it, and "va",
"valence" or "arousal" as a word. Lists of other tracks aren't read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgate.core.errors import AvgateError, CorpusError, UsageError
from avgate.core.text import listed, reason
from avgate.core.types import Clip, FeatureTrack, LabelTrack
from avgate.faces import crop_files
from avgate.labels.formats.affwild2 import AffWild2 as LabelFile
from avgate.media import Media

FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
EXPECTED = {"train": 356, "validation": 76, "test": 162}
"""Number of videos in the official release."""

FOLDS = 6
"""Number of folds: the official split, and five more."""

_CHALLENGE = "VA_Estimation_Challenge"
_LIST = "Valence_Arousal_Estimation_Challenge_test_set_release.txt"
_LISTS = tuple(f"{above}names_of_videos_in_each_test_set" for above in ("", "*/", "*/*/"))
"""Where the lists of test videos lie: the release nests folders of this name."""
_TRACK = re.compile(r"(?<![a-z])(va|valence|arousal)(?![a-z])")
"""What the name of a list has in it if it is of the track of valence and arousal."""
_SIDES = ("_left", "_right")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_HINT = "give the folder that holds batch1, batch2, cropped_aligned and VA_Estimation_Challenge"


class AffWild2:
    """The release in a folder, opened for reading.

    Line i of a label file is at the time of the raw video's frame i. Where the numbers of lines and frames differ, the
    surplus is ignored. In a frame without a crop, the face is absent. The release doesn't say who is in a video, so
    `group` is the raw video; two people in one video share a group. A video without its raw file has no frame times and
    no sound, so it is left out and listed in `findings`.

    Args:
        root: the folder.
        fold: 0 is the official split. 1 to 5 split the videos of training and validation anew, about a fifth of them
            for validation, the same way every time.

    Raises:
        CorpusError: there are no annotations, or no raw videos.
        UsageError: there is no such fold.
    """

    name = "affwild2"
    targets: tuple[str, ...] = ("valence", "arousal")
    synthetic = False

    def __init__(self, root: Path, fold: int = 0):
        self.root = Path(root)
        if not 0 <= fold < FOLDS:
            raise UsageError(f"there is no fold {fold}", hint=f"folds are 0 (the official split) to {FOLDS - 1}")
        self._raw = self._raw_videos()
        self._crops = self._crop_folders()
        self._findings: dict[str, list[str]] = {}
        self._times: dict[Path, np.ndarray] = {}
        self._clips = self._find_clips()
        if fold:
            self._clips = _mixed(self._clips, fold)

    def clips(self) -> list[Clip]:
        """All videos with a raw file: training, validation, then test; by name within a split."""
        return list(self._clips)

    def labels(self, clip: Clip) -> LabelTrack:
        """Valence and arousal at the time of each frame; CorpusError for a test video or a malformed file."""
        if clip.labels is None:
            raise CorpusError(f"the video '{clip.name}' has no labels", where=self.root)
        labels = LabelFile().read(clip.labels, lambda: self._frame_times(clip))
        if labels.targets != self.targets:
            what = f"the first line must be {','.join(self.targets)}, not {listed(labels.targets)}"
            raise CorpusError(what, where=clip.labels, hint="use the challenge's own file of valence and arousal")
        if (np.abs(labels.values) > 1).any():
            line = int(np.argmax((np.abs(labels.values) > 1).any(1))) + 2
            raise CorpusError(f"line {line}: labels must lie in [-1, 1] or be -5", where=clip.labels)
        return labels

    def tracks(self, clip: Clip) -> list[FeatureTrack] | None:
        """None: features are extracted from crops and raw videos."""
        return None

    def findings(self) -> dict[str, list[str]]:
        """What is missing from the release, and videos in which the numbers of labels, crops and frames differ."""
        found = {name: list(what) for name, what in self._findings.items()}
        for split, count in EXPECTED.items():
            here = sum(1 for clip in self._clips if clip.split == split)
            if here != count:
                found.setdefault(f"({split})", []).append(f"{here} of the release's {count} videos can be used")
        for clip in self._clips:
            try:
                disagreements = self._disagreements(clip)
            except AvgateError as error:  # it must not hide the findings of other videos
                disagreements = [f"{error.where}: {error.what}"]
            found.setdefault(clip.name, []).extend(disagreements)
        return {name: what for name, what in found.items() if what}

    def _frame_times(self, clip: Clip) -> np.ndarray:
        """Times of a video's frames, float64 [n] seconds; cached, since reading them reads the whole file."""
        if clip.video not in self._times:
            self._times[clip.video] = Media(clip.video).frame_times()
        return self._times[clip.video]

    def _disagreements(self, clip: Clip) -> list[str]:
        found = []
        frames = len(self._frame_times(clip))
        if clip.labels is not None:
            rows = len(LabelFile().rows(clip.labels)[1])
            if rows != frames:
                found.append(f"{rows} labels but {frames} frames: only the first {min(rows, frames)} are used")
        if clip.crops is None:
            found.append("it has no crops: faces will be detected in the raw video")
        else:
            crops = crop_files(clip.crops)
            beyond = sum(1 for number in crops if number >= frames)
            missing = frames - (len(crops) - beyond)
            if missing:
                found.append(f"{missing} of {frames} frames have no crop and count as frames without a face")
            if beyond:
                found.append(f"{beyond} crops come after the last frame and are ignored")
        return found

    def _find_clips(self) -> list[Clip]:
        challenge = self._challenge()
        clips = []
        for split, folder in FOLDERS.items():
            files = sorted((challenge / folder).glob("*.txt"))
            if not files:
                raise CorpusError("there are no annotations", where=challenge / folder, hint=_HINT)
            clips += [self._clip(file.stem, split, file) for file in files]
        clips += [self._clip(name, "test", None) for name in self._test_names(challenge)]
        found = [clip for clip in clips if clip is not None]
        if not found:
            raise CorpusError("no annotated video has its raw file", where=self.root, hint=_HINT)
        names = [clip.name for clip in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CorpusError(
                f"listed in two splits: {listed(twice)}", where=challenge, hint="list each in one split only"
            )
        return found

    def _clip(self, name: str, split: str, labels: Path | None) -> Clip | None:
        base = next((name.removesuffix(side) for side in _SIDES if name.endswith(side)), name)
        raw = self._raw.get(name) or self._raw.get(base)
        crops = self._crops.get(name)
        if raw is None:
            self._findings[name] = ["its raw video is missing, so it has no frame times and no sound: it is left out"]
            return None
        if crops is None and name not in self._raw:
            self._findings[name] = ["its crops are missing, and its raw video shows two people: it is left out"]
            return None
        return Clip(name, raw, split, base, labels, crops=crops)

    def _challenge(self) -> Path:
        for folder in (self.root / _CHALLENGE, *sorted(self.root.glob(f"*/{_CHALLENGE}"))):
            if folder.is_dir():
                return folder
        what = f"there is no folder {_CHALLENGE}" if self.root.is_dir() else "there is no such folder"
        raise CorpusError(what, where=self.root, hint=_HINT)

    def _raw_videos(self) -> dict[str, Path]:
        folders = [
            f for batch in ("batch1", "batch2") for f in (self.root / batch, *sorted(self.root.glob(f"*/{batch}")))
        ]
        files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
        return {file.stem: file for file in files if file.suffix.lower() in _VIDEOS}

    def _crop_folders(self) -> dict[str, Path]:
        folders = [*sorted(self.root.glob("cropped_aligned*")), *sorted(self.root.glob("*/cropped_aligned*"))]
        return {f.name: f for folder in folders if folder.is_dir() for f in sorted(folder.iterdir()) if f.is_dir()}

    def _test_names(self, challenge: Path) -> list[str]:
        folders = {self.root, challenge}
        for top in (self.root, challenge):
            folders |= {folder for depth in _LISTS for folder in top.glob(depth) if folder.is_dir()}
        lists = [f for folder in sorted(folders) for f in sorted(folder.glob("*.txt")) if "test" in f.name.lower()]
        ours = [file for file in lists if _TRACK.search(file.stem.lower())]
        names = [line.strip().split("/")[0] for file in ours for line in _text_of(file).splitlines()]
        names = [name for name in dict.fromkeys(names) if name and not name.startswith("image_location")]
        others = listed(dict.fromkeys(file.name for file in lists if file not in ours))
        if others:
            self._findings["(test)"] = [f"not read, because they aren't of the track of valence and arousal: {others}"]
        if not names:
            what = "there is no list of test videos of the track of valence and arousal"
            self._findings.setdefault("(test)", []).append(f"{what}, such as {_LIST}")
        return names


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = f"the list of test videos can't be read: {reason(error)}"
        raise CorpusError(what, where=file, hint="save it as UTF-8 text, one name per line") from error


def _mixed(clips: list[Clip], fold: int) -> list[Clip]:
    """The clips with training and validation split anew by raw video; the test split stays."""
    groups = sorted({clip.group for clip in clips if clip.split != "test"})
    # A video's split depends on its name alone, so that missing videos don't change the split of others.
    part = {g: 1 + int(hashlib.sha256(g.encode()).hexdigest(), 16) % (FOLDS - 1) for g in groups}
    return [
        clip if clip.split == "test" else replace(clip, split="validation" if part[clip.group] == fold else "train")
        for clip in clips
    ]
