"""Who loads what: the screen never loads torch, the engine never loads a screen."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.checkpoints import write_checkpoint
from tests.terminal import Terminal

TERMINAL_LIBRARIES = {"textual", "plotext", "rich", "typer"}


def modules_after(*imports: str) -> set[str]:
    """Top-level names in `sys.modules` of a new process that has imported these."""
    code = f"import {', '.join(imports)}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def has_loaded_torch(process: psutil.Process) -> bool:
    try:
        return any("libtorch" in mapped.path for mapped in process.memory_maps())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("module", ["svdtui.tui.cli", "svdtui.tui.app", "svdtui.engine"])
def test_torch_is_left_to_the_worker(module: str) -> None:
    assert "torch" not in modules_after(module)


def test_plotext_waits_for_the_first_frame() -> None:
    assert "plotext" not in modules_after("svdtui.tui.app")


def test_scipy_waits_for_a_test_to_be_made() -> None:
    assert "scipy" not in modules_after("svdtui.tui.app", "svdtui.engine.findings", "svdtui.engine.findings_text")


def test_the_engine_needs_no_terminal() -> None:
    assert not modules_after("svdtui.engine") & TERMINAL_LIBRARIES


def test_the_engine_does_not_bring_the_screen() -> None:
    code = "import sys, svdtui.engine; print([name for name in sys.modules if name.startswith('svdtui.tui')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what a process has mapped")
def test_the_screen_runs_without_torch_while_its_worker_has_it(svdtui: list[str], tmp_path: Path) -> None:
    def worker_has_torch(terminal: Terminal) -> bool:
        return any(has_loaded_torch(process) for process in terminal.processes() if process.pid != terminal.pid)

    model = write_checkpoint(tmp_path / "tiny").folder
    with Terminal([*svdtui, model, "--at", "0.0.q"]) as terminal:
        terminal.wait_for(worker_has_torch, timeout=60)
        terminal.wait_quiet(1)
        assert terminal.exit_code is None
        assert not has_loaded_torch(psutil.Process(terminal.pid))
