"""Curves, axes, labels and numbers as text, without a screen."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from svdtui.engine import AddressError, open_model
from svdtui.engine.address import Address
from svdtui.tui.formats import done_of, figure, megabytes, share
from svdtui.tui.keys import KEYS, bindings, footer
from svdtui.tui.widgets.axes import index_ticks, linear_ticks, log_ticks
from svdtui.tui.widgets.chart import chart, spread, value_labels
from svdtui.tui.widgets.curves import TRANSFORMS, Spectrum, Transform, decimate, is_logarithmic, trace
from svdtui.tui.widgets.outline import Outline
from svdtui.tui.widgets.painted import Line, clipped
from svdtui.tui.widgets.raster import dot_row
from tests.checkpoints import write_checkpoint


def spectrum(label: str, *values: float) -> Spectrum:
    return Spectrum(label, label.lower(), np.array(values, dtype=np.float64))


def drawn(
    spectra: list[Spectrum], width: int, height: int, *, transform: Transform = "sigma", log: bool = False
) -> list[str]:
    curves, _ = trace(spectra, transform, log)
    lines = chart(curves, width, height, log=is_logarithmic(transform, log), letters=False)
    return ["".join(text for text, _ in line) for line in lines]


# any spectrum can be drawn ----------------------------------------------------------------------------------

VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 5e-324, 1e-300, 1.0, 1e300])


@settings(max_examples=200, deadline=None)
@given(
    spectra=st.lists(st.lists(VALUES, max_size=40), max_size=4),
    transform=st.sampled_from(list(TRANSFORMS)),
    log=st.booleans(),
    letters=st.booleans(),
    width=st.integers(0, 90),
    height=st.integers(0, 20),
)
def test_whatever_the_values_the_chart_fits_its_block(
    spectra: list[list[float]], transform: Transform, log: bool, letters: bool, width: int, height: int
) -> None:
    """plotext ends the process on a value that is not finite; a chart that overflows garbles the screen."""
    sorted_spectra = [spectrum("QKVO"[i], *sorted(map(abs, s), reverse=True)) for i, s in enumerate(spectra)]
    with np.errstate(all="ignore"):
        curves, _ = trace(sorted_spectra, transform, log)
    lines: list[Line] = chart(curves, width, height, log=is_logarithmic(transform, log), letters=letters)
    assert len(lines) in (0, height)
    for line in lines:
        assert cell_len("".join(text for text, _ in line)) <= width


def test_a_curve_runs_from_corner_to_corner() -> None:
    lines = drawn([spectrum("Q", *np.linspace(8, 0, 64))], 60, 12)
    canvas = [line.partition("┤")[2] or line.partition("│")[2] for line in lines[:-1]]
    assert canvas[0][0] not in " ⠀"
    assert canvas[-1][len(canvas[0].rstrip()) :].strip() != ""


def test_values_that_do_not_descend_are_drawn_as_far_as_they_can_be() -> None:
    with np.errstate(all="ignore"):
        assert drawn([spectrum("Q", 9.5e-216, np.nan, 1.0)], 24, 4, transform="energy")


def test_equal_values_are_a_straight_line() -> None:
    lines = drawn([spectrum("Q", *[2.0] * 9)], 50, 9)
    assert sum(any("⠀" < c <= "⣿" for c in line) for line in lines) == 1


def test_one_value_is_one_dot() -> None:
    lines = drawn([spectrum("Q", 3.0)], 50, 9, log=True)
    assert sum("⠀" < c <= "⣿" for c in "".join(lines)) == 1


def test_zeros_are_left_out_of_a_log_axis_and_counted() -> None:
    curves, remarks = trace([spectrum("V", 4, 2, 0, 0)], "sigma", log=True)
    assert curves[0].y.tolist() == pytest.approx([np.log10(4), np.log10(2)])
    assert remarks == ["V: 2 of 4 σ are 0, not drawn"]


def test_a_zero_matrix_has_no_curve() -> None:
    for transform in TRANSFORMS:
        curves, remarks = trace([spectrum("V", 0, 0, 0)], transform, log=False)
        assert (curves, remarks) == ([], ["V is all zeros"])


def test_energy_rises_to_one_and_relative_starts_there() -> None:
    (energy,), _ = trace([spectrum("Q", 3, 1)], "energy", log=True)
    assert energy.y.tolist() == pytest.approx([0.9, 1.0])
    (relative,), _ = trace([spectrum("Q", 4, 1)], "relative", log=False)
    assert relative.y.tolist() == [1, 0.25]


def test_a_long_curve_keeps_the_extremes_of_each_column() -> None:
    y = np.random.default_rng(0).random(4096)
    x_kept, y_kept = decimate(np.arange(4096.0), y, 100)
    assert len(y_kept) <= 200
    assert (min(y_kept), max(y_kept)) == (y.min(), y.max())
    assert x_kept == sorted(x_kept)


# labels -----------------------------------------------------------------------------------------------------


@given(rows=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_end_labels_never_collide_and_keep_their_order(rows: list[int]) -> None:
    placed = spread(rows, [-row for row in rows], 10)
    assert len(set(placed)) == len(rows)
    assert all(0 <= row < 10 for row in placed)
    in_order = [place for _, place in sorted(zip(rows, placed, strict=True), key=lambda pair: pair[0])]
    assert in_order == sorted(in_order) or len(set(rows)) < len(rows)


def test_labels_with_room_stay_beside_their_curves() -> None:
    assert spread([1, 5, 8], [3.0, 2.0, 1.0], 10) == [1, 5, 8]


def test_each_end_label_stands_at_the_end_of_its_curve() -> None:
    lines = drawn([spectrum("Q", 9, 8, 7), spectrum("O", 9, 5, 1)], 50, 11)
    rows = {line[-1]: row for row, line in enumerate(lines) if line[-1] in "QO"}
    assert rows == {"Q": dot_row(7, (0, 9), 10), "O": dot_row(1, (0, 9), 10)}


# axes -------------------------------------------------------------------------------------------------------


def test_linear_ticks_are_round() -> None:
    assert linear_ticks(0, 10, 5) == [(0, "0"), (2, "2"), (4, "4"), (6, "6"), (8, "8"), (10, "10")]
    assert [label for _, label in linear_ticks(0, 0.31, 3)] == ["0", "0.2"]


def test_log_ticks_are_powers_of_ten_with_company_when_there_is_room() -> None:
    assert [label for _, label in log_ticks(-2, 1.3, 6)] == ["0.01", "0.1", "1", "10"]
    assert [label for _, label in log_ticks(-0.31, 1.1, 12)] == ["0.5", "1", "2", "5", "10"]
    assert [label for _, label in log_ticks(-12, 0, 5)] == ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1"]
    assert [label for _, label in log_ticks(np.log10(2.9), np.log10(3.1), 4)] == [
        "2.90",
        "2.95",
        "3.00",
        "3.05",
        "3.10",
    ]


@given(st.floats(-300, 300), st.floats(1e-6, 300), st.integers(2, 30))
def test_log_ticks_lie_on_the_axis(low: float, span: float, count: int) -> None:
    high = min(low + span, 305.0)
    assert all(low - 1e-6 <= at <= high + 1e-6 for at, _ in log_ticks(low, high, count))


def test_the_index_axis_names_both_ends() -> None:
    assert index_ticks(1, 128, 5) == [1, 40, 80, 128]
    assert index_ticks(1, 1, 5) == [1]
    assert index_ticks(1, 4096, 8)[-1] == 4096


# numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (float("inf"), "∞"),
        (27.7104, "27.71"),
        (0.503924, "0.5039"),
        (1234.56, "1235"),
        (99999.9, "100000"),
        (0.00123, "0.00123"),
        (1.234e-9, "1.23e-9"),
        (3.3e17, "3.30e17"),
        (1.5e300, "1.5e300"),
        (1.09e-12, "1.1e-12"),
        (7.577e-200, "8e-200"),
        (9.96e-12, "1.0e-11"),
        (42, "42"),
    ],
)
def test_figures_have_four_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_no_figure_is_wider_than_its_column(value: float) -> None:
    assert len(figure(value)) <= 7
    if value <= 1:
        assert len(share(value)) <= 7


def test_bytes_are_told_in_one_unit() -> None:
    assert megabytes(412e6) == "412 MB"
    assert megabytes(1.25e9) == "1.2 GB"
    assert done_of(54e6, 80e6) == "54 of 80 MB"
    assert done_of(0, 512) == "0 of 512 B"


def test_clipping_counts_cells_not_characters() -> None:
    assert clipped("模型模型", 5) == "模型…"
    assert clipped("model", 5) == "model"
    assert clipped("model", 0) == ""


# keys and the tree ------------------------------------------------------------------------------------------


def test_every_key_is_bound_once_and_explained() -> None:
    assert len({key.id for key in KEYS}) == len(KEYS)
    assert all(key.tooltip.endswith(".") for key in KEYS)
    for owner in ("app", "explorer", "tree", "table", "heat"):
        keys = [key for binding in bindings(owner) for key in binding.key.split(",")]
        assert len(set(keys)) == len(keys)
    assert {key.id for _, _, keys in footer() for key in keys} <= {key.id for key in KEYS}


def test_the_outline_grows_where_it_is_opened(tmp_path: Path) -> None:
    outline = Outline(open_model(write_checkpoint(tmp_path / "m", layers=2).folder))
    labels = [node.label for node in outline.nodes]
    assert labels == ["model", "layer 0", "layer 1", "embed_tokens", "lm_head"]
    assert outline.expand(1) == 5
    at = outline.reveal(Address(1, 2, "v"))
    assert outline.nodes[at].address == Address(1, 2, "v")
    assert outline.nodes[outline.parent(at)].address == Address(1, 2)
    outline.collapse(outline.find("layer", Address(1)) or 0)
    outline.collapse(1)
    assert [node.label for node in outline.nodes] == labels
    assert outline.expand(1) == 5


def test_revealing_what_does_not_exist_stops_at_the_nearest_place(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=2).folder)
    with pytest.raises(AddressError):
        model.check(Address(1, 99))
    outline = Outline(model)
    assert outline.nodes[outline.reveal(Address(1, 99))].address == Address(1)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.floats(-300, 300), st.floats(1e-3, 40), st.integers(8, 70))
def test_a_tall_logarithmic_axis_has_a_label_among_any_eight_rows(low: float, span: float, rows: int) -> None:
    y = (low, min(low + span, 307.0))
    labels = value_labels(y, rows, log=True)
    edges = [-1, *sorted(labels), rows]
    assert max(b - a for a, b in itertools.pairwise(edges)) <= 8
    assert min((b - a for a, b in itertools.pairwise(sorted(labels))), default=2) > 1
    for row, label in labels.items():
        if label.isascii():
            assert dot_row(math.log10(float(label)), y, rows) == row


@pytest.mark.parametrize("rows", [20, 34, 55])
@pytest.mark.parametrize("decades", [0.05, 0.4, 0.99, 1.01, 1.3, 1.9, 2.5, 7])
def test_spectra_on_wide_screens_can_be_read_off(rows: int, decades: float) -> None:
    for low in (-2.0, -0.31, 0.02, 0.7):
        labels = value_labels((low, low + decades), rows, log=True)
        assert max(b - a for a, b in itertools.pairwise([-1, *sorted(labels), rows])) <= 8
