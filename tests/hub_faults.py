"""What can go wrong between a program and the Hub, on demand.

    hub.faults.append(Drop(1000, file="*.safetensors", times=3))     # three answers end after 1000 bytes
    hub.faults.append(ServerError(503, host="hub", times=ALWAYS))
    hub.faults.append(Slow(2, path="/api/models/*", skip=1))         # the second request for a model's page

Each request meets the first fault in the list that concerns it, has skipped enough and is not used up. A fault that
changes a file's bytes concerns only answers that carry some: not a HEAD, not the redirect to the storage. The same is
true of a drop or a stall after so many bytes: the answer must have more of them, and be no redirect or refusal.
"""

import gzip
import http.client
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, Literal
from urllib.parse import urlsplit

from tests.hub_messages import Content, Cut, Host, Reply, Request, content_range, serve

ToldIn = Literal["ratelimit", "retry-after", "nothing"]

ALWAYS: Final = sys.maxsize
"""For `times`."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Which requests are concerned; what is done to their answers is up to the subclasses."""

    host: Host | None = None
    """None: the Hub and the storage."""
    file: str | None = None
    """A pattern such as `*.safetensors`; requests to the API have no file."""
    path: str | None = None
    """A pattern for the whole path, such as `/api/models/*`."""
    method: str | None = None
    where: Callable[[Request], bool] | None = None
    """Any other condition; the request's `status` is that of the answer without a fault."""
    skip: int = 0
    """How many requests that it concerns pass unharmed first."""
    times: int = 1
    """How many answers are changed after those."""

    def concerns(self, request: Request, reply: Reply) -> bool:
        return (
            request.host == (self.host or ("hub" if request.host == "hub" else "storage"))
            and self.method in (None, request.method)
            and (self.file is None or (request.file != "" and fnmatchcase(request.file, self.file)))
            and (self.path is None or fnmatchcase(request.path, self.path))
            and (self.where is None or self.where(request))
            and self.fits(request, reply)
        )

    def fits(self, _request: Request, _reply: Reply, /) -> bool:
        """Whether it can do anything to such an answer."""
        return True

    def apply(self, request: Request, reply: Reply, /) -> Reply:
        raise NotImplementedError


# ---- connections ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drop(Fault):
    """The connection ends after some bytes of the body (0: after the headers; None: before any answer)."""

    after_bytes: int | None = None
    reset: bool = False
    """With a RST, which may take bytes along that were sent but not read, instead of the usual end."""

    def fits(self, request: Request, reply: Reply) -> bool:
        return _can_cut(self.after_bytes, request, reply)

    def apply(self, _request: Request, reply: Reply) -> Reply:
        return replace(reply, cut=Cut(self.after_bytes, "reset" if self.reset else "close"))


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing comes any more after some bytes of the body (0: after the headers; None: no answer at all).

    The connection stays open: for `seconds`, after which the rest is sent, or until the other side gives up.
    """

    after_bytes: int | None = None
    seconds: float | None = None

    def fits(self, request: Request, reply: Reply) -> bool:
        return _can_cut(self.after_bytes, request, reply)

    def apply(self, _request: Request, reply: Reply) -> Reply:
        return replace(reply, cut=Cut(self.after_bytes, "stall", self.seconds))


@dataclass(frozen=True)
class Slow(Fault):
    """The answer's first byte takes some seconds."""

    seconds: float

    def apply(self, _request: Request, reply: Reply) -> Reply:
        return replace(reply, delay=reply.delay + self.seconds)


@dataclass(frozen=True)
class Trickle(Fault):
    """The body comes in drops; or the headers do."""

    speed: float
    """Bytes per second."""
    of_headers: bool = False

    def fits(self, request: Request, reply: Reply) -> bool:
        return self.of_headers or _can_cut(0, request, reply)

    def apply(self, _request: Request, reply: Reply) -> Reply:
        return replace(reply, head_speed=self.speed) if self.of_headers else replace(reply, speed=self.speed)


# ---- other answers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer(Fault):
    """Something else altogether."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def apply(self, _request: Request, _reply: Reply) -> Reply:
        return Reply(self.status, self.headers, self.body)


@dataclass(frozen=True)
class ServerError(Fault):
    """500, 502, 503, …, in the words of the host that is asked."""

    status: int = 503

    def apply(self, request: Request, _reply: Reply) -> Reply:
        reason = http.client.responses[self.status]
        if request.host == "hub":
            body = f'{{"error":"{reason}"}}' if request.path.startswith("/api/") else reason
            return Reply(self.status, {"Content-Type": "text/plain; charset=utf-8"}, body.encode())
        return xml_error(self.status, "SlowDown" if self.status == 503 else "InternalError", reason)


@dataclass(frozen=True)
class TooManyRequests(Fault):
    """429, with when to come back in the Hub's own headers, in Retry-After, or not at all."""

    seconds: int = 1
    told_in: ToldIn = "ratelimit"
    resource: str = "resolvers"

    def apply(self, _request: Request, _reply: Reply) -> Reply:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self.told_in == "ratelimit":
            headers["RateLimit"] = f'"{self.resource}";r=0;t={self.seconds}'
            headers["RateLimit-Policy"] = f'"fixed window";"{self.resource}";q=3000;w=300'
        elif self.told_in == "retry-after":
            headers["Retry-After"] = str(self.seconds)
        return Reply(429, headers, b"We had to rate limit your IP. To continue using our service, create a HF account.")


@dataclass(frozen=True)
class CaptivePortal(Fault):
    """A page in HTML with 200, as hotels answer whatever is asked."""

    page: bytes = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in.</body></html>\n"

    def apply(self, _request: Request, _reply: Reply) -> Reply:
        return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, self.page)


@dataclass(frozen=True)
class Redirect(Fault):
    """A redirect to an origin, where the same path and query are asked for, or to a whole address."""

    to: str
    status: int = 302

    def apply(self, request: Request, reply: Reply) -> Reply:
        address = self.to if urlsplit(self.to).path else self.to + request.target
        return _moved(self.status, address, reply)


@dataclass(frozen=True)
class RedirectLoop(Fault):
    """A redirect to the very address that is asked for."""

    status: int = 302
    times: int = field(default=ALWAYS, kw_only=True)

    def apply(self, request: Request, reply: Reply) -> Reply:
        return _moved(self.status, f"http://{request.headers.get('host', '')}{request.target}", reply)


@dataclass(frozen=True)
class Expired(Fault):
    """From the Hub: a signed address that has expired already. From the storage: that the address has expired."""

    def fits(self, request: Request, reply: Reply) -> bool:
        return "Expires=" in reply.headers.get("Location", "") or (request.host == "storage" and reply.status < 300)

    def apply(self, request: Request, reply: Reply) -> Reply:
        if request.host == "hub":
            address, _, rest = reply.headers["Location"].partition("Expires=")
            return reply.with_headers({"Location": f"{address}Expires=1&{rest.partition('&')[2]}"})
        return request_has_expired()


# ---- other bytes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WrongBytes(Fault):
    """A fault of the bytes of a file."""

    def fits(self, request: Request, reply: Reply) -> bool:
        return request.method == "GET" and reply.content is not None

    def apply(self, request: Request, reply: Reply) -> Reply:
        if reply.content is None:
            raise ValueError("no bytes of a file to change")
        return self.change(request, reply, reply.content)

    def change(self, request: Request, reply: Reply, content: Content, /) -> Reply:
        raise NotImplementedError


@dataclass(frozen=True)
class _WrongPart(_WrongBytes):
    """A fault of an answer to a Range header."""

    def fits(self, request: Request, reply: Reply) -> bool:
        return super().fits(request, reply) and reply.status == 206


@dataclass(frozen=True)
class IgnoreRange(_WrongPart):
    """200 and the whole file, whatever part is asked for."""

    def change(self, _request: Request, reply: Reply, content: Content) -> Reply:
        return _again(reply, content, None)


@dataclass(frozen=True)
class OtherRange(_WrongPart):
    """206 with another part than that asked for, and a Content-Range that says so."""

    by: int = 1
    """How much further on; negative: further ahead. It is cut at the file's ends."""
    longer: int = 0
    """How many more bytes; negative: fewer."""

    def change(self, _request: Request, reply: Reply, content: Content) -> Reply:
        start, stop = (at + self.by for at in reply.span)
        start = min(max(start, 0), content.size - 1)
        stop = min(max(stop + self.longer, start + 1), content.size)
        return _again(reply, content, f"bytes={start}-{stop - 1}")


@dataclass(frozen=True)
class OtherLength(_WrongPart):
    """206 with the right Content-Range, but more (negative: fewer) bytes than it says, as Content-Length admits."""

    longer: int

    def change(self, _request: Request, reply: Reply, content: Content) -> Reply:
        start, stop = reply.span
        body = content.read(start, stop) + bytes(max(self.longer, 0))
        return reply.with_body(body[: max(stop - start + self.longer, 0)], {})


@dataclass(frozen=True)
class OtherTotal(_WrongPart):
    """206 with the right bytes and ETag, but a Content-Range of a file of another size."""

    by: int = 1

    def change(self, _request: Request, reply: Reply, content: Content) -> Reply:
        return reply.with_headers({"Content-Range": content_range(reply.span, content.size + self.by)})


@dataclass(frozen=True)
class Changed(_WrongBytes):
    """Another version of the file: every bit the opposite, another ETag, and `grown_by` more (fewer) bytes."""

    grown_by: int = 0
    same_etag: bool = False

    def change(self, request: Request, reply: Reply, content: Content) -> Reply:
        data = bytes(255 - byte for byte in content.read(0, content.size + min(self.grown_by, 0)))
        data += bytes(max(self.grown_by, 0))
        etag = content.etag if self.same_etag else f'"{content.etag[:0:-1]}'
        return _again(reply, replace(content, data=data, size=len(data), etag=etag), request.headers.get("range"))


@dataclass(frozen=True)
class Truncated(_WrongBytes):
    """The storage holds only the file's first bytes, and behaves as if that were all."""

    size: int

    def change(self, request: Request, reply: Reply, content: Content) -> Reply:
        return _again(reply, replace(content, size=min(self.size, content.size)), request.headers.get("range"))


@dataclass(frozen=True)
class Gzip(_WrongBytes):
    """The bytes come compressed, whatever Accept-Encoding says."""

    def change(self, _request: Request, reply: Reply, content: Content) -> Reply:
        return reply.with_body(gzip.compress(content.read(*reply.span), 1), {"Content-Encoding": "gzip"})


# ---- what several of them need -------------------------------------------------------------------------------


def xml_error(status: int, code: str, message: str) -> Reply:
    """An error as object storages word it."""
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, {"Content-Type": "application/xml"}, xml.encode())


def request_has_expired() -> Reply:
    return xml_error(403, "AccessDenied", "Request has expired")


def _can_cut(after_bytes: int | None, request: Request, reply: Reply) -> bool:
    if after_bytes is None:
        return True
    return request.method != "HEAD" and reply.status < 300 and reply.length > after_bytes


def _moved(status: int, address: str, reply: Reply) -> Reply:
    kept = {name: value for name, value in reply.headers.items() if name.startswith("X-")}
    return Reply(status, {**kept, "Location": address, "Content-Type": "text/plain"}, b"Found. Redirecting")


def _again(reply: Reply, content: Content, range_header: str | None) -> Reply:
    """The answer with other content, or another range of it, and the headers that follow from that."""
    served = serve(content, range_header)
    kept = {name: value for name, value in reply.headers.items() if name != "Content-Range"}
    return replace(served, headers={**kept, **served.headers}, delay=reply.delay)
