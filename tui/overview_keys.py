"""What the keys for charts and tables of heads and layers do: the new look, and a sentence that says so."""

from dataclasses import replace
from typing import TYPE_CHECKING

from .listing import BY_NUMBER

if TYPE_CHECKING:
    from svdtui.engine.overview import Overview

    from .widgets.stage import Look

Answer = tuple["Look", str]

ELSEWHERE = "That is for a layer or the whole model: select one in the tree (← goes up)."
"""The answer where there are no heads or layers side by side."""


def metric_stepped(look: "Look", seen: "Overview", step: int) -> Answer:
    """The next metric, or the previous one."""
    from .widgets.overview_columns import metric_info

    changed = look.measured(step)
    metric = metric_info(changed.metric)
    label, formula = metric.label(seen.k), metric.formula(seen.k)
    return changed, f"{label} = {formula}" if formula != label else f"{label}: {metric.meaning}"


def listing_stepped(look: "Look", seen: "Overview") -> Answer:
    """All metrics of the next matrix; after the last one, one metric of all."""
    from .widgets.overview_columns import metric_info, shown_matrices

    listing = look.listing.stepped(shown_matrices(seen, look))
    changed = replace(look, listing=listing)
    if listing.matrix is not None:
        name = listing.matrix.upper()
        band = f"; the band is that of {name}" if seen.address.layer is None else ""
        return changed, f"The table shows all metrics of {name}{band}."
    return changed, f"The table shows {metric_info(look.metric).label(seen.k)} of every matrix."


def sorted_further(look: "Look", seen: "Overview") -> Answer:
    """Sorted by the next column."""
    from .widgets.overview_columns import column_names

    listing = look.listing.sorted_further(column_names(seen, look))
    return _said(replace(look, listing=listing), seen)


def sorted_by(look: "Look", seen: "Overview", name: str) -> Answer:
    """Sorted by a column, or, where it sorts already, in the other direction."""
    from .widgets.overview_columns import column_names

    return _said(replace(look, listing=look.listing.sorted_by(name, column_names(seen, look))), seen)


def reversed_order(look: "Look", seen: "Overview") -> Answer:
    """In the other direction."""
    from .widgets.overview_columns import column_names

    return _said(replace(look, listing=look.listing.reversed(column_names(seen, look))), seen)


def _said(look: "Look", seen: "Overview") -> Answer:
    """How the table is sorted now."""
    from .widgets.overview_columns import metric_info

    by, down = look.listing.by, look.listing.descending
    if by == BY_NUMBER:
        what = "layer" if seen.address.layer is None else "head"
        return look, f"Sorted by {what}, the {'last' if down else 'first'} one on top."
    name = by.upper() if look.listing.matrix is None else metric_info(by).label(seen.k)
    return look, f"Sorted by {name}, the {'largest' if down else 'smallest'} on top."


def rescaled(look: "Look", seen: "Overview") -> Answer:
    """Logarithmic or linear, from what is drawn now to the other."""
    from .widgets.metric_curves import is_log

    log = not is_log(seen, look)
    return look.scaled(log), f"The axis is {'logarithmic' if log else 'linear'} for this metric."
