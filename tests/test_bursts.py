"""Keys that arrive together do what they do one by one, and below the smallest size they do nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.app import App
from textual.command import CommandList
from textual.widgets import Input
from textual.widgets.option_list import Option

from svdtui.engine import Analysis
from svdtui.tui.screens.palette import Palette
from svdtui.tui.turns import settled
from svdtui.tui.typed import Typed
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, at, burst, explorer, opened, press, rested, screens, shown, shown_on, until
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers, all computed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("bursts") / "tiny", layers=3).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


@pytest.fixture
async def pilot(folder: Path) -> AsyncIterator[Screen]:
    async with opened(folder, "0.0", size=(100, 30)) as pilot:
        yield pilot


BURSTS = {
    "g1\r\r": (["Explorer"], "1"),
    "g1.2.q\r": (["Explorer"], "1.2.q"),
    "g1.2.q\r\r\r": (["Explorer"], "1.2.q"),
    "g9\r\r": (["Explorer", "Goto"], "0.0"),
    "gq\x1b": (["Explorer"], "0.0"),
    "\x10heat map\r": (["Explorer", "Heat"], "0.0"),
    "\x10heat map\r\r": (["Explorer"], "0.0.q"),
    "\x10\x1b[6~\x1b[5~": (["Explorer", "Palette"], "0.0"),
    "\x10no such command\x1b[5~\x1b[6~\x1b[A\x1b[B\r": (["Explorer", "Palette"], "0.0"),
    "\x10no such command\r\r": (["Explorer", "Palette"], "0.0"),
    "?jq": (["Explorer", "Help"], "0.0"),
    "H\x1b[B\r": (["Explorer"], "1.0.q"),
    "Hg2.3.v\r\r": (["Explorer"], "2.2.v"),
    "fg1.1.k\r": (["Explorer"], "1.1.k"),
    "HHff]": (["Explorer"], "1.0"),
    "?g2.1\r": (["Explorer"], "2.1"),
    "pq]": (["Explorer"], "1.0"),
    "p]]": (["Explorer"], "1.0"),
    "g\x1b[200~1.3.o\x1b[201~\r": (["Explorer"], "1.3.o"),
}
"""What arrives in one read; the screens that are open then, and the place."""


@pytest.mark.parametrize("data", BURSTS, ids=ascii)
async def test_each_key_finds_what_the_one_before_has_made(pilot: Screen, data: str) -> None:
    await burst(pilot, data)
    assert (screens(pilot), at(pilot)) == BURSTS[data]
    assert not pilot.app._exit


async def test_the_same_keys_one_by_one_lead_to_the_same_place(folder: Path) -> None:
    chance = random.Random(13)
    words = [
        "g1.2\r",
        "g2.0.v\r",
        "gmodel\r",
        "g0\r\r",
        "H",
        "f",
        "?",
        "\x10",
        "\r",
        "\x1b[B",
        "\x1b[C",
        "p",
        "2",
        "[",
        "]",
        "}",
        "j",
        "x",
    ]
    for _ in range(5):
        typed = "".join(chance.choices(words, k=6)) + "gg"  # an escape would begin a code with what follows
        places = []
        for pieces in ([typed], typed.replace("\x1b[B", "\0").replace("\x1b[C", "\1")):
            async with opened(folder, "0.0") as pilot:
                for piece in pieces:
                    await burst(pilot, piece.replace("\0", "\x1b[B").replace("\1", "\x1b[C"))
                places.append((screens(pilot), at(pilot)))
        assert places[0] == places[1], repr(typed)


async def test_a_list_of_commands_that_is_not_laid_out_yet_has_no_pages(pilot: Screen) -> None:
    palette = Palette()
    await pilot.app.push_screen(palette)
    palette.query_one(CommandList).add_options([Option("first"), Option("second")])
    palette._list_visible = True
    assert palette.is_at_work
    for action in ("page_down", "page_up"):
        palette._action_command_list(action)
    await rested(pilot)
    await burst(pilot, "\x1b[6~\x1b[5~")
    assert screens(pilot) == ["Explorer", "Palette"]


async def test_letters_that_arrive_together_in_a_text_field_take_one_turn(
    pilot: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    async def counted(app: App[int]) -> None:
        nonlocal turns
        turns += 1
        await settled(app)

    monkeypatch.setattr("svdtui.tui.turns.settled", counted)
    await burst(pilot, "\x10" + "no such command " * 6 + "!")
    assert turns < 6
    await until(pilot, lambda: pilot.app.screen.query_one(Input).value == "no such command " * 6 + "!")


async def test_a_screen_leaves_once_and_not_before_what_lies_over_it(pilot: Screen) -> None:
    await press(pilot, "H")
    heat = pilot.app.screen
    await press(pilot, "question_mark")
    heat.dismiss(None)
    heat.dismiss(None)
    await press(pilot, "down")
    assert screens(pilot) == ["Explorer", "Heat", "Help"]
    await press(pilot, "escape")
    await until(pilot, lambda: screens(pilot) == ["Explorer"])


def test_two_enters_over_a_slow_line(svdtui: list[str], folder: Path, tmp_path: Path) -> None:
    with Terminal([*svdtui, str(folder), "--at", "0.0"], size=(100, 30), cwd=tmp_path) as terminal:
        terminal.wait_for("layer 0 · head 0")
        for keys, text in (
            ("g1\r\r", "layer 1 · top-10"),
            ("\x10export\r\r", "Export"),
            ("g2.1.q\r", "layer 2 · head 1 · Q"),
        ):
            terminal.send(keys)
            terminal.wait_for(text)
        terminal.press("q")
        assert terminal.wait_exit() == 0


# a terminal that is too small -------------------------------------------------------------------------------


OPEN = {"nothing": (), "help": ("question_mark",), "the palette": ("ctrl+p",), "an address": ("g",), "the map": ("H",)}


@pytest.mark.parametrize("before", OPEN)
async def test_below_the_smallest_size_only_q_acts(pilot: Screen, before: str) -> None:
    await press(pilot, *OPEN[before])
    opened_before = screens(pilot)
    await pilot.resize_terminal(70, 20)
    await until(pilot, lambda: screens(pilot) == [*opened_before, "TooSmall"])
    for key in ("ctrl+p", "question_mark", "g", "E", "H", "f", "enter", "escape", "1", "down", "p", "s", "f1"):
        await press(pilot, key)
        assert screens(pilot) == [*opened_before, "TooSmall"], key
    assert at(pilot) == "0.0"
    await pilot.resize_terminal(100, 30)
    await until(pilot, lambda: screens(pilot) == opened_before)
    await pilot.resize_terminal(20, 3)
    await until(pilot, lambda: screens(pilot) == [*opened_before, "TooSmall"])
    await press(pilot, "q")
    assert pilot.app.return_code == 0


async def test_what_comes_up_while_it_is_too_small_is_there_afterwards(pilot: Screen) -> None:
    await pilot.resize_terminal(70, 20)
    await until(pilot, lambda: screens(pilot) == ["Explorer", "TooSmall"])
    explorer(pilot).action_goto()  # as a key does that was under way
    await until(pilot, lambda: screens(pilot)[-1] == "TooSmall")
    assert "70×20" in "".join(shown_on(pilot.app.screen, "Sentence").split("\n"))
    await pilot.resize_terminal(100, 30)
    await until(pilot, lambda: screens(pilot)[-1] == "Goto")
    await press(pilot, "escape")
    await until(pilot, lambda: screens(pilot) == ["Explorer"])
    await press(pilot, "]")
    assert "layer 1" in shown(pilot, "#results")


async def test_an_answer_that_was_under_way_is_given_when_there_is_room(pilot: Screen) -> None:
    await press(pilot, *"g1.1")
    goto = pilot.app.screen
    await pilot.resize_terminal(70, 20)
    await until(pilot, lambda: screens(pilot)[-1] == "TooSmall")
    await goto.query_one("#goto-input").run_action("submit")
    await rested(pilot)
    assert screens(pilot) == ["Explorer", "Goto", "TooSmall"]
    await pilot.resize_terminal(100, 30)
    await until(pilot, lambda: screens(pilot) == ["Explorer"] and at(pilot) == "1.1")


@pytest.mark.parametrize("keys", ["\x10", "\x10x", "\x10\x10\r"])
async def test_a_palette_that_goes_at_once_leaves_nothing_behind(folder: Path, keys: str) -> None:
    async with opened(folder, "0.0", ready=False) as pilot:
        driver = pilot.app._driver
        assert driver is not None
        for event in Typed().events(keys.encode()):
            driver.process_message(event)
        for _ in range(20):  # and the program ends while it opens
            await asyncio.sleep(0)
    async with opened(folder, "0.0", ready=False) as pilot:
        for _ in range(5):
            await burst(pilot, keys + "\x1b")
        assert screens(pilot) == ["Explorer"]
