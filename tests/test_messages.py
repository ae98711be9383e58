"""What the screen says of itself: messages cover nothing, answers go with the place they are about."""

from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Region
from textual.screen import Screen
from textual.widgets._toast import Toast

from svdtui.engine import METRICS, Analysis
from svdtui.tui.widgets.painted import Painted
from tests.checkpoints import write_checkpoint
from tests.pilot import explorer, opened, press, shown, title, until

LONG = "/somewhere/" + "in-a-folder-with-a-long-name/" * 3 + "tiny.metrics.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("messages") / "tiny", layers=2).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
@pytest.mark.parametrize("lines", [1, 2, 5])
async def test_messages_cover_nothing_but_the_keys(folder: Path, size: tuple[int, int], lines: int) -> None:
    async with opened(folder, "0.1", size=size, messages=True) as pilot:
        for key in ("", "H", "f"):
            await press(pilot, *key)
            screen = pilot.app.screen

            def panes(screen: Screen[Any] = screen) -> dict[str, Region]:
                """Where tables, charts, the tree, a map or a page are, and the line that answers."""
                found = {widget.id or "": widget.region for widget in screen.query(Painted) if widget.id}
                return {name: region for name, region in found.items() if name != "keys"}

            before = panes()
            pilot.app.notify("A file is there.\n" * (lines - 1) + LONG[: size[0] - 4], severity="warning", markup=False)
            await until(pilot, lambda: any(toast.region.height for toast in screen.query(Toast)))  # noqa: B023
            await press(pilot)
            (toast,) = screen.query(Toast)
            assert toast.region.height == lines
            assert screen.region.contains_region(toast.region)
            assert not [name for name, region in panes().items() if region and toast.region.overlaps(region)]
            assert (panes() == before) == (lines == 1)  # nothing is drawn anew for a short one
            assert LONG[:60] in screen._compositor.render_strips()[toast.region.bottom - 1].text
            pilot.app.clear_notifications()
            await until(pilot, lambda: not screen.query(Toast))  # noqa: B023
            await press(pilot)
            assert panes() == before
            if key:
                await press(pilot, "escape")


async def test_an_answer_goes_with_the_place_that_it_is_about(folder: Path) -> None:
    async with opened(folder, "0.1") as pilot:
        for key, words in (("m", "select one in the tree"), ("P", "Nothing is pinned"), ("1", "Q is hidden")):
            await press(pilot, key)
            assert words in shown(pilot, "#status")
            await press(pilot, "down")
            assert words not in shown(pilot, "#status")
            await press(pilot, "up", "m")
        await press(pilot, "m", "]")
        assert "select one" not in shown(pilot, "#status")
        await press(pilot, "[", "[")
        assert "Layer 0 is the first." in shown(pilot, "#status")  # it has not moved


async def test_news_waits_for_an_answer_to_be_read(folder: Path) -> None:
    from svdtui.engine.events import ScanEnded

    async with opened(folder, "0.1", prefetch=False) as pilot:
        await press(pilot, "1")
        explorer(pilot).report(ScanEnded("The scan has computed 2 layers."))
        await press(pilot)
        assert "Q is hidden" in shown(pilot, "#status")
        await press(pilot, "down")
        assert "The scan has computed 2 layers." in shown(pilot, "#status")


async def test_news_stays_wherever_the_user_goes(folder: Path) -> None:
    from svdtui.engine.events import ScanEnded

    async with opened(folder, "0.1") as pilot:
        explorer(pilot).report(ScanEnded("The scan has computed 2 layers."))
        await press(pilot)
        await press(pilot, "down")
        assert "The scan has computed 2 layers." in shown(pilot, "#status")


async def test_at_80_columns_titles_are_worded_shorter_before_they_are_cut(tmp_path: Path) -> None:
    deep = write_checkpoint(tmp_path / "deep", layers=12, heads=12, kv_heads=4, hidden=96).folder
    with Analysis(deep, cache_dir=tmp_path / "cache") as analysis:
        analysis.scan()
    async with opened(deep, "10.11.k", size=(80, 24), prefetch=False) as pilot:
        titles = []
        for key in ("c", "c", "c"):
            await press(pilot, key)
            titles.append(title(pilot))
        for keys in (("home",), ("v",), ("v", "v", "v", "v", "g", *"10", "enter")):
            await press(pilot, *keys)
            for _ in METRICS:
                await press(pilot, "m")
                titles.append(title(pilot))
        assert len(set(titles)) == 3 + 3 * len(METRICS)
        assert not [each for each in titles if "…" in each]


async def test_v_says_whose_band_the_chart_has(folder: Path) -> None:
    async with opened(folder, "") as pilot:
        for matrix in "QKVO":
            await press(pilot, "v")
            assert f"median, 10–90 % of {matrix}" in title(pilot)
            assert f"the band is that of {matrix}." in shown(pilot, "#status")
        await press(pilot, "v", "1", "2", "3")
        assert "median, 10–90 % of O" in title(pilot)


@pytest.mark.parametrize(
    ("place", "keys", "offered"),
    [
        ("0.1", "", ("g go", "[ ] layer", "{ } head", "1-4 QKVO", "c curve", "x log", "e export", "q quit")),
        ("0.1.k", "", ("g go", "c curve", "x log", "e export")),
        ("0", "", ("m M metric", "v table", "o O sort", "H heat map", "s scan", "f findings")),
        ("", "", ("m M metric", "v table", "o O sort", "H heat map", "s scan", "f findings")),
        ("0.1", "H", ("esc back", "1-4 QKVO", "m M metric", "x log", "enter open", "g go")),
        ("0.1", "f", ("esc back", "1-5 finding", "g go", "s scan", "e export", "y copy")),
    ],
)
async def test_the_footer_offers_at_80_columns_what_matters(
    folder: Path, place: str, keys: str, offered: tuple[str, ...]
) -> None:
    async with opened(folder, place, size=(80, 24)) as pilot:
        await press(pilot, *keys)
        line = pilot.app.screen.query_one("#keys", Painted).render_line(0).text
        for words in ("? help", "^p menu", *offered):
            assert words in line


async def test_a_trouble_that_is_over_is_said_no_more(folder: Path) -> None:
    from svdtui.engine.events import Noticed

    async with opened(folder, "0.1", messages=True) as pilot:
        session = pilot.app.session  # type: ignore[attr-defined]
        session.notice = "The compute process died; trying once more."
        explorer(pilot).report(Noticed(session.notice))
        await until(pilot, lambda: bool(pilot.app.screen.query(Toast)))
        assert "trying once more" in shown(pilot, "#status")
        session.notice = ""
        explorer(pilot)._show_status()
        await until(pilot, lambda: not pilot.app.screen.query(Toast))
        assert "trying once more" not in shown(pilot, "#status")
