"""`avgate report`: draw a trace again that `avgate predict` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from avgate.core.console import console
from avgate.core.errors import UsageError
from avgate.core.files import refuse_overwriting
from avgate.core.scratch import scratch_folder
from avgate.core.types import Trace
from avgate.features.store import source_fingerprint
from avgate.media import open_recording
from avgate.media.opening import FASTEST_FPS, SLOWEST_FPS
from avgate.report.figure import SUFFIXES as FIGURE_SUFFIXES
from avgate.report.figure import write_figure
from avgate.report.html import write_report
from avgate.report.shown import Shown, show
from avgate.report.writers.json import read_json

HTML = ".html"


def report(trace: Path, out: Path, video: Path | None = None, only: Literal["curves"] | None = None) -> None:
    """Draw a trace that JsonWriter wrote.

    Args:
        trace: the JSON file.
        out: the file to write; .html, .png, .pdf or .svg decides what it is.
        video: the recording that the trace is of, in any format, to be shown in an HTML report. Another file than the
            one that the trace was made of is shown too, and a warning says so.
        only: "curves" draws the curves alone, as a figure.

    Raises:
        UsageError: `trace` holds no trace, or `out` is none of these, is an input, or can't hold what is asked for.
        MediaError: `video` can't be decoded.
        OutputError: `out` can't be written, or there is no room for a temporary copy of `video`.
    """
    suffix, figures = out.suffix.lower(), f"{', '.join(FIGURE_SUFFIXES[:-1])} or {FIGURE_SUFFIXES[-1]}"
    if suffix not in (HTML, *FIGURE_SUFFIXES):
        raise UsageError("this is no kind of report", where=out, hint=f"use {HTML}, {figures}")
    if suffix != HTML and video is not None:
        raise UsageError("only an HTML report can hold a video", where=out, hint=f"leave the video out, or use {HTML}")
    if suffix == HTML and only is not None:
        raise UsageError(f"an HTML report can't be of {only} only", where=out, hint=f"use {figures}")
    refuse_overwriting([trace, *([] if video is None else [video])], {"--out": out})
    content = read_json(trace)
    if suffix != HTML:
        write_figure(content, out, only_curves=only == "curves")
    elif video is None:
        write_report(content, out)
    else:
        with scratch_folder() as scratch:
            shown = _shown(video, content, scratch)
            if shown.failure is not None:
                raise shown.failure
            if warning := _of_another_file(video, content):
                console.say((warning, "yellow"))
                content = replace(content, notes=(warning, *content.notes), face_box=None)
            write_report(content, out, video=shown.video, still=shown.still)


def _shown(file: Path, trace: Trace, folder: Path) -> Shown:
    """What a report shows of a recording, read once more."""
    step_s = float(np.median(np.diff(trace.time_s))) if len(trace) > 1 and file.is_dir() else 0.0
    recording = open_recording(file, min(max(1 / step_s, SLOWEST_FPS), FASTEST_FPS) if step_s > 0 else None)
    return show(recording, folder)


def _of_another_file(video: Path, trace: Trace) -> str:
    """What must be known of a recording that the trace isn't of; empty where it is."""
    expected = trace.provenance.get("video_fingerprint")
    if expected in (None, source_fingerprint(video)):
        return ""
    what = f"'{video.name}' isn't the file that the trace was made of ('{trace.source}')"
    return f"{what}: picture and curves may not belong together."
