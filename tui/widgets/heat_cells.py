"""A cell of the heat map as text: in colours, with one or two layers on a line, or in characters without colour.

The ink of a coloured cell is `heat FOREGROUND/GROUND`, each the number of a shade, `-` for the screen's own colour,
or a shade's number with `!` for black or white, whichever stands out on it.
"""

from .heat_scale import MISSING, UNDEFINED, ZERO
from .painted import Span

TEXTURES = ("  ", "░ ", "░░", "▒░", "▒▒", "▓▒", "▓▓", "█▓", "██")
"""The shades without colour, for cells of two columns and more, which alternate."""

PLAIN_TEXTURES = (" ", "░", "▒", "▓", "█")
"""The same for cells of one column."""

GLYPHS = {MISSING: "·", UNDEFINED: "×", ZERO: "0"}
UPPER = {UNDEFINED: "ˣ", ZERO: "⁰"}
LOWER = {UNDEFINED: "ₓ", ZERO: "₀"}
"""What stands for cells without a shade; in half a line, small and in that half. A missing half stays empty."""

INK = "heat "
"""How the inks of coloured cells begin."""

MARK = "◆"
"""The cursor in a cell of one column."""


def textures(width: int) -> tuple[str, ...]:
    """The shades of cells without colour, from low to high."""
    if width == 1:
        return PLAIN_TEXTURES
    return tuple((pair * width)[:width] for pair in TEXTURES)


def textured(code: int, width: int, *, cursor: bool) -> list[Span]:
    """A cell in characters."""
    text = GLYPHS[code].center(width) if code < 0 else textures(width)[code]
    return _framed(text, "", "strong") if cursor else [(text, "dim" if code == MISSING else "")]


def coloured(code: int, width: int, *, cursor: bool) -> list[Span]:
    """A cell in colour that has its line for itself."""
    if code < 0:
        return _framed(GLYPHS[code].center(width), "", "strong") if cursor else [_glyph(code, width)]
    ink = f"{INK}{code}!/{code}"
    return _framed(" " * width, ink, ink) if cursor else [(" " * width, f"{INK}-/{code}")]


def halved(upper: int, lower: int | None, width: int, cursor: int | None) -> list[Span]:
    """Two cells in colour that share a line; `lower` is None below the last layer.

    `cursor` is 0 when it is on the upper one, 1 on the lower one. There, the half is drawn in black or white; with
    enough room its middle keeps its shade.
    """
    below = MISSING if lower is None else lower
    if cursor is None:
        return [_pair(upper, below, width)]
    chosen, other, block = (upper, below, "▀") if cursor == 0 else (below, upper, "▄")
    ground = str(other) if other >= 0 else "-"
    frame = f"{INK}{chosen}!/{ground}" if chosen >= 0 else f"{INK}-/{ground}"
    middle = f"{INK}{chosen}/{ground}" if chosen >= 0 and width > 2 else frame
    return [(block, frame), (block * (width - 2), middle), (block, frame)] if width > 1 else [(block, frame)]


def _pair(upper: int, lower: int, width: int) -> Span:
    if upper >= 0 and lower >= 0:
        return (" " * width, f"{INK}-/{upper}") if upper == lower else ("▀" * width, f"{INK}{upper}/{lower}")
    if upper in UPPER and lower in LOWER:
        return _glyph(upper, width)
    if upper in UPPER:
        return UPPER[upper].center(width), f"{INK}{lower}!/{lower}" if lower >= 0 else ""
    if lower in LOWER:
        return LOWER[lower].center(width), f"{INK}{upper}!/{upper}" if upper >= 0 else ""
    if upper >= 0:
        return "▀" * width, f"{INK}{upper}/-"
    return ("▄" * width, f"{INK}{lower}/-") if lower >= 0 else _glyph(MISSING, width)


def _glyph(code: int, width: int) -> Span:
    return GLYPHS[code].center(width), "dim" if code == MISSING else ""


def _framed(text: str, inner: str, frame: str) -> list[Span]:
    """The cell under the cursor: in brackets as far as it is wide enough for them."""
    if len(text) == 1:
        return [(MARK, frame)]
    return [("[", frame), (text[1:-1], inner), ("]", frame)]
