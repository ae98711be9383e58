"""What can go wrong with the Hub, in sentences; and who may be sent the token, or see it.

No address with a query and no text of an exception is ever passed on: both may hold what is secret.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from .errors import AccessError, EngineError, ModelNotFoundError, NetworkError, OfflineError, ReadError
from .hub_environment import about_certificates, answer_timeout, download_timeout
from .proxy import advice, proxy_of, wants_login
from .target import HubName, shortened_name

_SILENCE = 10.0
"""Seconds without a byte after which a try has failed: the session's own time-out is none."""

_BACK_OFF = 1.0
"""Seconds before the second try; before those after it they are 4, 9 and 16 times as many.

That is half a minute in all: as long as a laptop that is moved to another network is without any.
"""

_LONGEST_WAIT = 600
"""Seconds that a server may tell us to wait; beyond that it is a refusal."""

_ODD_ANSWER = "Check HF_ENDPOINT, and HTTPS_PROXY where a proxy is in between; if both are right, try later."

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""What a server may answer better next time."""

_PUBLIC = ("https://huggingface.co", "https://hf.co")
"""Besides the endpoint, the hosts that the library sends the token to."""


def silence_seconds() -> float:
    """Seconds without a byte of a file after which a try has failed."""
    return download_timeout() or _SILENCE


def answer_seconds() -> float:
    """Seconds without an answer of the Hub after which a try has failed: as long as for a file, if not said apart."""
    return answer_timeout() or max(_SILENCE, silence_seconds())


def longer_seconds() -> float:
    """How much longer than usual a call may take where the user is patient."""
    return 4.0 * max(download_timeout() or 0, answer_timeout() or 0)


def back_off(failed: int) -> float:
    """Seconds to wait after so many tries in a row have failed."""
    return _BACK_OFF * failed**2


@dataclass(frozen=True)
class HubAccess:
    """Where the Hub is, who asks, and where its files are kept; None is what the user's environment says."""

    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    cache_dir: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers of a request to the Hub: who asks, with the token when there is one."""
        from huggingface_hub.utils import build_hf_headers

        headers: dict[str, str] = build_hf_headers(
            token=self.token, library_name="svdtui", library_version=version("svdtui")
        )
        return headers

    @property
    def has_token(self) -> bool:
        """Whether a token is sent."""
        return "authorization" in self.headers()

    @property
    def url(self) -> str:
        """The Hub's address.

        Raises:
            NetworkError: it is none.
        """
        from huggingface_hub import constants

        url = str(constants.ENDPOINT if self.endpoint is None else self.endpoint).rstrip("/")
        try:
            is_http = origin(url)[0] in {"http", "https"} and origin(url)[1] != ""
        except ValueError:
            is_http = False
        if not is_http:
            raise NetworkError(
                f"The Hub's address, {redacted(url) or 'which is empty'}, is no http address.",
                "Correct HF_ENDPOINT, or unset it.",
            )
        return url

    @property
    def host(self) -> str:
        """The Hub's name in a sentence."""
        return origin(self.url)[1]

    def is_trusted(self, url: str) -> bool:
        """Whether an address belongs to the Hub, so that the token may go there."""
        return origin(url) in {origin(self.url), *map(origin, _PUBLIC)}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


class Retry(Exception):
    """Something failed that may work next time. `wait` is how many seconds the server asks for."""

    def __init__(self, why: str, *, wait: float | None = None, hint: str = "") -> None:
        super().__init__(why)
        self.wait = wait
        self.hint = hint


def transport_errors() -> tuple[type[Exception], ...]:
    """What the session raises when the network fails, whichever HTTP library it stands on.

    `RuntimeError` is a session that another thread's failure has closed.
    """
    from huggingface_hub.errors import HTTPError

    return (HTTPError, OSError, RuntimeError)


_REASONS = {
    "ConnectTimeout": "no connection within {seconds:.0f} s",
    "ReadTimeout": "no data for {seconds:.0f} s",
    "WriteTimeout": "nothing could be sent for {seconds:.0f} s",
    "PoolTimeout": "no free connection",
    "RemoteProtocolError": "the connection was cut",
    "ReadError": "the connection was cut",
    "WriteError": "the connection was cut",
    "ProxyError": "the proxy refuses",
    "UnsupportedProtocol": "the address is no http address",
    "DecodingError": "the answer could not be decoded",
    "TooManyRedirects": "it redirects in a circle",
}


def retry_of(error: Exception, access: HubAccess) -> Retry:
    """A failure of the network in a few words, by its kind.

    Raises:
        NetworkError: the proxy wants a login, which another try would not give it.
    """
    why = reason(error)
    proxy = proxy_of(access.url)
    if not proxy:
        return Retry(why, hint=about_certificates() if why == _UNTRUSTED else "")
    if type(error).__name__ == "ProxyError" and "407" in str(error):
        raise wants_login(access.url) from None
    return Retry(f"{why}, through the proxy {proxy}", hint=advice(access.url))


UNRESOLVED = "the name cannot be resolved"

_UNTRUSTED = "the server's certificate is not trusted"


def reason(error: Exception) -> str:
    """Why a connection failed, in a few words, by what the session raised."""
    kind = type(error).__name__
    if kind == "RemoteProtocolError" and "location" in str(error):
        return f"{_asked(error) or 'it'} sends readers on to something that is no http address"
    if kind in _REASONS:
        return _REASONS[kind].format(seconds=_waited(error))
    text = str(error).lower()
    for sign, why in (
        ("refused", "connection refused"),
        ("certificate", _UNTRUSTED),
        ("ssl", "encryption failed"),
        ("name or service not known", UNRESOLVED),
        ("nodename nor servname", UNRESOLVED),
        ("name resolution", UNRESOLVED),
        ("no address associated", UNRESOLVED),
        ("unreachable", "the network cannot be reached"),
        ("consistency check", "the file came with another size than announced"),
    ):
        if sign in text:
            return why
    return "the connection failed"


def _asked(error: Exception) -> str:
    """The host that a request was for."""
    try:
        return str(error.request.url.host)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""


def _waited(error: Exception) -> float:
    """The seconds that a request was given that took too long."""
    try:
        return float(error.request.extensions["timeout"]["read"])  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError, LookupError, TypeError):
        return silence_seconds()


def explained(response: Any, access: HubAccess, repo_id: str, revision: str | None = None) -> Exception:
    """What an answer with a status of 400 or more means: a sentence for the user, or a reason to try again."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import hf_raise_for_status

    status = response.status_code
    host = response.url.host
    if status in RETRIED:
        wait = _told_to_wait(response.headers) if status in {429, 503} else None
        if wait is not None and wait > _LONGEST_WAIT:
            return NetworkError(
                f"{host} asks to wait for {wait / 60:.0f} minutes before the next request.", "Try later."
            )
        if status == 429:
            told = f" and to wait for {wait:.0f} s" if wait else ""
            return Retry(f"{host} asks for fewer requests{told}", wait=wait, hint="Log in for a higher limit, or wait.")
        return Retry(f"{host} answers {status}", wait=wait, hint="Try later.")
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError as error:
        return explained_error(error, access, HubName(repo_id, revision))
    except transport_errors() as error:  # its text was still on the way
        return retry_of(error, access)
    return NetworkError(f"{host} answers {status}.", _ODD_ANSWER)


def _told_to_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server says."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0  # rounded down by the server
    told = headers.get("retry-after", "").strip()
    return float(told) if told.isascii() and told.isdigit() else None


def told(error: Exception, access: HubAccess, name: HubName, *, again: bool = False) -> Exception:
    """What the library raised, in a sentence; with `again`, `Retry` for what may work next time."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, EngineError):
        return error
    if isinstance(error, Retry):  # from our own limits, through the library
        return error if again else NetworkError(f"{error}.", error.hint or "Check the network and try again.")
    response = getattr(error, "response", None)
    if again and getattr(response, "status_code", None) in RETRIED:
        return explained(response, access, name.repo_id, name.revision)
    if isinstance(error, UnicodeEncodeError) or type(error).__name__ == "LocalProtocolError":  # in a header
        return AccessError(
            f"Your token for {access.host} holds characters that no token has.",
            "Log in again with `hf auth login`; or correct HF_TOKEN, or unset it.",
        )
    if response is None and isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        return not_the_hub(access)  # its answer could not be understood
    if isinstance(error, OSError) and error.filename is not None and str(error.filename) == constants.HF_TOKEN_PATH:
        is_misplaced = error.errno == errno.ENOTDIR
        return AccessError(
            f"Your stored token, {error.filename}, cannot be read: {error.strerror or error}.",
            "Correct HF_HOME: it must name a folder." if is_misplaced else "Correct its permissions, or set HF_TOKEN.",
        )
    is_of_disk = isinstance(error, OSError) and error.errno is not None
    has_tried = isinstance(error, LocalEntryNotFoundError)  # several times already
    if again and response is None and isinstance(error, transport_errors()) and not (is_of_disk or has_tried):
        return retry_of(error, access)
    cause = error.__cause__
    if isinstance(cause, Exception) and response is None:  # the library's "not found locally": this is why
        return explained_error(cause, access, name)
    if isinstance(error, OSError) and error.errno is not None and response is None:
        return ReadError(
            f"The local Hub cache cannot be written: {error.strerror or error}.",
            "Make room, or set HF_HOME to another disk.",
        )
    return explained_error(error, access, name)


def explained_error(error: Exception, access: HubAccess, name: HubName) -> EngineError:
    """A sentence for what the library raised."""
    from huggingface_hub import errors as hub

    repo = shortened_name(name.repo_id)
    page = redacted(f"{access.url}/{repo}")
    response = getattr(error, "response", None)
    host = access.host if response is None else response.url.host
    status = getattr(response, "status_code", None)
    if isinstance(error, EngineError):
        return error
    if status == 407:
        return wants_login(access.url)
    if status == 401 and not access.has_token and urlsplit(access.url).username:
        return AccessError(
            f"{host} does not accept the name and password in HF_ENDPOINT.",
            "Correct them, or leave them out and run `hf auth login`.",
        )
    if status == 401 and "invalid credentials" in _server_says(response).lower():
        return AccessError(
            f"{host} does not accept your token.",
            "Log in again with `hf auth login`; or correct HF_TOKEN, or unset it.",
        )
    if isinstance(error, hub.GatedRepoError):
        if access.has_token:
            return AccessError(
                f"{repo} is gated, and your token has no access to it.",
                f"Ask for access at {page} ; a fine-grained token must also be allowed to read gated repositories.",
            )
        return AccessError(
            f"{repo} is gated: one has to ask for access, and you are not logged in.",
            f"Ask for access at {page} , then run `hf auth login` or set HF_TOKEN.",
        )
    if isinstance(error, hub.DisabledRepoError):
        return ModelNotFoundError(f"{repo} has been disabled on {host}.", f"See {page} .")
    if isinstance(error, hub.RevisionNotFoundError):
        revision = shortened_name(name.revision or "main")
        return ModelNotFoundError(
            f"{repo} has no branch, tag or commit {revision}.",
            f"See {page}/tree/main . {about_revision(name)}".strip(),
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        whose = "your token can see" if access.has_token else "can be seen without logging in"
        hint = (
            "Check the spelling; a private model's owner can give you access."
            if access.has_token
            else ("Check the spelling; for a private model, run `hf auth login` or set HF_TOKEN.")
        )
        return ModelNotFoundError(f"There is no folder {repo} here, and no model {repo} on {host} that {whose}.", hint)
    if isinstance(error, hub.OfflineModeIsEnabled):
        return OfflineError(f"{host} must not be asked: HF_HUB_OFFLINE is set.", "Unset it.")
    if isinstance(error, hub.HFValidationError):
        return ModelNotFoundError(
            f"There is no folder {repo} here, and on the Hub no model can be called so.", "Check the spelling."
        )
    if isinstance(error, hub.EntryNotFoundError) and status is not None:
        return NetworkError(f"{host} no longer has a file of {repo} that it listed.", "Open the model again.")
    if status in {401, 403}:
        return AccessError(f"{host} refuses to let you read {repo} ({status}).", f"See {page} , and `hf auth whoami`.")
    if status is not None:
        hint = "Try later." if status >= 500 else _ODD_ANSWER
        return NetworkError(f"{host} answers {status} when asked for {repo}.", hint)
    if isinstance(error, hub.FileMetadataError):
        return not_the_hub(access)
    retry = retry_of(error, access)
    return NetworkError(
        f"{host} cannot be reached: {retry}.", retry.hint or "Check the network (and HTTPS_PROXY, HF_ENDPOINT)."
    )


def about_revision(name: HubName) -> str:
    """What a revision may lack that is not found, as a sentence; empty where nothing is likely."""
    revision = name.revision or "main"
    if re.fullmatch("[0-9a-f]{4,39}", revision):
        return "A commit is given by all of its 40 digits."
    if name.path:
        longer = HubName(name.repo_id, f"{revision}/{name.path}")
        return f"If the branch is called {longer.revision}, write {longer} ."
    return ""


def not_the_hub(access: HubAccess) -> EngineError:
    """Somebody else answers."""
    return NetworkError(
        f"{access.host} answered with something else than the Hub would.",
        "A login page of the network or a proxy may be in between: open a browser, log in, and try again; "
        "check HF_ENDPOINT too.",
    )


def _server_says(response: Any) -> str:
    """The Hub's own word on a refusal; it names no address."""
    return str(response.headers.get("x-error-message") or "")


def redacted(text: str) -> str:
    """Text, such as a traceback, without addresses' queries, tokens and passwords."""
    text = re.sub(r"(https?://)[^\s/@'\"]*@", r"\1", text)
    text = re.sub(r"(https?://[^\s'\"<>?#]*)[?#][^\s'\"<>)]*", r"\1?…", text)
    text = re.sub(r"(?i)(bearer\s+)\S+", r"\1…", text)
    return re.sub(r"\bhf_\w{6,}", "hf_…", text)
