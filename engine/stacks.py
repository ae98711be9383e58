"""The stacks of layers in a checkpoint: the model, and beside it perhaps a teacher, an average of it, a vision tower.

One of them is shown: the language model that has as many layers as the config says, and of several the one whose name
says least. Optimiser states and gradients lie under the same names as weights, and are none.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from .architectures import ARCHITECTURES, Architecture, Placement
from .config_parts import is_language
from .errors import ChoiceError
from .text import printable, shortened
from .wrappers import WRAPPERS, is_wrapped, state_in, unwrapped

_COPIES = frozenset(
    {
        *("ema", "swa", "avg", "average", "averaged", "polyak", "shadow", "ref", "reference", "teacher", "old", "prev"),
        *("previous", "target", "best", "initial", "init", "frozen", "backup", "anchor", "draft", "assistant", "eagle"),
        *("medusa", "expert", "critic", "reward", "value", "judge", "mtp", "nextn", "talker", "depth", "predictor"),
    }
)
"""Words in a prefix that make it something beside the model: a copy of it, or a smaller one."""

_PLAIN = frozenset(
    {
        *("model", "language", "text", "transformer", "decoder", "backbone", "base", "llm", "lm", "network", "net"),
        *("student", "actor", "policy", "thinker", "generator", "module"),
    }
)
"""Words in a prefix that say nothing, or that it is the model."""

_MOST_BEYOND = 1
"""Layers that a stack may have beyond the config's, and still be what it is about: one predicts a further token."""

_DEEPEST = 32
"""Parts of a path that are compared; a name made to hurt may have many more."""

_ORDINARY = frozenset({"weight", "bias"})

_NUMBER = re.compile(r"0|[1-9]\d{0,5}", re.ASCII)

_SHOWN = 3
"""Names in a sentence; a checkpoint may have many stacks."""

_Names = dict[tuple[int, str], str]
"""Layer and name below it → the tensor's full name."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers below one prefix of tensor names."""

    name: str
    """What it is called: the prefix without wrappers, such as `model` or `teacher.model`; `layers` for none."""
    prefix: str
    """What stands before `layers` in the tensors' names, with its dot; may be empty."""
    placement: Placement


@dataclass(frozen=True)
class Stacks:
    """All of a checkpoint's, that which is shown first."""

    stacks: tuple[Stack, ...]
    states: tuple[str, ...]
    """What is there besides and is no weight, such as `exp_avg`."""

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(stack.name for stack in self.stacks)

    def choose(self, name: str | None, model: str) -> Stack:
        """The stack of a name, or of the only name that has it as a part.

        Raises:
            ChoiceError: there is none, or there are several.
        """
        if name is None:
            return self.stacks[0]
        wanted = name.strip().strip(".")
        found = [stack for stack in self.stacks if wanted in {stack.name, stack.prefix.rstrip(".")}]
        found = found or [stack for stack in self.stacks if wanted and wanted in stack.name.split(".")]
        if len(found) == 1:
            return found[0]
        what = (
            f"There is no stack {shortened(printable(name), 100)!r}" if not found else f"{wanted} names several stacks"
        )
        raise ChoiceError(f"{what}: {model} has {listed(self.names)}.", "Name one of them.")

    def owner(self, tensor: str) -> Stack:
        """The stack that a tensor outside the layers belongs to: that which shares most of its path."""
        path = tuple(unwrapped(tensor).split("."))[:_DEEPEST]
        return next(self._below[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self._below)

    @cached_property
    def _below(self) -> dict[tuple[str, ...], Stack]:
        """Each part of the stacks' paths, from the root on → the first of the stacks, as they are ordered, below it."""
        found: dict[tuple[str, ...], Stack] = {}
        for stack in self.stacks:
            path = tuple(unwrapped(stack.prefix).rstrip(".").split("."))[:_DEEPEST]
            for end in range(len(path) + 1):
                found.setdefault(path[:end], stack)
        return found


def find_stacks(tensors: Iterable[str], layer_count: int | None) -> Stacks:
    """The stacks of the first architecture that is found, that which is to be shown first.

    Args:
        tensors: all names.
        layer_count: the layers that the config gives the language model, when it says.
    """
    tensors = tuple(tensors)
    for architecture in ARCHITECTURES:
        found, states = _find(architecture, tensors)
        if found or states:
            break
    order = sorted(found, key=lambda prefix: _rank(prefix, found[prefix], layer_count))
    plain = [unwrapped(prefix).rstrip(".") or architecture.layers for prefix in order]
    count = Counter(plain)
    names = [
        name if count[name] == 1 else prefix.rstrip(".") or name for name, prefix in zip(plain, order, strict=True)
    ]
    return Stacks(
        tuple(
            Stack(name, prefix, _placement(architecture, prefix, found[prefix]))
            for name, prefix in zip(names, order, strict=True)
        ),
        states,
    )


def _find(architecture: Architecture, tensors: Iterable[str]) -> tuple[dict[str, _Names], tuple[str, ...]]:
    """Prefix → what lies below it, and what lies there and is no weight."""
    known, lengths = architecture.known, sorted({tensor.count(".") + 1 for tensor in architecture.known})
    states: dict[str, None] = {}
    below: dict[str, _Names] = {}
    state_of: dict[str, str] = {}

    def placed(name: str) -> tuple[str, int, str] | None:
        for length in lengths:
            if found := _placed(name, architecture.layers, known, length):
                return found
        return None

    for name in tensors:
        found = placed(name)
        if found is None:
            base, _, last = name.rpartition(".")
            if last not in _ORDINARY and (state := state_in(last)) and placed(base):
                states[state] = None  # `….q_proj.weight.exp_avg`
            continue
        prefix, layer, rest = found
        if prefix not in state_of:
            state_of[prefix] = state_in(prefix)
        if state := state_of[prefix]:
            states[state] = None
            continue
        names = below.setdefault(prefix, {})
        other = names.get((layer, rest))
        if other is None or _plainness(name) < _plainness(other):
            names[layer, rest] = name
    return below, tuple(states)


def _placed(name: str, layers: str, known: frozenset[str], length: int) -> tuple[str, int, str] | None:
    """What stands before `layers` in a tensor's name, its layer and its name below that; None for any other tensor.

    Below `layers` wrappers are looked through. A checkpoint has many tensors: most names are cut once.
    """
    if is_wrapped(name):
        parts = name.split(".")
        kept = [index for index, part in enumerate(parts) if part not in WRAPPERS]
        if len(kept) < length + 2:
            return None
        before, number = parts[: kept[-length - 2] + 1], parts[kept[-length - 1]]
        rest = ".".join(parts[index] for index in kept[-length:])
        head = ".".join(before)
    else:
        cut = name.rsplit(".", length + 1)
        if len(cut) < length + 2:
            return None
        head, number = cut[0], cut[1]
        rest = ".".join(cut[2:])
    if rest not in known or not _NUMBER.fullmatch(number):
        return None
    prefix, _, last = head.rpartition(".")
    return (f"{prefix}." if prefix else "", int(number), rest) if last == layers else None


def _plainness(name: str) -> tuple[int, str]:
    return name.count("."), name


def _placement(architecture: Architecture, prefix: str, names: _Names) -> Placement:
    layers = tuple(sorted({layer for layer, _ in names}))
    return Placement(architecture, f"{prefix}{architecture.layers}.", layers, names)


def has_as_many(layers: Collection[int], layer_count: int | None) -> bool:
    """Whether these are as many layers as the config says, which may not count the last."""
    covered = sum(layer < layer_count for layer in layers) if layer_count is not None else -1
    return covered == layer_count and len(layers) - covered <= _MOST_BEYOND


def _rank(prefix: str, names: _Names, layer_count: int | None) -> tuple[object, ...]:
    """Orders stacks, that which is to be shown first."""
    layers = {layer for layer, _ in names}
    covered = len(layers) if layer_count is None else sum(layer < layer_count for layer in layers)
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", prefix)  # TeacherModel
    words = [word for word in re.split(r"[^a-z]+", parted.lower()) if word and word not in WRAPPERS]
    return (
        not is_language(prefix),
        not has_as_many(layers, layer_count),
        sum(word in _COPIES for word in words),
        sum(word not in _PLAIN for word in words),
        -covered,
        -len(names),
        prefix.count("."),
        len(prefix),
        prefix,
    )


def listed(names: Iterable[str]) -> str:
    """Names in a sentence, the first of them."""
    names = [shortened(printable(name), 60) for name in names]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
