"""One metric of one head matrix over layers and heads: what depth charts, the heat map and the findings share."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from .errors import ChoiceError
from .metrics import Metrics
from .model import HEADS, Job, Model
from .results import Tables, TablesOf

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = {field.name: number for number, field in enumerate(fields(Metrics))}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A metric of every slice of a head matrix."""

    matrix: str
    """`q`, `k`, `v` or `o`."""
    metric: str
    """A field of `Metrics`."""
    layers: tuple[int, ...]
    values: "NDArray[np.float64]"
    """(layers, slices): a slice is a query head, or a KV head for K and V. NaN where undefined or not computed."""
    computed: "NDArray[np.bool_]"
    """(layers,): whether the layer's result is there."""


def grid(model: Model, matrix: str, metric: str, tables: TablesOf, layers: tuple[int, ...] | None = None) -> Grid:
    """What is known so far of one metric of one head matrix, in all layers that the config counts, or in some.

    Raises:
        AddressError: the model has no such head matrix.
        ChoiceError: there is no such metric.
    """
    layers = model.depth_layers if layers is None else layers
    found = [tables(Job(layer, HEADS)) for layer in layers]
    values = stacked(model, matrix, found)[:, :, column_of(metric)]
    return Grid(matrix, metric, layers, values, np.array([each is not None for each in found], dtype=bool))


def stacked(model: Model, matrix: str, found: Sequence[Tables | None]) -> "NDArray[np.float64]":
    """The figures of a head matrix in some layers, (layers, slices, metrics), NaN where undefined or not computed.

    Some layers lack the matrix, or it has a dtype without spectrum.
    """
    nothing = np.full((model.slices(matrix), len(_COLUMNS)), np.nan)
    rows = [nothing if each is None else each.get(matrix, nothing) for each in found]
    return np.stack(rows) if rows else np.empty((0, *nothing.shape))


def column_of(metric: str) -> int:
    """Where a metric stands in `Tables`.

    Raises:
        ChoiceError: there is no such metric.
    """
    if metric not in _COLUMNS:
        raise ChoiceError(f"There is no metric {metric!r}.", f"Use one of {', '.join(_COLUMNS)}.")
    return _COLUMNS[metric]
