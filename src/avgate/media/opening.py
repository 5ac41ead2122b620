"""Opens whatever a user names as a recording: a video, sound, an image, or a folder of images."""

from __future__ import annotations

import contextlib
from pathlib import Path

from avgate.core.errors import UsageError
from avgate.media.reader import Media
from avgate.media.stills import Images, is_image, open_folder


def open_recording(path: str | Path, fps: float | None = None) -> Media | Images:
    """Open a file or folder as the kind of recording that it is, which its content tells and not its name.

    Args:
        path: a video file, a sound file, an image, or a folder of images.
        fps: images per second in a folder without times.csv.

    Raises:
        MediaError: it is missing, none of these, or damaged; or nothing gives the times of a folder's images.
        UsageError: fps isn't above 0.
    """
    path = Path(path)
    if fps is not None and not 0 < fps < 10_000:
        raise UsageError(f"images can't come at {fps:g} a second", hint="give a number above 0, such as 25")
    if path.is_dir():
        return open_folder(path, fps)
    with contextlib.suppress(OSError, ValueError):  # Media says what is wrong with a file that can't be read
        if path.is_file() and is_image(path):
            return Images(path, [path], [0.0])
    return Media(path)
