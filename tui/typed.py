"""What a terminal sends, made safe to read: bytes that are no text, and escape codes that name no character."""

import codecs
from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.keys import Keys
from textual.message import Message

MOST_CELLS = 4_000
"""Columns or rows that no terminal has: what an escape code says of sizes and places is not believed beyond them."""

_OLD_MOUSE = b"\x1b[M"
"""Begins a mouse report of the X10 kind: three bytes of any value follow, from column 96 not even text."""

_OLD_MOUSE_BYTES = 3


class Decoder:
    """Bytes as they arrive, in pieces of any size, to text.

    What is not UTF-8 is dropped (Textual's driver ends: Textualize/textual#6456), and so are the three bytes of an
    old mouse report, which terminals send that have forgotten what they were asked for (Textualize/textual#6668).
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._begun = 0
        """How many bytes of `ESC [ M` have been seen."""
        self._left = 0
        """How many bytes of a mouse report are to come."""

    def decode(self, data: bytes) -> str:
        """The text in the next bytes; the parser drops a mouse report whose coordinates are blanks."""
        if not self._left and not self._begun and b"\x1b" not in data:
            return self._text.decode(data)
        return self._text.decode(bytes(map(self._safe, data)))

    def _safe(self, byte: int) -> int:
        if self._left:
            self._left -= 1
            return ord(" ")
        if byte != _OLD_MOUSE[self._begun]:
            self._begun = int(byte == _OLD_MOUSE[0])
        elif self._begun + 1 < len(_OLD_MOUSE):
            self._begun += 1
        else:
            self._begun, self._left = 0, _OLD_MOUSE_BYTES
        return byte


class Reader(XTermParser):
    """Textual's parser, where a code that it cannot read is a key that does nothing."""

    def _parse_extended_key(self, sequence: str) -> list[events.Key] | None:  # type: ignore[override] # a cache is no method
        """A key in the keyboard protocol of kitty: its number may be no character, or half of one."""
        try:
            keys = super()._parse_extended_key(sequence)
        except (ValueError, OverflowError):
            return [events.Key(Keys.Ignore, sequence)]
        return keys and [key if is_text(key) else events.Key(Keys.Ignore, sequence) for key in keys]

    def parse_mouse_code(self, code: str) -> Message | None:
        """A mouse report; a terminal that says it has no pixels means cells."""
        if self.terminal_pixel_size is not None and not all(self.terminal_pixel_size):
            self.terminal_pixel_size = None
        return super().parse_mouse_code(code)


class Typed:
    """Bytes to events. Nothing raises an error: what cannot be read is dropped, and what follows is read."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._reader = Reader()

    def events(self, data: bytes) -> list[Message]:
        """What the next bytes say."""
        return [event for character in self._decoder.decode(data) for event in self._read(self._reader.feed(character))]

    def waited(self) -> list[Message]:
        """What is known now that nothing has come for a while: a lone escape is the key."""
        return self._read(self._reader.tick())

    def _read(self, found: Iterable[Message]) -> list[Message]:
        read: list[Message] = []
        try:
            read.extend(filter(is_believed, found))
        except Exception:  # a parser that has raised cannot go on
            before, self._reader = self._reader, Reader()
            self._reader.terminal_size = before.terminal_size
            self._reader.terminal_pixel_size = before.terminal_pixel_size
            self._reader.mouse_pixels = before.mouse_pixels
        return read


def is_text(key: events.Key) -> bool:
    """Whether a key's character, if it has one, can be written: half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in f"{key.key}{key.character or ''}")


def is_believed(message: Message) -> bool:
    """Whether a size or a place that is reported can be on a terminal."""
    if isinstance(message, events.Resize):
        return all(0 < cells <= MOST_CELLS for cells in message.size)
    return not isinstance(message, events.MouseEvent) or max(message.x, message.y) < MOST_CELLS
