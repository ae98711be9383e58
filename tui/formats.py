"""Numbers as text, short enough for a table on 80 columns and never wider than promised."""

from math import isinf

MISSING = "–"
"""Stands for a figure that is undefined, such as any ratio of a zero matrix."""

INFINITE = "∞"
"""Stands for a figure that is too large for a float."""

WIDEST = 7
"""Cells of the widest figure."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figure(value: float | None) -> str:
    """A figure to four digits, in at most 7 cells: `0.5039`, `27.71`, `1234`, `1.23e-4`."""
    if value is None:
        return MISSING
    if isinstance(value, int):
        return str(value) if value < 10_000_000 else _scientific(value)
    size = abs(value)
    if size == 0:
        return "0"
    if isinf(size):  # σ₁/σₙ of a matrix whose smallest value only just is not 0
        return INFINITE
    if 0.01 <= size < 1e6:
        decimals = max(0, 3 - _exponent(size))
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if 0.001 <= size < 0.01 else _scientific(value)


def share(value: float | None) -> str:
    """A ratio between 0 and 1, in at most 7 cells."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    return f"{value:.4f}" if value >= 0.001 else _scientific(value)


def measure(metric: str, value: float | None) -> str:
    """A value of a metric, a field of `Metrics`, as the tables show it."""
    if value is not None and metric.startswith("energy_rank") and value == int(value):
        return figure(int(value))
    return share(value) if metric in ("top_ratio", "bottom_ratio") else figure(value)


def _exponent(size: float) -> int:
    return int(f"{size:.3e}".partition("e")[2])


def _scientific(value: float) -> str:
    """`1.23e-4`, rounded to fewer digits before a longer exponent."""
    for digits in (2, 1, 0):
        mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
        if len(text) <= WIDEST:
            break
    return text


def tick(value: float, step: float) -> str:
    """A label on a linear axis whose ticks are `step` apart."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        digits = max(0, _exponent(abs(value)) - _exponent(step))
        mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{max(0, -_exponent(step))}f}"


def power_of_ten(exponent: int) -> str:
    """A label on a logarithmic axis: `0.01`, `1`, `100`, or `10⁻⁶` where that is shorter."""
    if -3 <= exponent <= 4:
        return f"{10.0**exponent:.{max(0, -exponent)}f}"
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def megabytes(count: float) -> str:
    """Bytes in a unit that keeps them short: `54 MB`, `1.2 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f} {unit}"
    return f"{count:.0f} B"


def size(count: float) -> str:
    """Bytes that will be read, to three digits at most: `1.05 GB`, `84 MB`."""
    for unit, one, decimals in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 1)):
        if count >= 0.9995 * one:
            return f"{count / one:.{max(0, decimals - max(0, _exponent(count / one)))}f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A time that is left: `0:42`, `12:05`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def done_of(done: float, total: float) -> str:
    """Bytes of bytes in the unit of the total: `54 of 80 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= size:
            decimals = 1 if total < 10 * size else 0
            return f"{done / size:.{decimals}f} of {total / size:.{decimals}f} {unit}"
    return f"{done:.0f} of {total:.0f} B"


def shape(rows: int, cols: int) -> str:
    """`128×4096`."""
    return f"{rows}×{cols}"
