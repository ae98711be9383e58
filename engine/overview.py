"""The parts of a place side by side: the heads of a layer, or the layers of the model. Charts and tables show it.

An overview is what was known at one moment; what arrives later is in the next one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .address import Address
from .grid import column_of, stacked
from .metrics import flat_value
from .model import HEADS, Job, Model, SlicedTensor
from .results import Tables, TablesOf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BAND = (0.1, 0.9)
"""The quantiles of a layer's slices between which its band lies."""


@dataclass(frozen=True, eq=False)
class Overview(ABC):
    """Some places with the same matrices, and the metrics of each."""

    model: Model
    address: Address
    """The place whose parts these are."""
    found: Sequence[Tables | None]
    """The figures of each of `layers`, as far as they are computed."""
    k: int
    _stacks: "dict[str, Array]" = field(default_factory=dict, init=False, repr=False)
    _flawed: "dict[str, NDArray[np.bool_]]" = field(default_factory=dict, init=False, repr=False)

    @property
    @abstractmethod
    def numbers(self) -> tuple[int, ...]:
        """The heads or layers, ascending."""

    @property
    @abstractmethod
    def layers(self) -> tuple[int, ...]:
        """The layers that they are in."""

    @abstractmethod
    def place(self, number: int) -> Address:
        """The address of one of `numbers`."""

    def beside(self, index: int) -> tuple[int, ...]:  # noqa: ARG002 - layers have nothing beside their number
        """What stands beside a number in tables: the KV head of a query head, where heads share them."""
        return ()

    @property
    @abstractmethod
    def computed(self) -> "NDArray[np.bool_]":
        """(numbers,): whether results are there."""

    def solved(self, matrix: str) -> "NDArray[np.bool_]":  # noqa: ARG002 - layers are there as a whole
        """(numbers,): whether the results of one matrix are there."""
        return self.computed

    @abstractmethod
    def values(self, matrix: str, metric: str) -> "Array":
        """(numbers,): a head's figure, or the median of a layer's; NaN where undefined or not computed."""

    @abstractmethod
    def flaws(self, matrix: str) -> "NDArray[np.int_]":
        """(numbers,): how many slices have no spectrum, for NaN or infinite weights or a dtype without one."""

    def finished(self, matrix: str) -> "NDArray[np.bool_]":
        """(layers,): whether a layer has the matrix, and all of its slices are there."""
        there = np.array([matrix in tensors for tensors in self._tensors])
        found: NDArray[np.bool_] = np.logical_and(there, self._are_solved(matrix).all(axis=1))
        return found

    def lost(self, matrix: str) -> "NDArray[np.int_]":
        """(layers,): how many of a layer's slices have no spectrum."""
        lost: NDArray[np.int_] = self._are_flawed(matrix).sum(axis=1)
        return lost

    @property
    def matrices(self) -> tuple[str, ...]:
        """The matrices of a head, in the order in which they are shown."""
        return self.model.head_matrices

    def slices(self, matrix: str, metric: str) -> "Array":
        """(layers, slices): the metric of every slice; a KV head counts once, however many heads share it."""
        if matrix not in self._stacks:
            self._stacks[matrix] = stacked(self.model, matrix, self.found)
        return self._stacks[matrix][:, :, column_of(metric)]

    def flat(self, matrix: str, metric: str) -> float | None:
        """What a flat spectrum would give; None where that is no number of its own, or the size is not known yet."""
        tensors = (tensors[matrix] for tensors in self._tensors if matrix in tensors)
        n = next((n for tensor in tensors if (n := min(tensor.rows, tensor.cols))), None)
        return None if n is None else flat_value(metric, n, self.k)

    @cached_property
    def _tensors(self) -> "Sequence[Mapping[str, SlicedTensor]]":
        """For each layer, its head matrices by name."""
        if self.layers == self.model.layers:
            return self.model.heads_of_layers()
        return [{each.matrix: each for each in self.model.head_tensors(layer)} for layer in self.layers]

    def _are_solved(self, matrix: str) -> "NDArray[np.bool_]":
        """(layers, slices): which have been computed; those of a layer together."""
        return np.repeat(self._are_found[:, None], self.model.slices(matrix), axis=1)

    @cached_property
    def _are_found(self) -> "NDArray[np.bool_]":
        """(layers,): which have figures."""
        return np.array([found is not None for found in self.found], dtype=bool)

    def _are_flawed(self, matrix: str) -> "NDArray[np.bool_]":
        """(layers, slices): which have no spectrum, as far as is known."""
        if matrix not in self._flawed:
            tensors = [each.get(matrix) for each in self._tensors]
            there = np.array([tensor is not None for tensor in tensors])[:, None]
            hopeless = np.array([tensor is not None and bool(tensor.problem) for tensor in tensors])[:, None]
            known = there & (self._are_solved(matrix) | hopeless)
            self._flawed[matrix] = np.isnan(self.slices(matrix, "sigma_first")) & known
        return self._flawed[matrix]


@dataclass(frozen=True, eq=False)
class HeadsOverview(Overview):
    """The query heads of a layer: K and V of a KV head stand at every head that shares it."""

    so_far: "Mapping[str, NDArray[np.bool_]] | None" = None
    """While the layer is computed, which slices of each matrix are there, (slices,)."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The heads."""
        return tuple(range(self.model.heads))

    @property
    def layers(self) -> tuple[int, ...]:
        """The one layer."""
        assert self.address.layer is not None
        return (self.address.layer,)

    def place(self, number: int) -> Address:
        """A head."""
        return Address(self.address.layer, number)

    def beside(self, index: int) -> tuple[int, ...]:
        """The KV head, where query heads share them."""
        counts = self.model.counts
        assert counts
        return (counts.kv_head(index),) if counts.kv_heads < counts.heads else ()

    @property
    def computed(self) -> "NDArray[np.bool_]":
        """(heads,): which have anything."""
        found: NDArray[np.bool_] = np.any([self.solved(matrix) for matrix in self.matrices], axis=0)
        return found

    def solved(self, matrix: str) -> "NDArray[np.bool_]":
        """(heads,): whether the head's slice is there."""
        there: NDArray[np.bool_] = self._are_solved(matrix)[0, self.owners(matrix)]
        return there

    def _are_solved(self, matrix: str) -> "NDArray[np.bool_]":
        if self.so_far is None:
            return super()._are_solved(matrix)
        return self.so_far.get(matrix, np.zeros(self.model.slices(matrix), dtype=bool))[None]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is still being computed."""
        return self.so_far is None or all(solved.all() for solved in self.so_far.values())

    def owners(self, matrix: str) -> "NDArray[np.int_]":
        """(heads,): which slice of the matrix is each query head's: its own, or that of its KV head."""
        return np.arange(self.model.heads) * self.model.slices(matrix) // self.model.heads

    def is_shared(self, matrix: str) -> bool:
        """Whether several query heads use the same slice."""
        return self.model.slices(matrix) < self.model.heads

    def values(self, matrix: str, metric: str) -> "Array":
        """(heads,): the figure of each."""
        figures: Array = self.slices(matrix, metric)[0, self.owners(matrix)]
        return figures

    def flaws(self, matrix: str) -> "NDArray[np.int_]":
        """(heads,): 1 where the head's slice has no spectrum."""
        flawed: NDArray[np.int_] = self._are_flawed(matrix)[0, self.owners(matrix)].astype(int)
        return flawed

    def median(self, matrix: str, metric: str) -> float:
        """The median over the slices, NaN where there is none."""
        return float(quantiles(self.slices(matrix, metric), (0.5,))[0, 0])


class LayersOverview(Overview):
    """The layers of a model: a figure is the median over a layer's slices."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The layers that the config counts."""
        return self.model.depth_layers

    @property
    def layers(self) -> tuple[int, ...]:
        """All of them."""
        return self.model.depth_layers

    def place(self, number: int) -> Address:
        """A layer."""
        return Address(number)

    @property
    def computed(self) -> "NDArray[np.bool_]":
        """(layers,): which are there."""
        return self._are_found

    def values(self, matrix: str, metric: str) -> "Array":
        """(layers,): the median over the slices of each."""
        medians: Array = quantiles(self.slices(matrix, metric), (0.5,))[0]
        return medians

    def flaws(self, matrix: str) -> "NDArray[np.int_]":
        """(layers,): how many of the slices have no spectrum."""
        return self.lost(matrix)

    def band(self, matrix: str, metric: str) -> "Array":
        """(2, layers): the quantiles `BAND` over the slices of each layer."""
        return quantiles(self.slices(matrix, metric), BAND)


def overview(
    model: Model,
    address: Address,
    tables: TablesOf,
    k: int,
    so_far: "Mapping[str, NDArray[np.bool_]] | None" = None,
) -> HeadsOverview | LayersOverview:
    """The heads of a layer, or the layers of the model, as far as they are computed.

    `tables` gives the figures of a layer's heads, with the same `k`, and `so_far` which slices of its matrices are
    there, None for all.
    """
    if address.layer is not None:
        return HeadsOverview(model, address, [tables(Job(address.layer, HEADS))], k, so_far=so_far)
    return LayersOverview(model, address, [tables(Job(layer, HEADS)) for layer in model.depth_layers], k)


def quantiles(values: "Array", shares: Sequence[float]) -> "Array":
    """Quantiles of each row of (rows, values), leaving out what is not finite: (shares, rows), NaN where nothing is.

    They are those of `numpy.nanquantile` (Hyndman & Fan 1996, type 7), which goes through rows with NaN one by one.
    """
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.inf), axis=1)
    last = finite.sum(axis=1) - 1  # (rows,)
    at = np.asarray(shares)[:, None] * np.maximum(last, 0)  # (shares, rows)
    below = np.floor(at).astype(int)
    rows = np.arange(len(values))
    low, high = ordered[rows, below], ordered[rows, np.minimum(below + 1, np.maximum(last, 0))]
    with np.errstate(invalid="ignore"):
        between: Array = np.where(last >= 0, low + (high - low) * (at - below), np.nan)
    return between
