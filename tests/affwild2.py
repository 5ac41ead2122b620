"""A folder in Aff-Wild2's own layout, with every irregularity of the release, small enough to write in a test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.clips import greys, make_clip, tone

RATE = 25


@dataclass(frozen=True)
class Video:
    """One annotated person: which frames have crops and labels.

    Attributes:
        name: of crops and annotation.
        split: train, validation or test.
        frames: of the raw video.
        rows: of the annotation.
        no_crop: frames without a crop.
        invalid: frames with -5 in both targets.
        half_invalid: frames with -5 in valence only.
        suffix: of the raw video; None if that is missing.
    """

    name: str
    split: str
    frames: int = 60
    rows: int | None = None
    no_crop: tuple[int, ...] = ()
    invalid: tuple[int, ...] = ()
    half_invalid: tuple[int, ...] = ()
    suffix: str | None = ".mp4"

    @property
    def base(self) -> str:
        """The raw video's name."""
        return self.name.removesuffix("_left").removesuffix("_right")


VIDEOS = (
    Video("1-30-1280x720", "train", no_crop=(0, 1, *range(30, 40))),
    Video("105", "train", rows=63, invalid=(5, 6), half_invalid=(10,), suffix=".avi"),
    Video("video7_left", "train", rows=57, no_crop=tuple(range(20))),
    Video("video7_right", "train", no_crop=tuple(range(40, 60))),
    Video("short", "train", frames=15),
    Video("gone", "train", suffix=None),
    Video("21-24-1920x1080", "validation", frames=70, invalid=tuple(range(60, 70))),
    Video("video9_right", "validation", half_invalid=(0, 59)),
    Video("test_a", "test", no_crop=(3, 4, 5)),
    Video("video3_left", "test", frames=40),
)
"""video7 shows two persons; "gone" has annotation and crops but no raw video; "short" is shorter than a window."""


def labels_of(video: Video) -> np.ndarray:
    """float64 [rows 2], as they stand in the annotation."""
    n = video.frames if video.rows is None else video.rows
    t = np.arange(n) / RATE + len(video.name)
    values = np.round(np.stack([0.6 * np.sin(t), 0.5 * np.cos(1.3 * t)], 1), 3)
    values[list(video.invalid)] = -5
    values[list(video.half_invalid), 0] = -5
    return values


@cache
def crops(count: int = 12) -> tuple[bytes, ...]:
    """JPEG files of one face that sways a little, 112 x 112."""
    import cv2
    from skimage.data import astronaut

    from avgate.core.types import VideoFrame
    from avgate.faces import FaceTracker

    picture = np.ascontiguousarray(astronaut()[:300, 60:400])
    moved = [np.roll(picture, round(4 * np.sin(i)), axis=1) for i in range(count)]
    (track,) = FaceTracker(crops=True).track([VideoFrame(i / RATE, im) for i, im in enumerate(moved)], block=count)
    return tuple(cv2.imencode(".jpg", crop[..., ::-1])[1].tobytes() for crop in track.crop)


def write_affwild2(root: Path) -> Path:
    """Write VIDEOS, a list of the test videos, and the sample of a submission (`sample.csv`)."""
    images = crops()
    for i, video in enumerate(VIDEOS):
        batch = root / f"batch{1 + i % 2}"
        batch.mkdir(parents=True, exist_ok=True)
        raw = batch / f"{video.base}{video.suffix}"
        if video.suffix and not list(root.glob(f"batch?/{video.base}.*")):
            times = None if video.suffix == ".avi" else (np.arange(video.frames) / RATE + (i % 2) * 0.004).tolist()
            sound = [(0.0, tone(video.frames / RATE, frequency=200 + 40 * i))]
            codec = "mpeg4" if video.suffix == ".avi" else "libx264"
            sound_codec = "ac3" if video.suffix == ".avi" else "aac"
            pictures = [greys(1)[0]] * video.frames
            make_clip(raw, pictures, rate=RATE, times=times, codec=codec, sound=sound, sound_codec=sound_codec)
        folder = root / "cropped_aligned" / video.name
        folder.mkdir(parents=True)
        for frame in range(video.frames):
            if frame not in video.no_crop:
                (folder / f"{frame + 1:05d}.jpg").write_bytes(images[frame % len(images)])
        if video.split != "test":
            part = root / "VA_Estimation_Challenge" / ("Train_Set" if video.split == "train" else "Validation_Set")
            part.mkdir(parents=True, exist_ok=True)
            rows = [",".join(f"{x:g}" for x in row) for row in labels_of(video).tolist()]
            (part / f"{video.name}.txt").write_text("\n".join(["valence,arousal", *rows, ""]))
    tests = [video for video in VIDEOS if video.split == "test"]
    (root / "VA_test_set.txt").write_text("".join(f"{video.name}\n" for video in tests))
    rows = [f"{v.name}/{i + 1:05d}.jpg,-5,-5" for v in tests for i in range(v.frames)]
    (root / "sample.csv").write_text("\n".join(["image_location,valence,arousal", *rows, ""]))
    return root
