"""FaceTracks from a folder of face crops that comes with a corpus: one image file per frame of a video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from avgate.core.types import BLENDSHAPES, CROP_SIZE, MESH_POINTS, FaceTrack
from avgate.faces.engines import Engine, Face, open_engine
from avgate.faces.following import box_of
from avgate.faces.model_file import find_face_model

SUFFIXES = (".jpg", ".jpeg", ".png")

_MARGIN, _ZOOM = CROP_SIZE // 4, 2
"""Room around the crop, in pixels, and enlargement before the mesh model sees it: both make it find more faces."""


def crop_files(folder: Path) -> dict[int, Path]:
    """Frame index -> crop file. 00001.jpg is frame 0; files with other names are ignored."""
    files = (file for file in folder.iterdir() if _has_crop_name(file))
    return {int(file.stem) - 1: file for file in files if int(file.stem) > 0}


def _has_crop_name(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.stem.isdecimal() and len(file.stem) <= 9 and file.is_file()


def track_crops(
    folder: Path,
    time_s: np.ndarray,
    model: str | Path | None = None,
    *,
    mesh: bool = True,
    blendshapes: bool = False,
    block: int = 64,
    note: Callable[[str], None] = lambda text: None,
) -> Generator[FaceTrack]:
    """One row per frame of a video; the face is present if the frame has a crop.

    Read the tracks to the end, or close the iterator (`contextlib.closing`): it holds native models until then.

    Args:
        folder: the crops.
        time_s: float64 [n] times of the video's frames; crops beyond the last frame are ignored.
        model: face_landmarker.task, or None for the default one.
        mesh: whether to find the mesh in each crop, in pixels of the crop; NaN where it isn't found.
        blendshapes: whether the tracks hold blendshapes; NaN where no mesh is found.
        block: most frames per FaceTrack.
        note: called with each message for the user, one sentence.

    Yields:
        Consecutive tracks that together have one row per frame.
    """
    files, unreadable = crop_files(folder), 0
    with open_engine(find_face_model(model), blendshapes) if mesh or blendshapes else nullcontext() as engine:
        for first in range(0, len(time_s), block):
            times = np.asarray(time_s[first : first + block], np.float64)
            n = len(times)
            crop = np.zeros((n, CROP_SIZE, CROP_SIZE, 3), np.uint8)
            points = np.full((n, MESH_POINTS, 3), np.nan, np.float32)
            present = np.zeros(n, bool)
            shapes = np.full((n, len(BLENDSHAPES)), np.nan, np.float32) if blendshapes else None
            for i in range(n):
                file = files.get(first + i)
                image = None if file is None else _read(file)
                if image is None:
                    unreadable += file is not None
                    continue
                crop[i], present[i] = image, True
                found = _mesh(engine, image, float(times[i])) if engine else None
                if found is not None:
                    points[i] = found.mesh
                    if shapes is not None and found.blendshapes is not None:
                        shapes[i] = found.blendshapes
            others, size = np.zeros(n, int), (CROP_SIZE, CROP_SIZE)
            yield FaceTrack(times, present, points, box_of(points), crop, others, size, shapes)
    if unreadable:
        note(f"Crops that can't be read as images and count as missing: {unreadable}.")


def _read(file: Path) -> np.ndarray | None:
    """The crop, uint8 [112 112 3] RGB, or None if the file isn't an image."""
    import cv2

    data = np.frombuffer(file.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        return None
    if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
        image = cv2.resize(image, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _mesh(engine: Engine, image: np.ndarray, time_s: float) -> Face | None:
    """The face, in pixels of the crop, or None."""
    import cv2

    roomy = cv2.copyMakeBorder(image, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_REPLICATE)
    found = engine.follow(cv2.resize(roomy, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC), time_s)
    if found is None:
        return None
    return found._replace(mesh=found.mesh / _ZOOM - np.array([_MARGIN, _MARGIN, 0], np.float32))
