"""Units of facial expression, as displacement fields over the portrait.

A field holds, for every pixel of the frame, the offset in pixels to the place in the portrait that it shows. Fields of
different units are added. Where that would be wrong (lips and lids that open and close), a unit has several key fields,
each exact for one state; states in between interpolate linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.tri import LinearTriInterpolator, Triangulation
from scipy.ndimage import gaussian_filter

from avgate.corpora.rendered.portrait import Portrait

UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
CHIN = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
)
INNER_BROWS, OUTER_BROWS = (55, 107, 285, 336), (63, 70, 293, 300)
CHEEKS, NOSE_WINGS, LIP_CORNERS = (50, 205, 280, 425), (98, 327, 168), (61, 291)

SMILES = (-1.0, 0.0, 1.0)
"""Keys of the mouth: corners down, neutral, the portrait's own smile."""

JAWS = (0.0, 0.3, 0.65, 1.0)
"""Keys of the mouth: from lips closed to mouth open."""

LIDS = (0.08, 0.5, 1.0, 1.35)
"""Keys of the eyes: distance between the lids, relative to the portrait."""

SMOOTH_UNITS = ("inner_brow", "outer_brow", "brow_lower", "cheek", "nose", "stretch")
"""Units with one field each, from 0 (rest) to 1 (full); they may go somewhat below 0."""


@dataclass(frozen=True)
class Expression:
    """Expression of a face in n frames; every array is float [n].

    Attributes:
        smile: -1 (corners down) to 1 (the portrait's smile).
        jaw: 0 (lips closed) to 1 (mouth open).
        lids: 0.08 (closed) to 1.35 (wide open); 1 as in the portrait.
        smooth: float [n 6], one column per name in SMOOTH_UNITS.
    """

    smile: np.ndarray
    jaw: np.ndarray
    lids: np.ndarray
    smooth: np.ndarray


class Units:
    """The fields of all units over one portrait.

    Attributes:
        box: left, top, right and bottom in pixels of the part of the frame that expressions move.
        fields: float32 [k h w 2] over `box`, x and y offsets in pixels.
    """

    def __init__(self, portrait: Portrait):
        mesh, size = portrait.mesh[:, :2], portrait.size
        self._mesh = mesh
        self._width = float(np.ptp(mesh[:, 0]))
        low, high = mesh.min(0) - 0.14 * self._width, mesh.max(0) + 0.2 * self._width
        x0, y0 = np.floor(np.maximum(low, 0)).astype(int)
        x1, y1 = np.ceil(np.minimum(high, size)).astype(int)
        self.box = (int(x0), int(y0), int(x1), int(y1))
        mouths = [self._mouth(smile, jaw) for smile in SMILES for jaw in JAWS]
        self.fields = np.stack([*mouths, *(self._eyes(lid) for lid in LIDS), *self._smooth_fields()])

    def weights(self, expression: Expression) -> np.ndarray:
        """Weight of each field in each frame, float32 [n k]."""
        smile, jaw = _tents(expression.smile, SMILES), _tents(expression.jaw, JAWS)
        mouth = (smile[:, :, None] * jaw[:, None, :]).reshape(len(smile), -1)
        return np.hstack([mouth, _tents(expression.lids, LIDS), expression.smooth]).astype(np.float32)

    def _mouth(self, smile: float, jaw: float) -> np.ndarray:
        """Field of one state of the mouth, float32 [h w 2]: lips are placed anew around a midline, the chin follows."""
        lines = [self._mesh[list(line)] for line in (UPPER_OUTER, UPPER_INNER, LOWER_INNER, LOWER_OUTER)]
        upper_outer, upper_inner, lower_inner, lower_outer = lines
        midline = (upper_inner + lower_inner) / 2
        centre = np.array([midline[[0, -1], 0].mean(), midline[5, 1]])
        reach = 2 * (midline[:, 0] - centre[0]) / np.ptp(midline[:, 0])  # -1 to 1, corner to corner
        corners = midline[[0, -1], 1].mean() - centre[1]
        smiling = max(smile, 0.0)

        bend = smile if smile > 0 else 1.4 * smile - 0.15
        level = centre[1] + bend * corners * reach**2
        opening = self._width * (0.012 + 0.14 * max(jaw, 0.35 * smiling))
        gap = opening * np.sqrt(np.maximum(1 - reach**2, 0.0))
        top, bottom, fullness = level - 0.25 * gap, level + 0.75 * gap, 1.15 - 0.15 * smiling
        upper_edge = top - fullness * (upper_inner - upper_outer)[:, 1]
        lower_edge = bottom + fullness * (lower_outer - lower_inner)[:, 1]
        narrow = 0.84 + 0.16 * smiling + 0.02 * min(smile, 0.0) - 0.05 * jaw
        columns = [centre[0] + narrow * (line[:, 0] - centre[0]) for line in lines]
        targets = [np.column_stack(xy) for xy in zip(columns, (upper_edge, top, bottom, lower_edge), strict=True)]

        chin = self._mesh[list(CHIN)]
        drop = 0.7 * (opening - (lower_inner - upper_inner)[5, 1]) * np.cos(np.linspace(-1.2, 1.2, len(chin)))
        targets.append(chin + np.column_stack([np.zeros(len(chin)), drop]))
        return self._field(np.vstack([*lines, chin]), np.vstack(targets), 0.1)

    def _eyes(self, opening: float) -> np.ndarray:
        """Field of one state of the lids, float32 [h w 2]; lids meet below the middle of the eye, as real ones do."""
        points, targets = [], []
        for upper_line, lower_line in EYES:
            upper, lower = self._mesh[list(upper_line)], self._mesh[list(lower_line)]
            meet = 0.3 * upper + 0.7 * lower
            points += [upper, lower[1:-1]]
            targets += [meet + opening * (upper - meet), (meet + opening * (lower - meet))[1:-1]]
        return self._field(np.vstack(points), np.vstack(targets), 0.05)

    def _smooth_fields(self) -> list[np.ndarray]:
        """Fields of SMOOTH_UNITS, float32 [h w 2] each: sums of Gaussian bumps."""
        middle = self._mesh[168, 0]

        def bumps(points: tuple[int, ...], x: float, y: float, radius: float, below: float = 1.0) -> np.ndarray:
            """Field that moves the surroundings of points by x (away from the midline) and y (down), in face widths."""
            grid = self._grid()
            weight = np.zeros(grid.shape[:2])
            total = np.zeros(grid.shape)
            for point in self._mesh[list(points)]:
                away = (grid - point) / (radius * self._width)
                away[..., 1] /= np.where(away[..., 1] > 0, below, 1.0)
                near = np.exp(-0.5 * (away**2).sum(-1))
                side = np.sign(point[0] - middle) * (abs(point[0] - middle) > 0.02 * self._width)
                total += near[..., None] * (x * side * self._width, y * self._width)
                weight += near
            return (-total / np.maximum(weight, 1)[..., None]).astype(np.float32)

        under = 0.6  # the bumps of the brows reach less far down, so that the eyes don't move along
        return [
            bumps(INNER_BROWS, 0, -0.042, 0.06, under),
            bumps(OUTER_BROWS, 0, -0.035, 0.075, under),
            bumps(INNER_BROWS, -0.02, 0.04, 0.06, under),
            bumps(CHEEKS, 0.01, -0.035, 0.09),
            bumps(NOSE_WINGS, 0.01, -0.025, 0.05),
            bumps(LIP_CORNERS, 0.045, 0.005, 0.08),
        ]

    def _grid(self) -> np.ndarray:
        """Pixel positions in the box, float64 [h w 2]."""
        x0, y0, x1, y1 = self.box
        return np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1).astype(np.float64)

    def _field(self, points: np.ndarray, targets: np.ndarray, radius: float) -> np.ndarray:
        """Field that moves `points` exactly to `targets` and fades out around them, float32 [h w 2].

        Args:
            points: float [m 2] pixels.
            targets: float [m 2] pixels.
            radius: standard deviation of the fade, in face widths.
        """
        x0, y0, x1, y1 = self.box
        step = 0.045 * self._width
        columns, rows = np.arange(x0 + step, x1 - 1, step), np.arange(y0 + step, y1 - 1, step)
        lattice = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
        distance = np.linalg.norm(lattice[:, None] - points[None], axis=-1)
        lattice, distance = lattice[distance.min(1) > step], distance[distance.min(1) > step]
        near = np.exp(-0.5 * (distance / (radius * self._width)) ** 2)
        moved = (
            np.einsum("lm,mc->lc", near, targets - points)
            / np.maximum(near.sum(1), 1e-12)[:, None]
            * near.max(1, keepdims=True)
        )
        edge_x, edge_y = np.linspace(x0, x1 - 1, 12), np.linspace(y0, y1 - 1, 12)
        edge = [(x, y) for x in edge_x for y in (y0, y1 - 1)] + [(x, y) for x in (x0, x1 - 1) for y in edge_y[1:-1]]
        sources = np.vstack([points, lattice, edge])
        goals = np.vstack([targets, lattice + moved, edge])
        goals, first = np.unique(goals.round(3), axis=0, return_index=True)
        # Matplotlib's interpolation, since SciPy's calls LAPACK, with its threads, for every triangle.
        triangles, grid = Triangulation(goals[:, 0], goals[:, 1]), self._grid()
        planes = [LinearTriInterpolator(triangles, column) for column in (sources[first] - goals).T]
        offsets = np.stack([plane(grid[..., 0], grid[..., 1]).filled(0.0) for plane in planes], -1)
        return gaussian_filter(offsets, (0.006 * self._width, 0.006 * self._width, 0)).astype(np.float32)


def _tents(value: np.ndarray, keys: tuple[float, ...]) -> np.ndarray:
    """Weights of linear interpolation between keys, float [n k]; rows sum to 1, values are clipped to the keys."""
    return np.stack([np.interp(value, keys, row) for row in np.eye(len(keys))], -1)
