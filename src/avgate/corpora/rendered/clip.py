"""Renders one clip: a video of a synthetic person, with its labels and marks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from avgate.core.files import write_csv
from avgate.core.types import VideoFrame
from avgate.corpora.rendered.acting import Temperament, act
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.face import FaceRenderer
from avgate.corpora.rendered.looks import draw_look
from avgate.corpora.rendered.portrait import Portrait
from avgate.corpora.rendered.read import LABEL_COLUMNS, MARK_COLUMNS
from avgate.corpora.rendered.trajectory import Mark, draw_trajectory, plan_marks
from avgate.corpora.rendered.units import Units
from avgate.corpora.rendered.voice import Speaker, voice
from avgate.media import Mp4Writer


def clip_name(identity: int, take: int) -> str:
    """Name of a clip of one person, usable as a file name."""
    return f"{group_name(identity)}_clip{take}"


def group_name(identity: int) -> str:
    """Person ID."""
    return f"person{identity:02d}"


def clip_files(name: str) -> dict[str, str]:
    """Column of the manifest -> file of the clip, relative to the corpus' folder."""
    return {"video": f"clips/{name}.mp4", "labels": f"labels/{name}.csv", "marks": f"marks/{name}.csv"}


class Studio:
    """Renders the clips of a corpus; one per process.

    Args:
        config: what to render.
        portrait: `load_portrait(config.size)`.
    """

    def __init__(self, config: RenderConfig, portrait: Portrait):
        self._config, self._portrait = config, portrait
        self._units = Units(portrait)

    def record(self, root: Path, identity: int, take: int) -> None:
        """Render one clip. Its video is the last file to appear: where there is one, the clip is complete.

        Args:
            root: the corpus' folder; its subfolders must exist.
            identity: number of the person.
            take: number of the person's clip.
        """
        config = self._config
        person = [np.random.default_rng([config.seed, 0, identity, part]) for part in range(3)]
        chance = [np.random.default_rng([config.seed, 1, identity, take, part]) for part in range(5)]
        trajectory, marks = draw_trajectory(chance[0], config), plan_marks(chance[1], config)
        sound, loudness = voice(chance[2], config, Speaker.draw(person[0], config), trajectory, marks)
        expression, pose = act(chance[3], config, Temperament.draw(person[1], config), trajectory, marks, loudness)
        face = FaceRenderer(config, self._units, draw_look(person[2], self._portrait))

        files = {column: root / file for column, file in clip_files(clip_name(identity, take)).items()}
        time_s = np.arange(config.frames) / config.fps
        labels = np.column_stack([time_s, trajectory])
        write_csv(files["labels"], LABEL_COLUMNS, ([f"{value:.6f}" for value in row] for row in labels))
        write_csv(files["marks"], MARK_COLUMNS, (_mark_row(mark) for mark in marks))
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # clips already run in parallel, and frames are too small to split between threads
        try:
            size, images = config.size, face.frames(chance[4], expression, pose, marks)
            with Mp4Writer(files["video"], size, size, crf=config.crf, max_rate_hint=config.fps) as video:
                video.add_sound(sound)
                for at_s, image in zip(time_s.tolist(), images, strict=True):
                    video.add(VideoFrame(at_s, image))
        finally:
            cv2.setNumThreads(threads)


def _mark_row(mark: Mark) -> list[str]:
    return [f"{mark.start_s:.3f}", f"{mark.end_s:.3f}", mark.modality, mark.kind]
