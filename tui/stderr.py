"""What is said beside the screen, on stderr: sentences, and a line on what is waited for that replaces itself."""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Self

import typer
from rich.cells import cell_len, set_cell_size

from svdtui.engine.text import printable

_BEAT = 0.1
"""Seconds between two changes of the line."""


def say(sentence: str) -> None:
    """`svdtui: ` and the sentence."""
    with suppress(OSError):  # nobody can be told
        typer.echo(f"svdtui: {printable(sentence)}", err=True)


class WaitingLine:
    """`svdtui: Asking huggingface.co for …`, gone at the end of the block; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._is_seen = sys.stderr is not None and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._shown = ""
        self._changed = 0.0
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
            if self._shown:
                self._write("")

    def say(self, doing: str) -> None:
        """Say something else; from any thread, as often as one likes."""
        if not self._is_seen:
            return
        with self._lock:
            if not self._ended and time.monotonic() - self._changed >= _BEAT:
                self._write(f"svdtui: {printable(doing)}" if doing else "")

    def _write(self, text: str) -> None:
        try:
            room = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        except OSError:
            room = 79
        text = text if cell_len(text) <= room else set_cell_size(text, max(0, room - 1)) + "…"
        if text != self._shown:
            blanks = " " * (cell_len(self._shown) - cell_len(text))  # every terminal knows a blank
            sys.stderr.write(f"\r{text}{blanks}\r{text}" if blanks else f"\r{text}")
            sys.stderr.flush()
            self._shown, self._changed = text, time.monotonic()
