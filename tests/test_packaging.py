"""What `pip install svdtui` brings: built here from the tree, and once more from the source distribution."""

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

import svdtui.engine

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path

    def wheel_files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def sdist_files(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Built]:
    def build(tree: Path) -> Built:
        out = tmp_path_factory.mktemp("dist")
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
        return Built(wheel, sdist)

    return build


@pytest.fixture(scope="module")
def built(build: Callable[[Path], Built]) -> Built:
    return build(ROOT)


@pytest.mark.parametrize(
    "file",
    [
        "svdtui/engine/__init__.py",
        "svdtui/engine/worker.py",
        "svdtui/engine/py.typed",
        "svdtui/engine/demo/config.json",
        "svdtui/engine/demo/model.safetensors",
        "svdtui/tui/__init__.py",
        "svdtui/tui/cli.py",
        "svdtui/tui/app.tcss",
        "svdtui/tui/py.typed",
    ],
)
def test_the_wheel_holds(built: Built, file: str) -> None:
    assert file in built.wheel_files()


def test_the_wheel_holds_nothing_else(built: Built) -> None:
    places = {
        name.split("/")[0] if ".dist-info/" in name else "/".join(name.split("/")[:2]) for name in built.wheel_files()
    }
    assert places == {"svdtui/engine", "svdtui/tui", f"svdtui-{PROJECT['version']}.dist-info"}


def test_every_source_file_is_in_the_wheel(built: Built) -> None:
    sources = {
        f"svdtui/{path.relative_to(ROOT)}" for package in ("engine", "tui") for path in (ROOT / package).rglob("*.py")
    }
    assert sources <= built.wheel_files()


def test_the_wheel_is_licensed_and_named(built: Built) -> None:
    assert f"svdtui-{PROJECT['version']}.dist-info/licenses/LICENSE" in built.wheel_files()
    metadata = built.metadata()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_command_is_installed(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        entry_points = archive.read(f"svdtui-{PROJECT['version']}.dist-info/entry_points.txt").decode()
    assert "svdtui = svdtui.tui.cli:main" in entry_points


@pytest.mark.parametrize(
    "file",
    ["pyproject.toml", "README.md", "LICENSE", "engine/__init__.py", "tui/cli.py", "tests/conftest.py"],
)
def test_the_source_distribution_holds(built: Built, file: str) -> None:
    assert file in built.sdist_files()


def test_the_source_distribution_builds_the_same_wheel(
    built: Built, build: Callable[[Path], Built], tmp_path: Path
) -> None:
    subprocess.run(["tar", "-xzf", built.sdist, "-C", tmp_path], check=True)
    [tree] = tmp_path.glob("svdtui-*")
    assert build(tree).wheel_files() == built.wheel_files()


def test_the_program_knows_its_version() -> None:
    assert svdtui.engine.__version__ == PROJECT["version"]


def test_the_demo_is_small(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        demo = [entry.file_size for entry in archive.infolist() if "/engine/demo/" in entry.filename]
    assert 0 < sum(demo) <= 5_000_000
