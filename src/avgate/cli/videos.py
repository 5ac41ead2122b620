"""Verbs for videos: the demonstration, predictions and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from avgate.cli.options import FaceModel, Level, Within, Workers, default

Videos = Annotated[tuple[Path, ...], Positional, arg(metavar="FILE...", help_behavior_hint="(one or more)")]


def demo(out: Path = Path("demo"), workers: Workers = None) -> None:
    """See it work: render a corpus, extract, train four fusions, compare them on unseen identities, write a report.

    For example: avgate demo --out demo

    Args:
        out: Folder for everything the demonstration makes.
    """
    from avgate.apps.demo import demo as run
    from avgate.core.console import console
    from avgate.core.files import output_folder

    with output_folder(out):
        run(out, workers=workers)
    console.say(f"Report: {out / 'report.html'} (open it in a browser)")


def predict(
    videos: Videos,
    out: Path,
    checkpoint: Annotated[Path | None, default("the weights that come with avgate")] = None,
    face_model: FaceModel = None,
    report: bool = True,
    formats: tuple[str, ...] = ("csv", "json"),
    fps: Annotated[float | None, default("the times in the folder's times.csv"), Within(1e-5, 10_000, 25)] = None,
    level: Level = 0.9,
    person: Annotated[str | None, default("the largest face", metavar="WHO")] = None,
) -> None:
    """Estimate valence and arousal over time in recordings of a person; writes NAME.csv, .json, .html and .png.

    Of a video there is one row per frame, of sound one per step of the model (0.1 s), of an image one row.

    For example: avgate predict interview.mp4 --out results --checkpoint run

    Args:
        videos: Videos, sound files, images, or folders of images.
        out: Folder for the results.
        checkpoint: A trained model: a run's folder, or a checkpoint.safetensors file.
        report: Write the HTML and PNG reports too.
        formats: Files to write: csv and json (everything), or the estimates as labels, by format or suffix: elan (eaf),
            textgrid, nova, nova-binary, carma, muse, affwild2.
        fps: Images per second in folders of images that have no times.csv (columns file and time_s).
        person: Whom to follow where several are in view: left, middle, right, largest, a number from the left (1, 2,
            ...), or time,x,y: the time in seconds, x and y from the upper left corner of the picture, as fractions of
            its width and height where both are at most 1 (12.5,0.3,0.4), else in pixels (12.5,576,432).
    """
    from avgate.apps.predict import predict as run
    from avgate.core.errors import UsageError

    if not videos:
        raise UsageError("there is nothing to predict", hint="name one or more videos, sound files, images or folders")
    run(
        videos,
        out,
        checkpoint=checkpoint,
        face_model=face_model,
        report=report,
        formats=formats,
        fps=fps,
        level=level,
        person=person,
    )


def report(
    trace: Annotated[Path, Positional],
    out: Path,
    video: Annotated[Path | None, default("none")] = None,
    only: Annotated[Literal["curves"] | None, default("everything")] = None,
) -> None:
    """Draw the report of a trace that `avgate predict` wrote: HTML for the browser, PNG, PDF or SVG for a paper.

    For example: avgate report results/interview.json --out interview.pdf

    Args:
        trace: The NAME.json of a prediction.
        out: File to write; .html, .png, .pdf or .svg decides what it is.
        video: The recording, to be shown in an HTML report.
        only: Draw the curves alone, without title, notes, plane and strips; for .png, .pdf and .svg.
    """
    from avgate.apps.report import report as run
    from avgate.core.console import console

    run(trace, out, video, only)
    console.say(f"{out}")
