"""Taking results out of the program: CSV files, and the clipboard."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from textual.screen import Screen

from svdtui.engine.csv_export import export, export_grid, grid_csv
from svdtui.engine.errors import EngineError, ExportError
from svdtui.engine.grid import Grid
from svdtui.engine.model import Model
from svdtui.engine.outputs import Outputs
from svdtui.engine.text import plural, printable
from svdtui.engine.views import Row, View, shown_view

NOTHING_YET = "There is nothing to export yet."

CLIPBOARD_LIMIT = 74_994
"""Bytes that every terminal with OSC 52 takes (the limit that hterm and others document)."""


async def export_view(
    screen: Screen[Any],
    seen: View | Awaitable[View],
    hidden: frozenset[str],
    pinned: Sequence[Row],
    overview: Callable[[], str] = lambda: "",
) -> None:
    """Write what is shown as CSV into the current folder, and say where: rows, their spectra, and an overview's text.

    Hidden matrices are not shown, and pinned rows are.
    """
    view = shown_view(seen if isinstance(seen, View) else await seen, hidden, pinned)
    if not view.rows:
        why = "All that is here is hidden: 1 2 3 4 show it." if hidden and not view.missing else NOTHING_YET
        screen.notify(why, severity="warning", markup=False)
        return
    left_out = f"{plural(view.missing, 'row')} not computed yet: left out." if view.missing else ""
    await write(screen, lambda: export(view, Path.cwd(), overview()), "Exported", left_out)


async def export_heat_map(screen: Screen[Any], model: Model, grid: Grid, k: int) -> None:
    """Write a heat map as CSV into the current folder, and say where it is."""
    missing = int((~grid.computed).sum())
    if missing == len(grid.layers):
        screen.notify(NOTHING_YET, severity="warning", markup=False)
        return
    empty = f"{plural(missing, 'layer')} not computed yet: left empty." if missing else ""
    await write(screen, lambda: export_grid(model, grid, Path.cwd(), k), "Exported", empty)


async def write(screen: Screen[Any], writing: Callable[[], Sequence[Path]], title: str, remark: str = "") -> None:
    """Write files in a thread, and say where they are or why they are not; `title` is what has been done."""
    session = getattr(screen.app, "session", None)
    outputs = Outputs(cache_dir=session.store.root if session else None)
    try:
        outputs.check_place(Path.cwd())
        paths = await asyncio.to_thread(writing)
    except (EngineError, OSError) as error:
        failed, told = f"Not {title.lower()}", str(error)
        if isinstance(error, ExportError):
            told = f"{error.message} Files go into the folder in which svdtui was started."
        screen.notify(f"{failed}: {printable(told)}", severity="error", timeout=10, markup=False)
        return
    screen.app.clear_notifications()
    message = " · ".join(filter(None, (*(printable(str(path)) for path in paths), remark)))
    screen.notify(f"{title}: {message}", timeout=8, markup=False)


def copy_table(screen: Screen[Any], text: str, rows: int) -> None:
    """Send a table to the terminal's clipboard."""
    copy_text(screen, text, plural(rows, "row") if rows else "")


def copy_heat_map(screen: Screen[Any], grid: Grid) -> None:
    """Send a heat map to the terminal's clipboard, as text with tabs."""
    copy_text(screen, grid_csv(grid, "\t"), plural(len(grid.layers), "layer") if grid.computed.any() else "")


def copy_text(screen: Screen[Any], text: str, what: str) -> None:
    """Send text to the terminal's clipboard, and say what to do when it does not arrive; no `what`, nothing to send."""
    if not what:
        screen.notify("There is nothing to copy yet.", severity="warning", markup=False)
        return
    if "STY" in os.environ and "TMUX" not in os.environ:  # it would print a long sequence instead of passing it on
        message = "GNU screen passes nothing to a terminal's clipboard: press e for a file."
        screen.notify(message, severity="warning", timeout=8, markup=False)
        return
    size = len(text.encode()) * 4 // 3
    if size > CLIPBOARD_LIMIT:
        message = f"{what}: too much for a terminal's clipboard. Press e for a file."
        screen.notify(message, severity="warning", timeout=8, markup=False)
        return
    screen.app.copy_to_clipboard(text)
    screen.app.clear_notifications()
    screen.notify(f"Copied: {_advice(what)}", timeout=8, markup=False)


def _advice(what: str) -> str:
    sent = f"{what} sent to your terminal's clipboard."
    if os.environ.get("TMUX"):
        return (
            f"{sent} If nothing arrives, tell tmux: set -g set-clipboard on "
            "(and set -g allow-passthrough on when tmux runs inside tmux)."
        )
    return f"{sent} If nothing arrives, allow OSC 52 in its settings, or press e for a file."
