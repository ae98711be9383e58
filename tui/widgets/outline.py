"""The tree as data: which nodes there are, which are open, and in which order they are drawn.

Children are worked out when a node is opened, so a model of any size costs nothing until it is looked at.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal, overload

from svdtui.engine.address import Address
from svdtui.engine.model import Job, Model

Kind = Literal["model", "layer", "head", "whole", "matrix"]


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the tree. `whole` is the group of a layer's whole matrices."""

    kind: Kind
    address: Address
    depth: int
    label: str
    detail: str = ""
    job: Job | None = None
    """What computes it; None where several jobs do."""

    @property
    def expandable(self) -> bool:
        """Whether something may lie inside."""
        return self.kind != "matrix"

    @property
    def key(self) -> tuple[Kind, Address]:
        """What identifies it whatever else changes."""
        return self.kind, self.address


def jobs_of(node: Node, model: Model) -> tuple[Job, ...]:
    """The work that the right side needs for a node."""
    if node.kind == "whole":
        return tuple(info.job for info in model.matrices(node.address))
    return model.jobs(node.address)


def shows_job(node: Node, job: Job, model: Model) -> bool:
    """Whether a job is among those of `jobs_of`, however many they are."""
    if node.kind == "model":
        return model.has_job(job) and job in model.jobs(Address(job.layer))
    return job in jobs_of(node, model)


def shows_any(node: Node, slices: Set[tuple[str, int]], model: Model) -> bool:
    """Whether the right side shows any of these slices of its layer, before all of them are there."""
    if node.kind not in ("head", "matrix"):
        return node.kind == "layer"
    infos = model.matrices(node.address) if node.kind == "head" else (model.info(node.address),)
    return any((info.matrix, info.index) in slices for info in infos)


def beyond(model: Model, layer: int) -> str:
    """What marks a layer that the config does not count, or empty."""
    return "extra" if model.is_beyond(layer) else ""


class Outline(Sequence[Node]):
    """The visible nodes of a model's tree, in order. The root is always open.

    A layer is a number until it is asked for, and only what lies below open ones is a list: no key costs more in a
    model of many layers, as long as few of them are open.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._root = Node("model", Address(), 0, "model")
        self._open = {self._root.key}
        self._outer = [*self._matrices(self._root)]
        self._below: dict[int, list[Node]] = {}
        """Which of the root's children is open → the visible nodes below it."""
        self._opened: list[int] = []
        """The keys of `_below`, ascending."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes themselves."""
        return self

    def __len__(self) -> int:
        return 1 + len(self.model.layers) + len(self._outer) + sum(map(len, self._below.values()))

    @overload
    def __getitem__(self, index: int) -> Node: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Node]: ...

    def __getitem__(self, index: int | slice) -> Node | Sequence[Node]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        if not index:
            return self._root
        branch, below = self._locate(index)
        return self._below[branch][below - 1] if below else self._branch(branch)

    def is_open(self, node: Node) -> bool:
        """Whether the node's children are in the list."""
        return node.key in self._open

    def children(self, node: Node) -> Iterator[Node]:
        """The nodes directly inside `node`."""
        model, address, depth = self.model, node.address, node.depth + 1
        if node.kind == "model":
            yield from map(self._branch, range(len(model.layers) + len(self._outer)))
        elif node.kind == "layer" and address.layer is not None and model.has_heads(address.layer):
            job = next(iter(model.jobs(address)), None)
            for head in range(model.heads):
                yield Node("head", Address(address.layer, head), depth, f"head {head}", job=job)
            if model.matrices(address):
                yield Node("whole", Address(address.layer, is_whole=True), depth, "whole")
        elif node.expandable:
            yield from self._matrices(node)

    def _matrices(self, node: Node) -> Iterator[Node]:
        for info in self.model.matrices(node.address):
            detail = f"kv {info.kv_head}" if info.kv_head is not None else ""
            yield Node("matrix", info.address, node.depth + 1, info.label, detail, info.job)

    def _branch(self, number: int) -> Node:
        """A child of the root: the layers, then the matrices outside them."""
        model = self.model
        if number >= len(model.layers):
            return self._outer[number - len(model.layers)]
        layer = model.layers[number]
        job = next(iter(model.jobs(Address(layer))), None) if model.has_heads(layer) else None
        return Node("layer", Address(layer), 1, f"layer {layer}", beyond(model, layer), job)

    def _locate(self, index: int) -> tuple[int, int]:
        """The child of the root that a node is or lies below, and how many nodes below it."""
        number = index - 1
        for branch in self._opened:
            if number <= branch:
                break
            below = len(self._below[branch])
            if number <= branch + below:
                return branch, number - branch
            number -= below
        return number, 0

    def _place(self, branch: int) -> int:
        """Where a child of the root is."""
        return 1 + branch + sum(len(self._below[each]) for each in self._opened if each < branch)

    def expand(self, index: int) -> int:
        """Open a node; returns how many nodes appeared below it."""
        node = self[index]
        if not node.expandable or self.is_open(node):
            return 0
        self._open.add(node.key)
        inside = list(self._visible_below(node))
        if not inside:
            self._open.discard(node.key)
            return 0
        branch, below = self._locate(index)
        if below:
            self._below[branch][below:below] = inside
        else:
            self._below[branch] = inside
            insort(self._opened, branch)
        return len(inside)

    def collapse(self, index: int) -> int:
        """Close a node; returns how many nodes went."""
        node = self[index]
        if node.kind == "model" or not self.is_open(node):
            return 0
        self._open.discard(node.key)
        branch, below = self._locate(index)
        nodes = self._below[branch]
        if not below:
            del self._below[branch]
            self._opened.remove(branch)
            return len(nodes)
        end = below
        while end < len(nodes) and nodes[end].depth > node.depth:
            end += 1
        del nodes[below:end]
        return end - below

    def close_others(self, address: Address) -> None:
        """Close layers and heads that do not hold `address`."""
        for branch in reversed([*self._opened]):
            nodes, place = self._below[branch], self._place(branch)
            for below in range(len(nodes), 0, -1):
                node = nodes[below - 1]
                if self.is_open(node) and (
                    node.address.layer != address.layer or (node.kind == "head" and node.address.head != address.head)
                ):
                    self.collapse(place + below)
            if self[place].address.layer != address.layer:
                self.collapse(place)

    def parent(self, index: int) -> int:
        """Where the node is that holds this one; the root holds itself."""
        if not index:
            return 0
        branch, below = self._locate(index)
        if not below:
            return 0
        nodes = self._below[branch]
        depth = nodes[below - 1].depth
        while below and nodes[below - 1].depth >= depth:
            below -= 1
        return self._place(branch) + below

    def find(self, kind: Kind, address: Address) -> int | None:
        """Where a node is, when it is visible."""
        if kind == "model":
            return 0
        layers = self.model.layers
        if address.layer is None:
            branch = len(layers) + next((i for i, node in enumerate(self._outer) if node.address == address), len(self))
        else:
            branch = bisect_left(layers, address.layer)
        if branch >= len(layers) + len(self._outer):
            return None
        if self._branch(branch).key == (kind, address):
            return self._place(branch)
        nodes = self._below.get(branch, [])
        found = next((i for i, node in enumerate(nodes, 1) if node.key == (kind, address)), None)
        return None if found is None else self._place(branch) + found

    def reveal(self, address: Address) -> int:
        """Open whatever holds `address`, and return where it is; the nearest thing that exists if it does not."""
        at = 0
        for kind, place in _path(address):
            self.expand(at)
            found = self.find(kind, place)
            if found is not None:
                at = found
        return at

    def _visible_below(self, node: Node) -> Iterator[Node]:
        for child in self.children(node):
            yield child
            if self.is_open(child):
                yield from self._visible_below(child)


def _path(address: Address) -> Iterator[tuple[Kind, Address]]:
    """The nodes from below the root down to `address`; a layer without heads has no `whole` group, which is skipped."""
    if address.layer is not None:
        yield "layer", Address(address.layer)
        if address.head is not None:
            yield "head", Address(address.layer, address.head)
        elif address.matrix is not None or address.is_whole:
            yield "whole", Address(address.layer, is_whole=True)
    if address.matrix is not None:
        yield "matrix", address
