"""The main screen: the tree at the left, the selection's curves and figures at the right."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Job, Model

from ..keys import KEYS, bindings
from ..pace import SETTLE, Pace
from ..steps import head_beside, layer_beside
from ..widgets.card import Card
from ..widgets.lines import HeaderLine, KeyBar, StatusLine
from ..widgets.outline import Node, jobs_of
from ..widgets.results import Results
from ..widgets.stage import Look
from ..widgets.tree import ModelTree

if TYPE_CHECKING:
    from svdtui.engine.events import Event
    from svdtui.engine.session import Session

    from ..heat_data import HeatData
    from ..marks import Mark
    from ..pins import Pins
    from ..scene import Scene
    from .heat import HeatLook


class Explorer(Screen[None]):
    """Lets the right side follow the tree's cursor, and shows what the session reports."""

    AUTO_FOCUS = "#tree"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("explorer")]

    class Reported(Message):
        """The session has news."""

        def __init__(self, event: "Event") -> None:
            super().__init__()
            self.event = event

        def can_replace(self, message: Message) -> bool:
            """Of several messages about progress only the last one matters."""
            both = (self, message)
            return all(isinstance(each, Explorer.Reported) and hasattr(each.event, "progress") for each in both)

    def __init__(self, model: Model, at: Address, k: int) -> None:
        super().__init__()
        self.model = model
        self.session: Session | None = None
        self.scene: Scene | None = None
        self.look = Look()
        self._k = k
        self._at = at
        self._tree = ModelTree(model, self._mark)
        self._results = Results(k)
        self._header = HeaderLine(model)
        self._status = StatusLine()
        self._pace = Pace(self, self._follow, self.show_scene)
        self._is_behind = False
        self._pins: Pins | None = None
        self._asks_what_to_pin = False
        self._heat_look: HeatLook | None = None
        self._heat_data: HeatData | None = None

    def compose(self) -> ComposeResult:
        """Header, tree beside curves over figures, status, keys."""
        yield self._header
        with Horizontal(id="body"):
            yield self._tree
            yield self._results
        yield self._status
        yield KeyBar([key for key in KEYS if key.owner != "heat"])

    def on_mount(self) -> None:
        """Put the cursor where the user wants to begin; the right side comes with the session."""
        self._tree.select(self._at)

    def begin(self, session: "Session") -> None:
        """Show results from now on."""
        from ..pins import Pins

        self.session = session
        self._pins = Pins()
        self._tree.repaint()
        self._follow()
        self.set_timer(SETTLE, self._get_ready_to_draw)

    @staticmethod
    def _get_ready_to_draw() -> None:
        """Import plotext while the compute process starts, not when its first result is there and keys are pressed."""
        from ..widgets import chart  # noqa: F401

    @property
    def address(self) -> Address:
        """What is selected."""
        return self._tree.node.address

    # following the cursor ------------------------------------------------------------------------

    def on_model_tree_moved(self) -> None:
        """Follow, not with every key of a burst."""
        self._asks_what_to_pin = False
        self._pace.moved()

    def _follow(self) -> None:
        """Ask for what is selected, and show what there is of it."""
        self._pace.settled()
        if self.session is None:
            return
        node = self._tree.node
        if node.kind != "whole":
            self.session.want(node.address)
        self.show_scene()

    def show_scene(self) -> None:
        """Draw the selection as far as its results are there."""
        if self.session is None:
            return
        from ..scene import scene

        self.scene = now = scene(self._tree.node, self.session, self._k, self._pins)
        self._results.show(now, self.look)
        self._show_status()

    def on_results_opened(self, message: Results.Opened) -> None:
        """A line of the table leads to its matrix in the tree."""
        self.go(message.address)
        self._tree.focus()

    def go(self, address: Address, *, tidy: bool = False) -> None:
        """Select a place."""
        self._tree.select(address, tidy=tidy)

    # what the session reports --------------------------------------------------------------------

    def report(self, event: "Event") -> None:
        """Take note of an event, in its turn."""
        self.post_message(self.Reported(event))

    def on_explorer_reported(self, message: "Explorer.Reported") -> None:
        """Bring up to date what the event is about, and nothing else."""
        from svdtui.engine.events import DeviceKnown, HeaderRead, Noticed, Progressed, StateChanged

        if isinstance(message.event, Noticed):
            self.notify(message.event.message, severity="warning", timeout=8, markup=False)
        if self.app.screen is not self:
            self._is_behind = True  # under an overlay, the smallest change has the whole terminal written anew
            self.app.screen.post_message(self.Reported(message.event))  # the overlay may show the same
            return
        match message.event:
            case Progressed(progress):
                self._show_status()
                has_card = self.scene is not None and isinstance(self.scene.content, Card)
                if has_card and progress.job in self._jobs():
                    self.show_scene()
            case StateChanged(job, _):
                self._tree.repaint()
                self._show_status()
                if job in self._jobs():
                    self._show_later(job)
            case HeaderRead():
                self._header.repaint()
                self._tree.repaint()
                self._show_soon()
            case Noticed():
                self._show_status()
            case DeviceKnown(device):
                self._header.set_device(device)

    def on_screen_resume(self) -> None:
        """Show what has happened under an overlay."""
        if self._is_behind:
            self._is_behind = False
            self._header.set_device(self.session.device if self.session else "")
            self._tree.repaint()
            self.show_scene()

    def _jobs(self) -> tuple[Job, ...]:
        """The work that the selection shows."""
        return jobs_of(self._tree.node, self.model)

    def _show_later(self, job: Job) -> None:
        """Show what is new. A result that got lost is asked for again."""
        from svdtui.engine.events import State

        single = self._tree.node.kind not in ("model", "whole")
        lost = self.session and self.session.state(job) is State.ABSENT and not self.session.is_held(job)
        if single and lost and not self._pace.is_settling:
            self._follow()
        else:
            self._show_soon()

    def _show_soon(self) -> None:
        """Draw a short view at once; in a long one, gather what is new."""
        if self.scene is None or self.scene.content is not None:
            self.show_scene()
        else:
            self._pace.gather()

    def _show_status(self) -> None:
        if self.session is not None:
            from ..activity import activity, readiness

            self._status.show(activity(self.session), readiness(self.session))

    def _mark(self, node: Node) -> "Mark | None":
        """The sign of a node's state in the tree."""
        if self.session is None:
            return None
        from ..marks import mark_of

        return mark_of(node, self.session)

    # keys ----------------------------------------------------------------------------------------

    def action_layer(self, step: int) -> None:
        """The same head and matrix, some layers further."""
        self._step(layer_beside, step)

    def action_head(self, step: int) -> None:
        """The same layer and matrix, some heads further."""
        self._step(head_beside, step)

    def _step(self, beside: Callable[[Model, Address, int], Address], step: int) -> None:
        try:
            self.go(beside(self.model, self.address, step), tidy=True)
        except AddressError as error:
            self._status.flash(str(error))

    def action_curve(self, matrix: str) -> None:
        """Show or hide one of Q K V O; where it was asked which to pin, this is the answer."""
        if self._asks_what_to_pin:
            self._pin(replace(self.address, matrix=matrix))
            return
        self._restyle(self.look.toggled(matrix))
        self._status.flash(f"{matrix.upper()} is {'hidden' if matrix in self.look.hidden else 'shown'}.")

    def action_log(self) -> None:
        """Logarithmic or linear."""
        if self.look.transform == "energy":
            self._status.flash("Cumulative energy is always drawn on a linear axis.")
        else:
            self._restyle(replace(self.look, log=not self.look.log))

    def action_transform(self) -> None:
        """The next of σ, σ/σ₁, cumulative energy."""
        self._restyle(self.look.transformed())

    def _restyle(self, look: Look) -> None:
        self.look = look
        self.show_scene()

    def action_tree(self) -> None:
        """Show or hide the tree."""
        self._tree.display = not self._tree.display
        (self._tree if self._tree.display else self._results).focus()

    def action_other_pane(self) -> None:
        """From the tree to the table and back."""
        to_tree = self._tree.display and not (self._tree.has_focus and self._results.has_table)
        (self._tree if to_tree else self._results).focus()

    def action_columns(self, step: int) -> None:
        """Scroll the table's columns."""
        self._results.scroll_columns(step)

    def action_again(self) -> None:
        """Compute once more what is selected."""
        if self.session is None:
            return
        if self._tree.node.kind in ("model", "whole"):
            self._status.flash("Select a layer, a head or a matrix to compute it again.")
            return
        self.session.again(self.address)
        self._status.flash("")
        self.show_scene()

    def action_stop(self) -> None:
        """Stop what is being read or computed, and forget what waits; first of all, stop asking."""
        if self.session is None:
            return
        if self._asks_what_to_pin:
            self._asks_what_to_pin = False
            self._status.flash("Nothing pinned.")
            return
        from ..scene import stop

        self._status.flash(stop(self.session))
        self._tree.repaint()
        self.show_scene()

    def action_goto(self) -> None:
        """Ask for an address."""
        from .goto import Goto

        def chosen(address: Address | None) -> None:
            if address is not None:
                self.go(address)
                self._tree.focus()

        self.app.push_screen(Goto(self.model), chosen)

    def action_pin(self) -> None:
        """Pin the selected spectrum, or unpin it; of a head's four, ask which."""
        from ..pins import to_pin

        if self.session is None:
            return
        if self.address.scope not in ("matrix", "head"):
            self._status.flash("Select a head or a matrix to pin its spectrum.")
            return
        chosen = to_pin(self.model, self.address, self._results.address, self.look.hidden)
        if chosen is not None:
            self._pin(chosen)
            return
        self._asks_what_to_pin = True
        names = "  ".join(f"{i} {name.upper()}" for i, name in enumerate(self.model.head_matrices, 1))
        self._status.ask(f"Pin or unpin which?  {names}  · esc none of them")

    def _pin(self, address: Address) -> None:
        self._asks_what_to_pin = False
        if self.session and self._pins:
            self._status.flash(self._pins.toggle(address, self.session, self._k))
            self.show_scene()

    def action_unpin(self) -> None:
        """Unpin all spectra."""
        if self._pins:
            self._status.flash(self._pins.clear())
            self.show_scene()

    async def action_heat(self) -> None:
        """Show the heat map; from there, a cell's matrix may be chosen."""
        if self.session is None or self._pins is None:
            return
        if not any(map(self.model.has_heads, self.model.layers)):
            why = self.model.heads_problem or "These files hold no attention heads."
            self._status.flash(f"No heat map: {why}")
            return
        from ..heat_data import HeatData
        from .heat import Heat, HeatLook

        self._heat_data = data = self._heat_data or HeatData(self.session, self._k)
        look = self._heat_look or HeatLook()
        heat = Heat(self.session, data, self._k, self.address, self.look, look, self._pins)

        def left(address: Address | None) -> None:
            self._heat_look = heat.heat_look
            self._restyle(heat.look)
            if address is not None:
                self.go(address)
                self._tree.focus()

        with self.app.batch_update():  # one frame instead of four
            await self.app.push_screen(heat, left)
        heat.refresh()

    @property
    def picture_name(self) -> str:
        """The selected place, as part of a file name."""
        from svdtui.engine.csv_export import scope_name

        return scope_name(self.scene.view) if self.scene else ""

    def action_export(self) -> None:
        """Write the view as CSV, in a thread: a model's can be large."""
        from ..sharing import export_view

        if scene := self._followed():
            writing = export_view(self, scene.view, self.look.hidden, scene.pinned)
            self.run_worker(writing, group="export", exclusive=False)

    def action_copy(self) -> None:
        """Put the table on the terminal's clipboard."""
        from ..sharing import copy_view

        if scene := self._followed():
            copy_view(self, scene.view)

    def _followed(self) -> "Scene | None":
        """The scene of where the cursor is now."""
        if self._pace.is_settling:
            self._follow()
        return self.scene
