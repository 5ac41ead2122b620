"""Backbone `facemesh`: head pose, 68 geometric descriptors of the face, and velocities of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid, cell_mean, fill_short_gaps
from avgate.core.types import FaceTrack, FeatureTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.geometry import DESCRIPTORS, POSE, measure

VERSION = 1
"""Raise it whenever this file or geometry.py changes the features."""

MOTION = ("head_left_velocity", "head_up_velocity", "head_nearer_velocity")
"""The head's speed in the image plane in face sizes per second, and the rate of log size per second (AU57, -AU58)."""

MOVING = (
    "brow_inner_raise_left", "brow_inner_raise_right", "brow_outer_raise_left", "brow_outer_raise_right",
    "eye_openness_left", "eye_openness_right", "cheek_raise_left", "cheek_raise_right",
    "lip_corner_raise_left", "lip_corner_raise_right", "lip_corner_pull_left", "lip_corner_pull_right",
    "mouth_width", "mouth_open", "jaw_drop",
)  # fmt: skip
"""Descriptors whose velocities are features too."""

_MOVING = [DESCRIPTORS.index(name) for name in MOVING]

_TICK_S = 1e-3
"""Containers round timestamps to this; the velocity between frames that are closer would be noise."""


_BLOCK = 4096
"""Steps that are averaged at once; limits the memory."""


@dataclass(frozen=True)
class FacemeshConfig:
    """What to extract.

    Args:
        rate: steps per second.
        velocity_gap_s: longest time in seconds between two frames that a velocity is computed from.
        frame_gap_s: longest gap in seconds that is filled with the nearest step, where a step has no frame.
    """

    rate: float
    velocity_gap_s: float = 0.25
    frame_gap_s: float = 0.35

    def __post_init__(self):
        """Refuse impossible settings."""
        if not (self.rate > 0 and self.velocity_gap_s > 0 and self.frame_gap_s >= 0):
            raise UsageError(
                f"these settings are impossible: {self}",
                where="facemesh",
                hint="rate and velocity_gap_s must be above 0, and frame_gap_s at least 0",
            )


class Facemesh:
    """Geometry of the followed face: pose in radians, descriptors in face sizes, and velocities per second.

    geometry.py says what each descriptor means. A step is the mean of its frames. A step between the frames of a slow
    video repeats the nearest step. A step whose frames have no face is absent, and so is a single frame with a face
    among frames without. A frame with no other frame near it, such as a still image, has the velocity 0.

    Args:
        config: label rate and gaps.
    """

    modality: Modality = "video"
    needs: frozenset[Need] = frozenset(("mesh",))
    columns = (
        *POSE,
        *DESCRIPTORS,
        *(f"{name}_velocity" for name in POSE),
        *MOTION,
        *(f"{name}_velocity" for name in MOVING),
    )

    def __init__(self, config: FacemeshConfig, name: str = "facemesh"):
        self.config, self.name = config, name

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("facemesh", VERSION, self.config)

    def start(self) -> FacemeshExtraction:
        """See Backbone."""
        return FacemeshExtraction(self)


class FacemeshExtraction:
    """One clip's extraction; it keeps about 600 bytes per frame."""

    def __init__(self, backbone: Facemesh):
        self._backbone = backbone
        self._time_s: list[np.ndarray] = []
        self._present: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._place: list[np.ndarray] = []

    def push(self, piece: FaceTrack) -> None:
        """Measure the next frames' faces."""
        if not len(piece):
            return
        geometry = measure(piece.mesh)
        self._time_s.append(piece.time_s)
        self._present.append(piece.present & geometry.valid)
        self._values.append(np.concatenate([geometry.pose, geometry.descriptors], axis=1))
        self._place.append(np.column_stack([geometry.centre, geometry.scale]))

    def finish(self, end_s: float, start_s: float = 0.0) -> FeatureTrack:
        """See Extraction."""
        config = self._backbone.config
        grid, first, last = Grid(config.rate).part(start_s, end_s)
        steps = last - first
        values, present = np.full((steps, len(self._backbone.columns)), np.nan, np.float32), np.zeros(steps, bool)
        if self._time_s:
            if len(self._time_s) > 1:
                for pieces in (self._time_s, self._present, self._values, self._place):
                    pieces[:] = [np.concatenate(pieces)]
            edge_s = 1 / config.rate
            near = int(np.searchsorted(self._time_s[0], grid.start_s - edge_s))
            cell = grid.index(self._time_s[0][near : np.searchsorted(self._time_s[0], end_s + edge_s)])
            seen = np.zeros(steps, bool)
            seen[cell[(cell >= 0) & (cell < steps)]] = True
            for step in range(0, steps, _BLOCK):
                low, high = np.searchsorted(cell, (step, min(step + _BLOCK, steps)))
                frames, known = self._frames(near + int(low), near + int(high))
                middle_s = Grid(config.rate).centres(cell[low:high] - step)
                values[step : step + _BLOCK] = cell_mean(
                    frames, known, middle_s, Grid(config.rate), min(_BLOCK, steps - step)
                )[0]
            values, _ = fill_short_gaps(values, seen, int(config.frame_gap_s * config.rate))
            present = np.isfinite(values[:, 0])
        return FeatureTrack(
            values, present, grid, self._backbone.name, "video", self._backbone.columns, self._backbone.fingerprint
        )

    def _frames(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of frames first to last, float64 [n d], and bool [n], True where all of them are known."""
        wide = slice(max(0, first - 2), last + 2)  # a velocity needs the frame beside, and a still the gap beside
        time_s, present, values, place = (
            pieces[0][wide] for pieces in (self._time_s, self._present, self._values, self._place)
        )
        gap = np.diff(time_s)
        longest = self._backbone.config.velocity_gap_s + _TICK_S
        linked = present[1:] & present[:-1] & (gap >= _TICK_S) & (gap <= longest)
        seconds = np.where(linked, gap, 1.0)[:, None]
        turn = (np.diff(values[:, : len(POSE)], axis=0) + np.pi) % (2 * np.pi) - np.pi
        size = np.sqrt(place[1:, 2] * place[:-1, 2])[:, None]
        shift = np.diff(place[:, :2], axis=0) * (1, -1) / size
        nearer = np.diff(np.log(place[:, 2:]), axis=0)
        moved = np.diff(values[:, len(POSE) :][:, _MOVING], axis=0)
        velocity = np.concatenate([turn, shift, nearer, moved], axis=1) / seconds
        # A still image doesn't move; how a face moves between pictures seconds apart can't be known.
        apart = np.pad(gap > longest, 1, constant_values=True)
        still = present & apart[1:] & apart[:-1]
        # Velocity since the previous frame; the first frame of a stretch takes the velocity to the next one.
        before, after = np.pad(linked, (1, 0)), np.pad(linked, (0, 1))
        velocity = np.where(before[:, None], np.pad(velocity, ((1, 0), (0, 0))), np.pad(velocity, ((0, 1), (0, 0))))
        velocity[still] = 0.0
        mine = slice(first - wide.start, last - wide.start)
        return np.concatenate([values, velocity], axis=1)[mine], (before | after | still)[mine]
