"""Colours: a dark, a light and a 16-colour theme, and the inks of curves, pins and what stands back, for any theme.

The curve colours follow Okabe and Ito's palette, which stays apart under colour blindness, made lighter on dark and
darker on light ground to a contrast of at least 4.5; bands and secondary text are as faint as that allows. A terminal
with 16 colours, or none, gets the third theme: the terminal's own colours on the terminal's own ground, light or dark.
"""

from collections.abc import Mapping
from dataclasses import replace

from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from .contrast import Colour, faded

DARK = Theme(
    name="svdtui-dark",
    primary="#7aa2f7",
    secondary="#7dcfff",
    accent="#7aa2f7",
    foreground="#d5d9e0",
    background="#14161b",
    surface="#1a1d23",
    panel="#22262e",
    success="#5fbf8f",
    warning="#e6b455",
    error="#f2777a",
    dark=True,
)

LIGHT = Theme(
    name="svdtui-light",
    primary="#1f5fbf",
    secondary="#0f6f8f",
    accent="#1f5fbf",
    foreground="#1d2128",
    background="#fbfbf9",
    surface="#f3f3f0",
    panel="#e8e8e4",
    success="#177244",
    warning="#8f5a00",
    error="#b3261e",
    dark=False,
)

PLAIN = replace(BUILTIN_THEMES["ansi-dark"], name="svdtui-16", accent="ansi_cyan")

_CURVES_DARK = {
    "curve-q": "#f0a53c",
    "curve-k": "#5ab4f0",
    "curve-v": "#38c793",
    "curve-o": "#e48bc0",
    "pin-a": "#f2e25c",
    "pin-b": "#ff8a6b",
    "pin-c": "#b9a7ff",
    "pin-d": "#f4f4f4",
}
_CURVES_LIGHT = {
    "curve-q": "#864300",
    "curve-k": "#084e91",
    "curve-v": "#005f41",
    "curve-o": "#882966",
    "pin-a": "#6b6000",
    "pin-b": "#c02f12",
    "pin-c": "#5b3fc4",
    "pin-d": "#3a3a3a",
}
_CURVES_ANSI = {
    "curve-q": "ansi_red",
    "curve-k": "ansi_cyan",
    "curve-v": "ansi_green",
    "curve-o": "ansi_magenta",
    "pin-a": "ansi_yellow",
    "pin-b": "ansi_bright_red",
    "pin-c": "ansi_blue",
    "pin-d": "ansi_default",
}


DIM, BAR, BAND = 0.6, 0.4, 0.55
"""How much of their colour secondary text, bars and rules, and bands around curves have, where that can be read."""


def inks(theme: Theme, base: Mapping[str, str]) -> dict[str, str]:
    """The variables `curve-…`, `pin-…`, `band-…`, `dim` and `bar`, readable on all grounds of `theme`.

    `base` is what the theme says of the grounds itself.
    """
    if theme.ansi:
        bands = {f"band-{name[-1]}": colour for name, colour in _CURVES_ANSI.items() if name.startswith("curve")}
        return {**_CURVES_ANSI, **bands, "dim": "ansi_default", "bar": "ansi_default"}
    curves = _CURVES_DARK if theme.dark else _CURVES_LIGHT
    ground, text = _rgb(base["background"]), _rgb(base["foreground"])
    everywhere = [ground, _rgb(base["surface"]), _rgb(base["panel"])]
    found = {"dim": faded(text, everywhere, DIM), "bar": faded(text, [ground], BAR)}
    for name, colour in curves.items():
        if name.startswith("curve"):
            found[f"band-{name[-1]}"] = faded(_rgb(colour), [ground], BAND)
    return {**curves, **{name: Color(*colour).hex for name, colour in found.items()}}


def _rgb(colour: str) -> Colour:
    return Color.parse(colour).rgb


def ground_of_terminal(environ: Mapping[str, str]) -> str:
    """The name of the theme for the terminal's ground, as far as `COLORFGBG` tells it; dark where it does not."""
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name
