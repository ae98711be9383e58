"""Odd surroundings: no home, no threads, no memory, a full stdout, other encodings, what killed runs have left."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from svdtui.engine import Analysis, ChoiceError, DeviceError, Job, open_model, write_text
from svdtui.engine.compute import Computer
from svdtui.engine.limits import fit_to_limits, shortage
from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui
from tests.terminal import Terminal
from tests.test_bad_input import complaint, linux_only, sentence, shell
from tests.test_cli import here

_NOBODY = 54321
"""A user number that no system knows."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=1).folder


def without_home(*command: str | Path) -> list[str | Path]:
    """A command that is run by a user whom nobody knows, with an empty environment."""
    if os.geteuid() == 0:
        may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # Python may lie in root's home
        as_nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *may_read]
    else:
        as_nobody = ["unshare", "--user", f"--map-user={_NOBODY}"]
    if (
        not shutil.which(as_nobody[0])
        or subprocess.run([*as_nobody, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system lets nobody become an unknown user")
    return [*as_nobody, "env", "-i", f"PATH={os.environ['PATH']}", "TERM=xterm-256color", "LANG=C.UTF-8", *command]


# ---- no home ---------------------------------------------------------------------------------------------------


@linux_only
def test_without_a_home_nothing_is_kept_and_that_is_said(svdtui: list[str], model: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = subprocess.run(
        without_home(*svdtui, model, "--csv", "-"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + 4 * 4
    [line] = done.stderr.splitlines()
    assert sentence(line).startswith("Results cannot be kept: this user has no home folder, and HOME is not set.")
    assert not list(tmp_path.iterdir())


@linux_only
def test_the_screen_needs_no_home(svdtui: list[str], model: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with Terminal(without_home(*svdtui, model), cwd=tmp_path, size=(160, 45)) as terminal:
        terminal.wait_for("top-10")
        terminal.wait_for("this user has no home folder")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert not list(tmp_path.iterdir())


@linux_only
def test_a_model_on_the_hub_needs_a_home_or_hf_home(svdtui: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        without_home(*svdtui, "org/name", "--csv", "-"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Set HOME, or HF_HOME to a folder." in complaint(done, 2)


def test_a_current_folder_that_is_gone_is_a_sentence(svdtui: list[str], model: Path, tmp_path: Path) -> None:
    here_no_more = tmp_path / "here"
    here_no_more.mkdir()
    command = f"cd {here_no_more} && rmdir {here_no_more} && exec {{svdtui}} {{0}} --csv -"
    assert complaint(shell(command, svdtui, model)).startswith("The current folder is gone.")


# ---- limits ----------------------------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_too_few_threads_are_a_sentence(threads: int, svdtui: list[str], model: Path) -> None:
    limited = without_home("prlimit", f"--nproc={threads}", *svdtui, model, "--csv", "-")
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert "No more threads can be begun" in complaint(done)


@linux_only
@pytest.mark.parametrize("kilobytes", [100_000, 180_000])
def test_too_little_address_space_is_a_sentence(kilobytes: int, svdtui: list[str], model: Path) -> None:
    done = shell(f"ulimit -v {kilobytes}; exec {{svdtui}} {{0}} --csv -", svdtui, model)
    assert "MB more of address space, which svdtui needs" in complaint(done)


@linux_only
@pytest.mark.parametrize("kilobytes", [300_000, 350_000])
def test_with_little_address_space_fewer_threads_compute(kilobytes: int, svdtui: list[str], model: Path) -> None:
    done = shell(f"ulimit -v {kilobytes}; exec {{svdtui}} {{0}} --csv -", svdtui, model)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1 + 4 * 4


@linux_only
def test_a_shard_that_is_larger_than_the_address_space_is_a_sentence(svdtui: list[str], tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    with made.files[0].open("r+b") as file:  # all of it is mapped to judge its header
        file.truncate(2**30)
    done = shell("ulimit -v 900000; exec {svdtui} {0} --csv -", svdtui, made.folder)
    assert "its 1,073,741,824 bytes do not fit into the address space" in complaint(done)


def test_as_many_threads_as_fit_are_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    fit_to_limits()
    assert "OPENBLAS_NUM_THREADS" not in os.environ  # here are enough


def test_what_is_short_is_told_and_nothing_else() -> None:
    assert "not enough memory" in str(shortage(MemoryError()))
    assert "threads" in str(shortage(RuntimeError("can't start new thread")))
    assert shortage(RuntimeError("dictionary changed size")) is None
    assert shortage(ValueError()) is None


def test_the_cpu_is_not_advised_on_the_cpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(model)
    computer = Computer(opened, "gram64", "cpu")

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(computer, "_solve", full)
    with pytest.raises(DeviceError) as caught:
        computer.compute(Job(0, "heads"))
    computer.close()
    assert caught.value.hint == "Close other programs."


# ---- streams ---------------------------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize("request_", ["--help", "--version"])
def test_a_full_stdout_is_a_sentence(request_: str, svdtui: list[str]) -> None:
    done = shell(f"exec {{svdtui}} {request_} >/dev/full", svdtui)
    assert complaint(done) == "stdout cannot be written: No space left on device. Make room for it."


@linux_only
def test_a_wrong_request_is_one_also_when_that_cannot_be_said(svdtui: list[str]) -> None:
    assert shell("exec {svdtui} --nonsense 2>/dev/full", svdtui).returncode == 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "utf-8", "iso8859-15"])
def test_help_is_written_in_any_encoding(encoding: str, run_svdtui: RunSvdtui) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("svdtui"), "--help"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "Without a screen" in text
    assert "\\u" not in text
    assert run_svdtui("--version", env={"PYTHONIOENCODING": encoding}).returncode == 0


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_the_screen_says_that_it_needs_utf_8(environ: dict[str, str], svdtui: list[str]) -> None:
    with Terminal([*svdtui, "--demo"], env={**environ, "PYTHONCOERCECLOCALE": "0"}, size=(160, 24)) as terminal:
        assert terminal.wait_exit() == 1
        assert "svdtui: The screen needs UTF-8, and the terminal is said to use" in terminal.text()
        assert "Traceback" not in terminal.text()


# ---- weights that numpy warns of -------------------------------------------------------------------------------

_SIGNALLING = {
    torch.float16: (torch.int16, 0x7C01),
    torch.bfloat16: (torch.int16, 0x7F81),
    torch.float32: (torch.int32, 0x7F800001),
    torch.float64: (torch.int64, 0x7FF0000000000001),
}


@pytest.mark.parametrize("dtype", _SIGNALLING)
@pytest.mark.parametrize("solver", ["gram64", "svd32", "svd64"])
def test_numpy_says_nothing_of_weights(dtype: torch.dtype, solver: str, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1, dtype=dtype)
    whole, bits = _SIGNALLING[dtype]
    changed = {name: weight.clone() for name, weight in made.tensors.items() if weight.ndim == 2}
    for name, weight in changed.items():
        if name.endswith(("q_proj.weight", "gate_proj.weight")):
            weight.view(whole)[::3, ::5] = bits
        elif name.endswith("k_proj.weight"):
            weight[:] = torch.finfo(dtype).max
        elif name.endswith(("v_proj.weight", "up_proj.weight")):
            weight[0], weight[1] = torch.finfo(dtype).max, torch.finfo(dtype).tiny
    write_checkpoint(tmp_path / "m", layers=1, dtype=dtype, overrides=changed)
    for place in ((), ("--layer", "0", "--matrix", "gate_proj"), ("--layer", "0", "--matrix", "up_proj")):
        done = here(tmp_path / "m", "--csv", "-", *place, "--solver", solver)  # a warning would be an error
        assert "Warning" not in done.stderr
        assert done.exception is None or isinstance(done.exception, SystemExit)


# ---- what is kept ----------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def folders(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_is_kept_is_its_owners_alone(svdtui: list[str], model: Path, home: Path) -> None:
    before = os.umask(0o022)
    try:
        for folder in (home / "cache" / "svdtui" / "v2", home / "state" / "svdtui"):
            folder.mkdir(parents=True)  # as an earlier version has left them
        (home / "state" / "svdtui" / "worker.log").touch()
        with Terminal([*svdtui, model]) as terminal:
            terminal.wait_for("cached 1/1")
            terminal.press("q")
            assert terminal.wait_exit() == 0
    finally:
        os.umask(before)
    for root in (home / "cache" / "svdtui", home / "state" / "svdtui"):
        assert {mode(path) for path in folders(root)} == {0o700}
        assert {mode(path) for path in files(root)} == {0o600}
    assert {path.name for path in files(home / "state" / "svdtui")} == {"worker.log", "places.json"}


def test_a_cache_folder_of_the_users_keeps_its_permissions(model: Path, tmp_path: Path) -> None:
    shared, new = tmp_path / "shared", tmp_path / "new"
    shared.mkdir(0o750)
    for cache in (shared, new):
        with Analysis(model, device="cpu", cache_dir=cache) as analysis:
            analysis.scan()
    assert mode(shared) == 0o750
    assert {mode(path) for path in [*folders(shared)[1:], *folders(new)]} == {0o700}


def left(paths: Sequence[Path], *, hours: float) -> None:
    """Files as killed programs leave them, so long ago."""
    for path in paths:
        path.write_text("half a fi")
        os.utime(path, (time.time() - hours * 3600,) * 2)


def test_what_killed_runs_have_left_is_removed_when_it_is_old(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Analysis(model, device="cpu", cache_dir=cache) as analysis:
        analysis.scan()
    (result,) = files(cache)
    other = result.parent.parent / "svd64"
    other.mkdir()
    old = [result.parent / f".{result.name}.a1b2c3d4.tmp", other / ".layer-00000.heads.safetensors.zzzzzzzz.tmp"]
    fresh = [result.parent / f".{result.name}.e5f6a7b8.tmp"]
    foreign = [result.parent / ".nfs000012", result.parent / "notes.tmp"]
    left(old + foreign, hours=2)
    left(fresh, hours=0)
    Analysis(model, device="cpu", cache_dir=cache).close()
    assert set(files(cache)) == {result, *fresh, *foreign}

    out = tmp_path / "out"
    out.mkdir()
    old, others = [out / ".heads.csv.a1b2c3d4.tmp"], [out / ".heads.csv.bak.a1b2c3d4.tmp", out / ".mine.a1b2c3d4.tmp"]
    left(old + others, hours=2)
    write_text(out / "heads.csv", "model,revision,layer\n")
    assert set(files(out)) == {out / "heads.csv", *others}


def test_an_empty_cache_folder_is_no_choice(model: Path) -> None:
    for name in ("", " ", "~nobody-at-all/x"):
        assert here(model, "--csv", "-", "--cache-dir", name).exit_code == 2
    with pytest.raises(ChoiceError, match="cache_dir is empty"):
        Analysis(model, cache_dir="")


def test_a_cache_folder_in_the_home_is_there_and_not_in_a_folder_called_tilde(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert here(model, "--csv", "-", "--cache-dir=~/results").exit_code == 0
    assert not (tmp_path / "~").exists()
    assert files(tmp_path / "me" / "results")
