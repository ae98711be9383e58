"""What the right side shows for a node: which rows, which curves, and a card where there are none yet.

Imported after the first frame: it brings numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from svdtui.engine.address import Scope
from svdtui.engine.choices import DEFAULT_K
from svdtui.engine.events import State
from svdtui.engine.model import Job, Model, job_name
from svdtui.engine.overview import HeadsOverview, Overview
from svdtui.engine.session import Session
from svdtui.engine.text import plural
from svdtui.engine.views import Row, View, view

from .keys import Where
from .pins import Pins
from .scanning import stopped_words
from .tables import overview_of
from .widgets.card import Card, card, held_card
from .widgets.columns import Entry
from .widgets.curves import Spectrum, spectrum_of
from .widgets.figures import facts
from .widgets.metric_chart import MetricChart
from .widgets.metric_curves import has_figures
from .widgets.outline import Node, beyond, jobs_of
from .widgets.stage import Drawing


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the right side needs to draw a node."""

    title: str
    scope: Scope
    view: View | None
    """The rows; None where an overview stands for them, which are many and made when they are taken out."""
    entries: Sequence[Entry]
    table_title: str
    remarks: Sequence[str]
    content: Card | Drawing | Sequence[Spectrum] | None
    """None where the table takes all the room."""
    overview: Overview | None = None
    """The heads of a layer, or the layers of the model."""
    pinned: Sequence[Row] = ()
    """The rows whose pinned spectra are among the curves."""

    @property
    def where(self) -> Where:
        """Which keys have an effect."""
        if self.overview is not None:
            return "overview"
        return "anywhere" if self.content is None else "curves"


def scene(node: Node, session: Session, k: int = DEFAULT_K, pins: Pins | None = None) -> Scene:
    """The scene of a node as far as its results are there, with the pinned spectra beside its own."""
    model, address = session.model, node.address
    if has_overview(node, model):
        return _overview_scene(node, session, k)
    if node.kind == "whole":
        seen = view(model, address, session.result, k=k)
    else:
        seen = view(model, address, session.seen, k=k)
    title = title_of(node, model)
    if node.kind in ("matrix", "head"):
        rows = {row.info.address: row for row in seen.rows}
        infos = [model.info(address)] if node.kind == "matrix" else model.matrices(address)
        entries = [Entry(info, rows.get(info.address)) for info in infos]
        spectra = _spectra(seen.rows)
        content: Card | list[Spectrum] | None
        content = [*spectra, *(pins.spectra() if pins else ())] if spectra else _card(node, session, _problems(seen))
        pinned = pins.rows if pins and spectra else ()
        own = {info.address for info in infos}
        entries += [entry for entry in (pins.entries if pinned and pins else ()) if entry.info.address not in own]
        words = facts(entries[0]) if node.kind == "matrix" else plural(len(infos), "matrix", "matrices")
        if seen.missing and spectra and any(map(session.cancelled, jobs_of(node, model))):
            words += _STOPPED
        scope: Scope = "head" if len(entries) > len(infos) else node.kind
        return Scene(title, scope, seen, entries, words, _remarks(node, model, k), content, pinned=pinned)
    entries = [Entry(row.info, row) for row in seen.rows]
    content = None if entries else _card(node, session, _problems(seen))
    return Scene(title, _table_scope(node, model), seen, entries, _so_far(title, seen), (), content)


def has_overview(node: Node, model: Model) -> bool:
    """Whether a node's heads or layers are shown side by side."""
    layer = node.address.layer
    return (node.kind == "model" and model.heads > 0) or (
        node.kind == "layer" and layer is not None and model.has_heads(layer)
    )


def _overview_scene(node: Node, session: Session, k: int) -> Scene:
    model = session.model
    seen = overview_of(session, node.address, k)
    if isinstance(seen, HeadsOverview):
        is_stopped = any(map(session.cancelled, jobs_of(node, model)))
        part = "" if seen.is_whole else _STOPPED if is_stopped else ", partly solved"
        words = plural(len(seen.numbers), "head") + part
    else:
        words = f"{seen.computed.sum()}/{plural(len(seen.numbers), 'layer')} computed"
    content: Card | Drawing = MetricChart(seen) if has_figures(seen) else _overview_card(node, session, seen, k)
    return Scene(title_of(node, model), node.address.scope, None, (), words, (), content, seen)


def _overview_card(node: Node, session: Session, seen: Overview, k: int) -> Card:
    """Why none of the heads or layers has a figure."""
    if node.kind == "layer":
        return _card(node, session, _problems(view(session.model, node.address, session.seen, k=k)))
    if seen.computed.any():
        return Card("No spectrum", "bad", ["Nothing computed so far has a spectrum: select a layer to see why."])
    return _card(node, session, ())


def title_of(node: Node, model: Model) -> str:
    """`layer 12 · head 5 · K (KV head 1)`."""
    address = node.address
    parts = [f"layer {address.layer}"] if address.layer is not None else []
    if address.layer is not None and (extra := beyond(model, address.layer)):
        parts[0] += f" ({extra})"
    if address.kv_head is not None:
        parts.append(f"KV head {address.kv_head} ({_sharers(model, address.kv_head)})")
    elif address.head is not None:
        parts.append(f"head {address.head}")
    if address.matrix is not None:
        info = model.info(address)
        is_said = address.kv_head is not None or info.kv_head is None
        parts.append(info.label + ("" if is_said else f" (KV head {info.kv_head})"))
    if node.kind == "whole":
        parts.append("whole matrices")
    return " · ".join(parts) or "all layers"


def stop(session: Session) -> str:
    """Stop what is running and what waits; the answer to the key that asks for it."""
    waited, scan = session.waiting, session.scan_progress
    job = session.cancel()
    if scan is not None:
        return stopped_words(scan)
    if job is None:
        return "Stopped what waited." if waited else "Nothing is being read or computed."
    return f"Stopped {job_name(job)}."


def _remarks(node: Node, model: Model, k: int) -> list[str]:
    """What a reader of a head's table may wonder about."""
    remarks = [f"{k}/n is the top-{k} of a flat spectrum."]
    shared = model.heads // model.kv_heads if model.kv_heads else 1
    if shared > 1 and node.address.head is not None:
        group = node.address.head // shared
        remarks.append(f"K and V are KV head {group}, shared by {_sharers(model, group)}.")
    return remarks


def _sharers(model: Model, kv_head: int) -> str:
    """`heads 6 to 8`, or `head 6` alone."""
    shared = model.heads // model.kv_heads
    return f"heads {kv_head * shared} to {(kv_head + 1) * shared - 1}" if shared > 1 else f"head {kv_head}"


def _table_scope(node: Node, model: Model) -> Scope:
    """Which of layer and head a table must name: those that its lines do not share."""
    if node.kind == "model":
        return "model"
    return "layer" if node.kind == "layer" and model.heads else "head"


def _so_far(title: str, seen: View) -> str:
    total = len(seen.rows) + seen.missing
    count = f"{len(seen.rows):,} of {total:,} matrices so far" if seen.missing else plural(total, "matrix", "matrices")
    return f"{title} · {count}"


def _spectra(rows: Sequence[Row]) -> list[Spectrum]:
    return [
        spectrum_of(row, row.info.label, row.info.matrix if row.info.address.head is not None else "whole")
        for row in rows
        if row.spectrum is not None
    ]


def _problems(seen: View) -> list[str]:
    """Why rows have no spectrum, once all of them are there."""
    return [] if seen.missing else list(dict.fromkeys(row.problem for row in seen.rows if row.problem))


def _card(node: Node, session: Session, problems: Sequence[str]) -> Card:
    """Why there is nothing to draw."""
    model = session.model
    if problems:
        return Card("No spectrum", "bad", problems)
    jobs = jobs_of(node, model)
    if not jobs:
        return Card("No attention heads here", "dim", ["Whole matrices are further down in the tree."])
    told = [model.heads_problem] if model.heads_problem else []
    if node.kind == "whole" and all(session.state(job) is State.ABSENT for job in jobs):
        ways = ["Select one of the matrices below to compute it.", "r computes this layer's, S those of all layers."]
        return Card("Nothing computed yet", "dim", [*told, *ways])
    if node.kind == "model" and not any(session.state(job) is State.FAILED for job in jobs):
        what = "a layer, a head or a matrix" if model.heads else "a matrix"
        return Card("Nothing computed yet", "dim", [*told, f"Select {what} in the tree, or press g to go to one."])
    job = min(jobs, key=lambda job: _URGENCY.index(session.state(job)))
    state = session.state(job)
    if state is State.ABSENT and (held := [job for job in jobs if session.is_held(job)]):
        name = job_name(held[0]) if len(held) == 1 else title_of(node, model)
        return held_card(name, _remote_bytes(held, model), stopped=any(map(session.cancelled, held)))
    progress = session.progress if session.progress and session.progress.job == job else None
    remote = model.remote_bytes(job)
    found = card(job_name(job), state, progress, session.failure(job), _wait(session), remote)
    return Card(found.headline, found.ink, [*found.body, *told]) if told else found


def _remote_bytes(jobs: Sequence[Job], model: Model) -> int | None:
    """What reading these takes from the Hub, or None when some of it is not known yet."""
    found = [size for job in jobs if (size := model.remote_bytes(job)) is not None]
    return sum(found) if len(found) == len(jobs) else None


def _wait(session: Session) -> str:
    """What a waiting job waits for."""
    if not session.device:
        return "The compute process is starting …"
    return f"It comes after {job_name(session.progress.job)}." if session.progress else "It comes next."


_STOPPED = ", stopped: r reads it again"
"""Said of what is there in part, and will stay so."""

_URGENCY = [State.RUNNING, State.FAILED, State.WAITING, State.ABSENT, State.CACHED]
