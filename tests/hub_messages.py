"""What the test Hub is asked and what it answers: the words that its site, its faults and its sockets share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Host = Literal["hub", "storage", "stranger"]
"""The Hub itself, the storage it redirects to, and an origin that has no business with either."""

Span = tuple[int, int]
"""Bytes `start … stop` of a file."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and what became of it. In a server's log it is replaced by a newer one while its answer is sent."""

    host: Host
    method: str
    path: str
    """Without the query, as it was sent."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    when: float
    """On `time.monotonic()`'s clock."""
    repo: str = ""
    file: str = ""
    """Empty for the API and for what the server does not know."""
    range: Span | None = None
    """What the Range header asks for, cut at the file's end; None without one, or where it cannot be satisfied."""
    status: int = 0
    """0 where no answer was begun."""
    bytes_sent: int = 0
    """Of the body, so far."""
    fault: str = ""
    """The name of the fault's class that changed the answer."""
    is_done: bool = False

    @property
    def has_token(self) -> bool:
        return "authorization" in self.headers

    @property
    def content_bytes(self) -> int:
        """Bytes of the body, unless it is that of a redirect or a refusal."""
        return self.bytes_sent if self.status in (200, 206) else 0

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file: on disk, where they are sent without a copy, or in memory."""

    data: Path | bytes
    size: int
    etag: str
    """Quoted."""
    media_type: str

    def read(self, start: int, stop: int) -> bytes:
        if isinstance(self.data, bytes):
            return self.data[start:stop]
        with self.data.open("rb") as file:
            file.seek(start)
            return file.read(max(stop - start, 0))


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the sending of a body ends early."""

    after_bytes: int | None
    """None: before the first byte of the status line."""
    then: Literal["close", "reset", "stall"]
    seconds: float | None = None
    """How long a stall lasts before the rest is sent; None: until one of the two ends is closed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that has not been sent yet."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    """A file, of which `span` is sent instead of `body`."""
    span: Span = (0, 0)
    delay: float = 0
    """Seconds before the first byte."""
    cut: Cut | None = None
    head_speed: float | None = None
    """Bytes per second of status line and headers; None: at once."""
    speed: float | None = None
    """Bytes per second of the body; None: as the server has."""

    @property
    def length(self) -> int:
        return self.span[1] - self.span[0] if self.content else len(self.body)

    def with_headers(self, headers: Mapping[str, str]) -> "Reply":
        return replace(self, headers={**self.headers, **headers})

    def with_body(self, body: bytes, headers: Mapping[str, str]) -> "Reply":
        """The same status and headers, but a body from memory and some other headers."""
        return replace(self.with_headers(headers), body=body, content=None, span=(0, 0))


def parse_range(header: str | None, size: int) -> Span | None:
    """What a Range header asks for in a file of `size` bytes; None where there is no (single) range.

    Raises:
        ValueError: it begins behind the file's end.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None  # not a range, says RFC 9110, so the header is ignored
    if start >= stop:
        raise ValueError(f"{header} of {size} bytes")
    return start, stop


def serve(content: Content, range_header: str | None) -> Reply:
    """A file, or the part of it that is asked for."""
    headers = {"Content-Type": content.media_type, "ETag": content.etag, "Accept-Ranges": "bytes"}
    try:
        span = parse_range(range_header, content.size)
    except ValueError:
        return Reply(416, {**headers, "Content-Range": f"bytes */{content.size}"})
    if span is None:
        return Reply(200, headers, content=content, span=(0, content.size))
    return Reply(206, {**headers, "Content-Range": content_range(span, content.size)}, content=content, span=span)


def content_range(span: Span, size: int) -> str:
    return f"bytes {span[0]}-{span[1] - 1}/{size}"
