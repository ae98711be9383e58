"""ctrl+z and `fg` in a real shell: the terminal is the shell's meanwhile, and the screen comes back as it was."""

import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .checkpoints import write_checkpoint
from .terminal import Terminal

PROMPT = "ready> "

FULL_SCREEN = frozenset({1000, 1003, 1004, 1006, 1049})
"""What a shell does not want: the mouse, the focus, the other screen."""

VIEWS = {
    "a head": ([], "layer 0 · head 0"),
    "the heat map": (["H"], "layer × head"),
    "findings": (["f"], "tested on this"),
    "help": (["?"], "esc closes"),
    "the palette": (["ctrl+p"], "All metrics of a matrix"),
    "an address being typed": (["g", *"1.1"], "Go to"),
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    environment = {"PS1": PROMPT, "PS2": "", "PROMPT_COMMAND": None, "HISTFILE": None, "BASH_ENV": None}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], size=(100, 30), env=environment, cwd=tmp_path) as terminal:
        terminal.wait_for(PROMPT.strip())
        yield terminal


@pytest.fixture
def command(svdtui: list[str], tmp_path: Path) -> str:
    folder = write_checkpoint(tmp_path / "tiny", layers=2).folder
    return shlex.join([*svdtui, str(folder), "--at", "0.0"])


def stop(shell: Terminal) -> None:
    """ctrl+z, and a shell that answers. It clears the screen, since this terminal has no second one."""
    shell.press("ctrl+z")
    shell.wait_for("Stopped")
    shell.send("clear\r")
    shell.wait_for(lambda terminal: terminal.text().strip() == PROMPT.strip())
    assert not modes(shell) & FULL_SCREEN


def resume(shell: Terminal, text: str) -> None:
    """`fg`, and what is on the screen then."""
    shell.send("fg\r")
    shell.wait_for(lambda terminal: terminal.text() == text)
    shell.wait_for(lambda terminal: modes(terminal) >= FULL_SCREEN)


def modes(terminal: Terminal) -> frozenset[int]:
    """The private modes that are on."""
    return terminal.private_modes


def test_every_view_is_drawn_again_at_the_size_of_then(shell: Terminal, command: str) -> None:
    shell.send(command + "\r")
    shell.wait_for("cached 2/2 layers")
    for keys, text in VIEWS.values():
        for key in keys:
            shell.press(key)
        shell.wait_for(text)
        shell.wait_quiet()
        shown = shell.text()
        shell.resize(120, 34)
        shell.wait_for(lambda terminal, shown=shown: terminal.text() != shown)  # type: ignore[misc]
        shell.wait_quiet()
        larger = shell.text()
        shell.resize(100, 30)
        shell.wait_for(lambda terminal, shown=shown: terminal.text() == shown)  # type: ignore[misc]
        stop(shell)
        resume(shell, shown)
        stop(shell)
        shell.resize(120, 34)
        resume(shell, larger)
        shell.resize(100, 30)
        shell.wait_for(lambda terminal, shown=shown: terminal.text() == shown)  # type: ignore[misc]
        if keys:
            shell.press("escape")
            shell.wait_gone(text)
    shell.press("q")
    shell.wait_for(PROMPT.strip())
    shell.send("echo status=$?\r")
    shell.wait_for("status=0")


def test_a_program_that_started_it_stops_too(shell: Terminal, command: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"demo:\n\t@{command}; echo it ended with $$?\n")
    shell.send("make demo\r")
    shell.wait_for("cached 2/2 layers")
    shell.wait_quiet()
    shown = shell.text()
    stop(shell)
    resume(shell, shown)
    shell.press("q")
    shell.wait_for("it ended with 0")


def test_in_the_background_it_waits_for_the_foreground(shell: Terminal, command: str) -> None:
    shell.send(command + "\r")
    shell.wait_for("cached 2/2 layers")
    shell.wait_quiet()
    shown = shell.text()
    stop(shell)
    shell.send("bg; sleep 0.3; clear\r")
    shell.wait_for(lambda terminal: terminal.text().strip().endswith(PROMPT.strip()))
    resume(shell, shown)
    shell.press("q")
    shell.wait_for(PROMPT.strip())


def test_a_stop_of_which_it_was_not_told(svdtui: list[str], tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=2).folder
    with Terminal([*svdtui, str(folder), "--at", "0.0"], size=(100, 30)) as terminal:
        terminal.wait_for("cached 2/2 layers")
        terminal.wait_quiet()
        terminal.signal(signal.SIGSTOP)
        terminal.signal(signal.SIGCONT)
        terminal.wait_for(lambda terminal: terminal.output.count(b"\x1b[?1049h") == 2)
        terminal.send("]")
        terminal.wait_for("layer 1 · head 0")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.is_restored


def test_without_a_shell_there_is_nothing_to_go_back_to(svdtui: list[str], tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=2).folder
    with Terminal([*svdtui, str(folder), "--at", "0.0"], size=(100, 30)) as terminal:
        terminal.wait_for("first/last")
        terminal.press("ctrl+z")
        terminal.wait_for("No shell waits")
        terminal.send("]")
        terminal.wait_for("layer 1 · head 0")
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.is_restored


def test_a_window_that_is_closed_while_it_is_stopped(shell: Terminal, command: str) -> None:
    shell.send(command + "\r")
    shell.wait_for("first/last")
    stop(shell)
    shell.hang_up()
    shell.wait_exit()
    psutil.wait_procs(shell.processes(), 10)
    assert not shell.processes()
