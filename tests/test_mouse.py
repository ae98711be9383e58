"""What the mouse does: the wheel scrolls and selects nothing, and a click on the head of a column sorts."""

from pathlib import Path

import pytest
from textual import events

from svdtui.engine import Analysis
from svdtui.tui.widgets.heatmap import HeatMap
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, at, explorer, opened, press, shown, until

MANY = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small layers of four heads over two KV heads, all heads computed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("mouse") / "tiny", layers=MANY).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


async def wheel(pilot: Screen, selector: str, turns: int) -> None:
    """Turn the wheel down, or up."""
    kind = events.MouseScrollDown if turns > 0 else events.MouseScrollUp
    for _ in range(abs(turns)):
        await pilot._post_mouse_events([kind], selector, offset=(4, 8))
    await press(pilot)


async def click_head(pilot: Screen, word: str) -> None:
    """Click on the head of a column."""
    lines = shown(pilot, "#results").splitlines()
    row, line = next((y, line) for y, line in enumerate(lines) if not set("│┤─└") & set(line) and word in line)
    await pilot.click("#results", offset=(line.index(word), row))
    await press(pilot)


def column(pilot: Screen, count: int, first: str, place: int) -> list[str]:
    """What stands in one column of the table's first lines."""
    lines = shown(pilot, "#results").splitlines()
    start = next(i for i, line in enumerate(lines) if first in line and not set("│┤─└") & set(line))
    return [line.split()[place] for line in lines[start + 1 : start + 1 + count]]


async def test_the_wheel_scrolls_the_tree_and_selects_nothing(folder: Path) -> None:
    async with opened(folder, "1.2") as pilot:
        before = shown(pilot, "#results")
        assert "layer 0" in shown(pilot, "#tree")
        await wheel(pilot, "#tree", 4)
        assert "layer 1\n" not in shown(pilot, "#tree")
        assert "layer 22" in shown(pilot, "#tree")
        assert at(pilot) == "1.2"
        assert shown(pilot, "#results") == before
        explorer(pilot)._tree.repaint()  # as news about marks do
        assert "layer 22" in shown(pilot, "#tree")
        await wheel(pilot, "#tree", 40)
        assert shown(pilot, "#tree").splitlines()[-1].split()[0] == "lm_head"
        await press(pilot, "down")
        assert at(pilot) == "1.3"
        assert "head 3" in shown(pilot, "#tree")  # the cursor is in view again
        await wheel(pilot, "#tree", -40)
        assert shown(pilot, "#tree").splitlines()[0].split()[0] == "model"


@pytest.mark.parametrize(("place", "keys"), [("", ()), ("", ("tab",))])
async def test_the_wheel_scrolls_tables_and_the_cursor_stays(folder: Path, place: str, keys: tuple[str, ...]) -> None:
    async with opened(folder, place) as pilot:
        await press(pilot, *keys)
        await wheel(pilot, "#results", 3)
        assert column(pilot, 1, "layer", 0) == ["9"]
        assert explorer(pilot)._results._table.number == 0
        await wheel(pilot, "#results", 30)
        assert shown(pilot, "#results").splitlines()[-1].split()[0] == str(MANY - 1)
        if keys:
            await press(pilot, "down")
            assert column(pilot, 1, "layer", 0) == ["1"]  # the cursor is in view again


async def test_the_wheel_scrolls_the_heat_map_and_the_cursor_stays(tmp_path: Path) -> None:
    tall = write_checkpoint(tmp_path / "tall", layers=120, heads=32, kv_heads=4, hidden=64).folder
    async with opened(tall, "1.0", size=(80, 24), prefetch=False) as pilot:
        await press(pilot, "H")
        heat = pilot.app.screen.query_one("#heat", HeatMap)

        def lines() -> str:
            return "\n".join(heat.line(y).text.rstrip() for y in range(heat.size.height))

        await until(pilot, lambda: "layers 0–" in lines())
        await pilot._post_mouse_events([events.MouseScrollDown], "#heat", offset=(4, 8))
        await press(pilot)
        assert "layers 0–" not in lines()
        assert "1.0.q" in lines()  # what is read out is under the cursor still
        for _ in range(30):
            await pilot._post_mouse_events([events.MouseScrollDown], "#heat", offset=(4, 8))
        await press(pilot)
        assert "–119 of 120" in lines()
        await press(pilot, "down")
        assert "layers 0–" in lines()
        assert "2.0.q" in lines()


async def test_a_click_on_a_column_of_heads_or_layers_sorts_and_a_second_one_reverses(folder: Path) -> None:
    for place, lead in (("3", "head"), ("", "layer")):
        async with opened(folder, place) as pilot:
            shift = 2 if lead == "head" else 1
            await click_head(pilot, "K")
            figures = column(pilot, 4, "▼K", shift + 1)
            assert figures == sorted(figures, reverse=True)
            assert "Sorted by K, the largest on top." in shown(pilot, "#status")
            await click_head(pilot, "K")
            figures = column(pilot, 4, "▲K", shift + 1)
            assert figures == sorted(figures)
            await click_head(pilot, lead)
            assert column(pilot, 4, f"▲{lead}", 0) == ["0", "1", "2", "3"]
            await click_head(pilot, lead)
            assert column(pilot, 1, f"▼{lead}", 0) != ["0"]


async def test_a_click_on_a_column_of_matrices_sorts_them(folder: Path) -> None:
    async with opened(folder, "5.1") as pilot:
        await press(pilot, "tab", "down")
        for name, place in (("top-10", 3), ("σ₁", 1), ("10/n", 4)):
            await click_head(pilot, name)
            figures = [float(figure) for figure in column(pilot, 4, f"▼{name}", place)]
            assert figures == sorted(figures, reverse=True)
            await click_head(pilot, name)
            figures = [float(figure) for figure in column(pilot, 4, f"▲{name}", place)]
            assert figures == sorted(figures)
        assert explorer(pilot)._results.address.matrix == "k"  # the cursor's line has moved with it
        await click_head(pilot, "matrix")
        assert column(pilot, 4, "matrix", 0) == ["Q", "K", "V", "O"]
        await click_head(pilot, "matrix")
        assert column(pilot, 4, "matrix▼", 0) == ["O", "V", "K", "Q"]


async def test_tables_of_whole_matrices_sort_too(tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain", layers=1, config=False).folder
    with Analysis(plain, cache_dir=tmp_path / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    async with opened(plain, "0", ready=False) as pilot:
        await until(pilot, lambda: "σ₁" in shown(pilot, "#results"))
        rows = len(analysis.model.matrices(explorer(pilot).address))
        await click_head(pilot, "σ₁")
        figures = [float(figure) for figure in column(pilot, rows, "▼σ₁", 1)]
        assert figures == sorted(figures, reverse=True)
