"""Which rows of a model are wanted: of some layers or all, of one head or all, of one matrix or all."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .address import Address
from .errors import AddressError
from .model import Model
from .text import listed, printable, spans

_RANGE = re.compile(r"\s*(?:(-\d{1,9})|(\d{1,9})(?:\s*-\s*(\d{1,9}))?)\s*", re.ASCII)
"""A negative number is a layer that no model has, and is told so."""


def layer_ranges(text: str) -> tuple[range, ...]:
    """`0-3,7` as ranges of layers, in the given order.

    Raises:
        AddressError: `text` has not that form.
    """
    found = [_RANGE.fullmatch(part) for part in text.split(",")]
    if not all(found):
        raise AddressError(f"{printable(text)!r} is no list of layers: write 7, 0-3 or 0-3,7.")
    numbers = [[int(number) for number in match.groups() if number] for match in found if match]
    ends = [(each[0], each[-1]) for each in numbers]
    for first, last in ends:
        if last < first:
            raise AddressError(f"{first}-{last} is no range of layers: write {last}-{first}.")
    return tuple(range(first, last + 1) for first, last in ends)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left out does not choose: no layers are all layers, no head all heads, no matrix all matrices."""

    layers: tuple[range, ...] = ()
    head: int | None = None
    matrix: str | None = None

    def places(self, model: Model) -> tuple[Address, ...]:
        """The fewest places that hold these rows, in the model's order.

        Raises:
            AddressError: there is no such layer, head or matrix.
        """
        layers = self._chosen(model)
        if self.head is not None:
            model.check(Address(layers[0], self.head))
        if self.matrix is not None:
            return self._of_matrix(model, self.matrix, layers)
        if self.head is None and not self.layers:
            return (Address(),)
        return tuple(Address(layer, self.head) for layer in layers)

    def lacking(self, model: Model, places: Sequence[Address]) -> str:
        """A sentence on chosen layers that have no such whole matrix, or empty."""
        if self.matrix is None or places[0].layer is None or places[0].head is not None:
            return ""  # of the matrices of heads the model says it
        there = {place.layer for place in places}
        without = [layer for layer in self._chosen(model) if layer not in there]
        if not without:
            return ""
        which = f"Layer {without[0]} has" if len(without) == 1 else f"Layers {listed(without)} have"
        return f"{which} no {self.matrix} in these files."

    def _chosen(self, model: Model) -> tuple[int, ...]:
        """The layers, ascending and each once."""
        if not self.layers:
            return model.layers
        chosen: set[int] = set()
        missing: set[range] = set()
        for wanted in self.layers:
            there = model.layers[bisect_left(model.layers, wanted.start) : bisect_left(model.layers, wanted.stop)]
            chosen.update(there)
            missing.update(_gaps(wanted, there))
        if missing:
            gaps = sorted(missing, key=lambda gap: gap.start)
            are_no = "is no layer" if len(gaps) == len(gaps[0]) == 1 else "are no layers"
            raise AddressError(f"There {are_no} {spans(gaps)}: {model.name} has {model.layer_span}.")
        return tuple(sorted(chosen))

    def _of_matrix(self, model: Model, matrix: str, layers: tuple[int, ...]) -> tuple[Address, ...]:
        name = matrix.lower()  # they are shown as Q K V O
        if name in model.head_matrices:
            heads = range(model.heads) if self.head is None else (self.head,)
            there = [layer for layer in layers if any(each.matrix == name for each in model.head_tensors(layer))]
            found = tuple(Address(layer, head, name) for layer in there for head in heads)
        elif self.head is not None:
            found = ()
        elif not self.layers and model.has_whole(None, matrix):
            found = (Address(matrix=matrix),)
        else:
            found = tuple(Address(layer, None, matrix) for layer in layers if model.has_whole(layer, matrix))
        if not found:
            raise self._no_matrix(model, matrix, layers)
        return found

    def _no_matrix(self, model: Model, matrix: str, layers: tuple[int, ...]) -> AddressError:
        if self == Selection(matrix="lm_head"):
            model.check(Address(matrix=matrix))  # which says so where it is tied
        there = {each.matrix for layer in layers for each in model.head_tensors(layer)}
        of_heads = ", ".join(name for name in model.head_matrices if name in there) or "none"
        outer, whole = (", ".join(info.matrix for info in model.matrices(at)) for at in (Address(), Address(layers[0])))
        below = f"; their heads have {of_heads}" if model.heads else ""
        if self.head is not None:
            they = f"Head {layers[0]}.{self.head} has {of_heads}"
        elif self.layers:
            they = f"Layer {layers[0]} has {whole or 'none'}{below.replace('their', 'its')}"
        else:
            they = f"{model.name} has {outer or 'none'}. Its layers have {whole or 'none'}{below}"
        return AddressError(f"There is no matrix {matrix!r} there: {they}.", model.heads_problem or "")


def _gaps(wanted: range, there: Sequence[int]) -> Iterator[range]:
    """What of a range is not there."""
    start = wanted.start
    for number in (*there, wanted.stop):
        if start < number:
            yield range(start, number)
        start = number + 1
