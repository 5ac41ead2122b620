"""Verbs for one's own videos: from recording to trace and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Videos = Annotated[tuple[Path, ...], Positional, arg(metavar="VIDEO...")]


def demo(out: Path = Path("demo"), workers: int | None = None) -> None:
    """See it work: render a corpus, extract, train four fusions, compare them on unseen identities, write a report.

    Args:
        out: Folder for everything the demonstration makes.
        workers: Processes; one per core unless given.
    """
    from avgate.apps.demo import demo as run
    from avgate.core.console import console
    from avgate.core.files import make_folder

    run(make_folder(out), workers=workers)
    console.print(f"Report: {out / 'report.html'} (open it in a browser)")


def predict(
    videos: Videos,
    out: Path,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    report: bool = True,
    formats: tuple[str, ...] = ("csv", "json"),
) -> None:
    """Turn videos of a person into valence and arousal, frame by frame: NAME.csv, NAME.json, NAME.html and NAME.png.

    Args:
        videos: Video files.
        out: Folder for the results.
        checkpoint: A trained model; the demonstration weights unless given.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        report: Write the HTML and PNG reports too.
        formats: Data files to write.
    """
    from avgate.apps.predict import predict as run
    from avgate.core.errors import UsageError

    if not videos:
        raise UsageError("there is nothing to predict", hint="name one or more video files")
    run(videos, out, checkpoint=checkpoint, face_model=face_model, report=report, formats=formats)


def report(trace: Annotated[Path, Positional], out: Path, video: Path | None = None) -> None:
    """Draw the report of a trace that `avgate predict` wrote, as HTML, or PNG or PDF for a paper.

    Args:
        trace: The NAME.json of a prediction.
        out: File to write; .html, .png or .pdf decides what it is.
        video: The video, to be shown in an HTML report.
    """
    from avgate.report.html import report as run

    run(trace, out, video)
