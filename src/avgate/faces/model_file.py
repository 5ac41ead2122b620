"""Find the face model: a named file, the one inside mediapipe, the cache, or a download."""

from __future__ import annotations

import hashlib
import os
import urllib.request
import zipfile
from importlib.util import find_spec
from pathlib import Path

from avgate.core.errors import ModelFileError, OutputError
from avgate.core.files import atomic_write, make_folder, sha256_of
from avgate.core.text import reason

URL = "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
OPTION = "--face-model"
VARIABLE = "AVGATE_FACE_MODEL"
DOWNLOAD_TIMEOUT_S = 30.0


def find_face_model(given: str | Path | None = None) -> Path | None:
    """The face_landmarker.task file to use, or None for the face mesh that mediapipe 0.10.21 bundles.

    The first of: `given`, AVGATE_FACE_MODEL, the bundled mesh, the cache, a download into the cache. The bundled mesh
    comes before the cache, so that a file left in the cache never changes results.

    Args:
        given: the value of --face-model, if any.

    Raises:
        ModelFileError: the named file is missing or isn't a face_landmarker.task, or the download failed.
    """
    for named, source in ((given, OPTION), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            return _checked(Path(named).expanduser(), source)
    if has_bundled_mesh():
        return None
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avgate" / "face_landmarker.task"
    if not cached.is_file() or sha256_of(cached) != SHA256:
        _download(cached)
    return cached


def has_bundled_mesh() -> bool:
    """Whether the installed mediapipe bundles its face mesh; releases from 0.10.30 on don't."""
    package = find_spec("mediapipe")  # not imported: that takes a second, which a process may not need
    folders = (package and package.submodule_search_locations) or ()
    return any(Path(folder, "python", "solutions", "face_mesh.py").is_file() for folder in folders)


def _checked(path: Path, source: str) -> Path:
    hint = f"Download {URL} and give that file with {OPTION} or the variable {VARIABLE}."
    if not path.is_file():
        raise ModelFileError(f"the face model that {source} names does not exist", where=path, hint=hint)
    try:
        with zipfile.ZipFile(path) as bundle:
            members = set(bundle.namelist())
    except (zipfile.BadZipFile, OSError):
        members = set()
    if not {"face_detector.tflite", "face_landmarks_detector.tflite"} <= members:
        raise ModelFileError(f"the file that {source} names is not a face_landmarker.task", where=path, hint=hint)
    return path


def _download(target: Path) -> None:
    try:
        with urllib.request.urlopen(URL, timeout=DOWNLOAD_TIMEOUT_S) as response:
            data = response.read()
        digest = hashlib.sha256(data).hexdigest()
        if digest != SHA256:
            raise OSError(f"the downloaded file has {len(data)} bytes and sha256 {digest}, not {SHA256}")
        make_folder(target.parent)
        with atomic_write(target) as temporary:
            temporary.write_bytes(data)
    except (OSError, OutputError) as error:
        why = error.what if isinstance(error, OutputError) else reason(error)
        raise ModelFileError(
            f"this mediapipe has no built-in face mesh, and its model could not be downloaded from {URL} ({why})",
            where=target,
            hint=f"Download it by hand to that path, or give the file with {OPTION} or the variable {VARIABLE}.",
        ) from error
