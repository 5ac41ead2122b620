"""`avgate predict`: from videos, sound or images of a person to traces, reports, and files that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, OutputError, UsageError, choose
from avgate.core.files import is_file, output_folder, refuse_overwriting
from avgate.core.scratch import scratch_folder
from avgate.core.types import LabelTrack, Trace, VideoFrame, Waveform
from avgate.faces import Person
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.predictor import Predictor
from avgate.labels.formats import LABEL_FORMATS, LabelFormat, files_of, write_labels
from avgate.media import Images, Media, open_recording
from avgate.models.intervals import DEFAULT_LEVEL
from avgate.report.figure import write_figure
from avgate.report.html import write_report
from avgate.report.shown import Shown
from avgate.report.writers import WRITERS, Writer


@dataclass(frozen=True)
class LabelWriter:
    """Writes a trace's targets as a label file, for annotation programs; see Writer.

    Formats that hold one target per file make one of each: NAME.valence.annotation.
    """

    format: LabelFormat
    suffix: str

    @property
    def name(self) -> str:
        """The format's name."""
        return self.format.name

    def write(self, trace: Trace, path: Path) -> None:
        """Write the label files of a trace; OutputError where one can't be written."""
        values = np.stack([*trace.targets.values()], axis=1).astype(np.float32)
        write_labels(LabelTrack(trace.time_s, values, tuple(trace.targets)), path, self.format.name)


def writers_named(names: Sequence[str]) -> list[Writer]:
    """The writers of data files and label files of these names, each once.

    A label format may also be called by its suffix (eaf, TextGrid). Where several that are asked for share a suffix,
    the format's name is part of it: NAME.muse.csv.

    Raises:
        UsageError: there is no such format; the hint lists those that exist.
    """
    writers: dict[str, Writer] = {writer.name: writer for writer in WRITERS}
    formats = [f for f in LABEL_FORMATS if f.name not in writers]
    choices = writers | {f.name: LabelWriter(f, f.suffix) for f in formats}
    by_suffix = {f.suffix.removeprefix(".").lower(): f.name for f in reversed(formats)}
    taken = {writer.suffix for writer in WRITERS}
    chosen: dict[str, Writer] = {}
    for asked in names:
        name = asked if asked in choices else by_suffix.get(asked.lower(), asked)
        writer = choose("output format", name, choices)
        if name not in chosen and isinstance(writer, LabelWriter):
            if writer.suffix in taken:
                writer = replace(writer, suffix=f".{name}{writer.suffix}")
            taken.add(writer.suffix)
        chosen.setdefault(name, writer)
    return [*chosen.values()]


def predict(
    videos: Sequence[Path],
    out: Path,
    *,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    report: bool = True,
    formats: Sequence[str] = ("csv", "json"),
    fps: float | None = None,
    level: float = DEFAULT_LEVEL,
    person: str | None = None,
) -> list[Trace]:
    """Write NAME.csv, NAME.json, NAME.html and NAME.png for every recording; one that fails doesn't stop the others.

    Args:
        videos: videos, sound files, images, or folders of images.
        out: folder for the results.
        checkpoint: None takes the weights that come with avgate.
        face_model: as for Predictor.
        report: whether to write the HTML and PNG reports.
        formats: csv, json, or a label format's name or suffix.
        fps: images per second in folders without times.csv.
        level: share of the true values that intervals are made to hold.
        person: whom to follow, as for Predictor; a point is of one video only.

    Returns:
        The traces of those that worked, in order.

    Raises:
        UsageError: two results would have the same name, one would overwrite a recording, or `fps` is given without a
            folder.
        OutputError: a result can't be written, or would replace a file that predict didn't write; found out before
            any recording is read, if it can be.
        AvgateError: some failed; it says which and why, and all others are written.
    """
    _refuse_same_names(videos)
    if fps is not None and not any(video.is_dir() for video in videos):
        raise UsageError("only folders of images take it", where="--fps", hint="name the folder, or leave --fps out")
    writers = writers_named(formats)
    whom = None if person is None else Person.named(person)
    if whom is not None and whom.point is not None and len(videos) > 1:
        raise UsageError(
            "a moment and a point are of one video only", where="--person", hint="predict the others apart"
        )
    predictor = Predictor(checkpoint, face_model, level)
    suffixes = [*(writer.suffix for writer in writers), *((".html", ".png") if report else ())]
    files = [out / f"{_name(video)}{suffix}" for video in videos for suffix in suffixes]
    traces, failed = [], []
    with output_folder(out):
        refuse_overwriting([v for v in videos if not v.is_dir()], {f"--out ({file.name})": file for file in files})
        refuse_strangers(files, [w for w in writers if isinstance(w, LabelWriter)], predictor.estimator.targets)
        for video in videos:
            try:
                name = _name(video)
                traces.append(predict_one(predictor, video, out, name, writers, report=report, fps=fps, person=whom))
            except AvgateError as error:
                failed.append(error)
                if len(videos) > 1:
                    console.say((f"{video.name} failed", "red"))
        if failed and len(videos) == 1:
            raise failed[0]
        if failed:
            each = "\n".join(f"  {error}" for error in failed)
            raise AvgateError(f"{len(failed)} of {len(videos)} recordings failed:\n{each}")
    return traces


_OURS = {".csv": b"_present", ".json": b'"provenance"', ".html": b"avgate", ".png": b"Matplotlib"}
"""Suffix -> what files that predict wrote have near their beginning."""

_NEAR = 1 << 16


def refuse_strangers(files: Sequence[Path], writers: Sequence[LabelWriter] = (), targets: Sequence[str] = ()) -> None:
    """Refuse to replace files that predict didn't write, such as transcripts or a person's own annotation.

    Label files don't say who wrote them, so none is replaced.
    """
    for file in files:
        labels = next((writer for writer in writers if file.name.endswith(writer.suffix)), None)
        for place in [file] if labels is None else files_of(file, targets, labels.name):
            if not is_file(place):
                continue
            with place.open("rb") as opened:
                ours = labels is None and _OURS[place.suffix] in opened.read(_NEAR)
            if not ours:
                what = "there is another file of this name, which may be someone's work"
                raise OutputError(what, where=place, hint="choose another --out, or move it away")


def predict_one(
    predictor: Predictor,
    video: Path,
    out: Path,
    name: str,
    writers: Sequence[Writer],
    *,
    report: bool,
    fps: float | None = None,
    person: Person | None = None,
    on_time: Callable[[float], None] = lambda time_s: None,
) -> Trace:
    """Write one video's files as out/name.*; arguments as for predict.

    on_time is called, from another thread, with the time in seconds up to which the recording has been read. What it
    raises ends the work.
    """
    recording = open_recording(video, fps)
    with progress() as bar, ExitStack() as scope:
        shown = _open_shown(recording, scope) if report else None
        total = recording.info.frames_hint if isinstance(recording, Media) else len(recording.frame_times())
        task = bar.add_task(video.name, total=total)

        def read(time_s: float) -> None:
            if recording.has_frames:
                bar.advance(task)
            on_time(time_s)

        extracted = _extract(recording, predictor, shown, person, read)
        trace = predictor.trace(extracted, recording, person)
        for writer in writers:
            writer.write(trace, out / f"{name}{writer.suffix}")
        if shown is not None:
            if (failure := shown.failure) is not None:
                note = f"The report shows no video. {failure.where}: {failure.what}; {failure.hint}."
                trace = replace(trace, notes=(*trace.notes, note))
            trace = replace(trace, notes=(*trace.notes, *shown.notes))
            write_report(trace, out / f"{name}.html", video=shown.video, still=shown.still)
            pictures = [] if shown.still is None else [VideoFrame(0.0, shown.still)]
            write_figure(trace, out / f"{name}.png", pictures, shown.sound)
    rows = ("frame" if recording.has_frames else "row") + "s" * (len(trace) != 1)
    console.say((trace.source, "bold"), f": {len(trace)} {rows} -> {out / name}.*")
    for note in trace.notes:
        console.say((f"  {note}", "yellow"))
    return trace


def _open_shown(recording: Media | Images, scope: ExitStack) -> Shown:
    """A collector of what the report shows; its copy of the recording stays until the scope ends."""
    try:
        return Shown(recording, scope.enter_context(scratch_folder()))
    except OutputError as error:
        return Shown(recording, None, error)


def _extract(
    recording: Media | Images,
    predictor: Predictor,
    shown: Shown | None,
    person: Person | None,
    on_time: Callable[[float], None],
) -> Extracted:
    """Extract features and, in the same pass, collect what the report shows.

    on_time is called with every frame's time; of sound alone with the end of every piece.
    """

    def see(frame: VideoFrame) -> None:
        if shown is not None:
            shown.add(frame)
        on_time(frame.time_s)

    def hear(piece: Waveform) -> None:
        if shown is not None:
            shown.add_sound(piece)
        if not recording.has_frames:
            on_time(piece.end_s)

    with nullcontext() if shown is None else shown:
        # What nobody needs isn't decoded.
        on_sound = hear if shown is not None or not recording.has_frames else None
        return extract_tracks(
            recording,
            predictor.backbones,
            predictor.face_model,
            person=person,
            on_frame=see,
            on_sound=on_sound,
        )


def _name(video: Path) -> str:
    """What its results are called: a file's name without its suffix, a folder's whole name."""
    return video.resolve().name if video.is_dir() else video.stem


def _refuse_same_names(videos: Sequence[Path]) -> None:
    by_name: dict[str, Path] = {}
    for video in videos:
        other = by_name.setdefault(_name(video), video)
        if other is not video:
            raise UsageError(
                f"'{other}' and '{video}' would both be written as {_name(video)}.csv",
                hint="rename one of them, or predict them into different folders",
            )
