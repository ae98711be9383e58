"""The colours of the heat map: viridis, even to the eye, also under colour blindness and in grey.

Source: `viridis` of matplotlib, by Nathaniel Smith, Stéfan van der Walt and Eric Firing (CC0): every 15th of its 256
colours, joined by straight lines.
"""

from ..contrast import Colour, luminance

VIRIDIS = (
    *("440154", "481769", "472a7a", "433d84", "3d4e8a", "355e8d", "2e6d8e", "297b8e", "23898e"),
    *("1f978b", "21a585", "2eb37c", "46c06f", "65cb5e", "89d548", "b0dd2f", "d8e219", "fde725"),
)
"""From low to high."""

XTERM = ("5f005f", "5f00af", "005f87", "008787", "00af87", "5fd75f", "ffd700", "ffff5f")
"""For terminals with 256 colours: those of them that lie near viridis and rise evenly in lightness (21 to 97 L*)."""

SHADES = 20
"""Steps of the scale where there are enough colours."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def palette(*, many: bool) -> tuple[Colour, ...]:
    """The colours from the lowest to the highest; `many` for a terminal that has any colour, else one with 256."""
    return _between(VIRIDIS, SHADES) if many else tuple(map(_colour, XTERM))


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever stands out more on `colour` (relative luminance of WCAG 2)."""
    return BLACK if luminance(colour) > 0.179 else WHITE


def _between(points: tuple[str, ...], count: int) -> tuple[Colour, ...]:
    """`count` colours at equal distances along the line through the points."""
    found = []
    for number in range(count):
        at = number / (count - 1) * (len(points) - 1)
        left = min(int(at), len(points) - 2)
        pairs = zip(_colour(points[left]), _colour(points[left + 1]), strict=True)
        red, green, blue = (round(a + (b - a) * (at - left)) for a, b in pairs)
        found.append((red, green, blue))
    return tuple(found)


def _colour(code: str) -> Colour:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue
