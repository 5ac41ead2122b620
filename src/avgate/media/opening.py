"""Opens whatever a user names as a recording: a video, sound, an image, or a folder of images."""

from __future__ import annotations

import contextlib
from pathlib import Path

from avgate.core.errors import UsageError
from avgate.media.reader import Media
from avgate.media.stills import Images, is_image, open_folder

SLOWEST_FPS, FASTEST_FPS = 1e-5, 10_000
"""Images a second in a folder: about one a day, and as close as times.csv may have them."""


def open_recording(path: str | Path, fps: float | None = None) -> Media | Images:
    """Open a file or folder as the kind of recording that it is, which its content tells and not its name.

    Args:
        path: a video file, a sound file, an image, or a folder of images.
        fps: images per second in a folder without times.csv.

    Raises:
        MediaError: it is missing, none of these, or damaged; or nothing gives the times of a folder's images.
        UsageError: the name is empty, or fps isn't from SLOWEST_FPS to FASTEST_FPS.
    """
    if not str(path):
        raise UsageError("an empty name names no recording", hint="name a file or a folder; . is the current folder")
    path = Path(path)
    if fps is not None and not SLOWEST_FPS <= fps <= FASTEST_FPS:
        hint = (
            f"give a number above 0: from {SLOWEST_FPS:f} (one image in about a day) to {FASTEST_FPS:.0f}, such as 25"
        )
        raise UsageError(f"images can't come at {fps:g} a second", hint=hint)
    if path.is_dir():
        return open_folder(path, fps)
    with contextlib.suppress(OSError, ValueError):  # Media says what is wrong with a file that can't be read
        if path.is_file() and is_image(path):
            return Images(path, [path], [0.0])
    return Media(path)
