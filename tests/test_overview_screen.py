"""The heads of a layer and the layers of a model on the screen, key by key."""

from pathlib import Path

import pytest
import torch

from svdtui.engine import METRICS, Address, Analysis
from svdtui.tui.app import SvdtuiApp
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, at, curve_labels, explorer, opened, press, shown, title, toasts, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of four heads over two KV heads, all heads computed; the same for all tests."""
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", layers=3).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


def rows(pilot: Screen) -> list[list[str]]:
    """The lines of the table below its headings, as words."""
    lines = shown(pilot, "#results").splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] and line.split()[0] in HEADINGS)
    return [line.split() for line in lines[start + 1 :]]


HEADINGS = ("head", "▲head", "▼head", "layer", "▲layer", "▼layer")


def headings(pilot: Screen) -> list[str]:
    return next(
        line.split()
        for line in shown(pilot, "#results").splitlines()
        if line.split()[:1] and line.split()[0] in HEADINGS
    )


def status(pilot: Screen) -> str:
    return shown(pilot, "#status")


async def test_a_layer_shows_its_heads_as_a_chart_and_a_table(folder: Path) -> None:
    async with opened(folder, "0", size=(80, 24)) as pilot:
        assert "layer 0 · top-10 by head" in title(pilot)
        upper = shown(pilot, "#results").partition("4 heads")[0]
        assert any("⠀" < character <= "⣿" for character in upper)
        for label in ("◂ Q 0.", "K 0.", "V 0.", "O 0.", "flat 0.625", "head"):
            assert label in upper
        assert "4 heads · top-10" in shown(pilot, "#results")
        assert headings(pilot) == ["▲head", "kv", "Q", "K", "V", "O"]
        assert [row[:2] for row in rows(pilot)] == [["0", "0"], ["1", "0"], ["2", "1"], ["3", "1"]]


async def test_the_model_shows_its_layers_and_fills_in_while_they_are_computed(tmp_path: Path) -> None:
    fresh = write_checkpoint(tmp_path / "tiny", layers=3).folder
    async with opened(fresh, "2.0", prefetch=False) as pilot:
        await press(pilot, "home")
        assert "all layers · top-10" in title(pilot)
        assert "1/3 layers computed" in shown(pilot, "#results")
        assert [row[1:] for row in rows(pilot)][:2] == [["·"] * 4] * 2
        assert rows(pilot)[2][0] == "2"
        await press(pilot, "o", "tab", "home")
        assert [row[0] for row in rows(pilot)] == ["2", "0", "1"]
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        assert app.session
        app.session.want(Address(0))
        await until(pilot, lambda: "2/3 layers computed" in shown(pilot, "#results"))
        assert not any("·" in row for row in rows(pilot)[:2])
        await press(pilot, "enter")
        assert at(pilot) == "2"  # where the cursor was, wherever its line is now


async def test_nothing_computed_yet_is_said_above_the_table_of_layers(tmp_path: Path) -> None:
    fresh = write_checkpoint(tmp_path / "tiny", layers=3).folder
    async with opened(fresh, "", prefetch=False) as pilot:
        assert "Nothing computed yet" in shown(pilot, "#results")
        assert "0/3 layers computed" in shown(pilot, "#results")
        await press(pilot, "tab", "down", "enter")
        assert at(pilot) == "1"


async def test_m_steps_through_all_metrics_and_back(folder: Path) -> None:
    async with opened(folder, "1") as pilot:
        first = shown(pilot, "#results")
        titles = {title(pilot)}
        for _ in METRICS[1:]:
            await press(pilot, "m")
            titles.add(title(pilot))
        assert len(titles) == len(METRICS)
        await press(pilot, "m")
        assert shown(pilot, "#results") == first
        await press(pilot, "m")
        assert "first/last = σ₁/σₙ" in status(pilot)
        await press(pilot, "M")
        assert shown(pilot, "#results") == first
        assert "top-10 = Σ of the 10 largest σ ÷ Σσ" in status(pilot)
        await press(pilot, "m", "m", "up", "up")
        assert "all layers · bottom-10" in title(pilot)


@pytest.mark.parametrize("place", ["0.1", "0.1.q", "0.down_proj"])
async def test_elsewhere_these_keys_say_where_they_have_an_effect(folder: Path, place: str) -> None:
    async with opened(folder, place, ready=False) as pilot:
        before = explorer(pilot).look
        for key in "mMvoO":
            explorer(pilot)._status.flash("")
            await press(pilot, key)
            assert "select one in the tree" in status(pilot)
            assert explorer(pilot).look == before


async def test_v_lists_all_metrics_of_each_matrix_in_turn(folder: Path) -> None:
    async with opened(folder, "0", size=(160, 45)) as pilot:
        overview = headings(pilot)
        for matrix in "QKVO":
            await press(pilot, "v")
            assert f"4 heads · {matrix}" in shown(pilot, "#results")
            assert [name for name in ("σ₁", "first/last", "effective") if name in headings(pilot)]
            assert f"all metrics of {matrix}" in status(pilot)
        await press(pilot, "v")
        assert headings(pilot) == overview


async def test_o_sorts_and_the_cursor_stays_on_its_head(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        await press(pilot, "tab", "down", "o")
        assert "▼Q" in headings(pilot)
        assert "Sorted by Q, the largest on top." in status(pilot)
        figures = [float(row[2]) for row in rows(pilot)]
        assert figures == sorted(figures, reverse=True)
        await press(pilot, "O")
        assert "▲Q" in headings(pilot)
        assert [float(row[2]) for row in rows(pilot)] == sorted(figures)
        await press(pilot, "enter")
        assert at(pilot) == "0.1"
        assert explorer(pilot).focused.id == "tree"


async def test_the_table_points_at_its_head_in_the_chart(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        assert "▲ " not in shown(pilot, "#results")
        await press(pilot, "tab")
        axis = next(i for i, line in enumerate(shown(pilot, "#results").splitlines()) if "└" in line)
        places = []
        for _ in range(4):
            places.append(shown(pilot, "#results").splitlines()[axis].index("▲"))
            await press(pilot, "down")
        assert places == sorted(set(places))


async def test_digits_hide_curves_and_x_changes_the_axis(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        await press(pilot, "1", "3")
        assert "Q V hidden: 1 2 3 4 show them" in shown(pilot, "#results")
        assert "◂ Q" not in shown(pilot, "#results")
        assert "linear" in title(pilot)
        await press(pilot, "x")
        assert "log" in title(pilot)
        assert "The axis is logarithmic for this metric." in status(pilot)
        await press(pilot, "m", "M")
        assert "log" in title(pilot)
        await press(pilot, "c")
        assert "m and M choose what is drawn here" in status(pilot)
        await press(pilot, "2", "4")
        assert "Nothing to draw" in shown(pilot, "#results")
        await press(pilot, "right", "right")
        assert "σ · log" in title(pilot)  # the axis of spectra is their own
        assert curve_labels(pilot) == set()


async def test_export_of_a_layer_and_of_the_model_are_those_of_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from svdtui.engine import metrics_csv, spectra_csv

    target = folder.parent / "overviews"
    target.mkdir()
    monkeypatch.chdir(target)
    for place, name in (("1", "tiny.layer-1"), ("", "tiny")):
        async with opened(folder, place) as pilot:
            await press(pilot, "m", "v", "o", "e")
            await until(pilot, lambda: "Exported" in toasts(pilot))
        with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
            rows = analysis.view(place)
        assert (target / f"{name}.metrics.csv").read_text() == metrics_csv(rows)
        assert (target / f"{name}.spectra.csv").read_text() == spectra_csv(rows)


async def test_copy_sends_the_table_that_is_shown(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        await press(pilot, "o", "y")
        lines = [line.split("\t") for line in pilot.app.clipboard.splitlines()]
        assert lines[0] == ["head", "kv_head", *(f"{matrix}_top10_ratio" for matrix in "qkvo")]
        assert [line[0] for line in lines[1:]] == [row[0] for row in rows(pilot)]
        await press(pilot, "home", "v", "y")
        assert pilot.app.clipboard.splitlines()[0].startswith("layer\tq_sigma_first_median\t")


async def test_footer_offers_what_has_an_effect(folder: Path) -> None:
    async with opened(folder, "0", size=(80, 24)) as pilot:
        for words in ("m M metric", "v table", "o O sort", "H heat map", "s scan"):
            assert words in shown(pilot, "#keys")
        assert "c curve" not in shown(pilot, "#keys")
        await press(pilot, "right", "right")
        assert "m M metric" not in shown(pilot, "#keys")
        assert "c curve" in shown(pilot, "#keys")


async def test_a_layer_of_nan_says_so_and_one_of_zeros_has_dashes(tmp_path: Path) -> None:
    names = [f"model.layers.0.self_attn.{matrix}_proj.weight" for matrix in "qkvo"]
    broken = {name: torch.full((64 if name[-13] in "qo" else 32, 64), torch.nan) for name in names}
    zero = {"model.layers.1.self_attn.q_proj.weight": torch.zeros(64, 64)}
    folder = write_checkpoint(tmp_path / "hostile", layers=2, overrides={**broken, **zero}).folder
    async with opened(folder, "0") as pilot:
        await until(pilot, lambda: "No spectrum" in shown(pilot, "#results"))
        assert "NaN or infinite" in shown(pilot, "#results")
        assert [row[2:] for row in rows(pilot)] == [["!"] * 4] * 4
        await press(pilot, "]")
        await until(pilot, lambda: "·" not in shown(pilot, "#results").split("4 heads ·")[1].split("top-10")[1])
        assert [row[2] for row in rows(pilot)] == ["–"] * 4
        await press(pilot, "home")
        assert rows(pilot)[0] == ["0", "!", "!", "!", "!"]
        assert rows(pilot)[1][:2] == ["1", "–"]
        assert "without a spectrum" in shown(pilot, "#results")


async def test_a_model_without_heads_keeps_its_whole_matrices(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain", layers=2, config=False).folder
    async with opened(folder, "", ready=False, prefetch=False) as pilot:
        await press(pilot, "m")
        assert "select one in the tree" in status(pilot)
        assert "no config.json" in shown(pilot, "#results")
        assert "m M metric" not in shown(pilot, "#keys")


async def test_without_colour_curves_bear_their_letters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for place in ("0", ""):
        async with opened(folder, place) as pilot:

            def is_lettered(pilot: Screen = pilot) -> bool:
                lines = shown(pilot, "#results").splitlines()[1:]
                return set("QKVO") <= {char for line in lines if "│" in line or "┤" in line for char in line[:60]}

            await until(pilot, is_lettered)
