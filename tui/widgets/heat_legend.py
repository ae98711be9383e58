"""The line below a heat map that says what its shades mean."""

from collections.abc import Callable, Collection, Sequence

from rich.cells import cell_len

from .heat_cells import GLYPHS
from .heat_scale import MISSING, UNDEFINED, ZERO, Scale
from .painted import Line, Span

WORDS = {MISSING: "not computed", UNDEFINED: "undefined", ZERO: "zero, off the log scale"}


def legend_line(
    label: str,
    scale: Scale | None,
    text: Callable[[float], str],
    swatches: Sequence[Span],
    present: Collection[int],
    width: int,
) -> Line:
    """`top-10  0.12 ░░▒▒ 0.31 ▓▓██ 0.55  linear  · not computed`: both ends and the middle of the scale.

    `text` writes a value of the metric; `present` are the cells without a shade that there are.
    """
    spans: list[Span] = [(f"{label}  ", "strong")]
    if scale is None:
        spans.append(("no values yet" if UNDEFINED not in present else "no values", "dim"))
    elif scale.low == scale.high:
        spans += [swatches[len(swatches) // 2], (f" {text(scale.low)} everywhere", "")]
    else:
        half = len(swatches) // 2
        spans += [(f"{text(scale.low)} ", ""), *swatches[:half], (f" {text(scale.middle)} ", "dim"), *swatches[half:]]
        spans += [(f" {text(scale.high)}", ""), (f"  {'logarithmic' if scale.log else 'linear'}", "dim")]
    for code in (MISSING, UNDEFINED, ZERO):
        words: list[Span] = [(f"  {GLYPHS[code]}", ""), (f" {WORDS[code]}", "dim")]
        if code in present and cell_len("".join(part for part, _ in [*spans, *words])) <= width:
            spans += words
    return spans
