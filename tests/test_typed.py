"""What a terminal may send: bytes that are no text, codes that name no character, and what is typed after them."""

import random
import re
import sys
from pathlib import Path

import pytest
from textual import events

from svdtui.tui.typed import Typed
from tests.checkpoints import write_checkpoint
from tests.terminal import Terminal

NOTHING = {
    "a Latin-1 letter": "é".encode("latin-1"),
    "a Latin-1 word": "Müßiggang".encode("latin-1").translate(None, b"Miggan"),
    "the beginning of a character": "€".encode()[:2],
    "an old mouse report, from column 96": b"\x1b[M \x80!",
    "another, of any bytes": b"\x1b[M\xff\xff\xff",
    "another, of bytes that are keys": b"\x1b[Mqqq",
    "a number that is no character": b"\x1b[1114112u",
    "one that no processor holds": b"\x1b[99999999999999999999u",
    "text that is no character": b"\x1b[97;1;1114112u",
    "half of a character": b"\x1b[55357u",
    "text that is half of one": b"\x1b[97;1;55357u",
    "alternates, which nobody asked for": b"\x1b[97:65;2u",
    "the kind of event, too": b"\x1b[97;1:3u",
    "a size of nothing": b"\x1b[48;0;0;0;0t",
    "a size of no terminal": b"\x1b[48;999999999;999999999;1;1t",
    "a click outside": b"\x1b[<0;999999999;999999999M",
}
"""Bytes that are to have no effect, whatever stands before and after them."""


def keys(*pieces: bytes) -> list[str]:
    typed = Typed()
    return [event.key for piece in pieces for event in typed.events(piece) if isinstance(event, events.Key)]


@pytest.mark.parametrize("kind", NOTHING)
def test_it_is_dropped_and_what_stands_around_it_is_read(kind: str) -> None:
    data = b"a" + NOTHING[kind] + b"b\x1b[Ac"
    assert keys(data) == ["a", "b", "up", "c"]
    assert keys(*(bytes([byte]) for byte in data)) == ["a", "b", "up", "c"]


def test_text_stays_text() -> None:
    assert keys("aé€🙂".encode()) == ["a", "é", "euro_sign", "slightly_smiling_face"]
    pasted = [event for event in Typed().events(b"\x1b[200~na\xefve\x1b[201~") if isinstance(event, events.Paste)]
    assert [event.text for event in pasted] == ["nave"]


def test_a_terminal_without_pixels_has_a_mouse_all_the_same() -> None:
    found = Typed().events(b"\x1b[48;30;100;0;0t\x1b[<0;12;5M")
    assert [(event.x, event.y) for event in found if isinstance(event, events.MouseDown)] == [(11, 4)]


def test_no_bytes_end_the_reading() -> None:
    chance = random.Random(16)
    alphabet = [
        *map(bytes, zip(range(256), strict=False)),
        b"\x1b[",
        b"\x1b[M",
        b"\x1b[<",
        b"\x1b[48;",
        b";",
        b":",
        b"u",
        b"t",
    ]
    for _ in range(300):
        typed = Typed()
        typed.events(b"".join(chance.choices(alphabet, k=chance.randrange(1, 60))))
        typed.events(b"\x1b[201~" + b" " * 40)  # whatever had begun has ended
        assert [event.key for event in typed.events(b"z") if isinstance(event, events.Key)] == ["z"]


def test_the_screen_lives_on_after_all_of_them(svdtui: list[str], tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=2).folder
    with Terminal([*svdtui, str(folder), "--at", "0.0"], size=(160, 30)) as terminal:
        terminal.wait_for("layer 0 · head 0")
        for number, bytes_of_no_use in enumerate(NOTHING.values()):
            terminal.send(bytes_of_no_use + b"]["[number % 2 :][:1])
            terminal.wait_for(f"layer {(number + 1) % 2} · head 0")
        terminal.press("g")
        terminal.wait_for("Go to")
        terminal.send(b"".join(NOTHING.values()) + b"\x1b[200~1.\xe91.\xfcq\x1b[201~")
        terminal.wait_for(re.compile(r"\b1\.1\.q\b"))
        terminal.press("enter")
        terminal.wait_for("layer 1 · head 1 · Q")
        terminal.press("q")
        assert terminal.wait_exit() == 0


FAILS = """
import sys
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.typed import Typed
def fail(*_): raise RuntimeError("on purpose")
{method} = fail
from svdtui.tui.cli import main
sys.argv = ["svdtui", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("method", ["SvdtuiApp.action_help", "Typed.waited"])
def test_a_screen_that_an_error_ends_says_so_in_its_exit_status(tmp_path: Path, method: str) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=1).folder
    with Terminal([sys.executable, "-c", FAILS.format(method=method), str(folder)]) as terminal:
        if method.startswith("SvdtuiApp"):
            terminal.wait_for("layer 0")
            terminal.press("?")
        assert terminal.wait_exit() == 1
        assert "on purpose" in terminal.output.decode()
