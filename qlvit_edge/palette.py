"""Colours of classes: the same class has the same colour in every picture and report.

The first six are those of Okabe and Ito; the others were searched for, each as far as possible
from all before it, from white and from the pinks of stained fields, for normal sight and for the
three kinds of colour blindness (Machado, Oliveira and Fernandes 2009, full severity).
"""

from __future__ import annotations

from typing import Final

COLOURS: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#222200",
    "#8800FF",
    "#660055",
    "#221199",
    "#00FF88",
    "#665522",
)
UNCERTAIN: Final = "#5A5A5A"

HEAT: Final = (
    "#440154",
    "#482878",
    "#3E4A89",
    "#31688E",
    "#26828E",
    "#1F9E89",
    "#35B779",
    "#6DCD59",
    "#B4DE2C",
    "#FDE725",
)
"""From least to most in steps of equal perceived lightness: every ninth part of "viridis" (van der
Walt and Smith 2015, CC0). Read in grey too and with every kind of colour blindness; its bright
half is far from the pinks and purples of stained cells."""


def colour(number: int) -> str:
    """Return the colour of a class by its number among the labels, as ``"#RRGGBB"``."""
    return COLOURS[number % len(COLOURS)]


def rgb(text: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of ``"#RRGGBB"``."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def ink(text: str) -> str:
    """Return white or black, whichever is read better on a plate of the colour ``text``.

    By relative luminance and contrast as WCAG 2.1 defines them.
    """
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in rgb(text))
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#FFFFFF" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"
