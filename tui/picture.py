"""A picture of the screen as SVG, in the current folder."""

from pathlib import Path
from typing import Any

from textual.app import App

from svdtui.engine.csv_export import file_name, free_paths, write_text
from svdtui.engine.outputs import PICTURE
from svdtui.engine.text import printable

from .sharing import write


async def save_picture(app: App[Any], model: str, place: str) -> None:
    """Save the screen as `MODEL.PLACE.svg`, and say where it is; files that exist stay.

    `place` is the part of the name that says what is shown, such as `.layer-12.head-5`.
    """
    svg = app.export_screenshot(title=f"svdtui {printable(model)}")

    def writing() -> list[Path]:
        (path,) = free_paths(Path.cwd(), f"{file_name(model)}{place}", ".svg")
        write_text(path, svg, PICTURE)
        return [path]

    await write(app.screen, writing, "Saved")
