"""Backbone `facemesh`: head pose, 68 geometric descriptors of the face, and velocities of both."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.timeline import Grid
from avgate.core.types import FaceTrack, Modality
from avgate.features.base import Need, fingerprint
from avgate.features.face.cells import CellExtraction
from avgate.features.face.geometry import DESCRIPTORS, POSE, measure

VERSION = 1
"""Raise it whenever this file, cells.py or geometry.py changes the features."""

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


@dataclass(frozen=True)
class FacemeshConfig:
    """What to extract.

    Args:
        rate: steps per second.
        velocity_gap_s: longest time in seconds between two frames that a velocity is computed from.
        frame_gap_s: longest gap in seconds that is filled with the nearest step, where a step has no frame.
        causal: whether a step is known as soon as its cell ends, for live use. Gaps between frames then repeat the step
            before, and not the nearest. The first frame of a stretch isn't used, since its velocity isn't known yet,
            except after a gap of more than velocity_gap_s, where the face stands still.
    """

    rate: float
    velocity_gap_s: float = 0.25
    frame_gap_s: float = 0.35
    causal: bool = False

    def __post_init__(self) -> None:
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
        self.config, self.name, self.grid = config, name, Grid(config.rate)
        self.causal = config.causal

    @property
    def fingerprint(self) -> str:
        """See Backbone."""
        return fingerprint("facemesh", VERSION, self.config)

    def start(self) -> FacemeshExtraction:
        """See Backbone."""
        return FacemeshExtraction(self)


class FacemeshExtraction(CellExtraction):
    """One clip's extraction; it keeps the last frames."""

    STATE = (*CellExtraction.STATE, "_time_s", "_present", "_values", "_place", "_in", "_taken")

    def __init__(self, backbone: Facemesh):
        self._longest = backbone.config.velocity_gap_s + _TICK_S
        super().__init__(backbone.grid, len(backbone.columns), backbone.config.frame_gap_s, backbone.causal)
        self._causal = backbone.causal
        # The frames that velocities are still computed from, and the steps they are in.
        self._time_s, self._present = np.zeros(0), np.zeros(0, bool)
        self._values, self._place = np.zeros((0, len(POSE) + len(DESCRIPTORS))), np.zeros((0, 3))
        self._in = np.zeros(0, np.int64)
        self._taken = 0  # how many of them count already

    def _take(self, piece: FaceTrack, cells: np.ndarray) -> None:
        geometry = measure(piece.mesh)
        self._time_s = np.append(self._time_s, piece.time_s)
        self._present = np.append(self._present, piece.present & geometry.valid)
        values = np.concatenate([geometry.pose, geometry.descriptors], axis=1)
        self._values = np.concatenate([self._values, values])
        self._place = np.concatenate([self._place, np.column_stack([geometry.centre, geometry.scale])])
        self._in = np.append(self._in, cells)
        self._count_frames(-np.inf)

    def _pass(self, time_s: float) -> None:
        if self._taken < len(self._in):
            self._count_frames(time_s)

    def _first_waiting(self) -> int:
        return int(self._in[self._taken]) if self._taken < len(self._in) else sys.maxsize

    def _count_frames(self, nothing_before_s: float) -> None:
        """Count the frames whose velocity is known, where no frame comes before this time."""
        values, known, decided = self._velocities(nothing_before_s)
        n = len(decided) if decided[-1] else len(decided) - 1
        mine = np.arange(self._taken, n)
        mine = mine[known[mine] & (self._in[mine] >= 0)]
        self._add(self._in[mine], values[mine])
        first = max(0, n - 1)  # the frame before the next one
        for name in ("_time_s", "_present", "_values", "_place", "_in"):
            setattr(self, name, getattr(self, name)[first:])
        self._taken = n - first

    def _velocities(self, nothing_before_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of the frames, float64 [n d]; where all of them are known, bool [n]; where that is decided."""
        time_s, present, values, place = self._time_s, self._present, self._values, self._place
        gap = np.diff(time_s)
        linked = present[1:] & present[:-1] & (gap >= _TICK_S) & (gap <= self._longest)
        seconds = np.where(linked, gap, 1.0)[:, None]
        turn = (np.diff(values[:, : len(POSE)], axis=0) + np.pi) % (2 * np.pi) - np.pi
        size = np.sqrt(place[1:, 2] * place[:-1, 2])[:, None]
        shift = np.diff(place[:, :2], axis=0) * (1, -1) / size
        nearer = np.diff(np.log(place[:, 2:]), axis=0)
        moved = np.diff(values[:, len(POSE) :][:, _MOVING], axis=0)
        velocity = np.concatenate([turn, shift, nearer, moved], axis=1) / seconds
        # A still image doesn't move; how a face moves between pictures seconds apart can't be known.
        apart = np.pad(gap > self._longest, 1, constant_values=True)
        still = present & apart[:-1] & (apart[1:] | self._causal)
        # Velocity since the previous frame; the first frame of a stretch takes the velocity to the next one.
        before, after = np.pad(linked, (1, 0)), np.pad(linked & (not self._causal), (0, 1))
        velocity = np.where(before[:, None], np.pad(velocity, ((1, 0), (0, 0))), np.pad(velocity, ((0, 1), (0, 0))))
        velocity[still] = 0.0
        decided = before | ~present | self._causal
        decided[:-1] = True
        decided[-1] |= nothing_before_s - time_s[-1] > self._longest
        return np.concatenate([values, velocity], axis=1), before | after | still, decided
