"""The screen on real checkpoints with the real compute process, key by key."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from textual.widgets import Input

from svdtui.engine import Address, Analysis
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.keys import KEYS
from svdtui.tui.screens.goto import Goto
from svdtui.tui.screens.help import Help
from svdtui.tui.screens.small import TooSmall
from svdtui.tui.themes import LIGHT
from svdtui.tui.widgets.painted import Painted
from svdtui.tui.widgets.tree import ModelTree
from tests.checkpoints import decaying, write_checkpoint
from tests.pilot import at, curve_labels, explorer, opened, press, screens, shown, title, toasts, until, waiting


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of four heads over two KV heads, all heads computed; the same for all tests."""
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", layers=3).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The same model with nothing computed, for one test alone."""
    return write_checkpoint(tmp_path / "tiny", layers=3).folder


# moving through the tree ------------------------------------------------------------------------------------


async def test_opens_at_the_first_head_and_draws_its_four_spectra(folder: Path) -> None:
    async with opened(folder) as pilot:
        assert at(pilot) == "0.0"
        results = shown(pilot, "#results")
        assert "layer 0 · head 0" in title(pilot)
        assert "σ · log" in title(pilot)
        for matrix in "QKVO":
            assert any(line.strip().startswith(matrix) for line in results.splitlines())
        assert any("⠀" < character <= "⣿" for character in results)


async def test_arrows_and_vi_keys_move_expand_and_collapse(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        await press(pilot, "l")
        assert "▾ layer 0" in shown(pilot, "#tree")
        assert at(pilot) == "0"
        await press(pilot, "l")
        assert at(pilot) == "0.0"
        await press(pilot, "right", "right", "down", "j")
        assert at(pilot) == "0.0.v"
        await press(pilot, "k")
        assert at(pilot) == "0.0.k"
        assert "layer 0 · head 0 · K (KV head 0)" in title(pilot)
        await press(pilot, "h")
        assert at(pilot) == "0.0"
        await press(pilot, "left")
        assert "▸ head 0" in shown(pilot, "#tree")
        assert at(pilot) == "0.0"
        await press(pilot, "enter")
        assert "▾ head 0" in shown(pilot, "#tree")
        await press(pilot, "enter")
        assert "▸ head 0" in shown(pilot, "#tree")


async def test_key_and_value_matrices_name_their_kv_head(folder: Path) -> None:
    async with opened(folder, "0.3.k") as pilot:
        lines = shown(pilot, "#tree").splitlines()
        assert [line.split()[:3] for line in lines if " kv " in line] == [["K", "kv", "1"], ["V", "kv", "1"]]
        await press(pilot, "h")
        assert "K and V are KV head 1, shared by heads 2 to 3." in shown(pilot, "#results")


async def test_brackets_and_braces_keep_the_rest_of_the_address(folder: Path) -> None:
    async with opened(folder, "0.1.v") as pilot:
        await press(pilot, "]")
        assert at(pilot) == "1.1.v"
        await press(pilot, "}")
        assert at(pilot) == "1.2.v"
        await press(pilot, "[", "{")
        assert at(pilot) == "0.1.v"
        await press(pilot, "[")
        assert at(pilot) == "0.1.v"
        assert "Layer 0 is the first." in shown(pilot, "#status")
        await press(pilot, "{", "{")
        assert at(pilot) == "0.0.v"
        assert "Head 0 is the first." in shown(pilot, "#status")


async def test_stepping_leaves_no_open_branches_behind(folder: Path) -> None:
    async with opened(folder, "0.1.v") as pilot:
        await press(pilot, "]", "]", "}")
        assert shown(pilot, "#tree").count("▾ layer") == 1
        assert shown(pilot, "#tree").count("▾ head") == 1


async def test_tree_shows_states_as_shapes(fresh: Path) -> None:
    async with opened(fresh, "0.0") as pilot:
        lines = {line.split()[-2]: line.split()[-1] for line in shown(pilot, "#tree").splitlines() if "layer" in line}
        assert lines == {"0": "●", "1": "●", "2": "○"}
        assert "cached 2/3 layers" in shown(pilot, "#status")


async def test_without_prefetch_only_what_is_looked_at_is_computed(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        assert "cached 1/3 layers" in shown(pilot, "#status")


async def test_selecting_an_uncached_node_says_at_once_what_is_going_on(fresh: Path) -> None:
    async with opened(fresh, "0", ready=False) as pilot:
        await pilot.pause()
        assert "layer 0" in title(pilot)
        assert "The compute process is starting" in shown(pilot, "#results") + shown(pilot, "#status")
        await until(pilot, lambda: "top-10 by head" in title(pilot))


# scopes -----------------------------------------------------------------------------------------------------


async def test_a_matrix_shows_all_its_figures(folder: Path) -> None:
    async with opened(folder, "0.0.q") as pilot:
        results = shown(pilot, "#results")
        for name in ("σ₁", "σₙ", "top-10", "if flat 10/n", "bottom-10", "first/last", "stable rank", "effective rank"):
            assert name in results
        for name in ("participation", "90 % of energy", "99 % of energy", "Frobenius norm", "nuclear norm", "gram64"):
            assert name in results
        assert "model.layers.0.self_attn.q_proj.weight" in results
        assert "0.625" in results  # 10 of 16 values


async def test_figures_on_screen_are_those_of_the_weights(folder: Path) -> None:
    weights = write_checkpoint(folder.parent / "same", layers=3)
    sigma = torch.linalg.svdvals(weights.head_slice(0, 0, "q"))
    async with opened(folder, "0.0") as pilot:
        row = next(line.split() for line in shown(pilot, "#results").splitlines() if line.split()[:1] == ["Q"])
        assert row[1:3] == [f"{sigma[0]:.3f}", f"{sigma[-1]:.4f}"]


async def test_whole_matrices_are_computed_one_by_one(folder: Path) -> None:
    async with opened(folder, "0.down_proj") as pilot:
        await until(pilot, lambda: "gram64" in shown(pilot, "#results"))
        assert "layer 0 · down_proj" in title(pilot)
        assert "64×96" in shown(pilot, "#results")
        await press(pilot, "h")
        assert "whole matrices · 1 of 7 matrices so far" in shown(pilot, "#results")


async def test_a_matrix_outside_the_layers(folder: Path) -> None:
    async with opened(folder, "lm_head") as pilot:
        await until(pilot, lambda: "nuclear norm" in shown(pilot, "#results"))
        assert "lm_head" in title(pilot)


# curves -----------------------------------------------------------------------------------------------------


async def test_digits_hide_and_show_curves(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        assert curve_labels(pilot) == set("QKVO")
        await press(pilot, "1", "3")
        assert curve_labels(pilot) == set("KO")
        assert "Q V hidden" in shown(pilot, "#results")
        assert "4 matrices, 2 hidden" in shown(pilot, "#results")
        await press(pilot, "1")
        assert curve_labels(pilot) == set("QKO")
        await press(pilot, "1", "2", "4")
        assert "Nothing to draw" in shown(pilot, "#results")


async def test_x_and_c_change_what_is_drawn(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        drawn = [shown(pilot, "#results")]
        for key, said in (("x", "σ · linear"), ("c", "σ/σ₁ · linear"), ("c", "cumulative energy · linear")):
            await press(pilot, key)
            assert said in title(pilot)
            drawn.append(shown(pilot, "#results"))
        assert len(set(drawn)) == 4
        await press(pilot, "x")
        assert "always drawn on a linear axis" in shown(pilot, "#status")
        await press(pilot, "c", "x")
        assert "σ · log" in title(pilot)
        assert shown(pilot, "#results") == drawn[0]


async def test_a_theme_change_redraws_the_curves(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        results = explorer(pilot).query_one("#results", Painted)
        before, ink = shown(pilot, "#results"), results.ink("q")
        pilot.app.theme = LIGHT.name
        await press(pilot)
        assert shown(pilot, "#results") == before
        assert results.ink("q") != ink
        colours = {segment.style.color for y in range(results.size.height) for segment in results.render_line(y)}
        assert results.ink("q").color in colours
        assert ink.color not in colours


# the table --------------------------------------------------------------------------------------------------


async def test_tab_moves_to_the_table_and_enter_opens_a_row(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "tab", "down", "down")
        assert at(pilot) == "0.0"
        await press(pilot, "enter")
        assert at(pilot) == "0.0.v"
        assert explorer(pilot).focused.id == "tree"


async def test_the_cursor_stays_on_its_row_when_rows_arrive(fresh: Path) -> None:
    async with opened(fresh, "0.gate_proj", prefetch=False) as pilot:
        await until(pilot, lambda: "gram64" in shown(pilot, "#results"))
        await press(pilot, "h", "tab")
        assert "1 of 7 matrices so far" in shown(pilot, "#results")
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        assert app.session
        app.session.want(Address(0, matrix="k_proj"))
        await until(pilot, lambda: "2 of 7 matrices" in shown(pilot, "#results"))
        await press(pilot, "enter")
        assert at(pilot) == "0.gate_proj"


async def test_columns_scroll_beside_the_names(folder: Path) -> None:
    async with opened(folder, "0.0", size=(80, 24)) as pilot:

        def headings() -> list[str]:
            return next(line.split() for line in shown(pilot, "#results").splitlines() if " matrix " in line)

        assert headings()[1:] == ["σ₁", "σₙ", "top-10", "10/n", "first/last", "bottom-10"]
        await press(pilot, *(">",) * 30)
        assert headings()[0] == "matrix"
        assert headings()[-1] == "solver"
        await press(pilot, *("<",) * 30)
        assert headings()[1] == "σ₁"


def rewrite(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes())


async def test_a_file_that_was_replaced_asks_for_what_helps(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        rewrite(fresh)
        await press(pilot, "]")
        await until(pilot, lambda: "Quit and open the model again." in shown(pilot, "#results"))
        assert "Press r" not in shown(pilot, "#results")


async def test_whole_matrices_say_how_they_are_computed_and_r_computes_them(fresh: Path) -> None:
    async with opened(fresh, "0.whole", prefetch=False) as pilot:
        assert "Select one of the matrices below" in shown(pilot, "#results")
        await press(pilot, "r")
        await until(pilot, lambda: not waiting(pilot))
        await until(pilot, lambda: "whole matrices · 7 matrices" in shown(pilot, "#results"))


# going places -----------------------------------------------------------------------------------------------


async def test_goto_completes_refuses_and_goes(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "g", "1", ".")
        assert isinstance(pilot.app.screen, Goto)
        said = pilot.app.screen.query_one("#goto-said")
        assert "1.0  1.1  1.2  1.3" in str(said.render())
        await press(pilot, "9", "enter")
        assert "no head 9" in str(said.render())
        assert "heads 0 to 3" in str(said.render())
        await press(pilot, "backspace", "d", "tab")
        assert pilot.app.screen.query_one(Input).value == "1.down_proj"
        await press(pilot, "enter")
        assert at(pilot) == "1.down_proj"
        await press(pilot, "g", "escape")
        assert at(pilot) == "1.down_proj"
        await press(pilot, *"g0.ga", "enter")
        assert at(pilot) == "0.gate_proj"


async def test_all_of_the_word_on_a_wrong_address_is_in_view_on_a_small_screen(folder: Path) -> None:
    async with opened(folder, "0.0", size=(80, 24)) as pilot:
        await press(pilot, "g", *"9.9.9.9", "enter")
        await pilot.pause()
        said = pilot.app.screen.query_one("#goto-said")
        lines = [said.render_line(y).text for y in range(said.size.height)]
        assert "or a tensor's full name." in " ".join(" ".join(lines).split())


async def test_the_last_place_is_remembered_per_model(folder: Path) -> None:
    other = write_checkpoint(folder.parent / "other", layers=2).folder
    async with opened(folder, "0.0", ready=False) as pilot:
        await press(pilot, "]", "}")
    async with opened(other, ready=False) as pilot:
        assert at(pilot) == "0.0"
    async with opened(folder, ready=False) as pilot:
        assert at(pilot) == "1.1"
    async with opened(folder, "2", ready=False) as pilot:
        assert at(pilot) == "2"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"addresses": 3}', '{"addresses": {"%s": "99.q"}}', "[" * 9999])
async def test_a_damaged_memory_of_places_is_ignored(folder: Path, content: str) -> None:
    places = folder.parent / "damaged.json"
    places.write_text(content.replace("%s", str(folder)))
    async with opened(folder, places=places, ready=False) as pilot:
        assert at(pilot) == "0.0"


async def test_places_that_cannot_be_written_are_no_error(folder: Path) -> None:
    async with opened(folder, places=Path("/dev/null/places.json"), ready=False) as pilot:
        await press(pilot, "]")


# taking results out -----------------------------------------------------------------------------------------


async def test_export_writes_what_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder.parent / "out"
    target.mkdir()
    monkeypatch.chdir(target)
    async with opened(folder, "1.2") as pilot:
        await press(pilot, "2", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        metrics, spectra = (target / f"tiny.layer-1.head-2.{kind}.csv" for kind in ("metrics", "spectra"))
        assert str(metrics) in toasts(pilot)
        assert str(spectra) in toasts(pilot)
        assert len(metrics.read_text().splitlines()) == 1 + 3
        matrices = {line.split(",")[5] for line in spectra.read_text().splitlines()[1:]}
        assert matrices == set("qvo")


async def test_an_export_that_fails_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder.parent / "gone"
    target.mkdir()
    monkeypatch.chdir(target)
    async with opened(folder, "0.0") as pilot:
        target.rmdir()
        await press(pilot, "e")
        await until(pilot, lambda: "Not exported" in toasts(pilot))


async def test_gnu_screen_is_sent_nothing_that_it_would_print(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("STY", "1234.pts-0.host")
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "y")
        assert pilot.app.clipboard == ""
        assert "press e for a file" in toasts(pilot)


async def test_copy_sends_the_table_to_the_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "y")
        assert pilot.app.clipboard.splitlines()[0].split("\t")[5] == "matrix"
        assert len(pilot.app.clipboard.splitlines()) == 1 + 4
        assert "set -g set-clipboard on" in toasts(pilot)


# the rest of the keys ---------------------------------------------------------------------------------------


async def test_t_hides_and_shows_the_tree(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        results = explorer(pilot).query_one("#results")
        width = results.size.width
        await press(pilot, "t")
        assert results.size.width == 100
        await press(pilot, "]")
        assert at(pilot) == "1.0"
        assert "layer 1" in title(pilot)
        await press(pilot, "t")
        assert results.size.width == width
        assert explorer(pilot).focused.id == "tree"


async def test_r_computes_again(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        before = shown(pilot, "#results")
        await press(pilot, "r")
        await until(pilot, lambda: not waiting(pilot))
        await until(pilot, lambda: shown(pilot, "#results") == before)


async def test_help_names_every_key_and_every_figure(folder: Path) -> None:
    from svdtui.engine import METRICS

    async with opened(folder, "0.0", ready=False) as pilot:
        await press(pilot, "?")
        assert isinstance(pilot.app.screen, Help)
        page = str(pilot.app.screen.query_one("#help-text").render())
        for key in KEYS:
            assert key.tooltip in page
        for metric in METRICS:
            assert metric.label() in page
            assert metric.formula() in page
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, Help)


HERE = {"explorer": (), "heat": ("H",), "findings": ("f",)}
"""Screens with keys of their own, and what opens them."""


@pytest.mark.parametrize("where", HERE)
async def test_help_begins_with_the_keys_of_where_it_is_asked_for(folder: Path, where: str) -> None:
    async with opened(folder, "0.0") as pilot:
        await press(pilot, *HERE[where], "question_mark")
        page = str(pilot.app.screen.query_one("#help-text").render())
        own = [key.tooltip for key in KEYS if key.owner == where]
        above, _, _ = page.partition("Marks in the tree")
        assert all(tooltip in above for tooltip in own)
        for other in HERE.keys() - {where}:
            assert any(key.tooltip not in above for key in KEYS if key.owner == other)
            assert all(key.tooltip in page for key in KEYS if key.owner == other)
        before = screens(pilot)[:-1]
        await press(pilot, "g")
        assert screens(pilot) == [*before, "Goto"]


async def test_footer_fits_and_names_the_keys_that_matter(folder: Path) -> None:
    async with opened(folder, "0.0", size=(80, 24), ready=False) as pilot:
        footer = shown(pilot, "#keys")
        for word in ("q quit", "? help", "g go", "[ ] layer", "{ } head", "1-4 QKVO", "x log", "c curve", "e export"):
            assert word in footer


async def test_the_palette_offers_our_commands_and_runs_them(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        commands = {command.title: command for command in pilot.app.get_system_commands(pilot.app.screen)}
        for key in KEYS:
            offered = key.title and key.owner not in ("heat", "findings")  # those come with their screens
            assert not offered or f"{key.title}  ({key.shown})" in commands
        await press(pilot, "ctrl+p", *"later col")
        await asyncio.sleep(0.5)
        await press(pilot, "enter")
        await until(pilot, lambda: "columns < 1" in shown(pilot, "#results"))


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_quitting_ends_the_compute_process(folder: Path, key: str) -> None:
    async with opened(folder, "0.0", ready=False) as pilot:
        await pilot.press(key)
        await pilot.pause()
        assert pilot.app.return_code == 0
        assert pilot.app._exit


async def test_typing_q_in_goto_does_not_quit(folder: Path) -> None:
    async with opened(folder, "0.0", ready=False) as pilot:
        await press(pilot, "g", "0", ".", "1", ".", "q", "enter")
        assert at(pilot) == "0.1.q"


# trouble ----------------------------------------------------------------------------------------------------


async def test_a_matrix_with_nan_is_marked_and_the_others_are_drawn(tmp_path: Path) -> None:
    broken = decaying(32, 64).to(torch.bfloat16)
    broken[0, 0] = float("nan")
    name = "model.layers.0.self_attn.k_proj.weight"
    folder = write_checkpoint(tmp_path / "nan", layers=1, overrides={name: broken}).folder
    async with opened(folder, "0.0.k") as pilot:
        assert f"{name}: 1 of the 1,024 values of K in head 0" in " ".join(shown(pilot, "#results").split())
        assert any("K kv 0" in line and line.endswith("!") for line in shown(pilot, "#tree").splitlines())
        await press(pilot, "h")
        assert curve_labels(pilot) == set("QVO")
        assert "NaN or infinite" in shown(pilot, "#results")


async def test_flaws_are_marked_on_all_that_holds_them_from_the_start(tmp_path: Path) -> None:
    weight = decaying(64, 64).to(torch.bfloat16)
    weight[20, 3] = torch.nan  # rows 16 … 31 are head 1
    name = "model.layers.1.self_attn.q_proj.weight"
    folder = write_checkpoint(tmp_path / "nan", layers=2, overrides={name: weight}).folder
    async with opened(folder, "1.1"):
        pass
    async with opened(folder, "0.0") as pilot:  # layer 1 comes from the disk, and nobody looked at it
        await until(pilot, lambda: "layer 1          !" in shown(pilot, "#tree"))
        await press(pilot, *"g1.1.q", "enter")
        marks = {line.split()[-2]: line.split()[-1] for line in shown(pilot, "#tree").splitlines() if "head" in line}
        assert marks["1"] == "!"
        assert marks["2"] == "●"
        lines = [line.split() for line in shown(pilot, "#tree").splitlines()]
        assert ["Q", "!"] in lines
        assert ["O", "●"] in lines, shown(pilot, "#tree")


async def test_a_cache_that_keeps_nothing_is_not_called_one(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=1).folder
    (folder.parent / "cache").write_text("in the way")
    async with opened(folder, "0.0") as pilot:
        assert "computed, not kept 1/1 layers" in shown(pilot, "#status")


async def test_values_that_are_rounding_noise_are_called_so(tmp_path: Path) -> None:
    low = (torch.randn(16, 5, dtype=torch.float64) @ torch.randn(5, 64, dtype=torch.float64)).repeat(2, 1)
    name = "model.layers.0.self_attn.v_proj.weight"
    folder = write_checkpoint(tmp_path / "low", layers=1, overrides={name: low}).folder
    async with opened(folder, "0.0") as pilot:
        assert re.search(r"V: the last \d+ of 16 σ are rounding noise", shown(pilot, "#results"))


async def test_layers_that_the_config_promises_and_the_files_lack_are_told(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "part", layers=2, config={"num_hidden_layers": 5}).folder
    async with opened(folder, "0.0") as pilot:
        assert "config.json says 5 layers; 2 are in these files." in shown(pilot, "#status")


async def test_a_zero_matrix_has_dashes_for_ratios(tmp_path: Path) -> None:
    zero = torch.zeros(32, 64, dtype=torch.bfloat16)
    name = "model.layers.0.self_attn.v_proj.weight"
    folder = write_checkpoint(tmp_path / "zero", layers=1, overrides={name: zero}).folder
    async with opened(folder, "0.0") as pilot:
        rows = [line.split() for line in shown(pilot, "#results").splitlines()]
        row = next(row for row in rows if row[:1] == ["V"] and len(row) > 6)
        assert row[1:4] == ["0", "0", "–"]
        assert "V is all zeros" in shown(pilot, "#results")
        assert curve_labels(pilot) == set("QKO")
        await press(pilot, "right", "right", "down", "down")
        assert "Nothing to draw" in shown(pilot, "#results")


async def test_zeros_of_a_spectrum_are_left_out_of_a_log_plot_in_words(tmp_path: Path) -> None:
    weight = decaying(32, 64).to(torch.bfloat16)
    weight[8:16] = 0
    name = "model.layers.0.self_attn.v_proj.weight"
    folder = write_checkpoint(tmp_path / "rank", layers=1, overrides={name: weight}).folder
    async with opened(folder, "0.0") as pilot:
        assert "V: 8 of 16 σ are 0, not drawn" in shown(pilot, "#results")
        await press(pilot, "x")
        assert "not drawn" not in shown(pilot, "#results")


async def test_unknown_heads_are_explained(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "plain", layers=2, config=False).folder
    async with opened(folder, ready=False) as pilot:
        assert at(pilot) == ""
        assert "no config.json" in shown(pilot, "#results")
        assert "no config.json" in shown(pilot, "#status")
        await press(pilot, "down", "right")
        assert "q_proj" in shown(pilot, "#tree")
        assert "whole" not in shown(pilot, "#tree")
        await press(pilot, "}")
        assert "no config.json" in shown(pilot, "#status")


async def test_names_from_outside_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "a\x1b[31m[b]x", layers=1, prefix="m\x1b[2J[red].").folder
    async with opened(folder, "0.0.q", size=(120, 30)) as pilot:
        assert r"a\x1b[31m[b]x" in shown(pilot, "#header")
        assert r"m\x1b[2J[red].layers.0.self_attn.q_proj.weight" in shown(pilot, "#results")
        await press(pilot, "g", "9", "enter")
        assert r"a\x1b[31m[b]x" in str(pilot.app.screen.query_one("#goto-said").render())


async def test_a_shard_that_vanishes_fails_in_words_and_can_be_tried_again(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        disk, away = fresh.parent / fresh.name, fresh.parent / "away"
        disk.rename(away)  # as if it were not mounted any more
        await press(pilot, "]")
        await until(pilot, lambda: "✗" in shown(pilot, "#results"))
        assert "✗" in shown(pilot, "#tree")
        away.rename(disk)
        await press(pilot, "r")
        await until(pilot, lambda: "●" in shown(pilot, "#tree").splitlines()[3])


async def test_a_killed_compute_process_is_reported_and_replaced(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        app = pilot.app
        assert isinstance(app, SvdtuiApp)
        assert app.session
        assert app.session._worker.process
        os.kill(app.session._worker.process.pid, signal.SIGKILL)
        await press(pilot, "]")
        await until(pilot, lambda: "cached 2/3" in shown(pilot, "#status"))


async def test_a_result_that_is_damaged_on_disk_is_computed_again(fresh: Path) -> None:
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        before = shown(pilot, "#results")
    for file in (fresh.parent / "cache").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-5])
    async with opened(fresh, "0.0", prefetch=False) as pilot:
        await until(pilot, lambda: shown(pilot, "#results") == before)


async def test_export_right_after_a_move_is_of_the_new_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder.parent / "fast"
    target.mkdir()
    monkeypatch.chdir(target)
    async with opened(folder, "0.0") as pilot:
        await press(pilot, "]", "]", "}", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        assert (target / "tiny.layer-2.head-1.metrics.csv").exists()


async def test_the_mouse_selects_opens_and_scrolls(folder: Path) -> None:
    async with opened(folder, "0") as pilot:
        await pilot.click("#tree", offset=(8, 2))
        await press(pilot)
        assert at(pilot) == "1"
        await pilot.click("#tree", offset=(0, 2))
        assert "▾ layer 1" in shown(pilot, "#tree")
        row = next(y for y, line in enumerate(shown(pilot, "#results").splitlines()) if line.split()[:2] == ["2", "1"])
        await pilot.click("#results", offset=(10, row), times=2)
        await press(pilot)
        assert at(pilot) == "1.2"
        await pilot.click("#keys", offset=(shown(pilot, "#keys").index("] layer"), 0))
        await press(pilot)
        assert at(pilot) == "2.2"


async def test_a_small_terminal_is_told_so_and_may_grow(folder: Path) -> None:
    async with opened(folder, "0.0", size=(60, 20), ready=False) as pilot:
        assert isinstance(pilot.app.screen, TooSmall)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not isinstance(pilot.app.screen, TooSmall))
        await until(pilot, lambda: not waiting(pilot))
        assert curve_labels(pilot) == set("QKVO")
        await pilot.resize_terminal(79, 24)
        await until(pilot, lambda: isinstance(pilot.app.screen, TooSmall))
        assert "79×24" in pilot.app.screen.query_one(Painted).render_line(11).text


async def test_the_chart_fills_any_size(folder: Path) -> None:
    async with opened(folder, "0.0") as pilot:
        for size in ((80, 24), (81, 25), (200, 60), (133, 37), (300, 24)):
            await pilot.resize_terminal(*size)
            await press(pilot)
            lines = shown(pilot, "#results").splitlines()
            assert len(lines) == size[1] - 3
            assert curve_labels(pilot) == set("QKVO")
            assert max(map(len, lines)) <= size[0] - explorer(pilot).query_one(ModelTree).size.width


async def test_letters_mark_the_curves_without_colour(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(folder, "0.0") as pilot:
        upper = "".join(line[:-1] for line in shown(pilot, "#results").splitlines()[1:-9])
        for matrix in "QKVO":
            assert matrix in upper
