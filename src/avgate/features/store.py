"""The feature store: one safetensors file per clip and backbone, and a manifest that lists them.

ROOT is a folder, or an address such as s3://bucket/features (core/places.py).

    ROOT/BACKBONE-KEY/CLIP.safetensors      values, present, active; grid, columns and source in the header
    ROOT/manifest.csv                       one row per file, derived from the headers

Files are sealed (core/sealed.py): a damaged one is never taken for features. KEY contains the backbone's fingerprint,
so that changed parameters give a new folder. The header contains the media file's fingerprint, so that a changed file
is extracted again.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.files import make_folder, write_csv
from avgate.core.places import Address, Place, place
from avgate.core.scratch import PREFIX, remove_abandoned
from avgate.core.sealed import description, read_header, read_sealed, refuse_unknown, write_sealed
from avgate.core.text import as_cell, reason
from avgate.core.timeline import LONGEST_S, Grid
from avgate.core.types import FeatureTrack

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
AT_ONCE = 32
"""So many files of a store at an address are read at the same time."""

_HEADER = dict.fromkeys(("clip", "backbone", "modality", "fingerprint", "source"), str) | {
    "rate": float,
    "start_s": float,
    "columns": list[str],
}
"""What a file says of itself, and of which kind that is."""

_COLUMNS = ("clip", "backbone", "key", "file", "rate", "steps", "source")
"""Of the manifest."""

_LOOKS = 3
"""How often it is looked whether the manifest is right, at most."""

_TENSORS = ("values", "present", "active")


def source_fingerprint(path: Path, crops: Path | None = None) -> str:
    """16 hex digits from a media file's size and 16 samples of 64 KiB, or all of a small file.

    Reading all of a large corpus would cost as much as decoding it. Of a folder of images or crops, names, sizes and
    tables are hashed.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        _add_folder(digest, path)
    else:
        _add_file(digest, path)
    if crops is not None:
        _add_folder(digest, crops)
    return digest.hexdigest()[:16]


def _add_file(digest: hashlib._Hash, path: Path) -> None:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # it may have no end, or never begin
        raise OSError(errno.EINVAL, "it isn't a regular file but a device, pipe or socket")
    size = state.st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(file.read())
        else:
            for i in range(_SAMPLES):
                file.seek(i * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))


def _add_folder(digest: hashlib._Hash, folder: Path) -> None:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not Path(entry.path).exists():  # a link to nothing
            continue
        digest.update(f"{entry.name} {entry.stat().st_size}\n".encode())
        if entry.name.endswith(".csv"):  # the images' times
            digest.update(Path(entry.path).read_bytes())


class FeatureStore:
    """Reads and writes features in a folder; the module's docstring has its layout.

    Where it is at an address, methods that read raise PlaceError if it can't be reached or read.

    Args:
        root: folder of the store, or its address; made with the first file.
    """

    def __init__(self, root: str | Place):
        self.root = place(root)

    def path(self, clip: str, key: str) -> Place:
        """File of a clip's features of one backbone and its parameters, whether it exists or not."""
        return self.root / key / f"{clip}.safetensors"

    def has(self, clip: str, key: str, source: str) -> bool:
        """Whether the features exist, are whole, and come from the media file with this fingerprint.

        All of the file is read: what is damaged would else be passed over for ever, and found in training alone.
        """
        try:
            return bool(_read(self.path(clip, key), clip)[0]["source"] == source)
        except FeatureError:
            return False

    def damage(self, clip: str, key: str) -> FeatureError | None:
        """What is wrong with a clip's file; None where it is whole, or isn't there."""
        path = self.path(clip, key)
        try:
            if path.exists():
                _read(path, clip)
        except FeatureError as error:
            return error
        return None

    def write(self, clip: str, key: str, track: FeatureTrack, source: str) -> Place:
        """Write a track atomically and return the file.

        Raises:
            FeatureError: the track has no row.
            OutputError: the file can't be written.
        """
        from safetensors.numpy import save

        path = self.path(clip, key)
        if not len(track.values):
            hint = "look at the recording's length; it must last for one step at least"
            raise FeatureError(f"there is no step of '{track.backbone}' features to keep", where=clip, hint=hint)
        tensors = {"values": track.values, "present": track.present}
        if track.active is not None:
            tensors["active"] = track.active
        header = {
            "clip": clip,
            "backbone": track.backbone,
            "modality": track.modality,
            "fingerprint": track.fingerprint,
            "source": source,
            "rate": track.grid.rate,
            "start_s": track.grid.start_s,
            "columns": track.columns,
        }
        whole = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {"avgate": json.dumps(header)})
        make_folder(path.parent)
        write_sealed(path, whole)
        return path

    def read(self, clip: str, key: str, source: str | None = None) -> FeatureTrack:
        """Read a track; FeatureError where it is missing, damaged, empty or of another clip.

        Args:
            clip: its name.
            key: the backbone's.
            source: the media file's fingerprint, where it is known; features of another one are a FeatureError, too.
        """
        path = self.path(clip, key)
        header, track = _read(path, clip)
        if source not in (None, header["source"]):
            what = "these are the features of another recording than the one that the clip has now"
            raise FeatureError(what, where=path, hint="run `avgate extract`, which makes them anew")
        return track

    def find(self, prefix: str, fits: Callable[[str], bool] = lambda key: True) -> str:
        """The only key with this prefix that fits; FeatureError where there are none or several.

        Args:
            prefix: how the key begins.
            fits: whether features under a key are those of this version of avgate.
        """
        if isinstance(self.root, Address):
            found = [name for name in self.root.folders() if name.startswith(prefix)]
        else:
            found = sorted(p.name for p in self.root.glob(f"{prefix}*") if p.is_dir())
        keys = [key for key in found if fits(key)]
        if not keys:
            others = f", only those of another version: {', '.join(found)}" if found else ""
            raise FeatureError(
                f"there are no features '{prefix}'{others}",
                where=self.root,
                hint="run `avgate extract` with the same recipe first, or give their folder by --store",
            )
        if len(keys) > 1:
            raise FeatureError(
                f"features of several face models are here: {', '.join(keys)}",
                where=self.root,
                hint="delete the folders that you don't want, or extract into another store",
            )
        return keys[0]

    def write_manifest(self) -> Place:
        """List every track in ROOT/manifest.csv whose header is as it was written; the values aren't read for it.

        A list that is right already isn't written. Whoever has written it looks once more: where several extract at the
        same time, it may have listed what was there before another one's last file, and replaced that one's list.
        """
        manifest = self.root / "manifest.csv"
        if isinstance(self.root, Path):
            remove_abandoned(self.root)
        for _ in range(_LOOKS):
            rows = [row for row in self._rows() if row is not None]
            if _listed(manifest) == [[as_cell(str(cell)) for cell in row] for row in rows]:
                break
            write_csv(manifest, _COLUMNS, rows)
        return manifest

    def _rows(self) -> Iterator[list[object] | None]:
        """The manifest's row of each file, in their order; None of those that are damaged."""
        if isinstance(self.root, Address):
            found = self.root.files()
            sizes = {name: found[name] for name in sorted(filter(_is_kept, found), key=_parts)}
            with ThreadPoolExecutor(AT_ONCE) as pool:
                yield from pool.map(partial(_row, self.root), sizes, sizes.values())
        else:
            files = (path.relative_to(self.root).as_posix() for path in self.root.glob("*/*.safetensors"))
            yield from map(partial(_row, self.root), sorted(filter(_is_kept, files), key=_parts))


def _listed(manifest: Place) -> list[list[str]] | None:
    """The rows of a store's list, each with the cells that are in it; None where there is no such list."""
    try:
        titles, *rows = csv.reader(io.StringIO(manifest.read_bytes().decode(), newline=""))
    except (OSError, ValueError, csv.Error):
        return None
    return rows if titles == [*_COLUMNS] else None


def _parts(file: str) -> list[str]:
    return file.split("/")


def _is_kept(file: str) -> bool:
    """Whether a path in a store is a track's; others are being written by a process, or were when it was stopped."""
    parts = _parts(file)
    return len(parts) == 2 and parts[1].endswith(".safetensors") and not parts[1].startswith(PREFIX)


def _row(root: Place, file: str, size: int | None = None) -> list[object] | None:
    try:
        described = read_header(root / file, size)
        header, steps = _header(described["__metadata__"]), described["values"]["shape"][0]
    except (KeyError, TypeError, ValueError, IndexError, OSError):
        return None
    return [header["clip"], header["backbone"], _parts(file)[0], file, header["rate"], steps, header["source"]]


def features_beside(data: Path) -> Path:
    """Default place of a corpus' features: in its folder, or beside the file that lists its clips."""
    return (data.parent if data.is_file() else data) / "features"


def read_track(path: Place) -> FeatureTrack:
    """Read a track from a file of a store; FeatureError where it is missing, damaged or empty."""
    return _read(path)[1]


def _read(path: Place, clip: str | None = None) -> tuple[dict[str, Any], FeatureTrack]:
    """A file's header and its track; FeatureError also where it is of another clip than this one."""
    from safetensors.numpy import load

    try:
        metadata, tensors = read_sealed(path, load)
        header = _header(metadata)
        refuse_unknown(tensors, _TENSORS)
        track = FeatureTrack(
            values=tensors["values"],
            present=tensors["present"],
            grid=Grid(header["rate"], header["start_s"]),
            backbone=header["backbone"],
            modality=header["modality"],
            columns=tuple(header["columns"]),
            fingerprint=header["fingerprint"],
            active=tensors.get("active"),
        )
    except FileNotFoundError:
        raise FeatureError("these features have not been extracted", where=path, hint="run `avgate extract`") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    if not len(track.values):
        raise _unreadable(path, ValueError("it holds no row"))
    if max(abs(track.grid.start_s), len(track.values) / track.grid.rate) > LONGEST_S:
        raise _unreadable(path, ValueError("no recording is that long, or begins that late"))
    if clip not in (None, header["clip"]):
        raise FeatureError(
            f"these are the features of another clip: '{header['clip']}'",
            where=path,
            hint="if it was renamed or copied, run `avgate extract`, which makes it anew",
        )
    return header, track


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    return description(metadata, _HEADER, more=())


def _unreadable(path: Place, error: Exception) -> FeatureError:
    return FeatureError(
        f"this isn't a feature file of avgate, or it is damaged ({reason(error)})",
        where=path,
        hint="if it is in a store, run `avgate extract`, which makes it anew",
    )
