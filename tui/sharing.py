"""Taking results out of the program: CSV files, and the clipboard."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

from textual.screen import Screen

from svdtui.engine.csv_export import export
from svdtui.engine.errors import EngineError
from svdtui.engine.text import plural, printable
from svdtui.engine.views import Row, View

CLIPBOARD_LIMIT = 74_994
"""Bytes that every terminal with OSC 52 takes (the limit that hterm and others document)."""


async def export_view(screen: Screen[None], shown: View | Awaitable[View], hidden: frozenset[str]) -> None:
    """Write a view's table and its drawn curves as CSV into the current folder, and say where they are."""
    view = shown if isinstance(shown, View) else await shown
    if not view.rows:
        screen.notify("There is nothing to export yet.", severity="warning", markup=False)
        return

    def drawn(row: Row) -> bool:
        return view.address.head is None or view.address.matrix is not None or row.info.matrix not in hidden

    try:
        paths = await asyncio.to_thread(export, view, Path.cwd(), drawn)
    except (EngineError, OSError) as error:
        screen.notify(printable(str(error)), title="Not exported", severity="error", timeout=10, markup=False)
        return
    message = "\n".join(printable(str(path)) for path in paths)
    if view.missing:
        message += f"\n{plural(view.missing, 'matrix', 'matrices')} not computed yet: left out."
    screen.app.clear_notifications()
    screen.notify(message, title="Exported", timeout=8, markup=False)


def copy_table(screen: Screen[None], text: str, rows: int) -> None:
    """Send a table to the terminal's clipboard, and say what to do when it does not arrive."""
    if not rows:
        screen.notify("There is nothing to copy yet.", severity="warning", markup=False)
        return
    if "STY" in os.environ and "TMUX" not in os.environ:  # it would print a long sequence instead of passing it on
        message = "GNU screen passes nothing to a terminal's clipboard: press e for a file."
        screen.notify(message, severity="warning", timeout=8, markup=False)
        return
    size = len(text.encode()) * 4 // 3
    if size > CLIPBOARD_LIMIT:
        message = f"{plural(rows, 'row')} are too much for a terminal's clipboard: press e for a file."
        screen.notify(message, severity="warning", timeout=8, markup=False)
        return
    screen.app.copy_to_clipboard(text)
    screen.app.clear_notifications()
    screen.notify(_advice(rows), title="Copied", timeout=8, markup=False)


def _advice(rows: int) -> str:
    sent = f"{plural(rows, 'row')} sent to your terminal's clipboard."
    if os.environ.get("TMUX"):
        return (
            f"{sent} If nothing arrives, tell tmux: set -g set-clipboard on "
            "(and set -g allow-passthrough on when tmux runs inside tmux)."
        )
    return f"{sent} If nothing arrives, allow OSC 52 in its settings, or press e for a file."
