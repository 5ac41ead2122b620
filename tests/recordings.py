"""Sound files, images and folders of images for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.clips import make_clip

CODECS = {
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".m4a": "aac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".mka": "flac",
    ".aiff": "pcm_s16be",
    ".aac": "aac",
}
"""Suffix of a sound file -> FFmpeg's encoder."""


def write_sound(path: Path, samples: np.ndarray, rate: int = 16_000, **more) -> Path:
    """A mono sound file of float samples [n]; the suffix says the format."""
    codec = "aac" if path.suffix == ".mp4" else CODECS[path.suffix]
    if codec == "libopus":  # which knows 48 kHz only
        samples, rate = np.repeat(samples, 48_000 // rate), 48_000
    sound = [(0.0, np.asarray(samples, np.float64))]
    return make_clip(path, sound=sound, sound_rate=rate, sound_codec=codec, layout="mono", **more)


def write_image(path: Path, image: np.ndarray, orientation: int = 1) -> Path:
    """An image file of RGB pixels; `orientation` is EXIF's, which says how to turn them upright."""
    picture = Image.fromarray(image)
    more = {}
    if orientation != 1:
        more["exif"] = Image.Exif()
        more["exif"][0x0112] = orientation
    picture.save(path, **more)
    return path


def write_images(folder: Path, images: Sequence[np.ndarray], times: Sequence[float] | None = None) -> Path:
    """A folder of the images 1.png, 2.png, ..., with a times.csv if there are times."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        write_image(folder / f"{i + 1}.png", image)
    if times is not None:
        write_times(folder, [(f"{i + 1}.png", time_s) for i, time_s in enumerate(times)])
    return folder


def write_times(folder: Path, rows: Sequence[tuple[str, object]], header: str = "file,time_s") -> None:
    """The folder's times.csv."""
    (folder / "times.csv").write_text("\n".join([header, *(f"{file},{time_s}" for file, time_s in rows)]) + "\n")
