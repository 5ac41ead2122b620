"""`avgate extract`: from media files to stored features, each computed once."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, MediaError
from avgate.core.processes import held_interrupts, lost_workers_named
from avgate.core.types import Clip, FaceTrack, FeatureTrack, VideoFrame, Waveform
from avgate.faces import FaceTracker, face_fingerprint, track_crops
from avgate.features.base import Backbone, Need, kind_of
from avgate.features.registry import build_backbones
from avgate.features.store import FeatureStore, source_fingerprint
from avgate.media import Media

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Extracted:
    """What one pass over a media file gave.

    Attributes:
        tracks: one per backbone, in the backbones' order.
        time_s: float64 [n], timestamps of the decoded frames.
        face: bool [n], where the followed person's face was found; empty when no backbone reads faces.
        others: int [n], further faces in view.
        notes: what the user must know of the file.
    """

    tracks: tuple[FeatureTrack, ...]
    time_s: np.ndarray
    face: np.ndarray
    others: np.ndarray
    notes: tuple[str, ...]


def extract_media(
    path: str | Path,
    backbones: Sequence[Backbone],
    face_model: str | Path | None = None,
    *,
    crops: Path | None = None,
    on_frame: Callable[[VideoFrame], None] | None = None,
    on_sound: Callable[[Waveform], None] | None = None,
) -> Extracted:
    """Decode a file once and run all backbones over it, in constant memory but for the features.

    Sound, decoding and the face mesh run in threads of their own; the native libraries do their work outside
    Python's lock.

    Args:
        path: the media file.
        backbones: extractors, any modalities.
        face_model: face_landmarker.task, or None for the default one.
        crops: folder of the person's face crops; then no frame is decoded, and the file gives its clock and sound.
        on_frame: called with every decoded frame, from the decoding thread.
        on_sound: called with every piece of sound, from the sound thread.
    """
    media = Media(path)
    extractions = [backbone.start() for backbone in backbones]
    watching = [e for e, b in zip(extractions, backbones, strict=True) if b.modality == "video"]
    listening = [e for e, b in zip(extractions, backbones, strict=True) if b.modality == "audio"]
    stop = threading.Event()

    def listen() -> None:
        if not listening and on_sound is None:
            return
        for piece in media.sound():
            if stop.is_set():
                return
            for extraction in listening:
                extraction.push(piece)
            if on_sound is not None:
                on_sound(piece)

    time_s: list[np.ndarray] = []
    face: list[np.ndarray] = []
    others: list[np.ndarray] = []
    with ThreadPoolExecutor(1, thread_name_prefix="sound") as pool:
        sound = pool.submit(listen)
        try:
            if watching:
                needs = frozenset().union(*(backbone.needs for backbone in backbones))
                for block in _faces(media, needs, face_model, crops, on_frame):
                    for extraction in watching:
                        extraction.push(block)
                    time_s.append(block.time_s)
                    face.append(block.present)
                    others.append(block.others)
            elif crops is not None:
                time_s.append(media.frame_times())
            else:
                time_s.append(np.array([frame.time_s for frame in prefetch(_passed_to(on_frame, media.frames()))]))
            sound.result()
        finally:
            stop.set()
    times = np.concatenate(time_s) if time_s else np.zeros(0)
    if not len(times):
        raise MediaError("no frame of its video stream could be decoded", where=path)
    end_s = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 0.04)
    return Extracted(
        tracks=tuple(extraction.finish(end_s) for extraction in extractions),
        time_s=times,
        face=np.concatenate(face) if face else np.zeros(0, bool),
        others=np.concatenate(others) if others else np.zeros(0, int),
        notes=tuple(media.notes),
    )


def _faces(
    media: Media,
    needs: frozenset[Need],
    face_model: str | Path | None,
    crops: Path | None,
    on_frame: Callable[[VideoFrame], None] | None,
) -> Iterator[FaceTrack]:
    """The followed person's face, found in the frames or taken from the corpus' own crops."""
    if crops is None:
        tracker = FaceTracker(face_model, crops="crop" in needs, blendshapes="blendshapes" in needs)
        yield from tracker.track(prefetch(_passed_to(on_frame, media.frames())))
    else:
        wanted = {"mesh": "mesh" in needs, "blendshapes": "blendshapes" in needs}
        yield from track_crops(crops, media.frame_times(), face_model, **wanted, note=media.notes.append)


def _passed_to(on_frame: Callable[[VideoFrame], None] | None, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    for frame in frames:
        if on_frame is not None:
            on_frame(frame)
        yield frame


def prefetch(items: Iterable[_Item], depth: int = 16) -> Iterator[_Item]:
    """The same items, made ahead in a thread, at most `depth` of them; what the maker raises is raised here."""
    waiting: queue.Queue = queue.Queue(depth)
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


def store_key(backbone: Backbone, face_model: str | Path | None = None) -> str:
    """Name of the store's folder for a backbone: its fingerprint, and for faces that of the face model too."""
    faces = f"-{face_fingerprint(face_model)}" if backbone.modality == "video" else ""
    return f"{kind_of(backbone.name)}-{backbone.fingerprint}{faces}"


def _extract_clip(clip: Clip, names: Sequence[str], rate: float, face_model: str | None, root: Path) -> tuple[str, ...]:
    """Compute and store what is missing of one clip; returns what the user must know of it."""
    store, source = FeatureStore(root), source_fingerprint(clip.video, clip.crops)
    missing = [b for b in build_backbones(names, rate) if not store.has(clip.name, store_key(b, face_model), source)]
    extracted = extract_media(clip.video, missing, face_model, crops=clip.crops)
    for backbone, track in zip(missing, extracted.tracks, strict=True):
        store.write(clip.name, store_key(backbone, face_model), track, source)
    return extracted.notes


def _each(
    clips: Sequence[Clip], work: Callable[[Clip], tuple[str, ...]], workers: int
) -> Iterator[tuple[Clip, tuple[str, ...] | AvgateError]]:
    """Each clip with what became of it, as they are done: in this process for one worker, else in processes."""
    if workers == 1:
        for clip in clips:
            try:
                yield clip, work(clip)
            except AvgateError as error:
                yield clip, error
        return
    with lost_workers_named(), ProcessPoolExecutor(workers, get_context("spawn"), _be_a_worker) as pool:
        with held_interrupts():
            running = {pool.submit(work, clip): clip for clip in clips}
        try:
            for future in as_completed(running):
                failure = future.exception()
                if failure is not None and not isinstance(failure, AvgateError):
                    raise failure
                yield running[future], failure or future.result()
        except BaseException:  # an interruption, or the caller's end: clips under way are finished, others not begun
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _be_a_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what happens then.
    import signal

    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def extract(
    clips: Sequence[Clip],
    root: Path,
    names: Sequence[str],
    rate: float,
    *,
    face_model: str | None = None,
    workers: int | None = None,
) -> int:
    """Extract the features of many clips into a store; clips whose features are there already cost nothing.

    Every clip is tried; those that failed are listed in one error at the end. An interruption loses only the clips
    under way, and running again continues where it stopped.

    Args:
        clips: what to extract.
        root: the store's folder.
        names: backbones.
        rate: the label rate in steps per second.
        face_model: face_landmarker.task, or None for the default one.
        workers: processes, this one if it is 1; None is one per core.

    Returns:
        How many clips were extracted now.
    """
    store = FeatureStore(root)
    backbones = build_backbones(names, rate)
    keys = [store_key(b, face_model) for b in backbones]
    todo: list[Clip] = []
    failed: dict[str, AvgateError] = {}
    for clip in clips:
        try:
            source = source_fingerprint(clip.video, clip.crops)
        except OSError:
            failed[clip.name] = MediaError("there is no such file, or it can't be read", where=clip.video)
            continue
        if not all(store.has(clip.name, key, source) for key in keys):
            todo.append(clip)
    workers = max(1, min(workers or os.cpu_count() or 1, len(todo)))
    work = partial(_extract_clip, names=tuple(names), rate=rate, face_model=face_model, root=root)
    done = 0
    with progress() as bar:
        task = bar.add_task("Extracting features", total=len(clips), completed=len(clips) - len(todo))
        try:
            for clip, notes in _each(todo, work, workers):
                if isinstance(notes, AvgateError):
                    failed[clip.name] = notes
                else:
                    done += 1
                    for note in notes:
                        console.print(f"[yellow]{clip.name}:[/] {note}")
                bar.advance(task)
        finally:
            if store.root.is_dir():
                store.write_manifest()
    if failed:
        raise AvgateError(
            f"{len(failed)} of {len(clips)} clips could not be extracted:\n"
            + "\n".join(f"  {name}: {error}" for name, error in sorted(failed.items())),
            where=root,
            hint="repair or remove them and run again; the other clips are done and stay",
        )
    return done
