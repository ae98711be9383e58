"""The heat map's screen: one metric of one matrix over layers and heads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.timer import Timer

from svdtui.engine.address import Address
from svdtui.engine.csv_export import grid_name
from svdtui.engine.errors import AddressError
from svdtui.engine.events import DeviceKnown, FiguresRead, HeaderRead, State, StateChanged, StatesChanged
from svdtui.engine.grid import grid
from svdtui.engine.metrics import METRICS, defined
from svdtui.engine.model import HEADS, Job, Model
from svdtui.engine.session import Session
from svdtui.engine.text import printable

from ..activity import activity, readiness
from ..formats import measure
from ..heat_data import address_of, column_of, names_of, row_of, standing
from ..keys import KEYS, Owner, bindings
from ..marks import MARKS
from ..pace import Breath
from ..pins import Pins
from ..sharing import copy_heat_map, export_heat_map
from ..steps import nearest
from ..widgets.heat_scale import scale_of
from ..widgets.heatmap import Chart, HeatMap
from ..widgets.lines import HeaderLine, KeyBar, StatusLine
from ..widgets.painted import Line
from ..widgets.stage import Look
from .going import Goes
from .overlay import Overlay
from .panes import Panes
from .scans import Scans


@dataclass(frozen=True, slots=True)
class HeatLook:
    """What the user chose: the matrix, and for some metrics the kind of scale."""

    matrix: str = "q"
    log: Mapping[str, bool] = field(default_factory=dict)


class Heat(Scans, Goes, Overlay[Address | None]):
    """Gives back the address of a matrix to go to, or None. `look` and `heat_look` hold what was chosen meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("heat")]
    key_owners: ClassVar[tuple[Owner, ...]] = ("heat", "app")

    def __init__(self, session: Session, k: int, at: Address, look: Look, heat_look: HeatLook, pins: Pins) -> None:
        super().__init__(classes="-heat")
        self.look = look
        self.heat_look = heat_look
        self.session: Session = session
        self._model = session.model
        self._k = k
        self._pins = pins
        self._showing: Timer | None = None
        self._was_shown = False
        self._breath = Breath()
        if at.matrix in self._model.head_matrices and at.head is not None:
            self._choose(at.matrix)
        elif heat_look.matrix not in self._model.head_matrices:
            self._choose(self._model.head_matrices[0])
        self._head = at.head or 0
        layer = 0 if at.layer is None else row_of(self._model, at.layer)
        column = column_of(self._model, self.matrix, self._head)
        self._chart = self._charted()
        self._map = HeatMap(self._chart, (layer, column), self._read_out)
        self._header = HeaderLine(self._model)
        self._status = StatusLine()

    @property
    def matrix(self) -> str:
        """Which of Q K V O is shown."""
        return self.heat_look.matrix

    @property
    def picture_name(self) -> str:
        """What is shown, as part of a file name."""
        return grid_name(self._chart.grid, self._k)

    def compose(self) -> ComposeResult:
        """Header, map, status, keys."""
        yield self._header
        yield self._map
        yield self._status
        yield KeyBar([key for key in KEYS if key.owner in ("heat", "app")])

    def on_mount(self) -> None:
        """Say what computes, and show all that is on disk as soon as it has been read."""
        self._header.set_device(self.session.device)
        self._show_status()
        self.session.look_at_all()
        self.run_worker(self.session.figures_read())

    # showing -------------------------------------------------------------------------------------

    def _charted(self) -> Chart:
        """The chart of what is known."""
        metric = next(metric for metric in METRICS if metric.name == self.look.metric)
        values = grid(self._model, self.matrix, metric.name, self.session.tables)
        heads = "KV head" if values.values.shape[1] < self._model.heads else "head"
        label = metric.label(self._k)
        return Chart(
            values,
            scale_of(values.values, self.heat_look.log.get(metric.name)),
            f"{self.matrix.upper()} · {label} · layer × {heads}",
            heads,
            label,
            partial(measure, metric.name),
            metric.meaning.format(k=self._k),
        )

    def _show(self) -> None:
        self._chart = self._charted()
        self._map.show(self._chart)
        self._show_status()

    def _show_status(self) -> None:
        self._status.show(activity(self.session), readiness(self.session))

    def _show_later(self) -> None:
        """Show what is new soon; news that comes meanwhile is shown with it."""
        if self._showing is None:
            self._showing = self.set_timer(self._breath.seconds, self._show_news)

    def _show_news(self) -> None:
        self._showing = None
        with self._breath:
            self._show()

    def _read_out(self, layer: int, column: int, width: int) -> Line:
        """`4.3.q  layer 4 · head 3   top-10 0.5039   3rd highest of 270`: the name gives way."""
        address = str(address_of(self._model, self.matrix, layer, column))
        told = self._told(layer, column)
        room = width - cell_len(address + "".join(text for text, _ in told)) - 5
        names = names_of(self._model, self.matrix, layer, column)
        name = next((name for name in names if cell_len(name) <= room), "")
        return [(f"{address}  ", "strong"), (f"{name}   " if name else "", "dim"), *told]

    def _told(self, layer: int, column: int) -> Line:
        """The figure of a cell and its place among all, or why there is none."""
        grid = self._chart.grid
        if not grid.computed[layer]:
            state = self.session.state(Job(self._model.depth_layers[layer], HEADS))
            if state is State.CACHED:
                return [("being read", "dim")]
            mark = MARKS[state]
            return [(f"{mark.shape} {mark.word}", mark.ink)]
        value = float(grid.values[layer, column])
        told = defined(grid.metric, value)
        if told is None:
            return [(f"× {self._why_undefined(address_of(self._model, self.matrix, layer, column))}", "")]
        return [(f"{self._chart.label} {self._chart.text(told)}", "strong"), (f"   {standing(grid.values, value)}", "")]

    def _why_undefined(self, address: Address) -> str:
        """Why a computed cell has no value, in a few words."""
        try:
            info = self._model.info(address)
        except AddressError:
            return "this layer has no such matrix"
        if info.problem:
            return printable(info.problem)
        if self.session.is_flawed(info):
            return "NaN or infinite weights, or too large ones"
        if self.look.metric == "first_last_ratio":
            return "undefined: the smallest value is 0, or as good as"
        return "beyond fp64" if self.look.metric.endswith("_norm") else "a zero matrix"

    # what the session reports --------------------------------------------------------------------

    def on_panes_reported(self, message: Panes.Reported) -> None:
        """The explorer passes on what it hears while this screen lies above it."""
        match message.event:
            case StateChanged() | StatesChanged() | FiguresRead():
                self._show_later()
            case DeviceKnown(device):
                self._header.set_device(device)
            case HeaderRead():
                self._header.repaint()
        self._show_status()

    def on_screen_resume(self) -> None:
        """Show what has happened under help or another overlay."""
        if self._was_shown:
            self._show()
        self._was_shown = True

    # keys ----------------------------------------------------------------------------------------

    def action_move(self, layers: int, columns: int) -> None:
        """Move the cursor."""
        self._map.move(layers, columns)

    def action_page(self, direction: int) -> None:
        """Move the cursor by the layers in view."""
        self._map.move(direction * self._map.page, 0)

    def action_end(self, direction: int) -> None:
        """The first or the last head of the layer."""
        self._map.move(0, direction * self._chart.grid.values.shape[1])

    def action_matrix(self, number: int) -> None:
        """Show another matrix, with the cursor on the same head."""
        names = self._model.head_matrices
        if number > len(names):
            self._status.flash(f"A head of this model has {len(names)} matrices.")
            return
        layer, _ = self._map.cursor
        self._note_head()
        self._choose(names[number - 1])
        self._show()
        self._map.move_to(layer, column_of(self._model, self.matrix, self._head))

    def _note_head(self) -> None:
        """Which head the cursor is on; a KV head stands for all of its heads."""
        layer, column = self._map.cursor
        if column != column_of(self._model, self.matrix, self._head):
            self._head = address_of(self._model, self.matrix, layer, column).head or 0

    def _choose(self, matrix: str) -> None:
        self.heat_look = replace(self.heat_look, matrix=matrix)

    def action_metric(self, step: int) -> None:
        """Show another metric."""
        self.look = self.look.measured(step)
        self._show()

    def action_log(self) -> None:
        """A logarithmic scale instead of a linear one, or the other way round."""
        scale = self._chart.scale
        if scale is None or scale.high <= 0:
            self._status.flash("There are no values above 0 for a logarithmic scale.")
            return
        self.heat_look = replace(self.heat_look, log={**self.heat_look.log, self.look.metric: not scale.log})
        self._show()

    @property
    def model_shown(self) -> Model:
        """Whose addresses can be typed."""
        return self._model

    def show_place(self, address: Address) -> None:
        """Go to a cell; to what is no head of these, out of the map."""
        is_head = address.matrix is None or address.head is not None
        if address.layer not in self._model.depth_layers or not is_head or not self._model.has_heads(address.layer):
            self.dismiss(address)
            return
        self._note_head()
        if address.head is not None:
            self._head = address.head
        if address.matrix is not None:
            self._choose(address.matrix)
            self._show()
        column = column_of(self._model, self.matrix, self._head)
        self._map.move_to(row_of(self._model, address.layer), column)

    def action_open(self) -> None:
        """Go to the matrix under the cursor."""
        address = address_of(self._model, self.matrix, *self._map.cursor)
        self.dismiss(nearest(self._model, address))

    def on_heat_map_opened(self) -> None:
        """A double click does what enter does."""
        self.action_open()

    def scan_begun(self) -> None:
        """The cells say what waits now."""
        self._show()

    def action_back(self) -> None:
        """Back to the explorer."""
        self.dismiss(None)

    def action_pin(self) -> None:
        """Pin the spectrum under the cursor, or unpin it."""
        address = address_of(self._model, self.matrix, *self._map.cursor)
        self._status.flash(self._pins.toggle(address, self.session, self._k))

    def action_unpin(self) -> None:
        """Unpin all spectra."""
        self._status.flash(self._pins.clear())

    def action_export(self) -> None:
        """Write the map as CSV."""
        self.run_worker(self._export(), group="export", exclusive=False)

    async def _export(self) -> None:
        await self.session.figures_read()
        self._show()
        await export_heat_map(self, self._model, self._chart.grid, self._k)

    def action_copy(self) -> None:
        """Put the map on the terminal's clipboard."""
        copy_heat_map(self, self._chart.grid)
