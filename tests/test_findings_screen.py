"""The findings on screen: worked out beside the program, told in lines, taken out as files."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from svdtui.engine import Analysis
from svdtui.engine.evidence import gather
from svdtui.engine.findings import Findings, find
from svdtui.engine.findings_process import find_aside
from svdtui.engine.findings_text import findings_markdown
from svdtui.tui.findings_lines import VERDICTS, findings_lines
from svdtui.tui.screens.findings import FindingsScreen
from svdtui.tui.widgets.page import Page
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, at, burst, explorer, opened, press, screens, shown_on, toasts, until

LAYERS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", layers=LAYERS, heads=8, hidden=128).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        analysis.view()
    return folder


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        return find(gather(analysis.model, analysis.tables))


def page(pilot: Screen) -> list[str]:
    """What is in view of the page."""
    shown = pilot.app.screen.query_one(Page)
    return [shown.render_line(y).text.rstrip("█ ") for y in range(shown.size.height)]


async def has_findings(pilot: Screen) -> None:
    await until(pilot, lambda: any("tested on this" in line for line in page(pilot)))


async def test_another_process_finds_the_same(folder: Path, findings: Findings) -> None:
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        assert await find_aside(gather(analysis.model, analysis.tables)) == findings


async def test_a_wait_that_is_cancelled_leaves_no_process(folder: Path) -> None:
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        task = asyncio.create_task(find_aside(gather(analysis.model, analysis.tables)))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("width", [40, 76, 156])
def test_the_page_fits_and_says_all_that_the_markdown_says(findings: Findings, width: int) -> None:
    lines, starts = findings_lines(findings, width)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert max(map(len, texts)) <= width
    assert len(starts) == 5
    words = " ".join(" ".join(texts).split())
    for number, (finding, start) in enumerate(zip(findings.findings, starts, strict=True), 1):
        assert f"{number} · {finding.title}"[: width - 10] in texts[start]
        sign, _ = VERDICTS[finding.verdict]
        assert f"{sign} {finding.verdict}" in words
        assert finding.statement in words
        for text in (*finding.paragraphs, *(part.claim for part in finding.parts)):
            assert " ".join(text.split()) in words


async def test_f_opens_the_findings_and_numbers_lead_to_each(folder: Path, findings: Findings) -> None:
    async with opened(folder, "0.0", size=(80, 24)) as pilot:
        await press(pilot, "f")
        assert isinstance(pilot.app.screen, FindingsScreen)
        await has_findings(pilot)
        for number, finding in enumerate(findings.findings, 1):
            sign, _ = VERDICTS[finding.verdict]
            assert any(f"{number}  {sign} {finding.verdict}" in line for line in page(pilot))
        await press(pilot, "3")
        assert findings.findings[2].title in page(pilot)[0]
        await press(pilot, "home", "pagedown", "up")
        assert page(pilot)[0] != ""
        await press(pilot, "escape")
        assert pilot.app.screen is explorer(pilot)


async def test_keys_pressed_while_they_are_tested_are_not_lost(
    folder: Path, findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STY", raising=False)
    async with opened(folder, "0.0", size=(80, 24)) as pilot:
        await burst(pilot, "fye4")
        assert not any("tested on this" in line for line in page(pilot))
        await until(pilot, lambda: findings.findings[3].title in page(pilot)[0])
        await until(pilot, lambda: "Exported" in toasts(pilot))
        assert (tmp_path / "tiny.findings.md").read_text() == pilot.app.clipboard == findings_markdown(findings)


async def test_g_goes_from_the_findings_to_a_place_in_the_explorer(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "f", *"g3.2.v", "enter")
        assert (at(pilot), screens(pilot)) == ("3.2.v", ["Explorer"])
        await press(pilot, "f", *"g3", "escape")
        assert screens(pilot) == ["Explorer", "FindingsScreen"]


async def test_they_are_exported_as_markdown_and_csv(
    folder: Path, findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "f")
        await has_findings(pilot)
        await press(pilot, "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        await press(pilot, "e")
        await until(pilot, (tmp_path / "tiny-2.findings.md").exists)
    assert (tmp_path / "tiny.findings.md").read_text() == findings_markdown(findings)
    rows = (tmp_path / "tiny.candidates.csv").read_text().splitlines()
    assert len(rows) == 1 + len(findings.candidates)


async def test_what_is_missing_is_said_and_filled_in(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=LAYERS).folder
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await press(pilot, "f")
        await has_findings(pilot)
        assert any(f"1 of {LAYERS} layers computed" in line for line in page(pilot))
        await press(pilot, "escape", "s", "f")
        await has_findings(pilot)
        await until(pilot, lambda: not any("layers computed" in line for line in page(pilot)))


async def test_s_scans_and_y_copies_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STY", raising=False)
    folder = write_checkpoint(tmp_path / "tiny", layers=3).folder
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await press(pilot, "f")
        await has_findings(pilot)
        await press(pilot, "s")
        await until(pilot, lambda: not any("layers computed" in line for line in page(pilot)))
        await press(pilot, "y")
        await until(pilot, lambda: "Copied" in toasts(pilot))


async def test_a_page_older_than_what_is_computed_says_so_and_is_not_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STY", raising=False)
    gate: asyncio.Queue[None] = asyncio.Queue()

    async def slow(*args: Any) -> Findings:  # as on first use, before scipy is compiled
        found = await find_aside(*args)
        await gate.get()
        return found

    monkeypatch.setattr("svdtui.tui.screens.findings.find_aside", slow)
    folder = write_checkpoint(tmp_path / "tiny", layers=3).folder
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await press(pilot, "f", "s")
        session = pilot.app.screen.session  # type: ignore[attr-defined]
        await until(pilot, lambda: session.cached == 3)
        gate.put_nowait(None)
        await has_findings(pilot)
        assert any("Tested on 1 of 3 layers; being tested again" in line for line in page(pilot))
        await press(pilot, "e", "y")
        assert "newest findings" in shown_on(pilot.app.screen, "#status")
        pilot.app.screen._status.move_on()  # type: ignore[attr-defined]
        assert "Testing the statements again" in shown_on(pilot.app.screen, "#status")
        assert toasts(pilot) == ""
        gate.put_nowait(None)
        await until(pilot, lambda: "Exported" in toasts(pilot))
        assert not any("being tested again" in line for line in page(pilot))
        assert "Testing" not in shown_on(pilot.app.screen, "#status")
        text = (tmp_path / "tiny.findings.md").read_text()
        assert text == pilot.app.clipboard
        assert "Incomplete" not in text


async def test_a_model_without_heads_has_no_figures_to_judge(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", config=False).folder
    async with opened(folder, ready=False) as pilot:
        await press(pilot, "f")
        await has_findings(pilot)
        assert sum("? not enough data" in line for line in page(pilot)) >= 5
