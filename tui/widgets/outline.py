"""The tree as data: which nodes there are, which are open, and in which order they are drawn.

Children are worked out when a node is opened, so a model of any size costs nothing until it is looked at.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Literal

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


class Outline:
    """The visible nodes of a model's tree, in order. The root is always open."""

    def __init__(self, model: Model) -> None:
        self.model = model
        root = Node("model", Address(), 0, "model")
        self._open = {root.key}
        self.nodes: list[Node] = [root, *self.children(root)]

    def is_open(self, node: Node) -> bool:
        """Whether the node's children are in the list."""
        return node.key in self._open

    def children(self, node: Node) -> Iterator[Node]:
        """The nodes directly inside `node`."""
        model, address, depth = self.model, node.address, node.depth + 1
        if node.kind == "model":
            for layer in model.layers:
                job = next(iter(model.jobs(Address(layer))), None) if model.has_heads(layer) else None
                yield Node("layer", Address(layer), depth, f"layer {layer}", job=job)
        elif node.kind == "layer" and address.layer is not None and model.has_heads(address.layer):
            job = next(iter(model.jobs(address)), None)
            for head in range(model.heads):
                yield Node("head", Address(address.layer, head), depth, f"head {head}", job=job)
            if model.matrices(address):
                yield Node("whole", Address(address.layer, is_whole=True), depth, "whole")
            return
        if node.expandable:
            for info in model.matrices(address):
                detail = f"kv {info.kv_head}" if info.kv_head is not None else ""
                yield Node("matrix", info.address, depth, info.label, detail, info.job)

    def expand(self, index: int) -> int:
        """Open a node; returns how many nodes appeared below it."""
        node = self.nodes[index]
        if not node.expandable or self.is_open(node):
            return 0
        self._open.add(node.key)
        inside = list(self._visible_below(node))
        if not inside:
            self._open.discard(node.key)
        self.nodes[index + 1 : index + 1] = inside
        return len(inside)

    def collapse(self, index: int) -> int:
        """Close a node; returns how many nodes went."""
        node = self.nodes[index]
        if node.kind == "model" or not self.is_open(node):
            return 0
        end = index + 1
        while end < len(self.nodes) and self.nodes[end].depth > node.depth:
            end += 1
        del self.nodes[index + 1 : end]
        self._open.discard(node.key)
        return end - index - 1

    def parent(self, index: int) -> int:
        """Where the node is that holds this one; the root holds itself."""
        depth = self.nodes[index].depth
        while index and self.nodes[index].depth >= depth:
            index -= 1
        return index

    def find(self, kind: Kind, address: Address) -> int | None:
        """Where a node is, when it is visible."""
        return next((i for i, node in enumerate(self.nodes) if node.key == (kind, address)), None)

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
