"""Heads of a layer and layers of a model side by side: their figures, order, curves and text, without a screen."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from svdtui.engine import Address, Analysis, Job, Model, open_model
from svdtui.engine.metrics import METRICS, flat_value, metric_table
from svdtui.engine.overview import HeadsOverview, LayersOverview, overview, quantiles
from svdtui.engine.results import Tables
from svdtui.tui.listing import BY_NUMBER, Listing, order
from svdtui.tui.widgets.metric_chart import MetricChart
from svdtui.tui.widgets.metric_curves import has_figures, is_log, plot
from svdtui.tui.widgets.overview_columns import column_names, figure_columns, metric_text
from svdtui.tui.widgets.overview_table import OverviewTable
from svdtui.tui.widgets.stage import Look
from tests.checkpoints import write_checkpoint

HEADS, KV_HEADS, LAYERS = 4, 2, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(write_checkpoint(tmp_path_factory.mktemp("overview") / "tiny", layers=LAYERS).folder)


def tables_of_spectra(
    model: Model, spectra: Mapping[tuple[int, str], list[list[float]]], k: int = 2
) -> Mapping[int, Tables]:
    """The figures of layers whose slices have these spectra; a spectrum of NaN stands for weights that are NaN."""
    layers: dict[int, dict[str, object]] = {}
    for (layer, matrix), slices in spectra.items():
        assert len(slices) == model.slices(matrix)
        layers.setdefault(layer, {})[matrix] = metric_table(np.array(slices, dtype=np.float64), k)
    return layers  # type: ignore[return-value]


def seen(model: Model, tables: Mapping[int, Tables], layer: int | None = None) -> HeadsOverview | LayersOverview:
    return overview(model, Address(layer), lambda job: tables.get(-1 if job.layer is None else job.layer), 2)


def same(value: float, matrices: str = "qkvo", layers: int = LAYERS) -> dict[tuple[int, str], list[list[float]]]:
    """Every slice of every layer with the same spectrum."""
    return {
        (layer, matrix): [[value, value / 2, value / 4]] * (KV_HEADS if matrix in "kv" else HEADS)
        for layer in range(layers)
        for matrix in matrices
    }


# figures ----------------------------------------------------------------------------------------------------


@given(rows=st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=5, max_size=5), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_quantiles_are_those_of_numpy(rows: list[list[float]]) -> None:
    values, shares = np.array(rows), (0.1, 0.5, 0.9)
    assert quantiles(values, shares) == pytest.approx(np.nanquantile(values, shares, axis=1), nan_ok=True)


def test_flat_values_are_those_of_equal_singular_values() -> None:
    flat = {metric.name: flat_value(metric.name, 64, 10) for metric in METRICS}
    assert flat == {
        "sigma_first": None,
        "sigma_last": None,
        "top_ratio": pytest.approx(10 / 64),
        "first_last_ratio": 1,
        "bottom_ratio": pytest.approx(10 / 64),
        "stable_rank": 64,
        "effective_rank": pytest.approx(64),
        "participation_ratio": 64,
        "energy_rank_90": 58,  # 0.9 · 64 = 57.6
        "energy_rank_95": 61,
        "energy_rank_99": 64,
        "frobenius_norm": None,
        "nuclear_norm": None,
    }
    assert flat_value("top_ratio", 5, 10) == 1


def test_heads_have_the_figures_of_the_views_and_kv_heads_stand_at_all_that_share_them(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=1).folder
    with Analysis(folder, cache_dir=tmp_path / "c") as analysis:
        found = analysis.result(Job(0, "heads")).tables()
        heads = overview(analysis.model, Address(0), lambda job: found, 10)
        assert isinstance(heads, HeadsOverview)
        for row in analysis.view(Address(0)).rows:
            assert row.metrics
            head = row.info.address.head
            assert head is not None
            for metric in METRICS:
                assert heads.values(row.info.matrix, metric.name)[head] == getattr(row.metrics, metric.name)
            assert heads.beside(head) == (head // 2,)
        assert heads.flat("q", "top_ratio") == pytest.approx(10 / 16)


def test_the_median_counts_a_kv_head_once(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "k"): [[3.0, 1, 1], [1.0, 1, 1]]}
    heads = seen(model, tables_of_spectra(model, spectra), 0)
    assert isinstance(heads, HeadsOverview)
    assert heads.values("k", "sigma_first").tolist() == [3, 3, 1, 1]
    assert heads.median("k", "sigma_first") == 2


def test_layers_have_the_median_of_their_slices_and_missing_ones_are_undefined(model: Model) -> None:
    spectra = {(0, "q"): [[float(i), 1, 1] for i in (1, 2, 3, 10)], (2, "q"): [[4.0, 1, 1]] * 4}
    layers = seen(model, tables_of_spectra(model, spectra))
    assert isinstance(layers, LayersOverview)
    assert layers.computed.tolist() == [True, False, True]
    assert layers.values("q", "sigma_first").tolist() == pytest.approx([2.5, np.nan, 4], nan_ok=True)
    low, high = layers.band("q", "sigma_first")
    assert (low[0], high[0]) == (pytest.approx(1.3), pytest.approx(7.9))
    assert np.isnan(layers.values("k", "sigma_first")).all()


def test_slices_without_a_spectrum_are_counted_and_a_zero_matrix_is_not_one(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "q"): [[np.nan] * 3, [1.0, 1, 1], [np.nan] * 3, [0.0, 0, 0]]}
    tables = tables_of_spectra(model, spectra)
    assert seen(model, tables, 0).flaws("q").tolist() == [1, 0, 1, 0]
    assert seen(model, tables).flaws("q").tolist() == [2, 0, 0]
    texts = {column.name: list(column.texts) for column in figure_columns(seen(model, tables, 0), Look())}
    assert texts["q"] == ["!", "0.6667", "!", "–"]
    (layers, *_) = figure_columns(seen(model, tables), Look())
    assert list(layers.texts) == ["0.6667!", "·", "·"]


def test_whole_ranks_and_halves_between_them_are_told_apart() -> None:
    assert [metric_text("energy_rank_90", value) for value in (25.0, 25.5)] == ["25", "25.5"]
    assert metric_text("top_ratio", 0.50391) == "0.5039"
    assert metric_text("first_last_ratio", 84.666) == "84.67"


# order ------------------------------------------------------------------------------------------------------


def test_undefined_values_come_last_in_both_directions_and_ties_keep_their_order() -> None:
    values = [2.0, np.nan, 1.0, 2.0, np.nan]
    assert order(values, 5, descending=True) == [0, 3, 2, 1, 4]
    assert order(values, 5, descending=False) == [2, 0, 3, 1, 4]
    assert order(None, 3, descending=True) == [2, 1, 0]


def test_sorting_steps_through_all_columns_and_back_to_the_numbers() -> None:
    listing, seen_names = Listing(), []
    for _ in range(5):
        listing = listing.sorted_further("qkvo")
        seen_names.append((listing.by, listing.descending))
    assert seen_names == [("q", True), ("k", True), ("v", True), ("o", True), (BY_NUMBER, False)]
    assert Listing(by="k", descending=True).reversed("qkvo") == Listing(by="k")


def test_listing_steps_through_the_matrices_and_a_column_that_is_gone_sorts_nothing() -> None:
    listing, matrices = Listing(by="k", descending=True), []
    for _ in range(5):
        listing = listing.stepped("qkvo")
        matrices.append(listing.matrix)
    assert matrices == ["q", "k", "v", "o", None]
    names = [metric.name for metric in METRICS]
    assert not replace(listing, matrix="q").descends(names)
    assert listing.descends("qkvo")
    assert replace(listing, matrix="q").reversed(names) == Listing("q", BY_NUMBER, descending=True)


def shown_table(model: Model, tables: Mapping[int, Tables], look: Look, layer: int | None = None) -> OverviewTable:
    table = OverviewTable()
    table.show(seen(model, tables, layer), "title", look)
    return table


def text_of(table: OverviewTable, width: int = 100, height: int = 12) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in table.lines(width, height, focused=True)]


def test_the_cursor_stays_on_its_head_when_rows_are_sorted_and_on_its_layer_when_figures_arrive(model: Model) -> None:
    spectra = same(1.0) | {(0, "q"): [[float(s), 1, 1] for s in (1, 3, 2, 4)]}
    tables = tables_of_spectra(model, spectra)
    look = replace(Look(), metric="sigma_first")
    table = shown_table(model, tables, look, 0)
    table.move_to(2)
    by_q = replace(look, listing=Listing(by="q", descending=True))
    table.show(seen(model, tables, 0), "title", by_q)
    assert [line.split()[0] for line in text_of(table)[2:]] == ["3", "1", "2", "0"]
    assert table.address == Address(0, 2)
    table.show(seen(model, {0: tables[0]}), "title", by_q)
    table.move_to(1)
    assert table.address == Address(1)
    table.show(seen(model, {0: tables[0], 2: tables[2]}), "title", by_q)
    assert [line.split()[0] for line in text_of(table)[2:]] == ["0", "2", "1"]
    assert table.address == Address(1)
    table.show(seen(model, tables, 1), "title", by_q)  # a layer and the model each have their own place
    assert table.address == Address(1, 2)


def test_the_column_that_sorts_is_named_with_its_direction_and_scrolled_into_view(model: Model) -> None:
    tables = tables_of_spectra(model, same(1.0))
    table = shown_table(model, tables, Look(), 0)
    assert "▲head" in text_of(table)[1]
    listing = Listing("q", by="nuclear_norm", descending=True)
    table.show(seen(model, tables, 0), "title", replace(Look(), listing=listing))
    assert "▼‖·‖*" in text_of(table, 56)[1]
    assert "▲head" not in text_of(table, 56)[1]
    table.show(seen(model, tables, 0), "title", replace(Look(), listing=listing, metric="sigma_first"))
    assert "σ₁" in text_of(table, 56)[1]


def test_the_text_for_a_clipboard_is_the_table_at_full_precision(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "q"): [[1.0, 1, 1], [0.0, 0, 0], [1.0, 1, 0], [1.0, 0, 0]]}
    tables = tables_of_spectra(model, spectra)
    look = replace(Look(), listing=Listing(by="q", descending=True))
    lines = [line.split("\t") for line in shown_table(model, tables, look, 0).text().splitlines()]
    assert lines[0] == ["head", "kv_head", "q_top2_ratio", "k_top2_ratio", "v_top2_ratio", "o_top2_ratio"]
    assert [line[0] for line in lines[1:]] == ["2", "3", "0", "1"]
    assert lines[3][2] == repr(2 / 3)
    assert lines[4][2] == ""
    model_text = shown_table(model, tables, Look()).text().splitlines()
    assert model_text[0].split("\t")[:2] == ["layer", "q_top2_ratio_median"]
    assert len(model_text) == 1 + LAYERS


# curves -----------------------------------------------------------------------------------------------------


def test_shared_matrices_are_steps_and_the_others_lines(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "k"): [[3.0, 1, 1], [1.0, 1, 1]]}
    drawn = plot(seen(model, tables_of_spectra(model, spectra), 0), Look(metric="sigma_first"), log=False, dots=100)
    assert drawn
    curves = {curve.ink: curve for curve in drawn.curves}
    assert curves["k"].x.tolist() == [-0.5, 0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5]
    assert curves["k"].y.tolist() == [3, 3, 3, 3, 1, 1, 1, 1]
    assert curves["q"].x.tolist() == [0, 1, 2, 3]


def test_missing_layers_are_gaps_and_lone_ones_dashes(tmp_path: Path) -> None:
    tensors = [f"model.layers.2.{name}" for name in ("self_attn.q_proj.weight", "self_attn.k_proj.weight")]
    deep = open_model(write_checkpoint(tmp_path / "deep", layers=6, drop=tensors).folder)
    spectra = {key: value for key, value in same(1.0, layers=6).items() if key[0] in (0, 1, 3, 5)}
    drawn = plot(seen(deep, tables_of_spectra(deep, spectra)), Look(), log=False, dots=100)
    assert drawn
    curve = next(curve for curve in drawn.curves if curve.ink == "q")
    there = np.isfinite(curve.y)
    assert curve.x[there].tolist() == [0, 1, 2.75, 3.25, 4.75, 5.25]
    assert np.isnan(curve.y[(curve.x > 1) & (curve.x < 2.75)]).all()


def test_the_axis_is_logarithmic_where_values_span_decades_until_the_user_says_otherwise(model: Model) -> None:
    wide = same(1.0, layers=1) | {(0, "q"): [[s, 1e-3, 1e-3] for s in (1.0, 1e3, 10, 1)]}
    spread_out = seen(model, tables_of_spectra(model, wide), 0)
    look = Look(metric="sigma_first")
    assert is_log(spread_out, look)
    assert not is_log(spread_out, look.scaled(log=False))
    assert not is_log(seen(model, tables_of_spectra(model, same(1.0)), 0), look)
    with_zero = wide | {(0, "o"): [[0.0, 0, 0]] * 4}
    assert not is_log(seen(model, tables_of_spectra(model, with_zero), 0), look)


def test_values_that_a_logarithmic_axis_leaves_out_are_told(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "q"): [[1.0, 1, 0]] * 2 + [[1.0, 1, 1]] * 2}
    heads = seen(model, tables_of_spectra(model, spectra), 0)
    drawn = plot(heads, Look(metric="sigma_last"), log=True, dots=100)
    assert drawn
    assert drawn.remarks == ["Q: 2 values are 0, not drawn"]


def test_a_flat_value_nearby_widens_the_axis_and_one_far_away_is_an_arrow_at_its_edge(model: Model) -> None:
    heads = seen(model, tables_of_spectra(model, same(1.0, layers=1)), 0)  # of 3 values, where a head's have 16
    chart = chart_lines(heads, Look(metric="energy_rank_99"))
    assert chart[1].endswith("↑flat 16")
    assert not any("┄" in line for line in chart)
    near = same(1.0, layers=1) | {(0, "q"): [[3.0, 1, 1], *([[1.5, 1, 1]] * 3)]}
    chart = chart_lines(seen(model, tables_of_spectra(model, near), 0), Look(metric="first_last_ratio"))
    assert [line for line in chart if "┄┄┄" in line and line.endswith("◂ flat 1")]


def chart_lines(
    seen: HeadsOverview | LayersOverview, look: Look, width: int = 56, height: int = 12, *, letters: bool = False
) -> list[str]:
    lines = MetricChart(seen).lines("title", width, height, look, letters=letters)
    return ["".join(text for text, _ in line) for line in lines]


def test_medians_stand_beside_the_curves_of_heads(model: Model) -> None:
    spectra = same(1.0, layers=1) | {(0, "q"): [[float(s), 1, 1] for s in (1, 2, 4, 5)]}
    chart = chart_lines(seen(model, tables_of_spectra(model, spectra), 0), Look(metric="sigma_first"))
    assert any(line.endswith("◂ Q 3.000") for line in chart)
    assert chart[-1].split()[1] == "0"
    assert (chart[-1].split()[-3], chart[-1].split()[-1]) == ("3", "head")


def test_a_band_is_drawn_around_the_listed_matrix_or_the_only_one(model: Model) -> None:
    spectra = same(1.0) | {(layer, "q"): [[float(s), 1, 1] for s in (1, 2, 4, 9)] for layer in range(LAYERS)}
    layers = seen(model, tables_of_spectra(model, spectra))
    look = Look(metric="sigma_first")
    for banded, expected in (
        (look, set()),
        (replace(look, listing=Listing("q")), {"q-band"}),
        (replace(look, hidden=frozenset("kvo")), {"q-band"}),
        (replace(look, listing=Listing("q"), hidden=frozenset("q")), set()),
    ):
        drawn = plot(layers, banded, log=False, dots=100)
        assert drawn
        assert {curve.ink for curve in drawn.bands} == expected
    dense = plot(layers, replace(look, listing=Listing("q")), log=False, dots=4)
    assert dense
    assert len(dense.bands) == 2  # the edges: bars would be a block


# whatever the spectra ---------------------------------------------------------------------------------------

SIGMA = st.sampled_from([0.0, 5e-324, 1e-300, 1e-5, 0.5, 1.0, 1.0000000001, 40.0, 1e300, np.nan])


@settings(max_examples=250, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_the_spectra_chart_and_table_fit_their_blocks(model: Model, data: st.DataObject) -> None:
    """NaN anywhere, zero matrices, missing layers and matrices: nothing crashes, nothing overflows."""
    spectra = {}
    for layer in data.draw(st.sets(st.integers(0, LAYERS - 1))):
        for matrix in data.draw(st.sets(st.sampled_from("qkvo"))):
            values = st.lists(SIGMA, min_size=3, max_size=3).map(
                lambda s: [np.nan] * 3 if any(map(np.isnan, s)) else sorted(s, reverse=True)
            )
            spectra[layer, matrix] = [data.draw(values) for _ in range(model.slices(matrix))]
    look = Look(
        metric=data.draw(st.sampled_from([metric.name for metric in METRICS])),
        hidden=frozenset(data.draw(st.sets(st.sampled_from("qkvo")))),
        listing=Listing(
            data.draw(st.sampled_from([None, *"qkvo"])),
            data.draw(st.sampled_from(["", "q", "top_ratio"])),
            data.draw(st.booleans()),
        ),
    )
    if data.draw(st.booleans()):
        look = look.scaled(data.draw(st.booleans()))
    width, height = data.draw(st.integers(50, 150)), data.draw(st.integers(4, 30))
    tables = tables_of_spectra(model, spectra)
    for address in (None, 0):
        shown = seen(model, tables, address)
        lines = chart_lines(shown, look, width, height, letters=data.draw(st.booleans()))
        assert len(lines) <= height
        assert all(cell_len(line) <= width for line in lines)
        table = text_of(shown_table(model, tables, look, address), width, height)
        assert all(cell_len(line) <= width for line in table)
        columns = len(METRICS) if look.listing.matrix else 4 - len(look.hidden)
        assert len(column_names(shown, look)) == columns
        has_figures(shown)


def test_one_head_in_one_layer(tmp_path: Path) -> None:
    single = open_model(write_checkpoint(tmp_path / "one", layers=1, heads=1, kv_heads=1, hidden=16).folder)
    tables = {0: {matrix: metric_table(np.array([[3.0, 2, 1]]), 2) for matrix in "qkvo"}}
    for layer in (None, 0):
        shown = overview(single, Address(layer), lambda job: tables[0], 2)
        lines = chart_lines(shown, Look())
        assert any("⠀" < char <= "⣿" for line in lines for char in line)
        assert lines[-1].count("0") == 1
        assert len(text_of(shown_table(single, tables, Look(), layer))) == 3


def test_a_dtype_without_spectra_is_a_flaw_before_anything_is_computed(tmp_path: Path) -> None:
    packed = torch.zeros(64, 64, dtype=torch.int8)
    name = "model.layers.0.self_attn.q_proj.weight"
    folder = write_checkpoint(tmp_path / "int8", layers=1, overrides={name: packed}).folder
    heads = overview(open_model(folder), Address(0), lambda job: None, 10)
    assert heads.flaws("q").tolist() == [1] * 4
    assert heads.flaws("k").tolist() == [0] * 4
