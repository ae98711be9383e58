"""The proxy between this machine and the Hub, as the environment names it: whether it can be one, and its name.

The library's session takes it from the same variables. A name and a password in it are never told.
"""

import os
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .errors import NetworkError
from .text import shortened

_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_of(url: str) -> str:
    """Host and port of the proxy through which an address is asked; empty without one."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    proxies = _proxies()
    return _place(proxies.get(parts.scheme) or proxies.get("all") or "")


def check_proxies() -> None:
    """Refuse what can be no proxy's address: no session could be opened with it, for whatever address.

    Raises:
        NetworkError: names the variable.
    """
    for kind, address in _proxies().items():
        scheme, separator, _ = address.partition("://")
        shown = f"{scheme}://{_place(address)}" if separator else _place(address)
        if scheme not in _SCHEMES or not _place(address):
            raise NetworkError(
                f"{_variable(kind)}, {shortened(shown, 120)}, is not the address of a proxy.",
                "Write http://HOST:PORT there, or unset it.",
            )
        if scheme.startswith("socks") and find_spec("socksio") is None:
            raise NetworkError(
                f"{_variable(kind)} names a SOCKS proxy, {shown}, and the package for those is not installed.",
                "Run `pip install socksio`, or name an http proxy.",
            )


def wants_login(url: str) -> NetworkError:
    """A sentence for a proxy that answers 407."""
    which = " ".join(filter(None, ("The proxy", proxy_of(url))))
    return NetworkError(
        f"{which} wants a name and a password (407).",
        f"Put them into {_variable(urlsplit(url).scheme)}, as NAME:PASSWORD@ before its host.",
    )


def advice(url: str) -> str:
    """What to look at where an address cannot be reached through a proxy."""
    return f"Check the network, and the proxy in {_variable(urlsplit(url).scheme)}."


def _proxies() -> dict[str, str]:
    """The session's proxies by kind: `http`, `https` or `all`."""
    named = getproxies()
    if "*" in (host.strip() for host in named.get("no", "").split(",")):
        return {}
    found = {kind: named[kind] for kind in ("http", "https", "all") if named.get(kind)}
    return {kind: address if "://" in address else f"http://{address}" for kind, address in found.items()}


def _place(address: str) -> str:
    """Host and port of an address; empty where it has none."""
    try:
        host, port = urlsplit(address).hostname, urlsplit(address).port
    except ValueError:
        return ""
    return f"{host}:{port}" if host and port else host or ""


def _variable(kind: str) -> str:
    """What names a kind of proxy: a variable of the environment, or the system's settings."""
    names = (name for each in (kind, "all") for name in (f"{each}_proxy", f"{each.upper()}_PROXY"))
    return next((name for name in names if os.environ.get(name)), f"{kind.upper()}_PROXY")
