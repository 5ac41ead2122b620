"""Verbs for videos: the demonstration, predictions and reports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from avgate.cli.options import (
    AnyPlace,
    ClusterAddress,
    EngineName,
    FaceModel,
    FacesEvery,
    Level,
    Within,
    Workers,
    default,
)

LiveCheckpoint = Annotated[Path | None, default("the weights for live use that come with avgate")]
Videos = Annotated[tuple[AnyPlace, ...], Positional, arg(metavar="FILE...", help_behavior_hint="(one or more)")]

_ROWS = "the rows until now are kept."


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
    out: AnyPlace,
    checkpoint: Annotated[AnyPlace | None, default("the weights that come with avgate")] = None,
    face_model: FaceModel = None,
    report: bool = True,
    formats: tuple[str, ...] = ("csv", "json"),
    fps: Annotated[float | None, default("the times in the folder's times.csv"), Within(1e-5, 10_000, 25)] = None,
    level: Level = 0.9,
    person: Annotated[str | None, default("the largest face", metavar="WHO")] = None,
    faces_every: FacesEvery = 1,
    anew: bool = False,
    workers: Workers = None,
    engine: EngineName = "local",
    address: ClusterAddress = None,
) -> None:
    """Estimate valence and arousal over time in recordings of a person; writes NAME.csv, .json, .html and .png.

    Of a video there is one row per frame, of sound one per step of the model (0.1 s), of an image one row.

    For example: avgate predict interview.mp4 --out results --checkpoint run

    Args:
        videos: Videos, sound files, images, or folders of images; or addresses of files: s3://...
        out: Folder for the results, or its address.
        checkpoint: A trained model: a run's folder, a checkpoint.safetensors file, `default` or `live`; or its address.
        report: Write the HTML and PNG reports too.
        formats: Files to write: csv and json (everything), or the estimates as labels, by format or suffix: elan (eaf),
            textgrid, nova, nova-binary, carma, muse, affwild2.
        fps: Images per second in folders of images that have no times.csv (columns file and time_s).
        person: Whom to follow where several are in view: left, middle, right, largest, a number from the left (1, 2,
            ...), or time,x,y: the time in seconds, x and y from the upper left corner of the picture, as fractions of
            its width and height where both are at most 1 (12.5,0.3,0.4), else in pixels (12.5,576,432).
        anew: Make results anew that are there as this command would make them, and what a run that was cut has kept.
    """
    from avgate.apps.predict.many import predict as run
    from avgate.core.cluster import Engine
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
        faces_every=faces_every,
        anew=anew,
        workers=workers,
        engine=Engine(engine, address),
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


def stream(
    video: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE", help_behavior_hint="(required)")],
    out: Path = Path("-"),
    speed: Annotated[float, Within(0, 100, such_as=1)] = 1.0,
    checkpoint: LiveCheckpoint = None,
    face_model: FaceModel = None,
    level: Level = 0.9,
) -> None:
    """Play a recording at its own pace, and write valence and arousal of each frame as soon as they are known.

    The columns are those of predict's CSV file. In a terminal, a line shows the newest result.

    For example: avgate stream interview.mp4 --out interview.csv

    Args:
        video: A video or sound file.
        out: CSV file, which grows row by row; - writes the rows to stdout.
        speed: How fast to play, from 0 to 100: 1 is the recording's own pace, 2 twice as fast, 0 as fast as this
            machine can. Where it is too slow, faces in some frames are skipped; with 0 none is.
        checkpoint: A causal model: a run's folder, a checkpoint.safetensors file, or `live`.
    """
    from avgate.apps.stream import stream as run
    from avgate.core.errors import UsageError

    if len(video) != 1:
        what = "there is nothing to stream" if not video else f"these are {len(video)} recordings"
        raise UsageError(what, hint="one recording at a time; avgate predict takes several")
    with _keeping_rows():
        run(video[0], out, speed=speed, checkpoint=checkpoint, face_model=face_model, level=level)


def live(
    camera: str = "0",
    microphone: Annotated[str | None, default("the system's; beside a file none", metavar="NAME|none")] = None,
    out: Annotated[Path | None, default("none")] = None,
    seconds: Annotated[float | None, default("until Ctrl-C"), Within(0.1, 604_800, such_as=60)] = None,
    list: bool = False,
    checkpoint: LiveCheckpoint = None,
    face_model: FaceModel = None,
    level: Level = 0.9,
) -> None:
    """Show valence and arousal of the person in front of the camera while it happens; Ctrl-C ends it.

    The microphone needs sounddevice: pip install "avgate[live]". No picture and no sound is kept.

    For example: avgate live --camera 0 --seconds 60 --out me.csv; without camera and microphone, avgate live --camera
    interview.mp4

    Args:
        camera: Number of the camera, or a video file in its place, without its sound.
        microphone: Part of the microphone's name, or its number; none does without.
        out: CSV file, which grows row by row; - writes the rows to stdout.
        seconds: How long.
        list: List the cameras and microphones, and do nothing else.
        checkpoint: A causal model: a run's folder, a checkpoint.safetensors file, or `live`.
    """
    if list:
        from avgate.apps.live import devices
        from avgate.core.console import Terminal

        for line in devices():
            Terminal().say(line)
        return
    from avgate.apps.live import live as run

    with _keeping_rows():
        run(camera, microphone, out, seconds=seconds, checkpoint=checkpoint, face_model=face_model, level=level)


@contextlib.contextmanager
def _keeping_rows() -> Iterator[None]:
    """Ctrl-C within it, or a signal that asks to end, says what is kept; a stream can't be continued."""
    from avgate.core.console import console
    from avgate.core.signals import Ended

    try:
        yield
    except KeyboardInterrupt:
        console.say(("interrupted:", "bold"), f" {_ROWS}")
        sys.exit(130)
    except Ended as ended:
        with contextlib.suppress(OSError):  # the terminal may be gone
            console.say((f"ended by {ended.name}:", "bold"), f" {_ROWS}")
        sys.exit(ended.code)
