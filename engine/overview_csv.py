"""The medians and bands of an overview as CSV: what its chart says of a layer's heads, or of the model's layers."""

from collections.abc import Iterator, Sequence

from .csv_export import csv_text, number_text
from .metrics import METRICS, defined
from .overview import BAND, Overview, quantiles
from .text import spreadsheet_safe

COLUMNS = (
    *("model", "revision", "layer", "matrix", "metric", "slices", "without_spectrum"),
    *("quantile_10", "median", "quantile_90", "flat"),
)


def overview_csv(seen: Overview, shown: Sequence[tuple[str, str]]) -> str:
    """One line per layer and column of the overview, which is a matrix and a field of `Metrics`.

    Figures are at full precision, over the layer's slices: a KV head counts once. `flat` is what a flat spectrum
    would give. Layers that are not there as a whole have no line, for a median of a part would move.
    """
    return csv_text(COLUMNS, _lines(seen, shown))


def _lines(seen: Overview, shown: Sequence[tuple[str, str]]) -> Iterator[list[str | int]]:
    low, high = BAND
    names = {info.name: info.column(seen.k) for info in METRICS}
    place = spreadsheet_safe(seen.model.name), seen.model.revision
    figures = {
        (matrix, metric): quantiles(seen.slices(matrix, metric), (low, 0.5, high)).tolist() for matrix, metric in shown
    }
    there = {matrix: (seen.finished(matrix).tolist(), seen.lost(matrix).tolist()) for matrix, _ in shown}
    for row, layer in enumerate(seen.layers):
        for matrix, metric in shown:
            finished, lost = there[matrix]
            if finished[row]:
                values = [column[row] for column in figures[matrix, metric]]
                yield [
                    *(*place, layer, matrix, names[metric]),
                    *(seen.model.slices(matrix), lost[row]),
                    *(number_text(None if defined(metric, value) is None else value) for value in values),
                    number_text(seen.flat(matrix, metric)),
                ]
