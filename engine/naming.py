"""From what a user types to a place of a model: addresses, KV heads, and the names of tensors; and what may be typed.

What svdtui shows as an address is found here, from the screen, the command line and Python alike.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from .address import ROOT, WHOLE, Address
from .errors import AddressError
from .model import Model
from .text import printable

_BY_KV_HEAD = re.compile(r"(\d{1,9})\.kv(\d{1,9})(?:\.([a-z_]\w*))?", re.ASCII | re.IGNORECASE)
_TENSOR = re.compile(r"[^\W\d][^\s.]*(\.[^\s.]+)+")


def check_form(text: str) -> None:
    """Refuse what can be no place of any model, before one is opened.

    Raises:
        AddressError: it is neither an address nor the name of a tensor.
    """
    if not _BY_KV_HEAD.fullmatch(text.strip()) and not _TENSOR.fullmatch(text.strip()):
        Address.parse(text)


def find(model: Model, text: str) -> Address:
    """The place that is called so: by its address, by its KV head (`12.kv1.k`), or by the full name of its tensor.

    Raises:
        AddressError: the model has no such place; says what it has.
    """
    text = text.strip()
    if by_kv_head := _BY_KV_HEAD.fullmatch(text):
        layer, kv_head, matrix = by_kv_head.groups()
        return _by_kv_head(model, int(layer), int(kv_head), matrix and matrix.lower())
    try:
        address = Address.parse(text)
    except AddressError:
        if text in model.checkpoint.tensors:
            return _of_tensor(model, text)
        if _TENSOR.fullmatch(text):
            raise AddressError(f"{model.name} has no tensor {printable(text)!r}.", "Give its full name.") from None
        raise
    model.check(address)
    if address.layer is not None and address.is_whole and not model.has_heads(address.layer):
        return Address(address.layer)  # it shows the same
    return address


def complete(model: Model, text: str, limit: int = 20) -> list[str]:
    """What begins with `text` and is the name of a place, in the model's order; at most `limit`."""
    text = text.strip()
    base, dot, _ = text.rpartition(".")
    try:
        parent = find(model, base) if dot else Address()
    except AddressError:
        offered: Iterable[str] = ()
    else:
        offered = _inside(model, parent)
    found = list(islice((name for name in offered if name.startswith(text)), limit))
    if len(found) < limit and text and not text[0].isdigit():
        begun = islice((name for name in model.checkpoint.tensors if name.startswith(text)), limit - len(found))
        found += (name for name in begun if _is_matrix(model, name))
    return found


def _is_matrix(model: Model, tensor: str) -> bool:
    """Whether a tensor is one of the matrices that can be gone to: norms and biases are none."""
    with suppress(AddressError):
        return bool(_of_tensor(model, tensor))
    return False


def _inside(model: Model, parent: Address) -> Iterator[str]:
    """The places directly inside another, as they are called; the model is inside itself."""
    yield from map(str, model.children(parent))
    if parent == Address():
        yield ROOT
    elif parent.scope == "layer" and parent.layer is not None and model.has_heads(parent.layer):
        if model.kv_heads < model.heads:
            yield from (f"{parent}.kv{number}" for number in range(model.kv_heads))
        if model.matrices(parent):
            yield f"{parent}.{WHOLE}"


def _by_kv_head(model: Model, layer: int, kv_head: int, matrix: str | None) -> Address:
    """The first query head that shares a KV head, or its matrix."""
    model.check(Address(layer))
    if not model.heads:
        raise AddressError(f"There is no KV head {kv_head}. {model.heads_problem}")
    if kv_head >= model.kv_heads:
        raise AddressError(
            f"There is no KV head {kv_head}: {model.name} has KV heads 0 to {model.kv_heads - 1} in a layer."
        )
    address = Address(layer, kv_head * model.heads // model.kv_heads, matrix, kv_head=kv_head)
    model.check(address)
    return address


def _of_tensor(model: Model, name: str) -> Address:
    """The whole matrix that a tensor is; its layer's number is in its name."""
    numbers = {int(number) for number in re.findall(r"\d{1,9}", name)}
    for place in (*map(Address, sorted(numbers)), Address()):
        with suppress(AddressError):
            model.check(place)
            for info in model.matrices(place):
                if info.tensor == name:
                    return info.address
    raise AddressError(f"{printable(name)} is in {model.name}, but is none of the matrices that are analysed.")
