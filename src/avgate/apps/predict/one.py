"""One recording: its trace, and the files of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import NamedTuple

from avgate.apps.predict.outputs import results
from avgate.apps.predict.resume import Beside
from avgate.core.console import console, progress
from avgate.core.errors import OutputError
from avgate.core.places import Place, local_copy, local_results
from avgate.core.scratch import scratch_folder
from avgate.core.types import Trace, VideoFrame, Waveform
from avgate.faces import Person
from avgate.features.tracks import Extracted, extract_tracks
from avgate.inference.predictor import Predictor
from avgate.media import Images, Media, open_recording
from avgate.report.figure import write_figure
from avgate.report.html import write_report
from avgate.report.shown import Shown
from avgate.report.writers import Writer


class Summary(NamedTuple):
    """What is told of a trace that was written.

    Attributes:
        source: the recording.
        rows: how many, such as "25 frames".
        notes: the trace's.
    """

    source: str
    rows: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace) -> Summary:
        """That of a trace."""
        row = "row" if trace.face_box is None else "frame"
        return cls(trace.source, f"{len(trace)} {row}{'s' * (len(trace) != 1)}", trace.notes)

    def say(self, place: Place, told: Collection[str] = ()) -> None:
        """Print it; place is the files' path without their suffixes, told the notes that needn't be told again."""
        console.say((self.source, "bold"), f": {self.rows} -> {place}.*")
        for note in self.notes:
            if note not in told:
                console.say((f"  {note}", "yellow"))


def predict_one(
    predictor: Predictor,
    video: Place,
    out: Place,
    name: str,
    writers: Sequence[Writer],
    *,
    report: bool,
    fps: float | None = None,
    person: Person | None = None,
    beside: Beside | None = None,
    on_time: Callable[[float], None] = lambda time_s: None,
) -> Trace:
    """Write one recording's files as out/name.*; arguments as for `predict` in many.py.

    What is kept beside the results lets a run that was cut go on. on_time is called, from another thread, with the time
    in seconds up to which the recording has been read. What it raises ends the work.
    """
    with progress() as bar, ExitStack() as scope:
        recording = open_recording(scope.enter_context(local_copy(video)), fps)
        folder = scope.enter_context(local_results(out))
        shown = _open_shown(recording, scope) if report else None
        total = recording.info.frames_hint if isinstance(recording, Media) else len(recording.frame_times())
        task = bar.add_task(video.name, total=total)

        def read(time_s: float) -> None:
            if recording.has_frames:
                bar.advance(task)
            on_time(time_s)

        extracted = _extract(recording, predictor, shown, person, beside, read)
        trace = predictor.trace(extracted, recording, person)
        for writer in writers:
            writer.write(trace, folder / f"{name}{writer.suffix}")
        if shown is not None:
            if (failure := shown.failure) is not None:
                note = f"The report shows no video. {failure.where}: {failure.what}; {failure.hint}."
                trace = replace(trace, notes=(*trace.notes, note))
            trace = replace(trace, notes=(*trace.notes, *shown.notes))
            write_report(trace, folder / f"{name}.html", video=shown.video, still=shown.still)
            pictures = [] if shown.still is None else [VideoFrame(0.0, shown.still)]
            write_figure(trace, folder / f"{name}.png", pictures, shown.sound)
        # A report that lacks its video is made again by the next run, where there may be room for it.
        if beside is not None and (shown is None or shown.failure is None):
            beside.done(results(folder / name, writers, report, [*trace.targets]))
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
    beside: Beside | None,
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
            faces_every=predictor.faces_every,
            kept=None if beside is None else beside.parts,
            on_frame=see,
            on_sound=on_sound,
        )
