"""What a server may make us wait for, and take: every request of ours over the session that all Hub tools share.

A server that sends a byte a second never trips a time-out, a compressed answer of three megabytes may be three
gigabytes, and the library reads answers whole. So that session's own client is asked by another one, whose transport
lets pass what is not ours, and holds what is to these limits: the headers within twice the time-out, a least speed of
the body, a most of bytes, also of those that decompressing makes. Proxies, certificates and hooks stay the inner one's.
"""

import contextlib
import contextvars
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from .errors import NetworkError
from .hub_bodies import Most, bounded
from .hub_errors import Retry, reason, silence_seconds

OURS = {"svdtui": True}
"""For `extensions` of a request that does not say in its headers that it is ours: those to a storage."""

LEAST_SPEED = 1000
"""Bytes per second that one connection must bring on average while the time-out passes once."""

MOST_OF_ANSWER = 50 * 10**6
"""Bytes of an answer that is no file. A list of 100,000 files takes half of it."""

_MOST_OF_LISTING = 25 * 10**6
"""Bytes of all answers together that the library reads on its own account for one download: it keeps what they say,
page after page, as objects of several times that size."""

_MOST_OF_REFUSAL = 10**6
"""Bytes that are read of the text of a refusal; what follows is left."""

_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")

_sizes: dict[tuple[str, ...], int] = {}

_places: dict[str, tuple[str, ...]] = {}
"""The address that the Hub last sent readers of a file on to → the file."""

_progress = [0.0]
"""When some body last came in as fast as it should."""

_lock = threading.Lock()

_listing = [_MOST_OF_LISTING]
"""What is left of that."""


def expect(repo_id: str, commit: str, file: str, size: int) -> None:
    """From now on a file of a commit has so many bytes, and no answer may bring more of it."""
    _sizes[repo_id, commit, file] = size


def expect_listing() -> None:
    """The library is going to list the files of a repository on its own account."""
    _listing[0] = _MOST_OF_LISTING


def last_progress() -> float:
    """When some body last came in as fast as it should, on `time.monotonic()`'s clock."""
    return _progress[0]


def guarded_session() -> Any:
    """The session that all Hub tools share. From the first call on it holds our requests to the limits."""
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http as library

    with _lock:
        made_by = getattr(library, "_GLOBAL_CLIENT_FACTORY", library.default_client_factory)
        if not isinstance(made_by, _Factory):
            set_client_factory(_Factory(made_by))
    return get_session()


class _Factory:
    """Makes the session: a client around one that the library, or the user's own factory, has made."""

    def __init__(self, inner: Callable[[], Any]) -> None:
        self._inner = inner

    def __call__(self) -> Any:
        client = self._inner()
        return _http().Client(
            transport=_transport(client),
            headers=client.headers,
            cookies=client.cookies,
            base_url=client.base_url,
            timeout=client.timeout,
            follow_redirects=client.follow_redirects,
            max_redirects=client.max_redirects,
            trust_env=False,  # the inner one asks the environment
        )


def _http() -> Any:
    """The HTTP library that the Hub's stands on: httpx, or what it has become."""
    from huggingface_hub.errors import HTTPError

    return sys.modules[HTTPError.__module__.partition(".")[0]]


def _transport(client: Any) -> Any:
    http = _http()

    class Stream(http.SyncByteStream):  # type: ignore[misc,name-defined]
        """A body, whole or within limits."""

        def __init__(self, response: Any, chunks: Iterator[bytes]) -> None:
            self._response, self._chunks = response, chunks

        def __iter__(self) -> Iterator[bytes]:
            return self._chunks

        def close(self) -> None:
            self._response.close()

    class Transport(http.BaseTransport):  # type: ignore[misc,name-defined]
        """Asks the inner client."""

        def handle_request(self, request: Any) -> Any:
            if not _is_ours(request):
                response = client.send(request, stream=True, follow_redirects=False)
                return answer(response, response.headers.raw, _raw(response))
            if request.headers.get("accept-encoding") != "identity":
                request.headers["accept-encoding"] = "gzip"  # nothing else can be bounded here
            response = _sent(client, request)
            headers = response.headers.copy()
            encoding = headers.get("content-encoding", "identity")
            most = _most(request, response)
            if response.status_code < 300 and request.headers["accept-encoding"] == "identity":
                encoding = "identity"  # as it is: who asked for it looks at it
            else:
                if encoding not in {"gzip", "identity"} and response.status_code < 300:
                    raise Retry(f"{request.url.host} sends {encoding[:20]!r}, which was not asked for")
                for name in ("content-encoding", "content-length") if encoding != "identity" else ():
                    headers.pop(name, None)  # of what is not compressed any more
                if response.is_stream_consumed:
                    encoding = "identity"
            body = bounded(_timely(response, request), most, is_gzip=encoding == "gzip")
            if _is_of_library(request):
                body = _charged(body)
            return answer(response, headers.raw, body)

        def close(self) -> None:
            client.close()

    def answer(response: Any, headers: Any, body: Iterator[bytes]) -> Any:
        return http.Response(
            response.status_code, headers=headers, stream=Stream(response, body), extensions=response.extensions
        )

    return Transport()


def _is_ours(request: Any) -> bool:
    is_marked = "svdtui" in request.extensions or request.headers.get("user-agent", "").startswith("svdtui/")
    return is_marked or request.url.path.endswith("/api/agent-harnesses")  # the library asks once a day, by itself


def _is_of_library(request: Any) -> bool:
    """Whether the library asks the API on its own account."""
    return "svdtui" not in request.extensions and "/api/" in request.url.path


# waiting --------------------------------------------------------------------------------------------


def _seconds(request: Any) -> float:
    """Seconds without a byte that a request was given."""
    return float(request.extensions.get("timeout", {}).get("read") or silence_seconds())


class _Sending:
    """A request whose answer's headers may take too long: nothing can stop the call that waits for them."""

    def __init__(self, client: Any, request: Any) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self.done = threading.Event()
        self.response: Any = None
        self.error: BaseException | None = None
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._send, client, request), name="answer", daemon=True).start()

    def _send(self, client: Any, request: Any) -> None:
        try:
            response = client.send(request, stream=True, follow_redirects=False)
        except BaseException as error:
            self.error = error
        else:
            with self._lock:
                self.response = response
                if self._given_up:
                    response.close()
        finally:
            self.done.set()

    def give_up(self) -> None:
        """Whatever comes is closed."""
        with self._lock:
            self._given_up = True
            if self.response is not None:
                self.response.close()


def _sent(client: Any, request: Any) -> Any:
    """The answer, of which only the headers have been read.

    Raises:
        Retry: they took too long; the host that we were sent on to cannot be reached.
        NetworkError: that host's name is none.
    """
    host = request.url.host
    is_sent_on = "svdtui_first_host" in request.extensions
    first = request.extensions.setdefault("svdtui_first_host", host)
    sending = _Sending(client, request)
    seconds = 2 * _seconds(request)
    if not sending.done.wait(seconds):
        sending.give_up()
        raise Retry(f"{host} took longer than {seconds:.0f} s to answer")
    error = sending.error
    sent_on = f"{first} sends readers on to" if is_sent_on else "HF_ENDPOINT names"
    if isinstance(error, UnicodeError):  # a part of a name that is empty, or too long to be looked up
        raise NetworkError(
            f"{sent_on} {host[:200]!r}, which can be the name of no host.", "Check HF_ENDPOINT, or try later."
        ) from error
    if is_sent_on and type(error).__name__ == "UnsupportedProtocol":
        raise NetworkError(
            f"{sent_on} something that is no http address.", "Check HF_ENDPOINT, or try later."
        ) from error
    if is_sent_on and isinstance(error, Exception) and type(error).__name__ == "ConnectError":
        raise Retry(f"{sent_on} {host}, but {reason(error)}") from error
    if error is not None:
        raise error
    return sending.response


def _raw(response: Any) -> Iterator[bytes]:
    """The body as it comes in, or as a transport of the user's factory, such as a cache, has read it already."""
    return iter((response.content,)) if response.is_stream_consumed else response.iter_raw()


def _timely(response: Any, request: Any) -> Iterator[bytes]:
    """The body as it comes in.

    Raises:
        Retry: it comes too slowly.
    """
    chunks, window = _raw(response), _seconds(request)
    waited, count = 0.0, 0
    while True:
        began = time.monotonic()
        chunk = next(chunks, None)
        now = time.monotonic()
        if chunk is None:
            _progress[0] = now
            return
        waited, count = waited + now - began, count + len(chunk)
        if waited >= window:
            if count < LEAST_SPEED * waited:
                raise Retry(f"{request.url.host} sends less than {LEAST_SPEED:,} bytes per second")
            waited, count, _progress[0] = 0.0, 0, now
        yield chunk


# taking ---------------------------------------------------------------------------------------------


def _most(request: Any, response: Any) -> Most | None:
    """None where it is not known here, as of a range, which is checked by who asked for it."""
    host = request.url.host
    found = _RESOLVE.search(unquote(request.url.path))
    if found and found.groups() in _sizes:
        request.extensions["svdtui_file"] = found.groups()  # also where we are sent on to
        if response.has_redirect_location:
            _remember(request.url, response.headers["location"], found.groups())
    elif (known := _places.get(str(request.url))) is not None:
        request.extensions["svdtui_file"] = known
    if response.status_code >= 300:
        return Most(_MOST_OF_REFUSAL, None)
    if (file := request.extensions.get("svdtui_file")) is not None:
        size = _sizes[file]
        return Most(
            size,
            Retry(
                f"{host} sends more of {file[2]} than its {size:,} bytes",
                hint="Something else answers, such as a login page or a proxy: use another network.",
            ),
        )
    if "/api/" in request.url.path:
        most, left = (_MOST_OF_LISTING, _listing[0]) if _is_of_library(request) else (MOST_OF_ANSWER, MOST_OF_ANSWER)
        return Most(
            left,
            NetworkError(
                f"{host} answers with more than {most:,} bytes, as no Hub does.",
                "Check HF_ENDPOINT, and HTTPS_PROXY where a proxy is in between.",
            ),
        )
    return None


def _remember(url: Any, location: str, file: tuple[str, ...]) -> None:
    """The library asks for where a file is, and then there."""
    with contextlib.suppress(Exception):  # no address: told by who follows it
        place = str(url.join(location))
        for former in [each for each, known in _places.items() if known == file]:
            del _places[former]
        _places[place] = file


def _charged(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What the library reads on its own account."""
    for chunk in chunks:
        _listing[0] -= len(chunk)
        yield chunk
