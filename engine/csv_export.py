"""CSV files: the same rows for the screen's export and for the command line."""

import csv
import errno
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .address import Address
from .atomic import write_atomically
from .candidates import Candidate, by_effective_rank, by_energy_rank
from .choices import DEFAULT_K
from .errors import ExportError
from .grid import Grid
from .metrics import METRICS, defined
from .model import MatrixInfo, Model
from .outputs import CSV, Kind, Outputs
from .private import sweep
from .text import spreadsheet_safe
from .views import View

PLACE_COLUMNS = ("model", "revision", "layer", "head", "kv_head", "matrix")
ENDS = METRICS_END, SPECTRA_END, OVERVIEW_END = ".metrics.csv", ".spectra.csv", ".overview.csv"


def metrics_csv(view: View, delimiter: str = ",") -> str:
    """One line per matrix: place, shape, the metrics at full precision, dtype and solver.

    An undefined figure is empty, and so are all figures of a matrix with NaN or infinite weights.
    """
    columns = [info.column(view.k) for info in METRICS]
    rows = (
        [
            *_place(view, row.info),
            spreadsheet_safe(row.info.tensor),
            row.info.rows,
            row.info.cols,
            row.info.n,
            *(number_text(getattr(row.metrics, info.name, None)) for info in METRICS),
            row.info.dtype,
            row.solver,
        ]
        for row in view.rows
    )
    return csv_text((*PLACE_COLUMNS, "tensor", "rows", "cols", "n", *columns, "dtype", "solver"), rows, delimiter)


def spectra_csv(view: View) -> str:
    """One line per singular value of each row, largest first, `index` from 1."""
    rows = (
        [*place, index, number_text(float(sigma))]
        for row in view.rows
        if row.spectrum is not None
        for place in [_place(view, row.info)]
        for index, sigma in enumerate(row.spectrum, 1)
    )
    return csv_text((*PLACE_COLUMNS, "index", "sigma"), rows)


CANDIDATE_COLUMNS = (
    *("effective_rank", "effective_rank_share", "energy_rank_95", "energy_rank_95_share", "energy_rank_99"),
    *("parameters", "parameters_95", "pays_95", "parameters_99", "pays_99"),
)


def candidates_csv(model: str, revision: str, candidates: Iterable[Candidate]) -> str:
    """One line per candidate for a factorisation, in the given order.

    `kind` is `head` for a slice and `whole` for a whole matrix. K and V have one line a KV head, and no query head. A
    share is the rank ÷ n; `parameters` is mn, the others r(m + n), and `pays` whether that is less (`yes` or `no`).
    """
    columns = (*PLACE_COLUMNS[:2], "kind", *PLACE_COLUMNS[2:], "rows", "cols", "n", *CANDIDATE_COLUMNS)
    return csv_text(columns, (_candidate(spreadsheet_safe(model), revision, each) for each in candidates))


def _candidate(model: str, revision: str, candidate: Candidate) -> list[str | int]:
    place = (candidate.layer, candidate.head, candidate.kv_head)
    ranks = (candidate.energy_rank_95, candidate.energy_rank_99)
    costs = [cell for r in ranks for cell in (candidate.factorised(r), "yes" if candidate.pays(r) else "no")]
    return [
        model,
        revision,
        "whole" if candidate.is_whole else "head",
        *("" if number is None else number for number in place),
        candidate.matrix,
        candidate.rows,
        candidate.cols,
        candidate.n,
        number_text(candidate.effective_rank),
        number_text(by_effective_rank(candidate)),
        candidate.energy_rank_95,
        number_text(by_energy_rank(candidate)),
        candidate.energy_rank_99,
        candidate.parameters,
        *costs,
    ]


def grid_csv(grid: Grid, delimiter: str = ",") -> str:
    """One line per layer, a column per head (per KV head for K and V) under a line of their numbers.

    A figure is at full precision, as in `metrics_csv`; empty where it is undefined or not computed.
    """
    rows: Iterator[list[str | int]] = (
        [layer, *(number_text(defined(grid.metric, value)) for value in values)]
        for layer, values in zip(grid.layers, grid.values.tolist(), strict=True)
    )
    return csv_text(("layer", *map(str, range(grid.values.shape[1]))), rows, delimiter)


def _place(view: View, info: MatrixInfo) -> list[str | int]:
    address = info.address
    return [
        spreadsheet_safe(view.model.name),
        view.model.revision,
        "" if address.layer is None else address.layer,
        "" if address.head is None else address.head,
        "" if info.kv_head is None else info.kv_head,
        info.matrix,
    ]


def number_text(value: float | int | None) -> str:
    """A figure at full precision; empty where there is none."""
    return "" if value is None else repr(value)


def csv_text(header: tuple[str, ...], rows: Iterable[Sequence[str | int]], delimiter: str = ",") -> str:
    """Lines of cells under a header."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def table_text(view: View) -> str:
    """The rows as tab-separated text with headings, for a clipboard."""
    return metrics_csv(view, "\t")


def export(view: View, folder: Path, overview: str = "") -> tuple[Path, ...]:
    """Write `MODEL.SCOPE.metrics.csv` and, when there are any, the spectra as `….spectra.csv`.

    `overview` is the text of a third one, `….overview.csv`. Existing files stay: a number is added to the new ones'
    names.

    Raises:
        ExportError: a file could not be written; none is left half-written.
    """
    texts = {METRICS_END: metrics_csv(view)}
    if any(row.spectrum is not None for row in view.rows):
        texts[SPECTRA_END] = spectra_csv(view)
    if overview:
        texts[OVERVIEW_END] = overview
    base = f"{file_name(view.model.name)}{scope_name(view.address)}"
    paths = dict(zip(ENDS, free_paths(folder, base, *ENDS), strict=True))
    for end, text in texts.items():
        write_text(paths[end], text)
    return tuple(paths[end] for end in texts)


def export_grid(model: Model, grid: Grid, folder: Path, k: int = DEFAULT_K) -> tuple[Path, ...]:
    """Write `MODEL.heatmap.MATRIX.METRIC.csv`; existing files stay, as in `export`.

    Raises:
        ExportError: the file could not be written; it is not left half-written.
    """
    (path,) = free_paths(folder, f"{file_name(model.name)}{grid_name(grid, k)}", ".csv")
    write_text(path, grid_csv(grid))
    return (path,)


def grid_name(grid: Grid, k: int = DEFAULT_K) -> str:
    """A heat map as part of a file name: `.heatmap.q.top10_ratio`."""
    column = next(info.column(k) for info in METRICS if info.name == grid.metric)
    return f".heatmap.{grid.matrix}.{column}"


def free_paths(folder: Path, base: str, *endings: str) -> list[Path]:
    """`base` with each of the endings in `folder`; where one is taken, `base-2` with all of them, and so on.

    Raises:
        ExportError: there are thousands of them.
    """
    for number in range(1, 10_000):
        stem = base if number == 1 else f"{base}-{number}"
        paths = [folder / f"{stem}{ending}" for ending in endings]
        if not any(map(os.path.lexists, paths)):
            return paths
    raise ExportError(f"{folder} holds 9,999 exports of this view already.", "Move them away first.")


def file_name(name: str) -> str:
    """A model's name as part of a file name: `meta-llama--Meta-Llama-3-8B`."""
    return re.sub(r"[^\w.-]+", "_", name.replace("/", "--")).lstrip(".-") or "model"


def scope_name(address: Address) -> str:
    """A view's place as part of a file name: `.layer-12.head-5.q`."""
    layer = "" if address.layer is None else f".layer-{address.layer}"
    head = "" if address.head is None else f".head-{address.head}"
    if address.kv_head is not None:
        head = f".kv-head-{address.kv_head}"
    return layer + head + (f".{address.matrix}" if address.matrix else "") + (".whole" if address.is_whole else "")


def write_text(path: Path, text: str, kind: Kind = CSV, outputs: Outputs = Outputs()) -> None:  # noqa: B008 - frozen
    """Write a file whole or not at all, in place of one of its kind or of none.

    Raises:
        OutputError: there is something else, or it is not a place to write to.
        ExportError: it could not be written.
    """
    outputs.check(path, kind)
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a named pipe: cannot be renamed over
            path.write_text(text, encoding="utf-8", newline="")
            return
        target = path.resolve() if path.is_symlink() else path
        mode = None
        with suppress(OSError):
            mode = target.stat().st_mode
        sweep(target.parent, target.name)
        write_atomically(target, text.encode())
        target.chmod(_default_mode() if mode is None else mode)
    except (OSError, RuntimeError) as error:  # before Python 3.13, a loop of links is a RuntimeError
        reason = (isinstance(error, OSError) and error.strerror) or error
        full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "Make room on that disk, or give a path on another." if full else "Give a path that you may write to."
        raise ExportError(f"{path} cannot be written: {reason}.", hint) from error


def _default_mode() -> int:
    """What a newly created file's permissions are; temporary files are made private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
