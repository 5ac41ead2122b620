"""`avgate extract`: the features of many clips into a store, each computed once."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from avgate.core.cluster import LOCAL, Engine, open_workers
from avgate.core.console import console, progress
from avgate.core.errors import AvgateError, FeatureError, MediaError, OutputError, PlaceError
from avgate.core.files import make_folder
from avgate.core.places import Address, Place, place
from avgate.core.scratch import remove_abandoned
from avgate.core.types import Clip
from avgate.faces import face_fingerprint
from avgate.features.base import Backbone, kind_of
from avgate.features.registry import build_backbones
from avgate.features.store import AT_ONCE, FeatureStore, source_fingerprint
from avgate.features.tracks import extract_tracks
from avgate.media import open_recording


def store_key(backbone: Backbone, face_model: str | Path | None = None, faces_every: int = 1) -> str:
    """Name of the store's folder for a backbone: its fingerprint, and for faces that of the tracks too."""
    faces = f"-{face_fingerprint(face_model, faces_every)}" if backbone.modality == "video" else ""
    return f"{kind_of(backbone.name)}-{backbone.fingerprint}{faces}"


def _extract_clip(
    clip: Clip,
    names: Sequence[str],
    rate: float,
    face_model: str | None,
    faces_every: int,
    root: Place,
    keys: Sequence[str],
) -> tuple[str, ...] | AvgateError:
    """Compute and store what is missing of one clip; returns what the user must know of it, or why it failed."""
    try:
        store, source = FeatureStore(root), source_fingerprint(clip.video, clip.crops)
        wanted = [(b, store_key(b, face_model, faces_every)) for b in build_backbones(names, rate)]
        _refuse_other_machine(store, keys, [key for _, key in wanted])
        missing = [(b, key) for b, key in wanted if not store.has(clip.name, key, source)]
        if not missing:  # somebody else who extracts into this store came first
            return ()
        backbones, recording = [b for b, _ in missing], open_recording(clip.video)
        extracted = extract_tracks(recording, backbones, face_model, crops=clip.crops, faces_every=faces_every)
        for (_, key), track in zip(missing, extracted.tracks, strict=True):
            store.write(clip.name, key, track, source)
    except (OutputError, PlaceError):  # the other clips couldn't be kept either
        raise
    except AvgateError as error:  # not raised: the other clips are extracted all the same
        return error
    return extracted.notes


def _refuse_other_machine(store: FeatureStore, keys: Sequence[str], here: Sequence[str]) -> None:
    """Refuse a machine that computes other features than the one that asks for them, or doesn't see the same store."""
    if list(keys) != list(here):
        hint = "install the same versions on all machines, with the same face model and weights"
        what = f"{socket.gethostname()} has other backbones: {', '.join(here)} instead of {', '.join(keys)}"
        raise FeatureError(what, hint=hint)
    if isinstance(store.root, Path):
        for folder in (store.root / key for key in keys):
            if not folder.is_dir():
                hint = "all machines need the store under the same path"
                raise OutputError(f"{socket.gethostname()} doesn't see this folder", where=folder, hint=hint)


def _lacking(clip: Clip, store: FeatureStore, keys: Sequence[str]) -> list[str] | AvgateError:
    """The keys under which a clip's features are missing, of another recording or damaged; or why it can't be told."""
    try:
        source = source_fingerprint(clip.video, clip.crops)
    except OSError:
        return MediaError("there is no such file, or it can't be read", where=clip.video)
    return [key for key in keys if not store.has(clip.name, key, source)]


def extract(
    clips: Sequence[Clip],
    root: str | Place,
    names: Sequence[str],
    rate: float,
    *,
    face_model: str | None = None,
    faces_every: int = 1,
    workers: int | None = None,
    engine: Engine = LOCAL,
) -> int:
    """Extract the features of many clips into a store; clips whose features are there and whole are passed over.

    What is passed over is read all the same: files that were damaged since are named and made anew. Every clip is
    tried; those that failed are listed in one error at the end. After an interruption, the same call continues with
    what is missing.

    Args:
        clips: what to extract.
        root: the store's folder, or its address.
        names: backbones.
        rate: the label rate in steps per second.
        face_model: face_landmarker.task, or None for the default one.
        faces_every: n: faces are measured in every n-th frame, and interpolated between.
        workers: processes, this one if it is 1; None is one per core.
        engine: what does the work; on several machines, each must see clips and store under the same paths.

    Returns:
        How many clips were extracted now.

    Raises:
        OutputError: the store can't be written to; noticed before anything is decoded, if it can be.
        PlaceError: its address can't be reached or read.
        AvgateError: some clips failed; it says which and why.
    """
    store = FeatureStore(root := place(root))
    backbones = build_backbones(names, rate)
    keys = [store_key(b, face_model, faces_every) for b in backbones]
    todo: list[Clip] = []
    failed: dict[str, AvgateError] = {}
    at_once = AT_ONCE if isinstance(root, Address) else None
    with ThreadPoolExecutor(at_once) as pool:  # checksums are computed outside Python's lock
        lacking = pool.map(partial(_lacking, store=store, keys=keys), clips)
        for clip, missing in zip(clips, lacking, strict=True):
            if isinstance(missing, AvgateError):
                failed[clip.name] = missing
                continue
            for error in filter(None, (store.damage(clip.name, key) for key in missing)):
                console.say((f"{error.where}: {error.what}; it is extracted again", "yellow"))
            if missing:
                todo.append(clip)
    for folder in (store.root / key for key in keys):
        if todo or failed:
            make_folder(folder)
        elif isinstance(folder, Path):
            remove_abandoned(folder)
    count = engine.count(workers, len(todo))
    work = partial(
        _extract_clip,
        names=tuple(names),
        rate=rate,
        face_model=face_model,
        faces_every=faces_every,
        root=root,
        keys=keys,
    )
    done = 0
    try:
        with progress() as bar, open_workers(work, count, engine=engine) as pool:
            task = bar.add_task("Extracting features", total=len(clips), completed=len(clips) - len(todo))
            for clip, notes in pool.run(todo):
                if isinstance(notes, AvgateError):
                    failed[clip.name] = notes
                else:
                    done += 1
                    for note in notes:
                        console.say((f"{clip.name}:", "yellow"), f" {note}")
                bar.advance(task)
    except (Exception, KeyboardInterrupt):  # whoever ends it by a signal doesn't wait for lists
        with contextlib.suppress(OutputError, PlaceError):  # whatever stopped it comes first
            store.write_manifest()
        raise
    store.write_manifest()
    if failed:
        raise AvgateError(
            f"{len(failed)} of {len(clips)} clips could not be extracted:\n"
            + "\n".join(f"  {name}: {error}" for name, error in sorted(failed.items())),
            where=root,
            hint="repair or remove them and run again; the other clips are done and stay",
        )
    return done
