"""The rows of a scope (model, layer, head or matrix): what the screen draws and what a CSV holds."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .address import Address
from .choices import DEFAULT_K
from .metrics import Metrics
from .model import Job, MatrixInfo, Model
from .results import JobResult, Lookup, MatrixResult
from .text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LARGEST = "1.8·10³⁰⁸"
"""The largest fp64 number, in words."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One matrix: computed, or with a sentence on why it cannot be; with both where only some figures cannot be."""

    info: MatrixInfo
    spectrum: "NDArray[np.float64] | None"
    """Singular values, descending, (n,)."""
    metrics: Metrics | None
    solver: str
    problem: str | None


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The rows of one place, in the model's order; `missing` counts those that are not computed yet."""

    model: Model
    address: Address
    rows: tuple[Row, ...]
    missing: int
    k: int

    @property
    def is_whole(self) -> bool:
        """Whether the rows are a layer's whole matrices although its heads are known."""
        return self.address.is_whole


def shown_view(seen: View, hidden: Set[str], pinned: Iterable[Row] = ()) -> View:
    """What a screen shows of a view: not the hidden matrices of its heads, and the pinned rows that are not there.

    One matrix alone cannot be hidden.
    """
    rows = seen.rows
    if seen.address.matrix is None:
        rows = tuple(row for row in rows if row.info.address.head is None or row.info.matrix not in hidden)
    there = {row.info.address for row in rows}
    return replace(seen, rows=(*rows, *(row for row in pinned if row.info.address not in there)))


def view(model: Model, address: Address, lookup: Lookup, *, k: int = DEFAULT_K) -> View:
    """What is known of a place so far.

    A matrix has one row, a head its Q K V O, a KV head its K V, a layer those of all its heads or, asked for them, its
    whole matrices, the model those of all layers. Where heads are unknown, a layer's and the model's rows are their
    whole matrices.

    Raises:
        AddressError: the model has no such place.
    """
    infos = tuple(infos_of(model, address))
    return view_of(model, address, infos, lookup, k=k)


def joint_view(model: Model, places: Sequence[Address], lookup: Lookup, *, k: int = DEFAULT_K) -> View:
    """The rows of several places, one after another, as one view; it is that of the place where there is one.

    Raises:
        AddressError: the model has no such place.
    """
    infos = [info for place in places for info in infos_of(model, place)]
    return view_of(model, places[0] if len(places) == 1 else Address(), infos, lookup, k=k)


def whole_view(model: Model, layer: int | None, lookup: Lookup, *, k: int = DEFAULT_K) -> View:
    """The whole matrices of a layer, or those outside the layers."""
    address = Address(layer, is_whole=bool(model.heads))
    return view_of(model, address, model.matrices(address), lookup, k=k)


def view_of(model: Model, address: Address, infos: Iterable[MatrixInfo], lookup: Lookup, *, k: int = DEFAULT_K) -> View:
    """The rows of any matrices."""
    rows = []
    missing = 0
    found: dict[Job, JobResult | None] = {}
    for info in infos:
        if info.problem:
            rows.append(Row(info, None, None, "", info.problem))
            continue
        if info.job not in found:
            found[info.job] = lookup(info.job)
        result = found[info.job]
        matrix = result.matrices[info.matrix] if result is not None else None
        if matrix is None or not matrix.is_solved(info.index):
            missing += 1
        else:
            rows.append(_row(info, matrix, k))
    return View(model, address, tuple(rows), missing, k)


def infos_of(model: Model, address: Address) -> Iterator[MatrixInfo]:
    """The matrices that a view of this place has rows for."""
    model.check(address)
    if address.matrix is not None:
        yield model.info(address)
    elif address.head is not None:
        yield from model.matrices(address)
    elif address.layer is not None:
        if not model.heads or address.is_whole:
            yield from model.matrices(address)
        for head in range(model.heads if model.has_heads(address.layer) and not address.is_whole else 0):
            yield from model.matrices(Address(address.layer, head))
    else:
        for layer in model.layers:
            yield from infos_of(model, Address(layer))
        if not model.heads:
            yield from model.matrices(address)


def _row(info: MatrixInfo, result: MatrixResult, k: int) -> Row:
    whose = "" if info.address.head is None else f" of {info.label} in head {info.address.head}"
    tensor = printable(info.tensor)
    if count := result.nonfinite[info.index]:
        problem = f"{tensor}: {count:,} of the {info.rows * info.cols:,} values{whose} are NaN or infinite."
        return Row(info, None, None, "", problem)
    if not result.has_spectrum(info.index):
        problem = (
            f"{tensor}: the largest singular value{whose} is beyond {LARGEST}, where fp64 ends: scale the weights."
        )
        return Row(info, None, None, "", problem)
    metrics = result.metrics(k)[info.index]
    norms = {"‖·‖F": metrics.frobenius_norm, "Σσ": metrics.nuclear_norm}
    beyond = None
    if names := [name for name, norm in norms.items() if norm is None]:
        verb = "is" if len(names) == 1 else "are"
        beyond = (
            f"{' and '.join(names)}{whose} {verb} beyond {LARGEST}, where fp64 ends, and left out: {tensor}. "
            "The other figures stand."
        )
    return Row(info, result.sigma[info.index], metrics, result.solvers[info.index], beyond)
