"""How far a white cell reaches beyond its nucleus.

Most nuclei fill their cell but for a rim, whose width goes with the nucleus. Where a pale body
is seen around the nucleus (fainter than red cells, more than background), the box reaches as
far as that body does.
"""

from __future__ import annotations

import cv2
import numpy as np

from qlvit_edge.fields.density import Map, RedStain
from qlvit_edge.fields.nuclei import Nucleus, disc_of

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the searched copy, not clipped to it."""

RIM_SHARE = 0.145
"""Cytoplasm on each side of the nucleus, as a share of its longer side."""

LEAST_ASPECT = 0.8
"""Cells are round: a box's shorter side is widened to this share of the longer one."""

PALE = (0.3, 0.8)
"""Density of the pale body, in those of red cells."""

REACH = 0.45
"""Farthest from the nucleus, in diameters of a red cell."""

THINNEST = 0.1
"""Radius, in diameters of a red cell, of the thinnest body: rims of red cells are thinner."""

LEAST_EXTENT = 0.25
"""Rows and columns of the box hold so much of the body, in diameters of a red cell."""

LONGEST = 2.3
"""Longest side of a box widened to the body, in diameters of a red cell."""


def pale_body(density: Map, red: RedStain, diameter: float) -> Map:
    """Return where a field is stained, but paler than red cells.

    Args:
        density: (H, W, 3), see `qlvit_edge.fields.density.optical_density`.
        red: what red cells look like in it.
        diameter: of a red cell, in pixels.

    Returns:
        (H, W) float32 of 0 and 1.
    """
    total = density[..., 0] + density[..., 1] + density[..., 2]
    lowest, highest = (share * sum(red.colour) for share in PALE)
    pale = np.asarray((total > lowest) & (total < highest), np.uint8)
    opened = cv2.morphologyEx(pale, cv2.MORPH_OPEN, disc_of(THINNEST * diameter))
    return np.asarray(opened, np.float32)


def cell_box(nucleus: Nucleus, excess: Map, pale: Map, diameter: float) -> Box:
    """Return the box of a nucleus with its cytoplasm.

    Args:
        nucleus: the nucleus.
        excess: (H, W), see `RedStain.excess`.
        pale: (H, W), see `pale_body`.
        diameter: of a red cell, in pixels.
    """
    width, height, longer = nucleus.x1 - nucleus.x0, nucleus.y1 - nucleus.y0, nucleus.longer()
    rim = RIM_SHARE * longer + 0.03 * diameter
    rim_x = rim + max(0.0, LEAST_ASPECT * longer - width) / 2
    rim_y = rim + max(0.0, LEAST_ASPECT * longer - height) / 2
    usual = nucleus.x0 - rim_x, nucleus.y0 - rim_y, nucleus.x1 + rim_x, nucleus.y1 + rim_y
    body = _body(nucleus, excess, pale, diameter)
    if body is None:
        return usual
    wide = (
        *(min(usual[0], body[0]), min(usual[1], body[1])),
        *(max(usual[2], body[2]), max(usual[3], body[3])),
    )
    longest = max(wide[2] - wide[0], wide[3] - wide[1])
    return wide if longest < LONGEST * diameter else usual


def _body(nucleus: Nucleus, excess: Map, pale: Map, diameter: float) -> Box | None:
    """The box of the nucleus and the pale body that touches it."""
    height, width = excess.shape
    room = int(REACH * diameter)
    x0, y0 = max(0, nucleus.x0 - room), max(0, nucleus.y0 - room)
    x1, y1 = min(width, nucleus.x1 + room), min(height, nucleus.y1 + room)
    core = np.zeros((y1 - y0, x1 - x0), np.uint8)
    inside = excess[nucleus.y0 : nucleus.y1, nucleus.x0 : nucleus.x1] > 0.5 * nucleus.strength
    core[nucleus.y0 - y0 : nucleus.y1 - y0, nucleus.x0 - x0 : nucleus.x1 - x0] = inside
    core = np.asarray(cv2.dilate(core, disc_of(0.12 * diameter)), np.uint8)
    near = np.asarray(cv2.dilate(core, disc_of(REACH * diameter)), np.uint8)
    body = np.asarray((pale[y0:y1, x0:x1] > 0) & (near > 0) | (core > 0), np.uint8)
    count, labels = cv2.connectedComponents(body)
    touching = np.zeros(count, bool)
    touching[labels[core > 0]] = True
    own = touching[labels] & (body > 0)
    columns = np.flatnonzero(own.sum(0) > LEAST_EXTENT * diameter)
    rows = np.flatnonzero(own.sum(1) > LEAST_EXTENT * diameter)
    if not (columns.size and rows.size):
        return None
    return (
        *(float(x0 + columns[0]), float(y0 + rows[0])),
        *(float(x0 + columns[-1] + 1), float(y0 + rows[-1] + 1)),
    )
