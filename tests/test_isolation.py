"""Nobody's Python files are run: not those of the current folder, which may be a model that somebody sent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui
from tests.poisoned import poison
from tests.terminal import Terminal


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A file that names each of the folder's modules that was run."""
    return tmp_path / "marks"


@pytest.fixture
def model(tmp_path: Path, marks: Path) -> Path:
    """A model whose folder is poisoned."""
    folder = write_checkpoint(tmp_path / "model", layers=3).folder
    poison(folder, marks)
    return folder


def test_nothing_of_the_folder_is_run_without_a_screen(run_svdtui: RunSvdtui, model: Path, marks: Path) -> None:
    done = run_svdtui(".", "--csv", "heads.csv", "--findings", "f.md", "--workers", "2", "--device", "cpu", cwd=model)
    assert (done.returncode, done.stderr) == (0, "")
    assert len((model / "heads.csv").read_text().splitlines()) == 1 + 3 * 4 * 4
    assert not marks.exists()


def test_nothing_of_the_folder_is_run_by_the_screen(svdtui: list[str], model: Path, marks: Path) -> None:
    with Terminal([*svdtui, ".", "--workers", "2", "--device", "cpu"], cwd=model) as terminal:
        terminal.wait_for("top-10")
        terminal.press("s")
        terminal.wait_for("cached 3/3")
        terminal.press("f")
        terminal.wait_for("not enough data")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert not marks.exists()


def test_nothing_of_the_folder_is_run_by_the_demo(svdtui: list[str], model: Path, marks: Path) -> None:
    with Terminal([*svdtui, "--demo"], cwd=model) as terminal:
        terminal.wait_for("cached ")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert not marks.exists()


def test_a_script_keeps_its_module_path_and_its_workers_have_no_current_folder(
    model: Path, marks: Path, tmp_path: Path
) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "usercustomize.py").write_text("")
    (lib / "sitecustomize.py").write_text(f"with open({str(marks)!r}, 'a') as marks: print('ours', file=marks)")
    (model / "lib").mkdir()
    poison(model / "lib", marks)
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys
from svdtui.engine import Analysis
os.environ["PYTHONPATH"] = ":.:lib:{lib}"
before = list(sys.path), dict(os.environ)
with Analysis(".", device="cpu") as analysis:
    analysis.scan(workers=2)
assert before == (sys.path, dict(os.environ))
""")
    subprocess.run([sys.executable, script], cwd=model, check=True)
    assert set(marks.read_text().splitlines()) == {"ours"}


def test_python_m_runs_only_what_python_itself_takes_from_there(model: Path, marks: Path, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text("import sys; print(*sys.modules)")
    probe = [sys.executable, "-P", "-m", "probe"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    before_us = subprocess.run(probe, env=environ, capture_output=True, text=True, check=True).stdout.split()
    for name in [*{name.partition(".")[0] for name in before_us}, "pkgutil"]:
        (model / f"{name}.py").unlink(missing_ok=True)
    for package in ("svdtui/tui", "svdtui/engine", "svdtui"):
        (model / package / "__init__.py").unlink()
        (model / package).rmdir()
    ours = [sys.executable, "-m", "svdtui.tui", ".", "--csv", "-", "--workers", "2", "--device", "cpu"]
    done = subprocess.run(ours, cwd=model, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model,revision,layer")
    assert not marks.exists()
