"""What a face mesh says in numbers: head pose, and the distances by which the facial actions of FACS show themselves.

Left and right are the subject's own. FACS: Ekman, Friesen & Hager, Facial Action Coding System, 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STABLE = {
    10: (0.000, 8.262, 4.482), 67: (-3.524, 8.006, 3.729), 297: (3.524, 8.006, 3.729),
    54: (-6.279, 6.615, 1.426), 284: (6.279, 6.615, 1.426), 127: (-7.743, 2.365, -2.005), 356: (7.743, 2.365, -2.005),
    234: (-7.664, 0.673, -2.436), 454: (7.664, 0.673, -2.436), 33: (-4.446, 2.664, 3.173), 263: (4.446, 2.664, 3.173),
    133: (-1.856, 2.585, 3.758), 362: (1.856, 2.585, 3.758), 168: (0.000, 3.271, 5.236), 6: (0.000, 2.473, 5.789),
    197: (0.000, 1.728, 6.317), 195: (0.000, 1.059, 6.775),
}  # fmt: skip
"""Landmarks that no expression moves (forehead, temples, eye corners, nose bridge) in MediaPipe's canonical face.

x to the subject's left, y up, z out of the face, in centimetres.
"""

_POINTS = list(STABLE)
_CANONICAL = np.array(list(STABLE.values()))

UNIT_CM = 8.892
"""Distance of the canonical face's outer eye corners in centimetres: the unit of every length here."""

POSE = ("head_yaw_left", "head_pitch_up", "head_roll_left")
"""Radians; 0 when facing the camera. AU51/52 turn, AU53/54 up and down, AU55/56 tilt to the left or right shoulder."""

MIRROR = {
    55: 285, 107: 336, 52: 282, 105: 334, 46: 276, 70: 300, 33: 263, 133: 362, 158: 385, 159: 386, 160: 387,
    153: 380, 145: 374, 144: 373, 129: 358, 48: 278, 61: 291, 39: 269, 40: 270, 84: 314, 181: 405,
    50: 280, 205: 425, 101: 330, 187: 411,
}  # fmt: skip
"""Landmark on the subject's right -> its counterpart on the left."""

_EYES = (33, 133, 362, 263)
_BRIDGE = (168, 6, 197)


@dataclass(frozen=True)
class Measure:
    """One number of a face turned to the front, in units of UNIT_CM.

    Attributes:
        name: the column; `{side}` makes two, the landmarks being those of the right side.
        how: how far the mean of `here` lies from the mean of `there` to the "left", "up", "out" of the face, or "aside"
            (away from the midline); "apart": their distance in space.
        here: landmarks.
        there: landmarks.
        action: FACS action units that raise (+) or lower (-) it.
        width: two landmarks whose distance it is divided by, or none.
    """

    name: str
    how: str
    here: tuple[int, ...]
    there: tuple[int, ...]
    action: str
    width: tuple[int, ...] = ()


MEASURES = (
    # brows
    Measure("brow_inner_raise_{side}", "up", (55, 107), (133,), "+AU1 inner brow raiser, -AU4 brow lowerer"),
    Measure("brow_middle_raise_{side}", "up", (52, 105), (33, 133), "+AU1 +AU2 brow raisers, -AU4"),
    Measure("brow_outer_raise_{side}", "up", (46, 70), (33,), "+AU2 outer brow raiser, -AU4"),
    Measure("brow_slant_{side}", "up", (55, 107), (46, 70), "+AU1 with AU4: oblique brows of sadness, -AU2"),
    Measure("brow_arch_{side}", "up", (52, 105), (55, 107, 46, 70), "+AU2, -AU4: straight brows"),
    Measure("brow_lid_gap_{side}", "up", (52, 105), (159,), "+AU1 +AU2, -AU4, -AU5 upper lid raiser"),
    Measure("brow_gap", "left", (285, 336), (55, 107), "-AU4 brows drawn together"),
    # eyes
    Measure(
        "upper_lid_raise_{side}", "up", (158, 159, 160), (33, 133), "+AU5 upper lid raiser, -AU43 -AU45 closure, blink"
    ),
    Measure("lower_lid_raise_{side}", "up", (153, 145, 144), (33, 133), "+AU7 lid tightener, +AU6 cheek raiser"),
    Measure("gaze_left", "left", (468, 473), _EYES, "+AU61 eyes turn left, -AU62 right"),
    Measure("gaze_up", "up", (468, 473), _EYES, "+AU63 eyes up, -AU64 down"),
    # nose
    Measure("nose_wing_to_eye_{side}", "apart", (129,), (133,), "-AU9 nose wrinkler, -AU10 upper lip raiser"),
    Measure("nose_length", "apart", (2,), (168,), "-AU9"),
    Measure("nose_width", "left", (278,), (48,), "+AU38 nostril dilator, -AU39 compressor, +AU9 +AU10 +AU12"),
    Measure("nose_to_upper_lip", "up", (2,), (0,), "-AU10 upper lip raiser, +AU26 +AU27 mouth opened"),
    Measure("nasolabial_length_{side}", "apart", (61,), (129,), "-AU10 -AU12 lip corner puller, +AU15 depressor"),
    # mouth
    Measure("mouth_width", "apart", (291,), (61,), "+AU12 +AU20 lip stretcher, -AU18 lip pucker"),
    Measure("mouth_inner_width", "apart", (308,), (78,), "+AU12 +AU20, -AU18 -AU23 lip tightener"),
    Measure("mouth_open", "up", (13,), (14,), "+AU25 lips part, +AU26 jaw drop, +AU27 mouth stretch"),
    Measure("mouth_curve", "up", (61, 291), (0, 17), "+AU12 corners up, -AU15 corners down"),
    Measure("lip_corner_raise_{side}", "up", (61,), (2,), "+AU12 lip corner puller, -AU15 lip corner depressor"),
    Measure("lip_corner_pull_{side}", "aside", (61,), _BRIDGE, "+AU12 +AU14 dimpler, +AU20, -AU18"),
    Measure("lip_corner_depth_{side}", "out", (0, 17), (61,), "+AU12 +AU14 +AU20 corners drawn back, -AU22 funneler"),
    Measure("upper_lip_raise_{side}", "up", (39, 40), (2,), "+AU10 upper lip raiser"),
    Measure(
        "lower_lip_drop_{side}", "up", (2,), (84, 181), "+AU16 lower lip depressor, +AU26 +AU27, -AU17 chin raiser"
    ),
    Measure("upper_lip_height", "apart", (0,), (13,), "+AU22, -AU23 -AU24 lip pressor, -AU28 lip suck"),
    Measure("lower_lip_height", "apart", (14,), (17,), "+AU17 +AU22, -AU23 -AU24 -AU28"),
    Measure("upper_lip_protrusion", "out", (0,), (2,), "+AU18 +AU22, -AU28"),
    Measure("lower_lip_protrusion", "out", (17,), (2,), "+AU18 +AU22 +AU29 jaw thrust, -AU28"),
    Measure("mouth_shift_left", "left", (61, 291), _BRIDGE, "one-sided AU12, AU14, AU20; AU30 jaw sideways"),
    # cheeks
    Measure("cheek_raise_{side}", "up", (50, 205), (33, 133), "+AU6 cheek raiser, +AU12"),
    Measure("cheek_lid_gap_{side}", "up", (145,), (101,), "-AU6 cheek raiser, -AU9"),
    Measure("cheek_bulge_{side}", "out", (50, 205), (33, 133), "+AU6 +AU12, +AU34 cheek puff, -AU35 cheek suck"),
    Measure("cheek_spread_{side}", "aside", (187,), _BRIDGE, "+AU34 cheek puff, +AU12, -AU35 cheek suck"),
    # jaw
    Measure("jaw_drop", "up", (2,), (152,), "+AU26 jaw drop, +AU27 mouth stretch, -AU17"),
    Measure("jaw_shift_left", "left", (152,), _BRIDGE, "AU30 jaw sideways"),
    Measure("jaw_thrust", "out", (152,), (2,), "+AU29 jaw thrust"),
    Measure("lip_to_chin", "apart", (17,), (152,), "-AU17 chin raiser"),
    Measure("jaw_width", "left", (397,), (172,), "+AU31 jaw clencher"),
    # openings by their width, whatever the face's proportions
    Measure("eye_openness_{side}", "up", (158, 159, 160), (153, 145, 144), "+AU5, -AU7 -AU43 -AU45 blink", (33, 133)),
    Measure("mouth_openness", "up", (13,), (14,), "+AU25 +AU26 +AU27, -AU20: rounder", (78, 308)),
)
"""Everything that is measured between landmarks, with what moves it."""

ASYMMETRIES = (
    "brow_inner_raise", "brow_outer_raise", "eye_openness", "cheek_raise", "upper_lip_raise",
    "lip_corner_raise", "lip_corner_pull",
)  # fmt: skip
"""Left minus right: AU46 wink, and expressions that are posed or mixed rather than felt."""


def _sided(measure: Measure) -> list[Measure]:
    """The measure itself, or one for the left side and one for the right."""
    if "{side}" not in measure.name:
        return [measure]
    pair = []
    for side, mirror in (("left", MIRROR), ("right", {})):
        name, how = measure.name.format(side=side), side if measure.how == "aside" else measure.how
        here, there, width = (
            tuple(mirror.get(i, i) for i in part) for part in (measure.here, measure.there, measure.width)
        )
        pair.append(Measure(name, how, here, there, measure.action, width))
    return pair


_MEASURES = [one for measure in MEASURES for one in _sided(measure)]
_NAMES = [measure.name for measure in _MEASURES]

DESCRIPTORS = (*_NAMES, *(f"{name}_asymmetry" for name in ASYMMETRIES))
"""Names of all descriptors in their order."""

_USED = sorted({i for m in _MEASURES for i in m.here + m.there + m.width})


def _difference(here: tuple[int, ...], there: tuple[int, ...]) -> np.ndarray:
    """Weights over _USED that give the mean of `here` less the mean of `there`."""
    weights = np.zeros(len(_USED))
    for points, sign in ((here, 1), (there, -1)):
        for i in points:
            weights[_USED.index(i)] += sign / len(points)
    return weights


_SPANS = np.stack([_difference(m.here, m.there) for m in _MEASURES])
_WIDTHS = np.stack([_difference(m.width[:1], m.width[1:]) for m in _MEASURES])
_DIRECTIONS = {"left": (1, 0, 0), "right": (-1, 0, 0), "up": (0, 1, 0), "out": (0, 0, 1), "apart": (0, 0, 0)}
_ALONG = np.array([_DIRECTIONS[m.how] for m in _MEASURES], float)
_APART = np.array([m.how == "apart" for m in _MEASURES])
_RATIO = np.array([bool(m.width) for m in _MEASURES])
_LEFT = [_NAMES.index(f"{name}_left") for name in ASYMMETRIES]
_RIGHT = [_NAMES.index(f"{name}_right") for name in ASYMMETRIES]

_LEAST_WIDTH = 0.05
"""Widths count as at least this, in units, so that a mesh gone wrong can't make a ratio boundless."""

_LEAST_SCALE = 0.5
"""Faces of fewer pixels per unit aren't faces."""


@dataclass(frozen=True)
class Geometry:
    """Measurements of n faces; rows that aren't valid hold anything.

    Attributes:
        valid: bool [n], False where the mesh is unknown or no face.
        pose: float64 [n 3], the columns of POSE.
        descriptors: float64 [n d], the columns of DESCRIPTORS, in units of UNIT_CM (openness: a ratio).
        centre: float64 [n 2], the head's place in pixels, y downwards.
        scale: float64 [n], pixels per unit.
    """

    valid: np.ndarray
    pose: np.ndarray
    descriptors: np.ndarray
    centre: np.ndarray
    scale: np.ndarray


def measure(mesh: np.ndarray) -> Geometry:
    """Head pose and descriptors of each face, every face on its own.

    The canonical face's stable points are fitted to the mesh by rotation, scale and shift (Umeyama 1991); turned back
    by that, the mesh faces the front, at one size.

    Args:
        mesh: float [n 478 3] in pixels, x to the right, y down, z away from the camera; NaN where absent.
    """
    valid = np.isfinite(mesh).all(axis=(1, 2))
    faces = np.where(valid[:, None, None], mesh, 0.0).astype(np.float64) * (1, -1, -1)
    stable = faces[:, _POINTS]
    centre = stable.mean(1)
    canonical = _CANONICAL - _CANONICAL.mean(0)
    left, stretch, right = np.linalg.svd(np.einsum("npi,pj->nij", stable - centre[:, None], canonical) / len(_POINTS))
    upright = np.stack([np.ones(len(mesh)), np.ones(len(mesh)), np.sign(np.linalg.det(left @ right))], axis=1)
    rotation = (left * upright[:, None]) @ right
    scale = (stretch * upright).sum(1) / canonical.var(0).sum() * UNIT_CM
    valid &= scale >= _LEAST_SCALE
    scale = np.where(valid, scale, 1.0)
    front = (faces[:, _USED] - centre[:, None]) @ rotation / scale[:, None, None]
    return Geometry(valid, _pose(rotation), _describe(front), centre[:, :2] * (1, -1), scale)


def _pose(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll in radians [n 3] of rotations [n 3 3] = R_y(yaw) R_x(-pitch) R_z(-roll)."""
    yaw = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(rotation[:, 1, 2], -1, 1))
    roll = -np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return np.stack([yaw, pitch, roll], axis=1)


def _describe(front: np.ndarray) -> np.ndarray:
    """Descriptors [n d] of faces turned to the front, [n used 3] in units."""
    spans = _SPANS @ front
    lengths = np.where(_APART, np.linalg.norm(spans, axis=2), (spans * _ALONG).sum(2))
    widths = np.maximum(np.linalg.norm(_WIDTHS @ front, axis=2), _LEAST_WIDTH)
    values = np.where(_RATIO, lengths / widths, lengths)
    return np.concatenate([values, values[:, _LEFT] - values[:, _RIGHT]], axis=1)
