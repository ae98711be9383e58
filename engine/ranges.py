"""Byte ranges of a Hub repository's files, over the session that every Hub tool shares.

Four connections read parts of 8 MiB straight into the memory where they belong. Every answer is checked (206, the exact
range, the file's known size, no compression), because a wrong byte would be a wrong singular value; `HfFileSystem`
returns what a server sends when it ignores Range. A cut connection goes on behind its last byte; tries are bounded.
"""

import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from .errors import NetworkError
from .hub_errors import (
    UNRESOLVED,
    HubAccess,
    Retry,
    answer_seconds,
    back_off,
    explained,
    origin,
    reason,
    retry_of,
    silence_seconds,
    transport_errors,
)
from .hub_limits import OURS, guarded_session
from .silence import silent_library
from .source import Advance, Piece, Watch
from .transfer import Part, StoppedError, Transfer

CONNECTIONS = 4

TRIES = 5
"""Tries in a row that may bring nothing."""

_FRUIT = 64 * 2**10
"""Bytes from which a try that was cut off counts as having brought something."""

_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What the Hub says that a file is."""

    size: int
    sha256: str | None = None
    is_listed: bool = True
    """False where only an index names it: its size is not known, so that it cannot be read over the network."""
    blob_id: str | None = None
    """What Git calls a small file's content; `sha256` is that of a large one."""


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a file's bytes are, and the headers to ask with: the token for the Hub, none for a signed address."""

    url: str
    headers: Mapping[str, str]


class RangeReader:
    """Reads files of one repository at one commit."""

    def __init__(self, access: HubAccess, repo_id: str, commit: str, files: Mapping[str, RemoteFile]) -> None:
        self._access = access
        self._repo_id = repo_id
        self._commit = commit
        self._files = files
        self._addresses: dict[str, _Address] = {}
        self._failed: dict[str, tuple[float, Exception]] = {}
        self._etags: dict[tuple[str, str], str] = {}
        self._resolving = {file: threading.Lock() for file in files}

    def read(self, file: str, start: int, stop: int, watch: Watch) -> bytes:
        """The bytes `start … stop` of a file.

        Raises:
            EngineError: see `read_pieces`.
        """
        data = bytearray(stop - start)
        for _ in self.read_pieces([Piece(file, start, memoryview(data))], lambda count: None, watch):
            pass
        return bytes(data)

    def read_pieces(self, pieces: Sequence[Piece], advance: Advance, watch: Watch) -> Iterator[int]:
        """Fill the pieces' memory; yields the number of each when it is complete.

        `advance` and `watch` are called from the calling thread, and what they raise ends the reading at once: nothing
        is written into the memory after that.

        Raises:
            NetworkError: the network failed several times in a row, or an answer was not what was asked for.
            AccessError: the Hub does not let this user read the file.
        """
        transfer = Transfer(pieces)
        try:
            for number in range(min(CONNECTIONS, len(transfer.parts))):
                threading.Thread(
                    target=self._work, args=(transfer, number), name=f"range-{number}", daemon=True
                ).start()
            yield from transfer.results(advance, watch)
        finally:
            transfer.stop()

    def _work(self, transfer: Transfer, number: int) -> None:
        """One connection's thread; where the first is fast enough, the others are not needed."""
        try:
            with silent_library:
                while (number == 0 or transfer.has_room()) and (part := transfer.next_part()) is not None:
                    self._fetch(part, transfer)
        except StoppedError:
            pass
        except Exception as error:
            transfer.fail(error)

    def _fetch(self, part: Part, transfer: Transfer) -> None:
        """Bring one part, in as many tries as it takes and are allowed."""
        done, fruitless = 0, 0
        while done < part.stop - part.start:
            before = done
            problem = Retry("the connection was cut")
            try:
                with closing(self._chunks(part.file, part.start + done, part.stop)) as chunks:
                    for chunk in chunks:
                        transfer.put(part, done, chunk)
                        done += len(chunk)
            except Retry as retry:
                problem = retry
            except transport_errors() as error:
                problem = self._failure(part.file, error)
            if done == part.stop - part.start:
                return
            fruitless = 0 if done - before >= _FRUIT else fruitless + 1
            if fruitless == TRIES:
                raise NetworkError(
                    f"{self._where(part.file)} cannot be read: {problem}, {TRIES} times in a row.",
                    problem.hint or "Check the network and try again.",
                )
            delay = problem.wait if problem.wait is not None else back_off(fruitless) if fruitless > 0 else 0.0
            transfer.wait(delay, f"try {fruitless + 1} of {TRIES}", str(problem))

    def _failure(self, file: str, error: Exception) -> Retry:
        """Why a try has failed, and who sent us to where it did."""
        problem = retry_of(error, self._access)
        address = self._addresses.get(file)
        if address is None or reason(error) != UNRESOLVED or self._access.is_trusted(address.url):
            return problem
        hub, host = self._access.host, origin(address.url)[1]
        return Retry(f"{hub} sends readers on to {host}, but {problem}", hint=problem.hint)

    def _where(self, file: str) -> str:
        return f"{file} of {self._repo_id}"

    def _chunks(self, file: str, start: int, stop: int) -> Generator[bytes]:
        """The bytes `start … stop` as they come in; too few when the connection is cut."""
        address = self._address(file)
        headers = {**address.headers, "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        # The session is asked for each time: another thread's failure may have closed the one before.
        with guarded_session().stream(
            "GET", address.url, headers=headers, timeout=silence_seconds(), follow_redirects=False, extensions=OURS
        ) as response:
            self._check(file, start, stop, address, response)
            left = stop - start
            for chunk in response.iter_raw():
                left -= len(chunk)
                if left < 0:
                    raise Retry("the answer was longer than asked for")
                yield chunk

    def _check(self, file: str, start: int, stop: int, address: _Address, response: Any) -> None:
        """Accept nothing but the range that was asked for.

        Raises:
            Retry: it may be better next time.
            EngineError: it will not.
        """
        status, headers = response.status_code, response.headers
        host = response.url.host
        if status != 206:
            self._refuse(file, address, response)
        if headers.get("content-encoding", "identity") != "identity":
            raise NetworkError(
                f"{host} sends {self._where(file)} compressed, though it was asked not to: the bytes of a range cannot "
                "be told from that.",
                "A proxy on the way may do it; use another network, or --download.",
            )
        unit, _, rest = headers.get("content-range", "").partition(" ")
        asked, _, total = rest.partition("/")
        size = self._files[file].size
        if total not in {str(size), "*", ""}:
            raise NetworkError(
                f"{self._where(file)} has {total} bytes on {host} and {size:,} in the repository: it is cut short or "
                "has changed.",
                "Open the model again; if it stays so, tell its publisher.",
            )
        if unit.lower() != "bytes" or asked != f"{start}-{stop - 1}":
            raise Retry(
                f"{host} answered with another range ({asked or 'none'} instead of {start}-{stop - 1})",
                hint="A proxy or mirror on the way is broken; use another network, or --download.",
            )
        length = headers.get("content-length")
        if length is not None and length != str(stop - start):
            raise Retry(f"{host} announced {length} bytes instead of {stop - start}")
        self._check_identity(file, address.url.partition("?")[0], headers.get("etag"))  # whoever signed it

    def _refuse(self, file: str, address: _Address, response: Any) -> None:
        """Say what an answer without a range means."""
        status, headers = response.status_code, response.headers
        host = response.url.host
        if response.has_redirect_location:  # storage may move a file once more
            target = self._next_address(file, address.url, headers["location"])
            self._replace(file, address, _Address(target, {}))
            raise Retry("the file was moved on and on", wait=0)
        if status == 200:
            if "html" in headers.get("content-type", ""):
                raise NetworkError(
                    f"{host} answered with a web page instead of {self._where(file)}.",
                    "A login page of the network or a proxy is in between: open a browser, log in, and try again.",
                )
            raise NetworkError(
                f"{host} ignores byte ranges and would send the whole of {self._where(file)}.",
                "Use --download to fetch the model first.",
            )
        if status == 416:
            raise NetworkError(
                f"{self._where(file)} is shorter on {host} than the {self._files[file].size:,} bytes in the "
                "repository.",
                "Open the model again; if it stays so, tell its publisher.",
            )
        if status in {400, 401, 403} and not address.headers:
            self._forget(file, address)
            raise Retry(f"{host} refuses the signed address ({status})")
        raise explained(response, self._access, self._repo_id)

    def _check_identity(self, file: str, place: str, etag: str | None) -> None:
        """A file must stay the same from one answer of a place to the next."""
        if etag and self._etags.setdefault((file, place), etag) != etag:
            raise NetworkError(f"{self._where(file)} has changed while it was read.", "Open the model again.")

    # addresses -----------------------------------------------------------------------------------

    def _address(self, file: str) -> _Address:
        asked = time.monotonic()
        with self._resolving[file]:
            if file not in self._addresses:
                failed = self._failed.get(file)
                if failed is not None and failed[0] > asked:  # another connection asked while this one waited to
                    raise failed[1]
                try:
                    self._addresses[file] = self._resolve(file)
                except Exception as error:
                    self._failed[file] = time.monotonic(), error
                    raise
            return self._addresses[file]

    def _forget(self, file: str, address: _Address) -> None:
        with self._resolving[file]:
            if self._addresses.get(file) == address:
                del self._addresses[file]

    def _replace(self, file: str, address: _Address, following: _Address) -> None:
        with self._resolving[file]:
            if self._addresses.get(file) == address:
                self._addresses[file] = following

    def _resolve(self, file: str) -> _Address:
        """Ask the Hub where a file is. The token goes to the Hub, and to nobody else."""
        from huggingface_hub import hf_hub_url

        access = self._access
        url = hf_hub_url(self._repo_id, file, revision=self._commit, endpoint=access.endpoint)
        headers = {**access.headers(), "Accept-Encoding": "identity"}
        for _ in range(_REDIRECTS):
            response = guarded_session().request(
                "HEAD", url, headers=headers, timeout=answer_seconds(), follow_redirects=False, extensions=OURS
            )
            if response.status_code >= 400:
                raise explained(response, access, self._repo_id)
            self._check_headers(file, response.headers)
            if not response.has_redirect_location:
                return _Address(url, headers)
            target = self._next_address(file, url, response.headers["location"])
            if not access.is_trusted(target):
                return _Address(target, {})
            url = target
        raise NetworkError(
            f"{origin(url)[1]} sends readers of {self._where(file)} in a circle.", "Check HF_ENDPOINT, or try later."
        )

    def _next_address(self, file: str, url: str, location: str) -> str:
        """Where a redirect leads."""
        try:
            target = urljoin(url, location)
            guarded_session().build_request("HEAD", target)
            host = origin(target)[1]
            is_http = origin(target)[0] in {"http", "https"} and host != "" and len(host.encode("idna")) < 254
        except Exception:  # a ValueError, or what the HTTP library calls its own
            is_http = False
        if not is_http:
            raise NetworkError(
                f"{origin(url)[1]} sends readers of {self._where(file)} on to something that is no http address.",
                "Check HF_ENDPOINT, or try later.",
            )
        if not self._access.is_trusted(target) and origin(url)[0] == "https" and origin(target)[0] != "https":
            raise NetworkError(
                f"{origin(url)[1]} sends readers of {self._where(file)} on to an address without encryption.",
                "Something is between you and the Hub; use another network.",
            )
        return target

    def _check_headers(self, file: str, headers: Mapping[str, str]) -> None:
        """Whether the Hub speaks of the file that we know."""
        known = self._files[file]
        commit, size = headers.get("x-repo-commit"), headers.get("x-linked-size")
        etag = (headers.get("x-linked-etag") or "").removeprefix("W/").strip('"')
        if (
            (commit is not None and commit != self._commit)
            or (size is not None and size != str(known.size))
            or (known.sha256 and etag and etag != known.sha256)
        ):
            raise NetworkError(
                f"The Hub now gives another {self._where(file)} than when the model was opened.",
                "Open the model again.",
            )
        self._check_identity(file, "hub", etag)
