"""Scale, colours, layout and cells of the heat map, without a screen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem

from svdtui.tui.contrast import Colour
from svdtui.tui.heat_data import ordinal, standing
from svdtui.tui.widgets.colourmap import SHADES, contrast, palette
from svdtui.tui.widgets.heat_axis import column_numbers, layer_label
from svdtui.tui.widgets.heat_cells import coloured, halved, textured, textures
from svdtui.tui.widgets.heat_legend import legend_line
from svdtui.tui.widgets.heat_plan import GAP, plan, scrolled
from svdtui.tui.widgets.heat_profile import bar
from svdtui.tui.widgets.heat_scale import MISSING, UNDEFINED, ZERO, codes, scale_of

NAN, INF = float("nan"), float("inf")


# colours ----------------------------------------------------------------------------------------------------


def lightness(colour: Colour) -> float:
    """CIELAB's L* of an sRGB colour, white D65: 0 is black, 100 is white."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    y = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * (y ** (1 / 3) if y > (6 / 29) ** 3 else y / (3 * (6 / 29) ** 2) + 4 / 29) - 16


def test_the_colours_rise_evenly_in_lightness() -> None:
    levels = [lightness(colour) for colour in palette(many=True)]
    steps = np.diff(levels)
    assert len(levels) == SHADES
    assert levels[0] < 20
    assert levels[-1] > 85
    assert steps.min() > 0.75 * steps.mean()
    assert steps.max() < 1.25 * steps.mean()


def test_the_colours_of_a_terminal_with_256_are_its_own_and_rise() -> None:
    colours = palette(many=False)
    steps = np.diff([lightness(colour) for colour in colours])
    assert steps.min() > 5
    assert steps.max() < 15
    for colour in colours:
        number = Color.from_rgb(*colour).downgrade(ColorSystem.EIGHT_BIT).number
        assert number is not None
        assert tuple(Color.from_ansi(number).get_truecolor()) == colour


@pytest.mark.parametrize("many", [True, False])
def test_the_cursor_stands_out_on_every_shade(many: bool) -> None:
    for colour in palette(many=many):
        assert abs(lightness(colour) - lightness(contrast(colour))) > 40


# the scale --------------------------------------------------------------------------------------------------


def shades(values: list[list[float]], log: bool | None = None, count: int = 10) -> list[list[int]]:
    array = np.array(values, dtype=np.float64)
    found: list[list[int]] = codes(array, np.ones(len(array), dtype=bool), scale_of(array, log), count).tolist()
    return found


def test_the_ends_of_the_scale_are_the_extremes() -> None:
    assert shades([[1.0, 1.5, 2.0]]) == [[0, 5, 9]]


def test_a_metric_that_spans_a_decade_is_logarithmic_unless_told_otherwise() -> None:
    assert shades([[1.0, 10.0, 100.0]]) == [[0, 5, 9]]
    assert shades([[1.0, 10.0, 100.0]], log=False) == [[0, 0, 9]]
    scale = scale_of(np.array([1.0, 100.0]), None)
    assert scale is not None
    assert scale.log
    assert scale.middle == pytest.approx(10)
    linear = scale_of(np.array([1.0, 9.0]), None)
    assert linear is not None
    assert not linear.log
    assert linear.middle == 5


def test_what_is_undefined_or_infinite_does_not_move_the_ends() -> None:
    assert shades([[NAN, 1.0, 2.0, INF]]) == [[UNDEFINED, 0, 9, 9]]


def test_a_zero_has_no_place_on_a_logarithmic_scale_and_one_on_a_linear_one() -> None:
    assert shades([[0.0, 1.0, 100.0]]) == [[ZERO, 0, 9]]
    assert shades([[0.0, 1.0, 100.0]], log=False) == [[0, 0, 9]]


def test_equal_values_and_a_single_one_get_the_middle_shade() -> None:
    assert shades([[3.0, 3.0], [3.0, NAN]]) == [[5, 5], [5, UNDEFINED]]
    assert shades([[7.0]]) == [[5]]
    assert shades([[0.0, 0.0]], log=True) == [[5, 5]]


def test_layers_that_are_not_computed_are_missing_and_not_undefined() -> None:
    values = np.array([[1.0, 2.0], [NAN, NAN]])
    found = codes(values, np.array([True, False]), scale_of(values, None), 10)
    assert found.tolist() == [[0, 9], [MISSING, MISSING]]
    nothing = codes(values, np.array([False, False]), scale_of(values[1:], None), 10)
    assert (nothing == MISSING).all()


@given(
    st.lists(st.floats() | st.sampled_from([0.0, 5e-324, 1e-300, 1e308]), min_size=1, max_size=20),
    st.sampled_from([None, True, False]),
)
def test_whatever_the_values_each_has_a_shade_or_a_sign(values: list[float], log: bool | None) -> None:
    for code in shades([[abs(value) for value in values]], log)[0]:
        assert code in range(10) or code in (UNDEFINED, ZERO)


# the layout -------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 300)


@given(SIZES, SIZES, st.integers(1, 320), st.integers(1, 100), st.booleans())
def test_whatever_the_sizes_the_cells_fit_their_block(
    layers: int, columns: int, width: int, height: int, halves: bool
) -> None:
    found = plan(layers, columns, len(str(layers)), width, height, halves=halves)
    assert 1 <= found.rows <= height
    assert found.width <= max(width, found.label + 1)
    shown = [i for band in range(found.bands) for row in range(found.rows) for i in found.layers_at(band, row)]
    assert shown == list(range(found.layers))
    assert 1 <= found.columns <= columns


@pytest.mark.parametrize("halves", [True, False], ids=["colour", "characters"])
def test_32_by_32_fits_into_80_by_24(halves: bool) -> None:
    found = plan(32, 32, 2, 78, 24 - 3 - 4, halves=halves)
    assert (found.layers, found.columns) == (32, 32)
    assert found.per_row == (2 if halves else 1)
    assert found.bands == (1 if halves else 2)


def test_three_columns_are_wide_but_do_not_fill_the_screen() -> None:
    found = plan(30, 3, 2, 158, 38, halves=True)
    assert found.cell == 8


def test_a_place_on_the_screen_leads_to_its_cell() -> None:
    found = plan(32, 32, 2, 78, 17, halves=False)
    assert found.cell_at(found.label, 0) == (0, 0)
    assert found.cell_at(found.band + GAP + found.label + 5, 3) == (16 + 3, 5)
    assert found.cell_at(0, 0) is None
    assert found.cell_at(found.label, 99) is None


@given(SIZES, SIZES, st.data(), st.sampled_from([1, 2]))
def test_the_cursor_is_always_in_view(count: int, half: int, data: st.DataObject, step: int) -> None:
    shown = min(count, half * step)
    first = 0
    for cursor in data.draw(st.lists(st.integers(0, count - 1), max_size=8)):
        first = scrolled(first, cursor, shown, count, step)
        assert first % step == 0
        assert first <= cursor < first + shown
        assert first == 0 or first < count


# cells ------------------------------------------------------------------------------------------------------

CODES = st.integers(0, 8) | st.sampled_from([MISSING, UNDEFINED, ZERO])


@given(CODES, CODES | st.none(), st.integers(1, 8), st.sampled_from([None, 0, 1]))
def test_every_cell_is_as_wide_as_it_should_be(upper: int, lower: int | None, width: int, cursor: int | None) -> None:
    code = min(upper, len(textures(width)) - 1)
    for spans in (
        halved(upper, lower, width, cursor),
        coloured(upper, width, cursor=cursor == 0),
        textured(code, width, cursor=cursor == 0),
    ):
        assert cell_len("".join(text for text, _ in spans)) == width


@pytest.mark.parametrize("width", [1, 2, 5])
def test_without_colour_shades_signs_and_cursor_are_different_characters(width: int) -> None:
    alike = [*textures(width)]
    drawn = ["".join(text for text, _ in textured(code, width, cursor=False)) for code in (MISSING, UNDEFINED, ZERO)]
    assert len({*alike, *drawn}) == len(alike) + 3
    for code in (MISSING, UNDEFINED, 0, len(alike) - 1):
        plain, marked = (textured(code, width, cursor=cursor) for cursor in (False, True))
        assert [text for text, _ in plain] != [text for text, _ in marked]


def test_halves_without_a_shade_differ_and_leave_the_other_half_its_colour() -> None:
    pairs = {halved(upper, 3, 1, None)[0] for upper in (MISSING, UNDEFINED, ZERO, 4)}
    assert len({text for text, _ in pairs}) == 4
    assert all("3" in ink for _, ink in pairs)


def test_column_numbers_keep_that_of_the_cursor() -> None:
    for cursor in (0, 1, 63, 99, 127):
        spans = column_numbers(0, 128, 1, cursor)
        assert cell_len("".join(text for text, _ in spans)) == 128
        assert [text for text, ink in spans if ink == "cursor"] == [str(cursor)]
    text = "".join(text for text, _ in column_numbers(70, 58, 1, None))
    assert text.split()[0] == "72"
    assert layer_label(7, 5, cursor=True) != layer_label(7, 5, cursor=False)


def test_a_legend_has_both_ends_the_middle_and_every_sign_that_is_there() -> None:
    swatches = [(" ", f"heat -/{code}") for code in range(20)]
    for width in (78, 150):
        spans = legend_line(scale_of(np.array([1e-9, 1e-3]), None), "{:.4g}".format, swatches, {MISSING, ZERO}, width)
        text = "".join(part for part, _ in spans)
        assert cell_len(text) <= width
        words = text.split()
        assert (words[0], words[1], words[2], words[3]) == ("1e-09", "1e-06", "0.001", "log")
        assert "· " in text
        assert "0 zero" in text
        assert "×" not in text
    alone = legend_line(scale_of(np.array([2.0]), None), "{:.4g}".format, swatches, (), 78)
    assert "2 everywhere" in "".join(part for part, _ in alone)
    assert legend_line(None, str, swatches, (), 78)[0][0] == "No values yet"


def test_bars_are_as_long_as_their_share() -> None:
    assert bar([1.0], 10)[0] == "━" * 10
    assert bar([0.25], 10)[0] == "━━╸"
    assert bar([NAN], 10)[0] == ""
    assert bar([0.5, 1.0], 4)[0] == "██▄▄"
    assert bar([0.5, NAN], 4)[0] == "▀▀"


# the place among all ----------------------------------------------------------------------------------------


def test_a_value_is_ranked_from_the_nearer_end() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, NAN]])
    assert [standing(values, value) for value in (5.0, 4.0, 3.0, 2.0, 1.0)] == [
        "highest of 5",
        "2nd highest of 5",
        "3rd highest of 5",
        "2nd lowest of 5",
        "lowest of 5",
    ]


def test_values_that_solvers_cannot_tell_apart_share_their_place() -> None:
    values = np.array([[3.0, 2.0, 2.0 * (1 + 1e-9), 1.0]])
    assert standing(values, 2.0) == standing(values, 2.0 * (1 + 1e-9)) == "joint 2nd highest of 4"
    assert standing(np.array([[2.0, 2.0]]), 2.0) == "the same in all 2"
    assert standing(np.array([[2.0, NAN]]), 2.0) == "the only one"


def test_ordinals() -> None:
    assert [ordinal(n).strip() for n in (2, 3, 4, 11, 12, 13, 21, 22, 101, 111)] == [
        *("2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th")
    ]
