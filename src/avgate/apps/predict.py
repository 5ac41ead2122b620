"""`avgate predict`: from videos of a person to traces, reports, and files that other programs read."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape

from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, UsageError
from avgate.core.files import make_folder
from avgate.core.types import Trace, VideoFrame, Waveform
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.predictor import Predictor
from avgate.media import Media
from avgate.report.figure import write_figure
from avgate.report.html import proxy_writer, write_report
from avgate.report.writers import Writer, find_writer


def predict(
    videos: Sequence[Path],
    out: Path,
    *,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    report: bool = True,
    formats: Sequence[str] = ("csv", "json"),
) -> list[Trace]:
    """Write NAME.csv, NAME.json, NAME.html and NAME.png for every video; a video that fails doesn't stop the others.

    Args:
        videos: media files.
        out: folder for the results.
        checkpoint: None takes the weights that come with avgate.
        face_model: as for Predictor.
        report: whether to write the HTML and PNG reports.
        formats: names of the data files' writers.

    Returns:
        The traces of the videos that worked, in order.

    Raises:
        AvgateError: some videos failed; it says which and why, and all others are written.
    """
    _refuse_same_names(videos)
    writers = [find_writer(name) for name in formats]
    predictor = Predictor(checkpoint, face_model)
    make_folder(out)
    traces, failed = [], []
    for video in videos:
        try:
            traces.append(predict_one(predictor, video, out, video.stem, writers, report=report))
        except AvgateError as error:
            failed.append(error)
            if len(videos) > 1:
                console.print(f"[red]{escape(video.name)} failed[/]")
    if failed and len(videos) == 1:
        raise failed[0]
    if failed:
        raise AvgateError(f"{len(failed)} of {len(videos)} videos failed:\n" + "\n".join(f"  {e}" for e in failed))
    return traces


def predict_one(
    predictor: Predictor, video: Path, out: Path, name: str, writers: Sequence[Writer], *, report: bool
) -> Trace:
    """Write one video's files as out/name.*; arguments as for predict."""
    media = Media(video)
    with progress() as bar, tempfile.TemporaryDirectory() as scratch:
        proxy = Path(scratch) / "proxy.mp4" if report else None
        task = bar.add_task(escape(video.name), total=media.info.frames_hint)
        extracted = _extract(media, predictor, proxy, on_frame=lambda: bar.advance(task))
        trace = predictor.trace(extracted, media)
        for writer in writers:
            writer.write(trace, out / f"{name}{writer.suffix}")
        if report:
            write_report(trace, out / f"{name}.html", video=proxy)
            write_figure(trace, out / f"{name}.png")
    console.print(f"[bold]{escape(video.name)}[/]: {len(trace)} frames -> {escape(str(out / name))}.*", soft_wrap=True)
    for note in trace.notes:
        console.print(f"  [yellow]{escape(note)}[/]", soft_wrap=True)
    return trace


def _extract(media: Media, predictor: Predictor, proxy: Path | None, on_frame: Callable[[], None]) -> Extracted:
    """Extract features and, in the same pass, write the small copy of the video that its report carries."""
    if proxy is None:
        return extract_tracks(media, predictor.backbones, predictor.face_model, on_frame=lambda frame: on_frame())
    lock = threading.Lock()  # frames and sound arrive from different threads
    with proxy_writer(proxy, media.info) as writer:

        def add(frame: VideoFrame) -> None:
            with lock:
                writer.add(frame)
            on_frame()

        def add_sound(piece: Waveform) -> None:
            with lock:
                writer.add_sound(piece)

        return extract_tracks(media, predictor.backbones, predictor.face_model, on_frame=add, on_sound=add_sound)


def _refuse_same_names(videos: Sequence[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for video in videos:
        other = by_stem.setdefault(video.stem, video)
        if other is not video:
            raise UsageError(
                f"'{other}' and '{video}' would both be written as {video.stem}.csv",
                hint="rename one of them, or predict them into different folders",
            )
