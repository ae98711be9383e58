"""Where the ticks of an axis go and what they say."""

import math

from ..formats import power_of_ten, tick

Tick = tuple[float, str]
"""A place on an axis, in the axis's own units (log₁₀ on a logarithmic one), and its label."""


def linear_ticks(low: float, high: float, count: int) -> list[Tick]:
    """About `count` round values from `low` to `high`."""
    step = nice_step((high - low) / max(1, count))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(i * step, tick(i * step, step)) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[Tick]:
    """Powers of ten between 10^`low` and 10^`high`, thinned to `count`, with 2 and 5 between them where there is room.

    A range of less than a decade gets the round values of a linear axis.
    """
    if high - low < 1:
        return [
            (math.log10(at), label) for at, label in linear_ticks(10.0**low, 10.0 ** min(high, 308.25), count) if at > 0
        ]
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(powers) > count:
        thin = math.ceil(len(powers) / max(1, count))
        return [(float(power), power_of_ten(power)) for power in powers if power % thin == 0]
    factors = (1, 2, 5) if 3 * len(powers) <= count else (1,)
    places = [(power, factor) for power in range(powers.start - 1, powers.stop) for factor in factors]
    marks = [(power + math.log10(factor), factor, power) for power, factor in places]
    return [
        (at, power_of_ten(power) if factor == 1 else _multiple(factor, power))
        for at, factor, power in marks
        if low - 1e-9 <= at <= high + 1e-9
    ]


def _multiple(factor: int, power: int) -> str:
    """The label of `factor` × 10^`power`, which a float may not hold."""
    return tick(factor * 10.0**power, 10.0**power) if power < 5 else f"{factor}e{power}"


def round_value(low: float, middle: float, high: float) -> Tick | None:
    """The roundest value between 10^`low` and 10^`high`, of several the one that is nearest to 10^`middle`."""
    least, wished, most = (10.0 ** min(at, 308.25) for at in (low, middle, high))
    if not 0 < least < most:
        return None
    for power in range(math.floor(math.log10(most)), math.floor(math.log10(least)) - 4, -1):
        for factor in (5, 2, 1):
            step = factor * 10.0**power
            if not step > 0:
                return None
            first, last = math.ceil(least / step), math.floor(most / step)
            if first <= last:
                value = min(max(round(wished / step), first), last) * step
                return math.log10(value), tick(value, step)
    return None


def index_ticks(first: int, last: int, count: int) -> list[int]:
    """Indices from `first` to `last`: both ends, and round numbers between them that leave room for the ends."""
    if last <= first:
        return [first]
    step = max(1, int(nice_step((last - first + 1) / max(1, count), (1, 2, 4, 5) if last < 1000 else (1, 2, 5))))
    round_numbers = range(first - first % step, last, step)
    return [
        first,
        *(i for i in round_numbers if i > first - 1 + step / 2 and i > first and last - i > step * 0.6),
        last,
    ]


def nice_step(least: float, factors: tuple[int, ...] = (1, 2, 5)) -> float:
    """The smallest of `factors` × a power of ten that is at least `least`."""
    if not least > 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least)) or least
    for factor in factors:
        if factor * power >= least * (1 - 1e-9):
            return factor * power
    return 10 * power
