"""The program in a real terminal: what it draws, what it writes, and how it leaves."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .checkpoints import write_checkpoint
from .conftest import RunSvdtui
from .terminal import Terminal

DRAWN = re.compile("[\u2801-\u28ff]")
"""Braille: a curve is on screen, and so the selection is computed."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny", layers=3).folder


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
def test_a_head_is_drawn_with_its_figures(svdtui: list[str], folder: Path, size: tuple[int, int]) -> None:
    with Terminal([*svdtui, str(folder), "--at", "1.2"], size=size) as terminal:
        terminal.wait_for("layer 1 · head 2")
        terminal.wait_for("first/last")
        terminal.wait_for(DRAWN)
        assert all(len(line) <= size[0] for line in terminal.lines())
        terminal.press("q")
        assert terminal.wait_exit() == 0


LEAVE: dict[str, tuple[Callable[[Terminal], None], int]] = {
    "q": (lambda t: t.press("q"), 0),
    "ctrl+c": (lambda t: t.press("ctrl+c"), 0),
    "ctrl+q": (lambda t: t.press("ctrl+q"), 0),
    "SIGTERM": (lambda t: t.signal(signal.SIGTERM), 128 + signal.SIGTERM),
    "SIGHUP": (lambda t: t.signal(signal.SIGHUP), 128 + signal.SIGHUP),
    "SIGINT": (lambda t: t.signal(signal.SIGINT), 128 + signal.SIGINT),
}


@pytest.mark.parametrize("way", LEAVE)
def test_every_way_out_restores_the_terminal_and_leaves_no_process(svdtui: list[str], folder: Path, way: str) -> None:
    leave, status = LEAVE[way]
    with Terminal([*svdtui, str(folder)]) as terminal:
        terminal.wait_for("layer 0 · head 0")
        leave(terminal)
        assert terminal.wait_exit() == status
        assert terminal.is_restored
        assert not terminal.processes()


def test_closing_the_window_leaves_no_process(svdtui: list[str], folder: Path) -> None:
    with Terminal([*svdtui, str(folder)]) as terminal:
        terminal.wait_for("first/last")
        terminal.hang_up()
        terminal.wait_exit()
        assert not terminal.processes()


def test_the_export_and_the_command_line_write_the_same_bytes(
    svdtui: list[str], run_svdtui: RunSvdtui, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with Terminal([*svdtui, str(folder), "--at", "1.2"], size=(120, 30)) as terminal:
        terminal.wait_for(DRAWN)
        terminal.press("e")
        terminal.wait_for("Exported")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert "exception" not in terminal.text()
    names = sorted(path.name for path in Path().iterdir())
    assert names == ["tiny.layer-1.head-2.metrics.csv", "tiny.layer-1.head-2.spectra.csv"]
    done = run_svdtui(folder, "--layer", "1", "--head", "2", "--csv", "m.csv", "--spectra-csv", "s.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("m.csv").read_bytes() == Path(names[0]).read_bytes()
    assert Path("s.csv").read_bytes() == Path(names[1]).read_bytes()


def test_without_colour_no_colour_is_written(svdtui: list[str], folder: Path) -> None:
    with Terminal([*svdtui, str(folder)], env={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for(DRAWN)
        terminal.wait_quiet()
        terminal.press("down", "]", "x", "c")
        terminal.wait_quiet()
        assert not re.search(rb"\x1b\[[\d;]*\b(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)[;m]", terminal.output)


def test_too_small_a_window_asks_for_room_and_recovers(svdtui: list[str], folder: Path) -> None:
    with Terminal([*svdtui, str(folder)], size=(100, 30)) as terminal:
        terminal.wait_for("first/last")
        terminal.resize(60, 15)
        terminal.wait_for("80")
        terminal.wait_gone("first/last")
        terminal.resize(100, 30)
        terminal.wait_for("first/last")


ROOM = (100, 30)


def test_a_window_that_is_smaller_for_a_moment_is_drawn_again(svdtui: list[str], folder: Path) -> None:
    with Terminal([*svdtui, str(folder), "--at", "1.0"], size=ROOM) as terminal:
        terminal.wait_for("cached 3/3")
        terminal.wait_quiet()
        shown = terminal.text()
        terminal.resize(90, 25)
        terminal.resize(*ROOM)
        terminal.signal(signal.SIGWINCH)  # as when it hears of both sizes at once
        terminal.wait_for(lambda terminal: terminal.text() == shown)
        sent = len(terminal.output)
        terminal.signal(signal.SIGWINCH)
        terminal.wait_for(lambda terminal: terminal.output[sent:].count(b"first/last") == 1)


def test_the_place_is_remembered(svdtui: list[str], folder: Path) -> None:
    with Terminal([*svdtui, str(folder), "--at", "2.3.v"]) as terminal:
        terminal.wait_for("layer 2 · head 3 · V")
        terminal.press("q")
        terminal.wait_exit()
    with Terminal([*svdtui, str(folder)]) as terminal:
        terminal.wait_for("layer 2 · head 3 · V")


def test_the_demo_opens(svdtui: list[str]) -> None:
    with Terminal([*svdtui, "--demo"]) as terminal:
        terminal.wait_for("first/last")
        assert "8 layers" in terminal.text()
