"""The feature store on disk: one safetensors file per clip and backbone, and a manifest that lists them.

    ROOT/BACKBONE-KEY/CLIP.safetensors      values, present, active; grid, columns and source in the header
    ROOT/manifest.csv                       one row per file, derived from the headers

KEY contains the backbone's fingerprint, so that changed parameters give a new folder. The header contains the media
file's fingerprint, so that a changed file is extracted again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import FeatureError
from avgate.core.files import atomic_write, make_folder
from avgate.core.scratch import PREFIX
from avgate.core.timeline import Grid
from avgate.core.types import FeatureTrack

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
_HEADER = ("clip", "backbone", "modality", "fingerprint", "source", "rate", "start_s", "columns")


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
    size = path.stat().st_size
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

    Args:
        root: folder of the store; made with the first file.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def path(self, clip: str, key: str) -> Path:
        """File of a clip's features of one backbone and its parameters, whether it exists or not."""
        return self.root / key / f"{clip}.safetensors"

    def has(self, clip: str, key: str, source: str) -> bool:
        """Whether the features exist, are readable, and come from the media file with this fingerprint."""
        path = self.path(clip, key)
        if not path.is_file():
            return False
        try:
            return _header(path)["source"] == source
        except FeatureError:
            return False

    def write(self, clip: str, key: str, track: FeatureTrack, source: str) -> Path:
        """Write a track atomically and return the file; OutputError where it can't be written."""
        from safetensors.numpy import save

        path = self.path(clip, key)
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
        with atomic_write(path) as temporary:
            temporary.write_bytes(whole)
        return path

    def read(self, clip: str, key: str) -> FeatureTrack:
        """Read a track; FeatureError where it is missing or unreadable."""
        return read_track(self.path(clip, key))

    def find(self, prefix: str) -> str:
        """The only key with this prefix; FeatureError where there are none or several."""
        keys = sorted(p.name for p in self.root.glob(f"{prefix}*") if p.is_dir())
        if not keys:
            raise FeatureError(
                f"there are no features '{prefix}'",
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

    def write_manifest(self) -> Path:
        """List every readable track in ROOT/manifest.csv."""
        rows = []
        for path in sorted(self.root.glob("*/*.safetensors")):
            if path.name.startswith(PREFIX):  # another process is writing it, or was stopped while it did
                continue
            try:
                header = _header(path)
            except FeatureError:
                continue
            key, file = path.parent.name, path.relative_to(self.root).as_posix()
            rows.append(
                [header["clip"], header["backbone"], key, file, header["rate"], header["steps"], header["source"]]
            )
        manifest = self.root / "manifest.csv"
        with atomic_write(manifest) as temporary, temporary.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow(["clip", "backbone", "key", "file", "rate", "steps", "source"])
            writer.writerows(rows)
        return manifest


def features_beside(data: Path) -> Path:
    """Default place of a corpus' features: in its folder, or beside the file that lists its clips."""
    return (data.parent if data.is_file() else data) / "features"


def read_track(path: Path) -> FeatureTrack:
    """Read a track from a file of a store; FeatureError where it is missing or unreadable."""
    from safetensors.numpy import load_file

    header = _header(path)
    tensors = load_file(path)
    return FeatureTrack(
        values=tensors["values"],
        present=tensors["present"],
        grid=Grid(header["rate"], header["start_s"]),
        backbone=header["backbone"],
        modality=header["modality"],
        columns=tuple(header["columns"]),
        fingerprint=header["fingerprint"],
        active=tensors.get("active"),
    )


def _header(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {})["avgate"])
            return {k: header[k] for k in _HEADER} | {"steps": file.get_slice("values").get_shape()[0]}
    except FileNotFoundError:
        raise FeatureError("these features have not been extracted", where=path, hint="run `avgate extract`") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise FeatureError(
            f"this isn't a feature file of avgate ({error})",
            where=path,
            hint="if it is in a store, delete it and run `avgate extract` again",
        ) from error
