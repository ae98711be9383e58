"""One metric of one head matrix over layers and heads: what depth charts, the heat map and the findings share."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from .errors import ChoiceError
from .metrics import Metrics
from .model import HEADS, Job, Model
from .results import TablesOf

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
    if metric not in _COLUMNS:
        raise ChoiceError(f"There is no metric {metric!r}.", f"Use one of {', '.join(_COLUMNS)}.")
    layers = model.depth_layers if layers is None else layers
    values = np.full((len(layers), model.slices(matrix)), np.nan)
    computed = np.zeros(len(layers), dtype=bool)
    for row, layer in enumerate(layers):
        found = tables(Job(layer, HEADS))
        if found is not None:
            computed[row] = True
            if matrix in found:  # some layers lack a matrix, or it has an unsupported dtype
                values[row] = found[matrix][:, _COLUMNS[metric]]
    return Grid(matrix, metric, layers, values, computed)
