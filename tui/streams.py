"""stdout and stderr: in encodings that lack some characters, full, or closed."""

import codecs
import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

_LOOKS_LIKE = {
    "…": "...",
    "·": "-",
    "–": "-",
    "−": "-",
    "×": "x",
    "’": "'",
    "“": '"',
    "”": '"',
    "›": ">",
    "σ": "sigma",
    **dict.fromkeys("─━═", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
}
_HANDLER = "svdtui-looks-like"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def use_any_encoding() -> None:
    """Let text be written in whatever encoding the locale has: characters that it lacks become others like them."""
    codecs.register_error(_HANDLER, _like)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # None where the stream is closed
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def _like(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    known = _LOOKS_LIKE.get(error.object[error.start])
    if known is None:
        return codecs.backslashreplace_errors(error)
    return known, error.start + 1


def abandon(stream: TextIO) -> None:
    """What is left in a stream's buffer goes nowhere: Python would fail once more, when it flushes at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def abandon_if_full(stream: TextIO | None) -> None:
    """`abandon` a stream that does not take what is in its buffer."""
    if stream is not None:
        try:
            stream.flush()
        except (OSError, ValueError):
            abandon(stream)


def why_full(error: BaseException) -> str | None:
    """A sentence when it is stdout (or stderr) that could not be written, else None."""
    if not isinstance(error, OSError) or error.errno not in _FULL or error.filename is not None:
        return None
    return f"stdout cannot be written: {error.strerror}. Make room for it."
