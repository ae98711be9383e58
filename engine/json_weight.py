"""JSON from outside: what its values would take in memory is known before they are made.

A file of 25 MB that is nothing but `{},{},{},…` becomes 600 MB of Python's objects, and a model's index of the same
length 90 MB. So not only the bytes are capped, but what they would become.
"""

import json
from typing import Any

HEAVIEST = 500 * 10**6
"""Bytes of memory that the values of one JSON text may take, as `weight` estimates them."""

_CHARACTERS = {b"{": 80, b"[": 80, b":": 110, b",": 40, b'"': 30}
"""What a character of the text costs at most, measured: containers, a dict's entry, an item or a number, a string's
object (it has two quotes)."""


class HeavyJsonError(ValueError):
    """The values of a JSON text would take more than `HEAVIEST`."""


def weight(data: bytes) -> int:
    """Bytes that the values of a JSON text take in memory, or somewhat fewer."""
    width = 1 if data.isascii() else 4  # bytes per character of a text that has a wide one
    return 2 * width * len(data) + sum(cost * data.count(sign) for sign, cost in _CHARACTERS.items())


def check_weight(data: bytes) -> None:
    """Refuse a text whose values are too many.

    Raises:
        HeavyJsonError: says what they would take.
    """
    found = weight(data)
    if found > HEAVIEST:
        raise HeavyJsonError(
            f"its values would take {found / 1e6:,.0f} MB of memory, {HEAVIEST / 1e6:,.0f} are allowed"
        )


def parsed(data: bytes) -> Any:
    """What a JSON text says.

    Raises:
        HeavyJsonError: its values are too many.
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    check_weight(data)
    return json.loads(data)
