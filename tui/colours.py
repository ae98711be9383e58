"""How many colours the terminal has."""

from enum import Enum
from typing import Any

from textual.app import App


class Depth(Enum):
    """What can be told by colour."""

    FEW = "no colour, or the terminal's own 16"
    SOME = "256 colours"
    MANY = "any colour"


def depth_of(app: App[Any]) -> Depth:
    """What the app's terminal can show, and the user wants to see."""
    if app.no_color or app.console.color_system in (None, "standard", "windows"):
        return Depth.FEW
    return Depth.SOME if app.console.color_system == "256" else Depth.MANY
