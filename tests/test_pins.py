"""Spectra that stay in the chart while the user moves on, and what an export makes of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from svdtui.engine import Address, Analysis, metrics_csv, open_model, spectra_csv
from svdtui.tui.pins import MOST, to_pin
from svdtui.tui.widgets.chart import chart
from svdtui.tui.widgets.curves import Spectrum, trace
from tests.checkpoints import decaying, write_checkpoint
from tests.pilot import Screen, at, explorer, opened, press, screens, shown, shown_on, toasts, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of four heads over two KV heads, all of them computed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("pins") / "tiny", layers=3).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
        analysis.result(analysis.jobs("0.down_proj")[0])
    return folder


def pinned(pilot: Screen) -> list[str]:
    """The labels of pinned curves at the right end of the chart, in the order of their letters."""
    upper = shown(pilot, "#results").splitlines()[1:-9]
    found = [line.split()[-2:] for line in upper if "." in line.split()[-1] and line.split()[-2:][0] in "abcd"]
    return [" ".join(words) for words in sorted(found)]


async def test_a_pin_stays_while_one_moves_anywhere(folder: Path) -> None:
    async with opened(folder, "0.3.q") as pilot:
        await press(pilot, "p")
        assert "Pinned 0.3.q." in shown(pilot, "#status")
        for place in ("1.2", "2.0.k", "0.down_proj", "0.3"):
            await press(pilot, *f"g{place}", "enter")
            await until(pilot, lambda: pinned(pilot) == ["a 0.3.q"])
        await press(pilot, *"g0", "enter")
        assert "a 0.3.q" not in shown(pilot, "#results")
        await press(pilot, *"g1.1", "enter", "t")  # without the tree there is more room
        assert pinned(pilot) == ["a 0.3.q"]


async def test_p_again_unpins_and_capital_p_unpins_all(folder: Path) -> None:
    async with opened(folder, "0.0.q") as pilot:
        await press(pilot, "p", "]", "p", "]", "p")
        assert pinned(pilot) == ["a 0.0.q", "b 1.0.q", "c 2.0.q"]
        await press(pilot, "[", "p")
        assert "Unpinned 1.0.q." in shown(pilot, "#status")
        assert pinned(pilot) == ["a 0.0.q", "c 2.0.q"]
        await press(pilot, "}", "p")
        assert pinned(pilot) == ["a 0.0.q", "b 1.1.q", "c 2.0.q"]
        await press(pilot, "P")
        assert pinned(pilot) == []
        assert "Unpinned all 3. P again pins them." in shown(pilot, "#status")
        await press(pilot, "P")
        assert pinned(pilot) == ["a 0.0.q", "b 1.1.q", "c 2.0.q"]
        await press(pilot, "P", "p", "P", "P")  # what was unpinned last comes back
        assert pinned(pilot) == ["a 1.1.q"]
    async with opened(folder, "0.0.q") as pilot:
        await press(pilot, "P")
        assert "Nothing is pinned." in shown(pilot, "#status")


async def test_a_fifth_is_refused_in_a_sentence(folder: Path) -> None:
    async with opened(folder, "0.0.q") as pilot:
        for _ in range(MOST):
            await press(pilot, "p", "}" if explorer(pilot).address.head < 3 else "]")
        before = pinned(pilot)
        assert len(before) == MOST
        await press(pilot, "p")
        assert "4 spectra are pinned already" in shown(pilot, "#status")
        assert pinned(pilot) == before


async def test_in_a_head_it_is_asked_which(folder: Path) -> None:
    async with opened(folder, "1.2", size=(120, 30)) as pilot:
        await press(pilot, "p")
        assert "Pin or unpin which?  1 Q  2 K  3 V  4 O" in shown(pilot, "#status")
        await press(pilot, "3")
        assert pinned(pilot) == ["a 1.2.v"]
        assert "hidden" not in shown(pilot, "#results")
        for answer in ("escape", "]", "question_mark", "ctrl+p", "H", "down", "x", "P", "space", "f1"):
            await press(pilot, "p", answer)
            assert "Nothing pinned." in shown(pilot, "#status")
            assert (at(pilot), screens(pilot)) == ("1.2", ["Explorer"])  # it did nothing else
            await press(pilot, "1")
            assert "Q hidden" in shown(pilot, "#results")  # the question was over
            await press(pilot, "1")
        assert pinned(pilot) == ["a 1.2.v"]


@pytest.mark.parametrize(("answer", "matrix"), [("1", "q"), ("q", "q"), ("Q", "q"), ("k", "k"), ("o", "o"), ("V", "v")])
async def test_the_letters_answer_and_q_does_not_quit(folder: Path, answer: str, matrix: str) -> None:
    async with opened(folder, "1.2", size=(120, 30)) as pilot:
        await press(pilot, "p", answer)
        assert pinned(pilot) == [f"a 1.2.{matrix}"]
        assert not pilot.app._exit
        await press(pilot, "p", "ctrl+c")  # but this leaves, always
        assert pilot.app.return_code == 0


async def test_a_question_stays_until_it_is_answered(folder: Path) -> None:
    async with opened(folder, "1.2", size=(120, 30)) as pilot:
        await press(pilot, "p")
        explorer(pilot)._status.flash("Something else.")
        assert "Pin or unpin which?" in shown(pilot, "#status")
        await pilot.click("#tree", offset=(8, 2))
        await press(pilot)
        assert "Pin or unpin which?" not in shown(pilot, "#status")
        await press(pilot, "1")
        assert "Q hidden" in shown(pilot, "#results") or "Q is hidden" in shown(pilot, "#status")


async def test_what_cannot_be_pinned_is_told(tmp_path: Path) -> None:
    broken = decaying(32, 64).to(torch.bfloat16)
    broken[0, 0] = float("nan")
    names = [f"model.layers.{layer}.self_attn.{name}_proj.weight" for layer, name in ((0, "k"), (1, "v"))]
    flawed = write_checkpoint(tmp_path / "flawed", layers=2, overrides={names[0]: broken}, drop=[names[1]]).folder
    async with opened(flawed, "0.0", size=(120, 30)) as pilot:
        await press(pilot, "p", "2")
        assert "0.0.k has no spectrum" in shown(pilot, "#status")
        await press(pilot, "H", "2", "p")
        assert "has no spectrum" in " ".join(shown_on(pilot.app.screen, "#status").split())
        await press(pilot, "escape", *"g1.0", "enter")
        await until(pilot, lambda: "layer 1 · head 0" in shown(pilot, "#results"))
        await press(pilot, "p", "v")
        assert "Head 1.0 has q, k, o." in shown(pilot, "#status")
        await press(pilot, "H", "3", "p")
        assert "Head 1.0 has q, k, o." in shown_on(pilot.app.screen, "#status")
        await press(pilot, "escape")
        assert pinned(pilot) == []


async def test_in_the_table_the_row_under_the_cursor_is_pinned(folder: Path) -> None:
    async with opened(folder, "1.2") as pilot:
        await press(pilot, "tab", "down", "p")
        assert pinned(pilot) == ["a 1.2.k"]


async def test_where_nothing_can_be_pinned_it_is_said(folder: Path, tmp_path: Path) -> None:
    async with opened(folder, "1") as pilot:
        await press(pilot, "p")
        assert "Select a head or a matrix" in shown(pilot, "#status")
    fresh = write_checkpoint(tmp_path / "fresh", layers=1).folder
    async with opened(fresh, "0.0.q", ready=False) as pilot:
        await press(pilot, "p")
        assert "0.0.q" in shown(pilot, "#status")


async def test_the_heat_map_pins_what_is_under_its_cursor(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "H", "down", "right", "p", "escape")
        assert pinned(pilot) == ["a 1.1.q"]


def test_the_only_matrix_that_is_shown_needs_no_question(folder: Path) -> None:
    model = open_model(folder)
    assert to_pin(model, Address(0, 1), None, frozenset("qkv")) == Address(0, 1, "o")
    assert to_pin(model, Address(0, 1), None, frozenset("qk")) is None
    assert to_pin(model, Address(0, 1, "k"), None, frozenset()) == Address(0, 1, "k")


# how it is drawn --------------------------------------------------------------------------------------------


def test_a_pinned_curve_is_dotted_and_follows_the_transforms() -> None:
    own = Spectrum("Q", "q", np.linspace(4, 1, 64))
    pin = Spectrum("a 0.3.q", "pin-a", np.linspace(8, 2, 32), dotted=True)
    for transform, top in (("sigma", 8.0), ("relative", 1.0)):
        curves, _ = trace([own, pin], transform, log=False)  # type: ignore[arg-type]
        assert curves[1].y[0] == top
        assert curves[1].x[-1] == 32  # against its own indices
        inks = [ink for line in chart(curves, 80, 20, log=False, letters=True) for text, ink in line if text.strip()]
        assert "pin-a" in inks

    long = Spectrum("b 0.q_proj", "pin-b", np.linspace(8, 2, 576), dotted=True)
    (own_curve, cut), (remark,) = trace([own, long], "sigma", log=False)
    assert own_curve.x[-1] == cut.x[-1] == 64  # the head's curves keep the axis
    assert remark == "b 0.q_proj goes on to 576"

    def dots(spectrum: Spectrum) -> int:
        lines = chart(trace([spectrum], "sigma", log=False)[0], 80, 20, log=False, letters=False)
        return sum((ord(c) - 0x2800).bit_count() for line in lines for text, _ in line for c in text if c >= "\u2800")

    straight: Callable[..., Spectrum] = lambda **how: Spectrum("x", "q", np.linspace(4, 1, 64), **how)  # noqa: E731
    assert dots(straight(dotted=True)) < dots(straight()) / 2


# what is exported -------------------------------------------------------------------------------------------


async def test_pinned_curves_are_exported_with_the_others_once_each(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(folder, "0.3.q") as pilot:
        await press(pilot, "p", "]", "}", "p", "p", "[", "p", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        rows = (tmp_path / "tiny.layer-0.head-3.q.spectra.csv").read_text().splitlines()[1:]
        places = [tuple(row.split(",")[i] for i in (2, 3, 5)) for row in rows]
        assert list(dict.fromkeys(places)) == [("0", "3", "q")]
    async with opened(folder, "0.3.q") as pilot:
        await press(pilot, "p", *"g2.1", "enter", "1", "2", "3", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        rows = (tmp_path / "tiny.layer-2.head-1.spectra.csv").read_text().splitlines()[1:]
        places = [tuple(row.split(",")[i] for i in (2, 3, 5)) for row in rows]
        assert list(dict.fromkeys(places)) == [("2", "1", "o"), ("0", "3", "q")]
        assert len(places) == 16 * 2


async def test_without_pins_the_export_is_that_of_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(folder, "1.2.v") as pilot:
        await press(pilot, "p", "p", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        view = analysis.view("1.2.v")
        assert (tmp_path / "tiny.layer-1.head-2.v.spectra.csv").read_text() == spectra_csv(view)
        assert (tmp_path / "tiny.layer-1.head-2.v.metrics.csv").read_text() == metrics_csv(view)
