"""Pictures as a recording: one still image, or a folder of images with times."""

from __future__ import annotations

import contextlib
import csv
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from avgate.core.errors import MediaError
from avgate.core.files import is_file
from avgate.core.text import number, quoted, reason
from avgate.core.timeline import IN_WORDS, LONGEST_S
from avgate.core.types import VideoFrame, Waveform
from avgate.media.recording import refuse_too_long

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Files of a folder that count as its images."""

TIMES = "times.csv"
"""The file in a folder of images that gives their times, with the columns file and time_s."""

_UNREAD = {
    "HEIC and AVIF": ((4, b"ftypheic"), (4, b"ftypheix"), (4, b"ftypmif1"), (4, b"ftypmsf1"), (4, b"ftypavif")),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*")),
    "GIF": ((0, b"GIF8"),),
    "JPEG XL": ((0, b"\xff\x0a"), (4, b"JXL ")),
    "Photoshop": ((0, b"8BPS"),),
}
"""Kinds of images that can't be read, and how their files begin: (position, bytes)."""

_TIMES_HINT = f"write a {TIMES} into the folder, with the columns file and time_s (seconds)"


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its first bytes: JPEG, PNG, WebP or BMP.

    Raises:
        MediaError: it is an image of a kind that can't be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
    for kind, marks in _UNREAD.items():
        if any(head[at:].startswith(mark) for at, mark in marks):
            animation = ", or an animation as MP4" if kind == "GIF" else ""
            hint = f"save it as JPEG or PNG with an image program{animation}"
            raise MediaError(f"{kind} images can't be read", where=path, hint=hint)
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM")) or (head[:4], head[8:]) == (b"RIFF", b"WEBP")


class Images:
    """Images on disk as a recording without sound: every image is a frame. They are read one by one.

    Args:
        path: what the user named: the image, or the folder.
        files: the images, at least one.
        time_s: float [n], time of each image in seconds, increasing.

    Attributes:
        path: see above.
        single: whether it is one image, and not a folder.
        notes: as of every recording.
        size: width and height of the first image in pixels, upright.

    Raises:
        MediaError: no image can be read.
    """

    has_frames, sound_end_s = True, 0.0

    def __init__(self, path: Path, files: Sequence[Path], time_s: Sequence[float]):
        self.path = path
        self.single = path.is_file()
        self.notes: list[str] = []
        self._files, self._time_s = list(files), np.array(time_s, np.float64)
        self.size = _size(self._files)

    @property
    def name(self) -> str:
        """The image or the folder, as messages name it."""
        return str(self.path)

    def frames(self) -> Iterator[VideoFrame]:
        """Every image once; those that can't be read are left out, and the notes say so."""
        unreadable: list[str] = []
        animated: list[str] = []
        for time_s, file in zip(self._time_s.tolist(), self._files, strict=True):
            try:
                image = read_image(file, lambda file: animated.append(file.name))
            except MediaError:
                unreadable.append(file.name)
                continue
            yield VideoFrame(time_s, image)
        if unreadable:
            self._note(f"Images that can't be read, left out: {len(unreadable)} (the first is {unreadable[0]}).")
        if animated:
            what = "Animations, of which only the first picture is used"
            self._note(f"{what}: {len(animated)} (the first is {animated[0]}).")

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return self._time_s

    def sound(self) -> Iterator[Waveform]:
        """Nothing."""
        yield from ()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _size(files: Sequence[Path]) -> tuple[int, int]:
    """Width and height of the first image that can be read."""
    for file in files:
        with contextlib.suppress(MediaError):
            height, width = read_image(file).shape[:2]
            return width, height
    read_image(files[0])  # says what is wrong with it
    raise MediaError("no image in it can be read", where=files[0].parent)


def read_image(file: Path, on_animation: Callable[[Path], object] = lambda file: None) -> np.ndarray:
    """An image as RGB uint8 [h w 3], upright as its EXIF orientation says; what is transparent becomes white.

    Args:
        file: the image.
        on_animation: called with an animation's file; its first picture is read.

    Raises:
        MediaError: it can't be read.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Up to twice as many pixels as Pillow likes are fine, and damage beside the pixels is no matter.
            warnings.simplefilter("ignore")
            return _upright(Image.open(file), file, on_animation)
    except Image.DecompressionBombError as error:
        what, hint = "the image has too many pixels", "scale it down, so that the face is some hundred pixels wide"
        raise MediaError(what, where=file, hint=hint) from error
    except Exception as error:  # Pillow raises errors of many kinds for damaged files
        what = f"the image can't be read ({reason(error)})"
        raise MediaError(what, where=file, hint="copy it again, or save it as JPEG or PNG") from error


def _upright(opened: Any, file: Path, on_animation: Callable[[Path], object]) -> np.ndarray:
    from PIL import Image, ImageOps  # OpenCV ignores the orientation of WebP

    with opened:
        if opened.format != "MPO" and getattr(opened, "is_animated", False):  # an MPO is a photo with more photos
            on_animation(file)
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow cuts off at 255 instead of scaling them
            upright = Image.fromarray((np.asarray(upright) / 256).astype(np.uint8))
        if upright.has_transparency_data:
            clear = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        return np.array(upright.convert("RGB"))


def open_folder(folder: Path, fps: float | None = None) -> Images:
    """A folder of images as a recording.

    The file times.csv in it gives each image's time. Without it, images follow each other in the order of their names
    (2.png before 10.png), `fps` a second, from 0 s on.

    Raises:
        MediaError: there are no images, no times, or times.csv is wrong.
    """
    times = folder / TIMES
    if times.is_file():
        return _timed(folder, times)
    files = sorted((f for f in folder.iterdir() if _counts(f)), key=lambda file: _natural(file.name))
    if not files:
        hint = f"give a folder of {', '.join(SUFFIXES)} files; videos are named one by one, as in {folder.name}/*.mp4"
        raise MediaError("there is no image in this folder", where=folder, hint=hint)
    if fps is None:
        hint = f"give --fps N if they come at a steady rate; else {_TIMES_HINT}"
        raise MediaError("nothing says at what times its images were taken", where=folder, hint=hint)
    hint = f"give a higher --fps than {fps:g}, or {_TIMES_HINT}"
    refuse_too_long(folder, (len(files) - 1) / fps, hint)
    return Images(folder, files, (np.arange(len(files)) / fps).tolist())


def _timed(folder: Path, times: Path) -> Images:
    rows = _read_times(times)
    if not rows:
        raise MediaError("no image is listed", where=times, hint=_TIMES_HINT)
    rows.sort(key=lambda row: row[1])
    files, time_s = [folder / name for name, _ in rows], [time for _, time in rows]
    for before, after, file in zip(time_s, time_s[1:], files[1:], strict=False):
        if after - before < 1e-4:
            what = f"'{file.name}' has the time of another image, {after:g} s"
            raise MediaError(what, where=times, hint="give each image its own time")
    missing = [file.name for file in files if not is_file(file)]
    if missing:
        what = f"{len(missing)} of the listed images aren't in the folder (the first is '{quoted(missing[0])}')"
        raise MediaError(what, where=times, hint="correct the names, or leave these rows out")
    images = Images(folder, files, time_s)
    unlisted = len({f.name for f in folder.iterdir() if _counts(f)} - {file.name for file in files})
    if unlisted:
        images.notes.append(f"Images in the folder that {TIMES} doesn't list, left out: {unlisted}.")
    return images


def _read_times(path: Path) -> list[tuple[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, restval="")
            if not {"file", "time_s"} <= set(table.fieldnames or ()):
                raise MediaError("it needs the columns file and time_s", where=path, hint=_TIMES_HINT)
            rows = []
            for row in table:
                time_s = _seconds(row["time_s"])
                if time_s is None:
                    what = f"line {table.line_num}: '{quoted(row['time_s'])}' is no time in seconds"
                    raise MediaError(f"{what} from 0 to {LONGEST_S:.0f} ({IN_WORDS})", where=path, hint=_TIMES_HINT)
                name = row["file"].strip()
                if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                    what = f"line {table.line_num}: '{quoted(name)}' lies outside the folder"
                    raise MediaError(what, where=path, hint="list images of this folder only; copy others into it")
                rows.append((name, time_s))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"it can't be read as CSV ({reason(error)})", where=path, hint=_TIMES_HINT) from error


def _seconds(text: str) -> float | None:
    value = number(text.strip())
    return value if value is not None and 0 <= value <= LONGEST_S else None


def _counts(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]
