"""A picture of any screen as SVG."""

import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from svdtui.engine import Analysis
from svdtui.engine.text import printable
from svdtui.tui.screens.help import Help
from tests.checkpoints import write_checkpoint
from tests.pilot import opened, press, toasts, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("picture") / "tiny", layers=1).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        analysis.result(analysis.jobs()[0])
    return folder


def text_of(path: Path) -> str:
    """What can be read in a picture; fails when it is no XML."""
    return "".join(ET.parse(path).getroot().itertext()).replace("\xa0", " ")


async def test_every_screen_has_its_picture_and_none_is_overwritten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(folder, "0.2") as pilot:
        for keys, name, content in (
            ((), "tiny.layer-0.head-2.svg", "layer 0 · head 2"),
            ((), "tiny.layer-0.head-2-2.svg", "layer 0 · head 2"),
            (("H",), "tiny.heatmap.q.top10_ratio.svg", "layer × head"),
            (("?",), "tiny.help.svg", "Go to a head in the map"),
        ):
            await press(pilot, *keys, "E")
            path = tmp_path / name
            await until(pilot, path.exists)
            await until(pilot, lambda path=path: str(path) in toasts(pilot))  # type: ignore[misc]
            assert content in text_of(path)
            assert "Saved" not in text_of(path)  # what was said about the one before
        assert isinstance(pilot.app.screen, Help)
    assert sorted(name for name in os.listdir(tmp_path) if "." in name) == [  # noqa: PTH208 - in a coroutine
        "tiny.heatmap.q.top10_ratio.svg",
        "tiny.help.svg",
        "tiny.layer-0.head-2-2.svg",
        "tiny.layer-0.head-2.svg",
    ]


@pytest.mark.parametrize("name", [b"no utf-8 \xff", b"a key \x1b[31m", b"two\nlines", b"<&>"])
async def test_a_model_with_an_odd_name_has_its_picture(
    name: bytes, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    model = tmp_path / os.fsdecode(name)
    try:
        shutil.copytree(folder, model)
    except OSError:
        pytest.skip("this file system has no such names")
    async with opened(model, "0.2") as pilot:
        await press(pilot, "E")
        await until(pilot, lambda: "Saved" in toasts(pilot))
    (path,) = (tmp_path / "out").glob("*.svg")
    assert f"svdtui {printable(model.name)}" in text_of(path)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no folder that not even root may write to")
async def test_a_folder_that_may_not_be_written_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/sys/kernel")
    async with opened(folder, "0.2") as pilot:
        await press(pilot, "E")
        await until(
            pilot, lambda: "Not saved: /sys/kernel/tiny.layer-0.head-2.svg cannot be written: " in toasts(pilot)
        )


async def test_a_folder_that_is_gone_is_a_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "gone"
    target.mkdir()
    monkeypatch.chdir(target)
    async with opened(folder, "0.2") as pilot:
        target.rmdir()
        await press(pilot, "E")
        await until(pilot, lambda: "Not saved: " in toasts(pilot))
