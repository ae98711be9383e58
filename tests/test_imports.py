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
def test_torch_is_left_to_the_worker_and_its_device(module: str) -> None:
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
def test_no_process_needs_torch_to_compute_on_the_cpu(svdtui: list[str], tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "tiny").folder
    with Terminal([*svdtui, model, "--at", "0.0.q", "--device", "cpu"]) as terminal:
        terminal.wait_for("effective rank")
        terminal.wait_for("2/2")
        processes = terminal.processes()
        assert len(processes) == 2
        assert not any(has_loaded_torch(process) for process in processes)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_the_cpu_is_chosen_without_torch(device: str) -> None:
    code = f"from svdtui.engine.device import choose_device; choose_device({device!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
