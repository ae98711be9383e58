"""The figures that the findings are drawn from, as plain arrays: gathered where results are, judged anywhere.

`gather` is quick and needs the model; what it gives can be pickled, so that the tests can run in another process.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from .address import Address
from .choices import DEFAULT_K
from .grid import grid
from .metrics import METRICS, Metrics
from .model import HEADS, Job, Model
from .notes import beyond_note
from .results import Tables, TablesOf
from .text import listed, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

METRICS_NEEDED = (
    *("sigma_first", "sigma_last", "top_ratio", "first_last_ratio", "bottom_ratio"),
    *("effective_rank", "energy_rank_95", "energy_rank_99"),
)

_RANKS = {"effective_rank": "effective rank", "energy_rank_95": "rank at 95 % energy"}
"""What is called more shortly where it heads a column."""

_COLUMNS = {field.name: number for number, field in enumerate(fields(Metrics))}


@dataclass(frozen=True, slots=True, eq=False)
class HeadFigures:
    """One head matrix over the layers. A slice is a query head, or a KV head for K and V."""

    matrix: str
    is_shared: bool
    """Whether its slices are KV heads that several query heads share."""
    rows: int
    cols: int
    """Of one slice; 0 when no layer's shape is known, or none has it."""
    values: Mapping[str, "Array"]
    """Metric → (layers, slices), NaN where undefined or not computed; σ₁/σₙ is infinite where σₙ alone is 0."""

    @property
    def n(self) -> int:
        """Singular values of one slice."""
        return min(self.rows, self.cols)


@dataclass(frozen=True, slots=True)
class WholeFigures:
    """One whole matrix whose result is there; None where a figure is undefined, as for a zero matrix."""

    address: Address
    rows: int
    cols: int
    effective_rank: float | None
    energy_rank_95: int | None
    energy_rank_99: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All figures of a model that the findings need, as far as they are known."""

    model: str
    revision: str
    k: int
    heads: int
    kv_heads: int
    layers: tuple[int, ...]
    """The layers that have attention heads, ascending."""
    computed: tuple[bool, ...]
    """Per layer, whether its result is there."""
    figures: Mapping[str, HeadFigures]
    """`q`, `k`, `v`, `o` → its figures; empty when heads are unknown."""
    wholes: tuple[WholeFigures, ...]
    whole_missing: int
    """Whole matrices without a result."""
    no_heads: str
    """Why there are no figures of heads, as a sentence, or empty."""
    notes: tuple[str, ...]
    """Sentences on what these files hold less than a whole model."""

    @property
    def missing(self) -> int:
        """Layers that are not computed yet."""
        return self.computed.count(False)

    def gap_in_first(self) -> str:
        """Why nothing can be said of the first layer, as a sentence, or empty."""
        if not self.figures:
            return self.no_heads
        return "" if self.computed[0] else f"Layer {self.layers[0]} is not computed yet."

    def gap(self) -> str:
        """Why nothing final can be said of all layers, as a sentence, or empty."""
        if not self.figures or not self.missing:
            return "" if self.figures else self.no_heads
        count = len(self.layers)
        if self.missing == count:
            return "No layer is computed yet."
        return (
            f"{self.missing:,} of {plural(count, 'layer')} {'is' if self.missing == 1 else 'are'} not computed yet; "
            f"the figures below are of the {count - self.missing:,} that are."
        )

    @property
    def n(self) -> int:
        """Singular values of a head's slice, the same of Q, K, V and O; 0 when no shape is known."""
        return max((figures.n for figures in self.figures.values()), default=0)

    def unit(self, matrix: str) -> str:
        """What one value of a matrix stands for: a head, or for K and V a KV head."""
        return "KV head" if self.figures[matrix].is_shared else "head"

    def kv_head(self, head: int) -> int:
        """The KV head of a query head."""
        return head * self.kv_heads // self.heads

    def by_query_head(self, matrix: str, metric: str) -> "Array":
        """(layers, query heads): the figure of the slice that each query head uses."""
        values = self.figures[matrix].values[metric]
        if not self.figures[matrix].is_shared:
            return values
        return values[:, [self.kv_head(head) for head in range(self.heads)]]

    def label(self, metric: str) -> str:
        """What a metric is called in a sentence, such as `top-10` or `effective rank`."""
        if metric in _RANKS:
            return _RANKS[metric]
        return next(info.label(self.k) for info in METRICS if info.name == metric)


def gather(model: Model, tables: TablesOf, *, k: int = DEFAULT_K) -> Evidence:
    """What is known so far of a model's heads and of its whole matrices.

    `tables` must give figures that were made with the same `k`, and None for what has not been computed.
    """
    layers = layers_with_heads(model)
    found = {Job(layer, HEADS): tables(Job(layer, HEADS)) for layer in layers}
    figures, absent = {}, {}
    for matrix in model.head_matrices if layers else ():
        values = {metric: grid(model, matrix, metric, found.get, layers).values for metric in METRICS_NEEDED}
        singular = (values["sigma_first"] > 0) & np.isnan(values["first_last_ratio"])  # also where it is beyond fp64
        values["first_last_ratio"] = np.where(singular, np.inf, values["first_last_ratio"])
        rows, cols, absent[matrix] = _where(model, layers, matrix)
        figures[matrix] = HeadFigures(matrix, model.is_shared(matrix), rows, cols, values)
    wholes = tuple(_wholes(model, tables))
    return Evidence(
        model=model.name,
        revision=model.revision,
        k=k,
        heads=model.heads,
        kv_heads=model.kv_heads,
        layers=layers,
        computed=tuple(tables is not None for tables in found.values()),
        figures=figures,
        wholes=tuple(whole for whole in wholes if whole is not None),
        whole_missing=wholes.count(None),
        no_heads="" if layers else model.heads_problem or "No layer of these files has attention heads.",
        notes=(*_notes(model, layers), *_notes_on_matrices(layers, figures, absent, found)),
    )


def layers_of(model: Model) -> tuple[int, ...]:
    """The layers that findings, candidates and plans are about."""
    return model.depth_layers


def layers_with_heads(model: Model) -> tuple[int, ...]:
    """Those of them whose attention can be divided into heads."""
    return tuple(layer for layer in layers_of(model) if model.has_heads(layer))


def _where(model: Model, layers: tuple[int, ...], matrix: str) -> tuple[int, int, tuple[int, ...]]:
    """The rows and columns of a slice, which are the same in every layer or the layer has a problem; and the layers
    that lack the matrix."""
    rows = cols = 0
    absent = []
    for layer in layers:
        tensor = next((each for each in model.head_tensors(layer) if each.matrix == matrix), None)
        if tensor is None:
            absent.append(layer)
        elif not rows and tensor.ref.is_known and not tensor.problem:
            rows, cols = tensor.rows, tensor.cols
    return rows, cols, tuple(absent)


def _wholes(model: Model, tables: TablesOf) -> Iterator[WholeFigures | None]:
    """Every whole matrix that can be computed; None for one that has not been."""
    for place in (*map(Address, layers_of(model)), Address()):
        for info in model.matrices(place):
            if info.problem:
                continue
            found = tables(info.job)
            if found is None:
                yield None
                continue
            figures = found[info.matrix][info.index]
            effective, rank_95, rank_99 = (
                None if isnan(value) else value
                for value in (float(figures[_COLUMNS[name]]) for name in METRICS_NEEDED[-3:])
            )
            yield WholeFigures(
                info.address,
                info.rows,
                info.cols,
                effective,
                None if rank_95 is None else int(rank_95),
                None if rank_99 is None else int(rank_99),
            )


def _notes(model: Model, layers: tuple[int, ...]) -> Iterator[str]:
    if model.heads_problem:
        yield model.heads_problem
    elif len(layers) < len(model.depth_layers):
        without = len(model.depth_layers) - len(layers)
        yield f"{plural(without, 'layer')} of {len(model.depth_layers):,} have no attention heads and are left out."
    if beyond := beyond_note(model):
        yield beyond
    if model.fewer_layers:
        yield f"{model.fewer_layers} All that is said here is about these."
    if layers and layers[0] != 0:
        why = "has no attention heads" if 0 in model.layers else "is not in these files"
        yield f"Layer 0 {why}: layer {layers[0]} is the first that has them, and stands for it here."


def _notes_on_matrices(
    layers: tuple[int, ...],
    figures: Mapping[str, HeadFigures],
    absent: Mapping[str, tuple[int, ...]],
    found: Mapping[Job, Tables | None],
) -> Iterator[str]:
    """What is said of a matrix is about fewer layers than the rest where it is not there, or has no spectrum."""
    for matrix, each in figures.items():
        name, missing = matrix.upper(), absent[matrix]
        if len(missing) == len(layers):
            yield f"No layer has {name} in these files: of what is said of {name}, nothing can be told."
            continue
        is_solved = ~np.isnan(each.values["sigma_first"])  # (layers, slices)
        flawed = tuple(
            layer
            for row, layer in enumerate(layers)
            if layer not in missing and found[Job(layer, HEADS)] is not None and not is_solved[row].any()
        )
        others = plural(len(layers) - len(missing) - len(flawed), "other layer")
        for which, why in ((missing, "in these files"), (flawed, "with a spectrum")):
            if which:
                have = f"Layer {which[0]} has" if len(which) == 1 else f"Layers {listed(which)} have"
                yield f"{have} no {name} {why}: what is said of {name} is about the {others}."
