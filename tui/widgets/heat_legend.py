"""The line below a heat map that says what its shades mean."""

from collections.abc import Callable, Collection, Iterator, Sequence

from rich.cells import cell_len

from .heat_cells import GLYPHS
from .heat_scale import MISSING, UNDEFINED, ZERO, Scale
from .painted import Line, Span

WORDS = {MISSING: "not computed", UNDEFINED: "undefined", ZERO: "zero, off the log scale"}
SHORT_WORDS = {MISSING: "missing", UNDEFINED: "undefined", ZERO: "zero"}


def legend_line(
    scale: Scale | None,
    text: Callable[[float], str],
    swatches: Sequence[Span],
    present: Collection[int],
    width: int,
) -> Line:
    """`0.12 ░░▒▒ 0.31 ▓▓██ 0.55  linear  · not computed`: both ends and the middle of the scale.

    `text` writes a value of the metric; `present` are the cells without a shade that there are. Where there is little
    room, the bar and the words are shorter.
    """
    for words, shown in ((WORDS, swatches), (WORDS, swatches[::2]), (SHORT_WORDS, swatches[::2])):
        line = [*_bar(scale, text, shown), *_rest(present, words)]
        if cell_len("".join(part for part, _ in line)) <= width:
            break
    return line


def _bar(scale: Scale | None, text: Callable[[float], str], swatches: Sequence[Span]) -> Iterator[Span]:
    if scale is None:
        yield "No values yet", "dim"
    elif scale.low == scale.high:
        yield swatches[len(swatches) // 2]
        yield f" {text(scale.low)} everywhere", ""
    else:
        half = len(swatches) // 2
        yield f"{text(scale.low)} ", "strong"
        yield from swatches[:half]
        yield f" {text(scale.middle)} ", "dim"
        yield from swatches[half:]
        yield f" {text(scale.high)}", "strong"
        yield f"  {'log' if scale.log else 'linear'}", "dim"


def _rest(present: Collection[int], words: dict[int, str]) -> Iterator[Span]:
    for code in (MISSING, UNDEFINED, ZERO):
        if code in present:
            yield f"  {GLYPHS[code]}", ""
            yield f" {words[code]}", "dim"
