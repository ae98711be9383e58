"""How well colours can be told apart (WCAG 2), and the faintest of a colour that can still be read."""

from collections.abc import Iterable

Colour = tuple[int, int, int]
"""Red, green, blue from 0 to 255."""

READABLE = 4.5
"""The least contrast of text (WCAG 2, level AA)."""

_STEPS = 100


def luminance(colour: Colour) -> float:
    """Relative luminance, from 0 to 1."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ratio(one: Colour, other: Colour) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def faded(colour: Colour, grounds: Iterable[Colour], share: float) -> Colour:
    """`share` of a colour over the first of some grounds, or as much more as it takes to be read on all of them."""
    ground, *others = grounds
    for step in range(round(share * _STEPS), _STEPS):
        red, green, blue = (
            round(c * step / _STEPS + g * (1 - step / _STEPS)) for c, g in zip(colour, ground, strict=True)
        )
        if all(ratio((red, green, blue), each) >= READABLE for each in (ground, *others)):
            return red, green, blue
    return colour
