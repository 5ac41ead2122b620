"""From a recording to its feature tracks, in one pass and in constant memory."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from avgate.core.errors import MediaError, UsageError
from avgate.core.types import FaceTrack, FeatureTrack, VideoFrame, Waveform
from avgate.faces import LONGEST_SIDE, FaceTracker, Person, find_person, track_crops
from avgate.features.audio.chunks import Chunks
from avgate.features.base import Backbone, Need
from avgate.features.sides import MOMENT_S, Heard, Kept, Seen
from avgate.features.steps import Collected
from avgate.media import Recording
from avgate.media.recording import refuse_empty, refuse_too_long

_Item = TypeVar("_Item")

_PAUSE_S, _MOST_PAUSES_S = 10.0, 86_400.0
"""Seconds in which nothing is seen or heard that make a pause, and most seconds of pauses that are stored."""

_AHEAD_S = 300.0
"""Seconds that the sound may be ahead of the frames: what a report's copy of it waits for is in memory."""

_TOO_LONG = "cut it into parts; if it isn't that long, its times are damaged: convert it with ffmpeg"


class Section(NamedTuple):
    """Part of a recording without a long pause: its features, one track per backbone, and its frames' rows."""

    tracks: tuple[FeatureTrack, ...]
    rows: slice


@dataclass(frozen=True)
class Extracted:
    """What one pass over a recording gave.

    Attributes:
        name: the recording, for messages.
        collected: the features, one per backbone, in the backbones' order.
        time_s: float64 [n], timestamps of the decoded frames; empty for sound alone.
        face: bool [n], where the followed person's face was found; empty when no backbone reads faces.
        others: int [n], further faces in view.
        notes: what the user must know of the recording.
        box: float [n 4], x0 y0 x1 y1 of the followed face; see `Trace.face_box`.
        heard_s: float64 [k 2] seconds, start and end of the stretches of sound, digital silence included.
        sounding_s: float64 [k 2] seconds, those of them that aren't digital silence.
        end_s: where the recording ends.
    """

    name: str
    collected: tuple[Collected, ...]
    time_s: np.ndarray
    face: np.ndarray
    others: np.ndarray
    notes: tuple[str, ...]
    heard_s: np.ndarray
    sounding_s: np.ndarray
    end_s: float
    box: np.ndarray

    @cached_property
    def tracks(self) -> tuple[FeatureTrack, ...]:
        """The features of the whole recording, pauses included; MediaError where these are days."""
        starts_s, ended_s = self._stretches()
        gaps_s = (starts_s - ended_s)[:-1]
        pauses_s = float(gaps_s[gaps_s > _PAUSE_S].sum())
        if pauses_s > _MOST_PAUSES_S:
            what = (
                f"nothing is seen or heard in {pauses_s / 86_400:,.1f} days of it; stored features would hold them all"
            )
            raise MediaError(what, where=self.name, hint="cut it at its pauses, into recordings of their own")
        return tuple(features.track(self.end_s) for features in self.collected)

    def sections(self, pause_s: float) -> Iterator[Section]:
        """The features of one section after the other, so that no time or memory is spent on long pauses.

        Args:
            pause_s: sections are cut where nothing is seen or heard for longer than this many seconds.
        """
        starts_s, ended_s = self._stretches()
        cuts = np.flatnonzero(starts_s - ended_s > pause_s)
        first_s, row = 0.0, 0
        for cut in cuts.tolist():
            rows = slice(row, int(np.searchsorted(self.time_s, ended_s[cut], side="right")))
            if rows.start < rows.stop:
                yield self._section(first_s, _end_s(self.time_s[rows]), rows)
            elif not len(self.time_s) and (cut or len(starts_s) == 1):
                yield self._section(first_s, self.end_s if cut == cuts[-1] else float(ended_s[cut]), rows)
            first_s, row = float(starts_s[cut]), rows.stop

    def _stretches(self) -> tuple[np.ndarray, np.ndarray]:
        """When each stretch of something seen or heard begins, and when all before it had ended; last, the end."""
        stretches = np.concatenate([self.heard_s, np.stack([self.time_s, self.time_s], axis=1)])
        stretches = stretches[np.argsort(stretches[:, 0], kind="stable")]
        return np.append(stretches[:, 0], np.inf), np.append(0.0, np.maximum.accumulate(stretches[:, 1]))

    def _section(self, start_s: float, end_s: float, rows: slice) -> Section:
        return Section(tuple(features.track(end_s, start_s) for features in self.collected), rows)


def extract_tracks(
    recording: Recording,
    backbones: Sequence[Backbone],
    face_model: str | Path | None = None,
    *,
    crops: Path | None = None,
    person: Person | None = None,
    faces_every: int = 1,
    kept: Kept | None = None,
    on_frame: Callable[[VideoFrame], None] | None = None,
    on_sound: Callable[[Waveform], None] | None = None,
) -> Extracted:
    """Go through a recording once and run all backbones over it, in constant memory but for the features.

    A recording without sound gives audio features that are absent throughout, and one without frames video features.
    Sound, decoding and the face mesh run in threads of their own; the native libraries do their work outside
    Python's lock.

    Args:
        recording: a media file, or frames and sound in memory.
        backbones: extractors, any modalities.
        face_model: face_landmarker.task, or None for the default one.
        crops: folder of the person's face crops; then no frame is decoded, and the file gives its clock and sound.
        person: whom to follow; the largest face unless given. To find that person, some of the frames are read twice.
        faces_every: n: the face is measured in every n-th frame, and interpolated between; not in a folder of crops.
        kept: where the parts of a long recording are kept, for a run after one that was cut; not in a folder of crops.
        on_frame: called with every decoded frame, from the decoding thread.
        on_sound: called with every piece of sound, from the sound thread.

    Raises:
        MediaError: there is neither a frame nor sound, or it is longer than LONGEST_S.
        UsageError: the person to follow isn't there.
    """
    started = [(backbone.modality, backbone.start(), Collected(backbone)) for backbone in backbones]
    for_faces = [(extraction, features) for modality, extraction, features in started if modality == "video"]
    for_sound = [(extraction, features) for modality, extraction, features in started if modality == "audio"]
    stop, has_frames = threading.Event(), recording.has_frames
    if person is not None and not (has_frames and for_faces):
        what = "the model doesn't look at faces" if has_frames else "there is nothing to see in sound alone"
        raise UsageError(f"{what}, so nobody can be chosen", where=recording.name, hint="leave --person out")
    heard, seen = Heard(for_sound, kept), Seen(for_faces, kept)

    frames_at = _Reached(0.0 if has_frames and crops is None else math.inf)

    def see(frame: VideoFrame) -> None:
        frames_at.move(frame.time_s)
        if on_frame is not None:
            on_frame(frame)

    def listen() -> None:
        if has_frames and not for_sound and on_sound is None:
            return
        for number, piece in enumerate(recording.sound()):
            frames_at.wait_for(piece.start_s - _AHEAD_S)
            if stop.is_set():
                return
            refuse_too_long(recording.name, piece.end_s, _TOO_LONG)
            if number >= heard.taken:
                heard.take(piece)
            if on_sound is not None:
                on_sound(piece)

    times = np.zeros(0)
    with ThreadPoolExecutor(1, thread_name_prefix="sound") as pool:
        sound = pool.submit(listen)
        try:
            if has_frames and for_faces:
                needs = frozenset().union(*(backbone.needs for backbone in backbones))
                faces = _faces(recording, needs, face_model, crops, person, faces_every, see, seen)
                # In a thread of its own, so that the mesh goes on while features are made of the block before.
                with closing(prefetch(faces, depth=2)) as blocks:
                    for block in blocks:
                        if isinstance(block, FaceTrack):
                            seen.take(block)
                        else:
                            seen.end_part(block)
                times = seen.rows("time_s")
            elif has_frames and crops is not None:
                times = recording.frame_times()
                refuse_too_long(recording.name, float(times.max(initial=0.0)), _TOO_LONG)
            elif has_frames:
                times = np.array([frame.time_s for frame in prefetch(_frames(recording, see))])
            frames_at.move(math.inf)
            sound.result()
        finally:
            stop.set()
            frames_at.move(math.inf)
    refuse_empty(recording, len(times))
    end_s = _end_s(times) if has_frames else recording.sound_end_s
    for _, extraction, features in started:
        features.add(extraction.finish(end_s))
    between = _between(faces_every, seen.taken)
    return Extracted(
        name=recording.name,
        collected=tuple(features for _, _, features in started),
        time_s=times,
        face=seen.rows("face"),
        others=seen.rows("others"),
        notes=(*recording.notes, *_huge(seen.huge, len(times)), *between, *_silence(heard.stretches)),
        heard_s=np.array(heard.heard_s or np.zeros((0, 2))),
        sounding_s=heard.stretches.sounding_s,
        end_s=end_s,
        box=seen.rows("box"),
    )


class _Reached:
    """A time that has been reached, for another thread to wait for."""

    def __init__(self, time_s: float):
        self._time_s, self._moved = time_s, threading.Condition()

    def move(self, time_s: float) -> None:
        """Say that a later time has been reached."""
        with self._moved:
            self._time_s = max(self._time_s, time_s)
            self._moved.notify_all()

    def wait_for(self, time_s: float) -> None:
        """Wait until a time has been reached."""
        with self._moved:
            self._moved.wait_for(lambda: self._time_s >= time_s)


def _huge(count: int, of: int) -> list[str]:
    """What the user must know of frames in which no face is looked for."""
    said = f"{count} of {of} frames have a side of over {LONGEST_SIDE:,} pixels: no face is looked for in them."
    return [said] if count else []


def _between(every: int, blocks: int) -> list[str]:
    """What the user must know of faces that were interpolated."""
    said = f"The face was measured in one of {every} frames, and interpolated between: quick movements are lost."
    return [said] if every > 1 and blocks else []


def _silence(stretches: Chunks) -> list[str]:
    """What the user must know of digital silence."""
    stretches.close()
    if stretches.silent_s and not len(stretches.sounding_s):
        return ["The sound is digital silence throughout (zero, but for dither), and counts as no sound."]
    if stretches.silent_s:
        return [
            f"{stretches.silent_s:.1f} s of sound are digital silence (zero, but for dither), and count as no sound."
        ]
    return []


def _end_s(times: np.ndarray) -> float:
    """When the last frame ends: it lasts as long as frames usually do here, and an only frame for one step."""
    return float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else MOMENT_S)


def _faces(
    recording: Recording,
    needs: frozenset[Need],
    face_model: str | Path | None,
    crops: Path | None,
    person: Person | None,
    faces_every: int,
    on_frame: Callable[[VideoFrame], None] | None,
    seen: Seen,
) -> Generator[FaceTrack | Mapping[str, Any]]:
    """The followed person's face, found in the frames that come after what was seen, or in the corpus' own crops.

    Between two parts comes the tracker's state there.
    """
    if crops is None:
        start = None
        if person is not None:
            with closing(prefetch(_frames(recording, None))) as frames:
                start = find_person(person, frames, face_model, recording.name)
        wanted = {"crops": "crop" in needs, "blendshapes": "blendshapes" in needs}
        tracker = FaceTracker(face_model, **wanted, every=faces_every)
        with closing(prefetch(_frames(recording, on_frame))) as frames:
            rest, ended = islice(frames, seen.taken, None), list[Mapping[str, Any]]()
            for block in tracker.track(rest, start=start, begun=seen.tracker, on_part=ended.append):
                if ended:
                    yield ended.pop()
                yield block
    else:
        wanted = {"mesh": "mesh" in needs, "blendshapes": "blendshapes" in needs}
        yield from track_crops(crops, recording.frame_times(), face_model, **wanted, note=recording.notes.append)


def _frames(recording: Recording, on_frame: Callable[[VideoFrame], None] | None) -> Iterator[VideoFrame]:
    for frame in recording.frames():
        refuse_too_long(recording.name, frame.time_s, _TOO_LONG)
        if on_frame is not None:
            on_frame(frame)
        yield frame


def prefetch(items: Iterable[_Item], depth: int = 16) -> Generator[_Item]:
    """The same items, made ahead in a thread, at most `depth` of them; what the maker raises is raised here."""
    waiting: queue.Queue[Any] = queue.Queue(depth)
    end, closed = object(), threading.Event()

    def put(value: object) -> bool:
        while not closed.is_set():
            try:
                waiting.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            # Not left to the garbage collector: it may hold native models.
            with closing(items) if isinstance(items, Generator) else nullcontext():
                for item in items:
                    if not put((item, None)):
                        return
            put((end, None))
        except BaseException as error:  # whatever it is, it belongs to the consumer's thread
            put((end, error))

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        closed.set()
        thread.join()
