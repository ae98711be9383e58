"""Variables of the environment that the Hub's library and its session read: whether they can be used, in sentences.

The library reads some of them when it is imported, and ends in a traceback where they are not what it expects.
"""

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from .errors import NetworkError
from .proxy import check_proxies
from .text import shortened

_ETAG, _DOWNLOAD = "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"

_LONGEST = 86_400
"""Seconds that somebody may want to wait."""


def download_timeout() -> int | None:
    """Seconds without a byte after which a file's reading has failed, where the user says so."""
    return _seconds(_DOWNLOAD)


def answer_timeout() -> int | None:
    """Seconds within which the Hub must answer what it is asked about a file, where the user says so."""
    return _seconds(_ETAG)


def check_environment() -> None:
    """Refuse what the library cannot be loaded with.

    Raises:
        NetworkError: names the variable, and says what to do.
    """
    download_timeout()
    answer_timeout()
    _check_address()
    try:
        import huggingface_hub.constants  # noqa: F401
    except ValueError as error:
        raise NetworkError(
            f"The Hub's library cannot be loaded, since a variable of the environment is not what it expects: {error}.",
            "Look for it among those that begin with HF_, and unset it.",
        ) from error


def _check_address() -> None:
    address = os.environ.get("HF_ENDPOINT", "")
    try:
        _ = urlsplit(address).port
    except ValueError as error:
        shown = shortened(address.rpartition("@")[2], 200)  # without a password
        raise NetworkError(
            f"The Hub's address, {shown}, is no http address: {error}.", "Correct HF_ENDPOINT, or unset it."
        ) from error


def check_connection() -> None:
    """Refuse what no session can be opened with.

    Raises:
        NetworkError: names the variable, and says what to do.
    """
    check_proxies()
    _check_certificates()


def _seconds(variable: str) -> int | None:
    """What a variable says; None, as in the library, where it is not set or 0.

    Raises:
        NetworkError: it is no number of seconds.
    """
    text = os.environ.get(variable)
    if text is None:
        return None
    try:
        seconds = int(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _LONGEST:
        raise NetworkError(
            f"{variable}, {shortened(text, 120) or 'which is empty'}, is no whole number of seconds from 0 to "
            f"{_LONGEST:,}.",
            "Correct it, or unset it.",
        )
    return seconds or None


def _check_certificates() -> None:
    """The session trusts those that SSL_CERT_FILE names, else those in SSL_CERT_DIR, else the system's."""
    unset = "Correct it, or unset it: then the system's certificates are used."
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except ssl.SSLError as error:
            raise NetworkError(f"SSL_CERT_FILE, {shortened(file, 200)}, holds no certificates.", unset) from error
        except OSError as error:
            raise NetworkError(
                f"SSL_CERT_FILE, {shortened(file, 200)}, cannot be read: {error.strerror or error}.", unset
            ) from error
    elif folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise NetworkError(f"SSL_CERT_DIR, {shortened(folders, 200)}, is no folder.", unset)


def about_certificates() -> str:
    """What to look at where a server's certificate is not trusted."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if os.environ.get(variable):
            return f"Check {variable}: those certificates are trusted, and no others."
    others = [name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)]
    seen = f" {others[0]}, which is set, is not looked at." if others else ""
    return f"Where a proxy has a certificate of its own, name the file of it in SSL_CERT_FILE.{seen}"
