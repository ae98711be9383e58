"""Everything that is written on the screen can be read, in both themes: a contrast of at least 4.5 (WCAG 2, AA)."""

import asyncio
from pathlib import Path

import pytest
import torch
from rich.color import ColorType
from rich.style import Style

from svdtui.engine import Analysis
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.contrast import READABLE, faded, ratio
from svdtui.tui.opener import Opener
from svdtui.tui.places import Places
from svdtui.tui.themes import DARK, LIGHT
from svdtui.tui.widgets.painted import Painted
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, opened, press, until
from tests.test_opening_screen import Gate

Found = dict[tuple[str, str], float]
"""Where something was drawn and in which style → its contrast."""

BLOCKS = {chr(code) for code in range(0x2580, 0x25A0)}
"""No text: shades of a map, scrollbars, frames."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers: two whole ones, one with NaN in its Q, and one that is not computed."""
    broken = {"model.layers.2.self_attn.q_proj.weight": torch.full((64, 64), torch.nan)}
    folder = write_checkpoint(tmp_path_factory.mktemp("contrast") / "tiny", layers=4, overrides=broken).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs()[:3]:
            analysis.result(job)
    return folder


def contrast_of(style: Style) -> float:
    """The contrast of a style that has colours of its own, as terminals with all of them show it."""
    assert style.color is not None
    assert style.bgcolor is not None
    assert not style.dim
    assert {style.color.type, style.bgcolor.type} == {ColorType.TRUECOLOR}, str(style)
    return ratio(style.color.get_truecolor(), style.bgcolor.get_truecolor())


def look_at(pilot: Screen, place: str, found: Found) -> None:
    """Note every style in which the screen shows text now, and every ink that its widgets have."""
    for strip in pilot.app.screen._compositor.render_strips():
        for text, style, _ in strip:
            if style is not None and set(text) - BLOCKS - {" ", "\u2800"}:
                found[place, f"{style} {text.strip()[:20]!r}"] = contrast_of(style)
    for widget in pilot.app.screen.query(Painted):
        for name in widget.COMPONENT_CLASSES:
            found[place, name] = contrast_of(widget.ink(name.removeprefix("ink--")))


def unreadable(found: Found) -> dict[tuple[str, str], float]:
    return {where: round(contrast, 2) for where, contrast in found.items() if contrast < READABLE}


@pytest.mark.parametrize("theme", [DARK.name, LIGHT.name])
async def test_every_screen_can_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", "truecolor")
    monkeypatch.chdir(tmp_path)
    found: Found = {}
    async with opened(
        folder, "0.1", size=(120, 36), prefetch=False, places=tmp_path / "places.json", messages=True
    ) as pilot:
        pilot.app.theme = theme
        for place, keys in (
            ("a head", ()),
            ("pinned", ("p", "1", "tab", "down", "p", "down", "p", "down", "p")),
            ("hidden", ("2", "4")),
            ("a matrix", ("2", "4", "tab", "right", "down")),
            ("the model", ("home",)),
            ("a band", ("v", "tab", "down")),
            ("NaN", ("v", "v", "v", "v", "tab", "g", "2", "enter")),
            ("not computed", ("g", "3", "enter", "escape")),
            ("an address", ("g",)),
            ("completions", ("1",)),
            ("no address", ("9",)),
            ("help", ("escape", "?")),
            ("the heat map", ("escape", "H", "down", "x")),
            ("its end", ("end", "3")),
            ("findings", ("escape", "f")),
            ("commands", ("escape", "ctrl+p")),
            ("a command", ("h", "e", "down")),
        ):
            await press(pilot, *keys)
            if place == "findings":
                await until(pilot, lambda: len(pilot.app.screen.query_one("#findings")._lines) > 10)  # type: ignore[attr-defined]
            if "command" in place:
                await asyncio.sleep(0.3)
                await press(pilot)
            look_at(pilot, place, found)
        await press(pilot, "escape")
        for severity in ("information", "warning", "error"):
            pilot.app.notify("what was done", title="Title", severity=severity)
        await until(pilot, lambda: len(pilot.app.screen.query("Toast")) == 3)
        await press(pilot)
        look_at(pilot, "messages", found)
        await pilot.resize_terminal(60, 20)
        await press(pilot)
        look_at(pilot, "too small", found)
    assert {place for place, _ in found} >= {"NaN", "findings", "the heat map", "messages", "too small"}
    assert not unreadable(found)


@pytest.mark.parametrize("theme", [DARK.name, LIGHT.name])
async def test_the_screen_while_a_model_is_opened_can_be_read(theme: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    app = SvdtuiApp(Opener("org/name", gate), places=Places(tmp_path / "places.json"))
    async with app.run_test(size=(80, 24)) as pilot:
        app.theme = theme
        await press(pilot)
        found: Found = {}
        look_at(pilot, "opening", found)
        assert found
        assert not unreadable(found)
        gate.open.set()


def test_what_stands_back_is_as_faint_as_can_be_read() -> None:
    black, white = (0, 0, 0), (255, 255, 255)
    for ground, ink in ((black, white), (white, black), ((40, 40, 40), (200, 220, 255))):
        found = faded(ink, [ground], 0.1)
        assert READABLE <= ratio(found, ground) < READABLE + 0.3
    assert faded(white, [black], 0.9) == (230, 230, 230)
    assert faded((130, 130, 130), [(120, 120, 120)], 0.5) == (130, 130, 130)  # no more than there is of it
