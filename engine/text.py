"""Text from outside (tensor names, file names) made harmless for a terminal and for a spreadsheet."""

from collections.abc import Sequence


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


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
