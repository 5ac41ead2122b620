"""`avgate extract`: the features of many clips into a store, each computed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, MediaError
from avgate.core.processes import held_interrupts, lost_workers_named
from avgate.core.types import Clip
from avgate.faces import face_fingerprint
from avgate.features.base import Backbone, kind_of
from avgate.features.registry import build_backbones
from avgate.features.store import FeatureStore, source_fingerprint
from avgate.features.tracks import extract_tracks
from avgate.media import Media


def store_key(backbone: Backbone, face_model: str | Path | None = None) -> str:
    """Name of the store's folder for a backbone: its fingerprint, and for faces that of the face model too."""
    faces = f"-{face_fingerprint(face_model)}" if backbone.modality == "video" else ""
    return f"{kind_of(backbone.name)}-{backbone.fingerprint}{faces}"


def _extract_clip(clip: Clip, names: Sequence[str], rate: float, face_model: str | None, root: Path) -> tuple[str, ...]:
    """Compute and store what is missing of one clip; returns what the user must know of it."""
    store, source = FeatureStore(root), source_fingerprint(clip.video, clip.crops)
    missing = [b for b in build_backbones(names, rate) if not store.has(clip.name, store_key(b, face_model), source)]
    extracted = extract_tracks(Media(clip.video), missing, face_model, crops=clip.crops)
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
