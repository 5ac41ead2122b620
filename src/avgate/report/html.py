"""The report: one HTML file with the video, the estimate and where it comes from."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import IO

import numpy as np

from avgate.core.errors import MediaError
from avgate.core.files import atomic_write
from avgate.core.types import Trace
from avgate.media import Media
from avgate.report.page import page

PART_BYTES = 3 << 20
"""Size of the pieces that the video is embedded in: it is never in memory as a whole here. A multiple of 3, so that
base64 needs no padding between them."""


def write_report(trace: Trace, out: Path, *, video: Path | None = None, still: np.ndarray | None = None) -> None:
    """Write a self-contained HTML report: it loads nothing from anywhere, and runs no script but its own.

    The file holds all frames' values at four decimals, and the video. What is drawn of long traces
    is thinned in the browser (at most five points in each of 800 stretches of a curve, highest and lowest among them;
    at most 1,500 cells a strip), and comes back in full on zooming in.

    Args:
        trace: what to show, at least one frame.
        out: the file to write.
        video: an mp4 file that browsers can play (H.264 and AAC), on the trace's clock; a report without one is the
            same but for the picture.
        still: the image that the trace is of, RGB uint8 [h w 3], in place of a video.

    Raises:
        MediaError: `video` is no mp4 file, or the trace has no frame.
        OutputError: `out` can't be written.
    """
    if not len(trace):
        raise MediaError("there is no frame to report on", where=trace.source or out, hint="check that the video plays")
    head, tail = page(trace, None if video is None else _frame_size(video), None if still is None else _jpeg(still))
    # File names needn't be valid Unicode: what isn't becomes a replacement character in the page.
    with (
        atomic_write(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace", newline="\n") as file,
    ):
        file.write(head)
        if video is not None:
            with video.open("rb") as source:
                _embed(source, file)
        file.write(tail)


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _frame_size(video: Path) -> tuple[int, int]:
    """Width and height of the pictures in pixels, of an mp4 file only."""
    info = Media(video).info
    if "mp4" not in info.container:
        raise MediaError(f"browsers don't play {info.container} files", where=video, hint="give an H.264 mp4 file")
    return info.width, info.height


def _embed(source: IO[bytes], file: IO[str]) -> None:
    """Write a video as base64 text in script elements that browsers don't run; report.js joins them."""
    while part := source.read(PART_BYTES):
        file.write('<script type="application/octet-stream" class="video-part">')
        file.write(base64.b64encode(part).decode("ascii"))
        file.write("</script>\n")
