"""Text from outside (tensor names, file names) made harmless for a terminal and for a spreadsheet."""

from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """`text` with every control, format or undecodable character written as an escape such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, limit: int = 1000) -> str:
    """`text`, its middle left out when it is longer than a message should be."""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


def spreadsheet_safe(text: str) -> str:
    """`text` that no spreadsheet takes for a formula: a leading `= + - @` gets an apostrophe before it.

    The rule is OWASP's for CSV injection; a tab or carriage return in front is already escaped by `printable`.
    """
    text = printable(text)
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text


def listed(numbers: Sequence[int], most: int = 8) -> str:
    """`1, 2, 5`; of more than a sentence should hold, the first ones `and 12 more`."""
    rest = f" and {len(numbers) - most:,} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + rest


def runs(numbers: Iterable[int]) -> tuple[range, ...]:
    """Ascending numbers as ranges of those that follow one another."""
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return tuple(found)


def spans(ranges: Sequence[range], most: int = 8) -> str:
    """`0-3, 7`, as a list of layers is written; of many the first ones `and more`."""
    written = [f"{each.start}-{each.stop - 1}" if len(each) > 1 else str(each.start) for each in ranges[:most]]
    return ", ".join(written) + (" and more" if len(ranges) > most else "")


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
