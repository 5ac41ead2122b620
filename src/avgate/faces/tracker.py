"""FaceTracker: from video frames to FaceTracks."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.files import sha256_of
from avgate.core.state import Stateful
from avgate.core.types import BLENDSHAPES, CROP_SIZE, MESH_POINTS, FaceTrack, VideoFrame
from avgate.faces.between import Row, rows_between
from avgate.faces.engines import Engine, open_engine
from avgate.faces.following import Follower, Start, box_of
from avgate.faces.model_file import SHA256, find_face_model

CODE_VERSION = 2
"""Raise it whenever the code of this folder changes the tracks."""

ENGINES = 2
"""Trackers that take turns with the frames of a video. The tracks depend on it: it isn't the number of cores."""

PART_S = 600.0
"""Seconds of a part. In every part the mesh trackers begin anew, in any run, so that a cut run can go on there."""


def part_of(time_s: float) -> int:
    """Number of the part of a recording that a time lies in; what comes before 0 s belongs to the first."""
    return max(0, int(time_s // PART_S))


def face_fingerprint(model: str | Path | None = None, every: int = 1) -> str:
    """Face model, mediapipe release and code version in one word: equal fingerprints mean equal tracks.

    Args:
        model: a face_landmarker.task file; without one, see `find_face_model`.
        every: as for FaceTracker.

    Returns:
        A word for file names. It contains "other" if the file isn't the published model.

    Raises:
        ModelFileError: see `find_face_model`.
    """
    file = find_face_model(model)
    if file is None:
        source = "bundled"
    else:
        digest = sha256_of(file)
        source = ("task" if digest == SHA256 else "othertask") + digest[:12]
    return f"{source}-mediapipe{version('mediapipe')}-v{CODE_VERSION}{f'-every{every}' if every > 1 else ''}"


def made_by_this_code(fingerprint: str) -> bool:
    """Whether tracks with a fingerprint of `face_fingerprint`, or what ends with it, come from this code version."""
    return re.search(rf"-v{CODE_VERSION}(-every\d+)?$", fingerprint) is not None


class FaceTracker:
    """Follows one person's face through a video: first the largest face, then the same person whoever else appears.

    Other faces (`FaceTrack.others`) are counted about once a second, and in every frame while the person is out of
    sight; in between, the last count is kept. Each video loads its own models, so threads can share a tracker.

    Args:
        model: a face_landmarker.task file; without one, see `find_face_model`.
        crops: whether the tracks hold aligned crops.
        blendshapes: whether the tracks hold blendshapes; they need a face_landmarker.task.
        every: n: `track` measures the face in every n-th frame, and interpolates between, see `rows_between`.

    Attributes:
        fingerprint: see `face_fingerprint`.

    Raises:
        ModelFileError: see `find_face_model`.
    """

    def __init__(
        self, model: str | Path | None = None, *, crops: bool = False, blendshapes: bool = False, every: int = 1
    ):
        self._model = find_face_model(model)
        self._crops, self._blendshapes, self._every = crops, blendshapes, every
        self.fingerprint = face_fingerprint(self._model, every)

    def track(
        self,
        frames: Iterable[VideoFrame],
        block: int = 64,
        start: Start | None = None,
        *,
        begun: Mapping[str, Any] | None = None,
        on_part: Callable[[Mapping[str, Any]], None] = lambda state: None,
    ) -> Generator[FaceTrack]:
        """Track one video, on two cores; only a few frames at a time are in memory.

        Read the tracks to the end, or close the iterator (`contextlib.closing`): it holds native models until then.

        Args:
            frames: a video's frames in order, of any size and at any times.
            block: most frames per FaceTrack, at least 1.
            start: the person to follow, see `find_person`; the largest face unless given.
            begun: what on_part was given; then the frames are those of the parts after it.
            on_part: called with the tracker's state after the last track of each part but the last.

        Yields:
            Consecutive tracks that together have one row per frame. A new frame size begins a new track, and so does a
            new part of PART_S seconds.
        """
        if block < 1:
            raise ValueError(f"a block holds at least 1 frame, not {block}")
        with self.live(start) as live:
            if begun is not None:
                live.restore(begun)
            for i, (_, part) in enumerate(groupby(frames, lambda frame: part_of(frame.time_s))):
                if i:
                    on_part(live.state())
                yield from self._blocks(part, block, live)

    def _blocks(self, frames: Iterable[VideoFrame], block: int, live: LiveTracker) -> Generator[FaceTrack]:
        found = live.rows(frames) if self._every == 1 else rows_between(frames, self._every, self._crops, live.rows)
        with closing(found):
            rows: list[Row] = []
            for row in found:
                if rows and row.size != rows[0].size:
                    yield live.block(rows)
                    rows = []
                rows.append(row)
                if len(rows) == block:
                    yield live.block(rows)
                    rows = []
            if rows:
                yield live.block(rows)

    @contextmanager
    def live(self, start: Start | None = None) -> Iterator[LiveTracker]:
        """Track one video a frame at a time; the native models are closed when the block ends.

        Args:
            start: the person to follow, see `find_person`; the largest face unless given.

        Yields:
            The tracker of this video.
        """
        with ExitStack() as opened:
            engines = [opened.enter_context(open_engine(self._model, self._blendshapes)) for _ in range(ENGINES)]
            yield LiveTracker(engines, start, self._crops, self._blendshapes)


class LiveTracker(Stateful):
    """Tracks one video a frame at a time, to the bit as `FaceTracker.track` does a part. `FaceTracker.live` opens it.

    It can be saved in the middle. The one that was saved and the one that was restored go on alike, but both find their
    face anew: at first their meshes differ by a few pixels from those without saving, and after a second no more.
    """

    STATE = ("_follower",)

    def __init__(self, engines: Sequence[Engine], start: Start | None, crops: bool, blendshapes: bool):
        self._engines, self._crops, self._blendshapes = engines, crops, blendshapes
        self._follower = Follower(engines, start)

    def look(self, frame: VideoFrame) -> FaceTrack:
        """The face in the next frame, which may have another size than the last: a track of one row."""
        return self.block([self.row(frame)])

    def rows(self, frames: Iterable[VideoFrame]) -> Generator[Row]:
        """The faces in many frames, for `block`, to the bit as `row` finds them; every engine has a thread of its own.

        Close the iterator before the engines.
        """
        waiting: deque[VideoFrame] = deque()
        with ThreadPoolExecutor(len(self._engines), thread_name_prefix="mesh") as pool:
            for frame in frames:
                waiting.append(VideoFrame(frame.time_s, np.ascontiguousarray(frame.image)))
                self._follower.announce(waiting[-1].image, frame.time_s, pool)
                if len(waiting) == len(self._engines):
                    yield self.row(waiting.popleft())
            while waiting:
                yield self.row(waiting.popleft())

    def row(self, frame: VideoFrame) -> Row:
        """The face in the next frame, for `block`."""
        image = np.ascontiguousarray(frame.image)
        face, others = self._follower.step(image, frame.time_s)
        return Row.of(VideoFrame(frame.time_s, image), face, others, self._crops)

    def block(self, rows: Sequence[Row]) -> FaceTrack:
        """One track of at least one row, all of frames of one size."""
        n = len(rows)
        mesh = np.full((n, MESH_POINTS, 3), np.nan, np.float32)
        crop = np.zeros((n, CROP_SIZE, CROP_SIZE, 3), np.uint8) if self._crops else None
        shapes = np.full((n, len(BLENDSHAPES)), np.nan, np.float32) if self._blendshapes else None
        for i, row in enumerate(rows):
            if row.face is not None:
                mesh[i] = row.face.mesh
            if crop is not None and row.crop is not None:
                crop[i] = row.crop
            if shapes is not None and row.face is not None and row.face.blendshapes is not None:
                shapes[i] = row.face.blendshapes
        return FaceTrack(
            time_s=np.array([row.time_s for row in rows], np.float64),
            present=np.array([row.face is not None for row in rows]),
            mesh=mesh,
            box=box_of(mesh),
            crop=crop,
            others=np.array([row.others for row in rows]),
            frame_size=rows[0].size,
            blendshapes=shapes,
        )
