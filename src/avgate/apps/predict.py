"""`avgate predict`: from a video of a person to a trace, a report, and files that other programs read."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.markup import escape

from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, CheckpointError, UsageError
from avgate.core.files import make_folder
from avgate.core.types import Trace, VideoFrame, Waveform
from avgate.features.base import Backbone
from avgate.features.extract import Extracted, extract_media
from avgate.features.registry import build_backbones, modality_of
from avgate.features.store import source_fingerprint
from avgate.inference.estimator import estimate, on_common_grid, read_trace
from avgate.media import probe
from avgate.models.checkpoint import DEMONSTRATION_NOTE, Checkpoint, FeatureSpec, load_checkpoint
from avgate.models.recipe import to_plain
from avgate.report.figure import write_figure
from avgate.report.html import proxy_writer, write_report
from avgate.report.writers import Writer, find_writer


class Predictor:
    """A trained model, ready for videos: `Predictor()("video.mp4")` is a Trace.

    Args:
        checkpoint: a checkpoint or its file; None takes the demonstration weights that come with avgate.
        face_model: face_landmarker.task; None takes mediapipe's own, or AVGATE_FACE_MODEL.

    Raises:
        CheckpointError: the file is no checkpoint, or one whose features can't be made of a video.
    """

    def __init__(self, checkpoint: Checkpoint | str | Path | None = None, face_model: str | Path | None = None):
        self.checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
        brought = [f.backbone for f in self.checkpoint.features if not modality_of(f.backbone)]
        if brought:
            what = f"its features ({', '.join(brought)}) come with their corpus; avgate can't make them of a video"
            where = None if isinstance(checkpoint, Checkpoint) else checkpoint
            raise CheckpointError(what, where=where, hint="take a checkpoint that was trained on extracted features")
        self.face_model = face_model
        self.model = self.checkpoint.build()
        recipe = self.checkpoint.recipe
        self.backbones = build_backbones([f.backbone for f in self.checkpoint.features], recipe.label_rate)

    def __call__(self, video: str | Path, *, proxy: Path | None = None) -> Trace:
        """The trace of one video, one row per decoded frame, in constant memory but for features and trace.

        Args:
            video: a media file.
            proxy: where to write a small H.264 copy of the video for a report.

        Raises:
            MediaError: the file can't be decoded.
        """
        video = Path(video)
        return self.trace(extract_with_proxy(video, self.backbones, self.face_model, proxy), video)

    def trace(self, extracted: Extracted, video: Path) -> Trace:
        """The trace of features that were extracted before."""
        checkpoint = self.checkpoint
        specs = [FeatureSpec.of(t) for t in extracted.tracks]
        checkpoint.check(specs, video)
        clip = on_common_grid(video.name, extracted.tracks, checkpoint.recipe.grid)
        estimated = estimate(self.model, clip, checkpoint.stats, checkpoint.recipe)
        trace = read_trace(clip, estimated, checkpoint.targets, extracted.time_s, checkpoint.smooth_steps)
        demonstration = [DEMONSTRATION_NOTE] if checkpoint.demonstration else []
        face = {"face": extracted.face} if len(extracted.face) else {}
        return replace(
            trace,
            present={**trace.present, **face},
            notes=(*demonstration, *extracted.notes, *_notes(trace, extracted)),
            provenance={
                "avgate": version("avgate"),
                "video": video.name,
                "video_fingerprint": source_fingerprint(video),
                "recipe": to_plain(checkpoint.recipe),
                "smooth_s": checkpoint.smooth_steps / checkpoint.recipe.label_rate
                if checkpoint.smooth_steps > 1
                else 0.0,
                "trained_on": dict(checkpoint.trained_on),
                "validation": dict(checkpoint.scores),
                "features": {s.backbone: s.fingerprint for s in specs},
                "demonstration": checkpoint.demonstration,
            },
        )


def _notes(trace: Trace, extracted: Extracted) -> list[str]:
    """What the user must know of this estimate, beside what the file itself gave cause to say."""
    notes = []
    if len(extracted.face) and not extracted.face.any():
        heard = trace.present.get("audio", np.zeros(0, bool)).any()
        notes.append("No face was found in any frame" + (": the estimate rests on the sound alone." if heard else "."))
    elif len(extracted.face) and not any(t.present.any() for t in extracted.tracks if t.modality == "video"):
        notes.append("A face was seen, but in too few frames a second to measure how it moves: it is left out.")
    if extracted.others.any():
        notes.append(
            f"Further faces were in view (up to {extracted.others.max()}); "
            "the estimate is of the one person that was followed."
        )
    known = np.isfinite(next(iter(trace.targets.values())))
    if not known.all():
        unknown = f"{(~known).sum()} of {len(known)} frames have no estimate"
        notes.append(f"{unknown}: neither a face nor sound was there to judge by.")
    return notes


def extract_with_proxy(
    video: Path,
    backbones: Sequence[Backbone],
    face_model: str | Path | None,
    proxy: Path | None,
    on_frame: Callable[[], None] = lambda: None,
) -> Extracted:
    """Extract features, and in the same pass write the small copy of the video for the report.

    Args:
        video: a media file.
        backbones: what to extract.
        face_model: as for Predictor.
        proxy: where to write the copy; None writes none.
        on_frame: called once per decoded frame, for progress.
    """
    if proxy is None:
        return extract_media(video, backbones, face_model, on_frame=lambda frame: on_frame())
    lock = threading.Lock()  # frames and sound arrive from different threads
    with proxy_writer(proxy, probe(video)) as writer:

        def add(frame: VideoFrame) -> None:
            with lock:
                writer.add(frame)
            on_frame()

        def add_sound(piece: Waveform) -> None:
            with lock:
                writer.add_sound(piece)

        return extract_media(video, backbones, face_model, on_frame=add, on_sound=add_sound)


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
        checkpoint: None takes the demonstration weights.
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
    with progress() as bar, tempfile.TemporaryDirectory() as scratch:
        proxy = Path(scratch) / "proxy.mp4" if report else None
        task = bar.add_task(escape(video.name), total=probe(video).frames_hint)
        extracted = extract_with_proxy(
            video, predictor.backbones, predictor.face_model, proxy, on_frame=lambda: bar.advance(task)
        )
        trace = predictor.trace(extracted, video)
        for writer in writers:
            writer.write(trace, out / f"{name}{writer.suffix}")
        if report:
            write_report(trace, out / f"{name}.html", video=proxy)
            write_figure(trace, out / f"{name}.png")
    console.print(f"[bold]{escape(video.name)}[/]: {len(trace)} frames -> {escape(str(out / name))}.*", soft_wrap=True)
    for note in trace.notes:
        console.print(f"  [yellow]{escape(note)}[/]", soft_wrap=True)
    return trace


def _refuse_same_names(videos: Sequence[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for video in videos:
        other = by_stem.setdefault(video.stem, video)
        if other is not video:
            raise UsageError(
                f"'{other}' and '{video}' would both be written as {video.stem}.csv",
                hint="rename one of them, or predict them into different folders",
            )
