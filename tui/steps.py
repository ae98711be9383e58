"""Stepping from layer to layer and from head to head, keeping the rest of the address."""

from dataclasses import replace

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Model


def layer_beside(model: Model, here: Address, step: int) -> Address:
    """The same head and matrix, `step` layers further; from outside the layers, the first or the last one.

    Raises:
        AddressError: there is no further layer.
    """
    if here.layer is None:
        return Address(model.layers[0 if step > 0 else -1])
    index = model.layers.index(here.layer) + step
    if not 0 <= index < len(model.layers):
        raise AddressError(f"Layer {here.layer} is the {_end(step)}.")
    return nearest(model, replace(here, layer=model.layers[index]))


def head_beside(model: Model, here: Address, step: int) -> Address:
    """The same layer and matrix, `step` heads further, or KV heads where one was asked for.

    From outside the heads, it is the layer's first one.

    Raises:
        AddressError: there is no further head, or heads are unknown.
    """
    if not model.heads:
        raise AddressError(model.heads_problem or "Heads are unknown.")
    layer = model.layers[0] if here.layer is None else here.layer
    if here.head is None:
        return nearest(model, Address(layer, 0))
    if here.kv_head is not None:
        kv_head = here.kv_head + step
        if not 0 <= kv_head < model.kv_heads:
            raise AddressError(f"KV head {here.kv_head} is the {_end(step)}.")
        return nearest(model, replace(here, head=kv_head * model.heads // model.kv_heads, kv_head=kv_head))
    if not 0 <= here.head + step < model.heads:
        raise AddressError(f"Head {here.head} is the {_end(step)}.")
    return nearest(model, replace(here, head=here.head + step))


def nearest(model: Model, address: Address) -> Address:
    """`address`, or the closest place around it that the model has."""
    while address != Address():
        try:
            model.check(address)
        except AddressError:
            address = address.parent
        else:
            break
    return address


def _end(step: int) -> str:
    return "last" if step > 0 else "first"
