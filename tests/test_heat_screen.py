"""The heat map on real checkpoints, key by key: what it says is what the analysis says."""

import csv
import re
from pathlib import Path

import pytest
import torch

from svdtui.engine import METRICS, Address, Analysis, Job
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.formats import measure
from svdtui.tui.screens.explorer import Explorer
from svdtui.tui.screens.heat import Heat
from svdtui.tui.screens.help import Help
from tests.checkpoints import decaying, write_checkpoint
from tests.pilot import Screen, at, explorer, opened, press, screens, shown, toasts, until
from tests.terminal import Terminal

LAYERS, HEADS, KV_HEADS = 5, 4, 2

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)(?:;\d+)*m")
"""An escape sequence that sets a colour."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers: of the first Q head 1 is zero, of the second Q head 2 holds NaN; layer 3 is not computed."""
    zero, broken = decaying(64, 64, seed=1).to(torch.bfloat16), decaying(64, 64, seed=2).to(torch.bfloat16)
    zero[16:32] = 0
    broken[40, 3] = torch.nan
    name = "model.layers.{}.self_attn.q_proj.weight"
    overrides = {name.format(0): zero, name.format(1): broken}
    root = tmp_path_factory.mktemp("heat")
    folder = write_checkpoint(root / "tiny", layers=LAYERS, overrides=overrides).folder
    with Analysis(folder, cache_dir=root / "cache") as analysis:
        for layer in (0, 1, 2, 4):
            analysis.result(Job(layer, "heads"))
    return folder


@pytest.fixture(scope="module")
def analysis(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """The same model with everything computed, elsewhere."""
    return Analysis(folder, cache_dir=tmp_path_factory.mktemp("reference"))


def lines(pilot: Screen) -> list[str]:
    """The heat map as text."""
    heat = pilot.app.screen
    assert isinstance(heat, Heat)
    return [heat._map.line(y).text.rstrip() for y in range(heat._map.size.height)]


def read_out(pilot: Screen) -> str:
    """The line about the cell under the cursor."""
    return lines(pilot)[-1] if lines(pilot)[-1].strip() else next(line for line in reversed(lines(pilot)) if line)


async def open_map(pilot: Screen) -> None:
    await press(pilot, "H")
    assert isinstance(pilot.app.screen, Heat)
    await until(pilot, lambda: "being read" not in "\n".join(lines(pilot)))
    await explorer(pilot).session.figures_read()
    await press(pilot)


def expected(analysis: Analysis, address: str, metric: str) -> str:
    return measure(metric, getattr(analysis.metrics(address), metric))


# the cursor -------------------------------------------------------------------------------------------------


async def test_the_read_out_is_the_value_of_the_cell_for_every_matrix_and_metric(
    folder: Path, analysis: Analysis
) -> None:
    async with opened(folder, "2.0", prefetch=False) as pilot:
        await open_map(pilot)
        await press(pilot, "down", "down", "right")  # layer 4, head 1
        for number, metric in enumerate(METRICS[2:] + METRICS[:2]):  # it begins with the third
            matrix = "qkvo"[number % 4]
            await press(pilot, *("m" * (number > 0)), "1234"[number % 4])
            head = 0 if matrix in "kv" else 1  # head 1 is of KV head 0, whose first head is 0
            address = f"4.{head}.{matrix}"
            said = read_out(pilot)
            assert said.split()[0] == address
            assert f"{metric.label()} {expected(analysis, address, metric.name)}  " in said


async def test_the_place_among_all_is_counted(folder: Path, analysis: Analysis) -> None:
    places = [Address(layer, head, "v") for layer in (0, 1, 2, 4) for head in (0, 2)]  # one head for each KV head
    values = {place: analysis.metrics(place).top_ratio or 0 for place in places}
    highest, lowest = max(places, key=values.__getitem__), min(places, key=values.__getitem__)
    async with opened(folder, str(highest), prefetch=False) as pilot:
        await open_map(pilot)
        assert read_out(pilot).endswith("   highest of 8")
        await press(pilot, "escape", *f"g{lowest}", "enter")
        await open_map(pilot)
        assert read_out(pilot).endswith("   lowest of 8")


async def test_columns_of_k_and_v_are_kv_heads_and_enter_goes_to_the_first_of_their_heads(folder: Path) -> None:
    async with opened(folder, "2.3.k", prefetch=False, size=(120, 30)) as pilot:
        await open_map(pilot)
        assert "K · top-10 · layer × KV head" in lines(pilot)[0]
        assert lines(pilot)[1].split()[:2] == ["0", "1"]
        assert "2" not in lines(pilot)[1]
        assert "2.2.k  layer 2 · KV head 1 (heads 2–3)" in read_out(pilot)
        await press(pilot, "l")
        assert read_out(pilot).startswith(" 2.2.k")  # there is no further one
        await press(pilot, "1")
        assert "layer × head" in lines(pilot)[0]
        assert read_out(pilot).startswith(" 2.3.q")  # the head that one came with
        await press(pilot, "2", "enter")
        assert isinstance(pilot.app.screen, Explorer)
        assert at(pilot) == "2.2.k"  # the first head that shares it
        await open_map(pilot)
        assert read_out(pilot).startswith(" 2.2.k")
        await press(pilot, "4", "home", "up", "enter")
        assert at(pilot) == "1.0.o"


async def test_keys_stop_at_the_edges_the_mouse_finds_cells_and_esc_leads_back(folder: Path) -> None:
    async with opened(folder, "0.0", prefetch=False, size=(100, 30)) as pilot:
        for key in ("escape", "H"):
            await open_map(pilot)
            await press(pilot, "left", "up")
            assert read_out(pilot).startswith(" 0.0.q")
            await press(pilot, "end", "pagedown", "right", "down")
            assert read_out(pilot).startswith(" 4.3.q")
            await press(pilot, "home", "pageup")
            assert read_out(pilot).startswith(" 0.0.q")
            await press(pilot, key)
            assert isinstance(pilot.app.screen, Explorer)
            assert at(pilot) == "0.0"
        await open_map(pilot)
        last = lines(pilot)[1].index("3")
        await pilot.click("#heat", offset=(last, 2 + 4))
        await press(pilot)
        assert read_out(pilot).startswith(" 4.3.q")
        await pilot.click("#heat", offset=(last, 2 + 2), times=2)
        await press(pilot)
        assert at(pilot) == "2.3.q"


# what is not there ------------------------------------------------------------------------------------------


async def test_missing_undefined_and_flawed_cells_are_told_apart(folder: Path) -> None:
    async with opened(folder, "0.1.q", prefetch=False) as pilot:
        await open_map(pilot)
        assert "× a zero matrix" in read_out(pilot)
        await press(pilot, "down", "right")
        assert "× NaN or infinite weights, or too large ones" in read_out(pilot)
        await press(pilot, "down", "down")
        assert "○ not computed" in read_out(pilot)
        await press(pilot, "home", "pageup")
        page = lines(pilot)
        assert page[2].split()[1:][1:] != page[5].split()[1:]
        assert "×" in page[2]
        assert "×" in page[3]
        assert page[5].split()[1:5] == ["·"] * 4
        legend = next(line for line in page if "not computed" in line and "of" not in line)
        assert "· not computed" in legend
        assert "× undefined" in legend
        assert "4 of 5 layers computed" in page[0]


async def test_results_that_arrive_fill_in(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=3).folder
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await open_map(pilot)
        assert "1 of 3 layers computed" in lines(pilot)[0]
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        assert app.session
        app.session.want(Address(2))
        await until(pilot, lambda: "2 of 3 layers computed" in lines(pilot)[0])
        await press(pilot, "question_mark")
        assert isinstance(pilot.app.screen, Help)
        app.session.want(Address(1))
        await until(pilot, lambda: app.session is not None and not app.session.running and not app.session.waiting)
        await press(pilot, "escape")
        await until(pilot, lambda: "computed" not in lines(pilot)[0])


async def test_s_scans_from_the_map(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", layers=4).folder
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await open_map(pilot)
        assert "not computed" in "\n".join(lines(pilot))
        await press(pilot, "s")
        await until(pilot, lambda: "not computed" not in "\n".join(lines(pilot)))


async def test_a_model_without_heads_gets_a_sentence(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain", layers=2, config=False).folder
    async with opened(folder, ready=False) as pilot:
        await press(pilot, "H")
        assert isinstance(pilot.app.screen, Explorer)
        assert "No heat map: Heads are unknown" in shown(pilot, "#status")


async def test_one_layer_of_one_head_is_a_map_too(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "one", layers=1, heads=1, kv_heads=1, hidden=16).folder
    async with opened(folder, "0.0", size=(80, 24)) as pilot:
        await open_map(pilot)
        assert read_out(pilot).endswith("the only one")
        assert any("everywhere" in line for line in lines(pilot))
        await press(pilot, "x", "m", "right", "down", "pagedown", "end", "enter")
        assert at(pilot) == "0.0.q"


# scale and metric -------------------------------------------------------------------------------------------


async def test_x_changes_the_scale_of_one_metric_and_m_is_shared_with_the_explorer(folder: Path) -> None:
    async with opened(folder, "0.0", prefetch=False) as pilot:
        await open_map(pilot)

        def kind() -> str:
            return next(word for line in lines(pilot) for word in line.split() if word in ("log", "linear"))

        before = kind()
        await press(pilot, "x")
        assert kind() != before
        await press(pilot, "m", "M")
        assert kind() != before
        await press(pilot, "m", "escape")
        explorer = pilot.app.screen
        assert isinstance(explorer, Explorer)
        assert explorer.look.metric == "first_last_ratio"
        await open_map(pilot)
        assert "first/last" in lines(pilot)[0]
        await press(pilot, "M")
        assert kind() != before


# taking it out ----------------------------------------------------------------------------------------------


async def test_the_csv_holds_the_figures_of_the_analysis(
    folder: Path, analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def check(name: str, matrix: str, columns: int, metric: str) -> None:
        header, *rows = csv.reader((tmp_path / name).read_text().splitlines())
        assert header == ["layer", *map(str, range(columns))]
        assert [row[0] for row in rows] == [str(layer) for layer in range(LAYERS)]
        for row in rows:
            for column, text in enumerate(row[1:]):
                address = Address(int(row[0]), column * HEADS // columns, matrix)
                without = address.layer == 3 or str(address) in {"0.1.q", "1.2.q"}
                assert text == ("" if without else repr(getattr(analysis.metrics(address), metric))), address

    async with opened(folder, "0.0", prefetch=False) as pilot:
        await open_map(pilot)
        await press(pilot, "e")
        await until(pilot, lambda: "tiny.heatmap.q.top10_ratio.csv" in toasts(pilot))
        assert str(tmp_path) in toasts(pilot)
        assert "1 layer not computed yet: left empty." in toasts(pilot)
        check("tiny.heatmap.q.top10_ratio.csv", "q", HEADS, "top_ratio")
        await press(pilot, "e")
        await until(pilot, lambda: "tiny.heatmap.q.top10_ratio-2.csv" in toasts(pilot))
        await press(pilot, "2", *"mmmmmm", "e")
        await until(pilot, lambda: "tiny.heatmap.k.energy_rank_90.csv" in toasts(pilot))
        check("tiny.heatmap.k.energy_rank_90.csv", "k", KV_HEADS, "energy_rank_90")  # whole numbers
        await press(pilot, "y")
        table = [row.split("\t") for row in pilot.app.clipboard.splitlines()]
        assert table == list(csv.reader((tmp_path / "tiny.heatmap.k.energy_rank_90.csv").read_text().splitlines()))


# in a terminal ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 layers of 128 heads, of which every eighth is computed."""
    root = tmp_path_factory.mktemp("big")
    folder = write_checkpoint(
        root / "m", layers=128, heads=128, kv_heads=8, hidden=16, head_dim=4, intermediate=4, vocab=4
    ).folder
    with Analysis(folder, cache_dir=root / "cache") as analysis:
        for job in analysis.jobs()[::8]:
            analysis.result(job)
    return folder


def command_on(svdtui: list[str], folder: Path) -> list[str]:
    """svdtui on a folder with its results, which computes nothing else."""
    return [*svdtui, str(folder), "--at", "0.0", "--no-prefetch", "--cache-dir", str(folder.parent / "cache")]


def test_128_by_128_scrolls_with_the_cursor_and_a_move_sends_little(svdtui: list[str], big: Path) -> None:
    with Terminal(command_on(svdtui, big), size=(160, 45)) as terminal:
        terminal.wait_for("cached 16/128")
        terminal.wait_for("│ cpu")  # the worker is ready: no news of it comes between the keys
        terminal.press("H")
        terminal.wait_for("16 of 128 layers computed")
        terminal.press("m")
        terminal.wait_quiet()
        for key in ("right", "down", "end", "down", "down", "left", "home", "up"):
            assert 0 < terminal.measure(key).bytes_written <= 2000, key
        assert "layers 0–" in terminal.text()
        terminal.press(*["pagedown"] * 2, "end")
        terminal.wait_for("127.127.q")
        assert re.search(r"layers \d+–127 of 128", terminal.text())
        terminal.press("up")
        terminal.wait_for("126.127.q")
        terminal.resize(80, 24)
        terminal.wait_for(re.compile(r"heads \d+–127 of 128"))
        assert "126.127.q" in terminal.text()


@pytest.mark.parametrize(
    ("size", "env"),
    [((160, 45), {}), ((80, 24), {"NO_COLOR": "1"}), ((80, 24), {"TERM": "xterm", "COLORTERM": None})],
    ids=["colour", "no colour", "16 colours"],
)
def test_it_reads_in_every_terminal(
    svdtui: list[str], folder: Path, size: tuple[int, int], env: dict[str, str | None]
) -> None:
    cache = folder.parent / "cache"
    command = [*svdtui, str(folder), "--at", "2.1", "--no-prefetch", "--cache-dir", str(cache)]
    with Terminal(command, size=size, env=env) as terminal:
        terminal.wait_for("first/last")
        terminal.press("H")
        terminal.wait_for("layer × head")
        terminal.wait_for("2.1.q")
        assert re.search(r"▸2 .*\[ *[░▒▓█ ]* *\]", terminal.text())  # the cursor, also without colour
        assert "not computed" in terminal.text()
        terminal.wait_for("× undefined")
        assert all(len(line) <= size[0] for line in terminal.lines())
        assert any(texture in terminal.text() for texture in "░▒▓█") is bool(env)
        if "NO_COLOR" in env:
            assert not COLOUR.search(terminal.output)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}], ids=["no colour"])
def test_32_layers_of_32_heads_are_all_in_view(svdtui: list[str], tmp_path: Path, env: dict[str, str | None]) -> None:
    folder = write_checkpoint(
        tmp_path / "m", layers=32, heads=32, kv_heads=8, hidden=16, head_dim=4, intermediate=4, vocab=4
    ).folder
    with Terminal([*svdtui, str(folder), "--at", "0.0", "--no-prefetch"], env=env) as terminal:
        terminal.wait_for("first/last")
        terminal.press("H")
        terminal.wait_for("1 of 32 layers computed")
        terminal.wait_quiet()
        before = terminal.lines()
        terminal.press("end", "pagedown")
        terminal.wait_for("31.31.q")
        terminal.wait_quiet()
        assert "layers 0–" not in terminal.text()
        moved = [row for row, line in enumerate(terminal.lines()) if line != before[row]]
        assert len(moved) <= 5  # nothing has scrolled: column numbers, two lines of cells, the read-out


async def test_g_moves_in_the_map_and_leaves_it_for_what_is_not_there(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        await open_map(pilot)
        for typed, told in (
            ("4.2", "4.2.q"),
            ("2", "2.2.q"),
            ("1.3.k", "1.2.k"),  # KV heads have the address of the first head that shares them
            ("0", "0.2.k"),
            ("2.1.o", "2.1.o"),
        ):
            await press(pilot, *f"g{typed}", "enter")
            assert read_out(pilot).split()[0] == told
        await press(pilot, "g", "9", "enter")
        assert screens(pilot) == ["Explorer", "Heat", "Goto"]
        await press(pilot, "escape")
        for typed in ("2.gate_proj", "lm_head"):
            await press(pilot, *f"g{typed}", "enter")
            assert (at(pilot), screens(pilot)) == (typed, ["Explorer"])
            await press(pilot, "H")
