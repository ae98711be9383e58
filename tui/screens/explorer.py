"""The main screen: the tree at the left, the selection's curves and figures at the right."""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Job, Model

from ..keys import bindings
from ..steps import head_beside, layer_beside
from ..widgets.card import Card
from ..widgets.lines import HeaderLine, KeyBar, StatusLine
from ..widgets.outline import Node
from ..widgets.results import Results
from ..widgets.stage import Look
from ..widgets.tree import ModelTree

if TYPE_CHECKING:
    from svdtui.engine.events import Event
    from svdtui.engine.session import Session

    from ..marks import Mark
    from ..scene import Scene

SETTLE = 0.06
"""Seconds without a key after which the right side follows the cursor; the first key of a burst does not wait."""

GATHER = 0.25
"""Seconds in which new results are gathered before a long table is made again."""


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
        self._moved = 0.0
        self._settling: Timer | None = None
        self._gathering: Timer | None = None

    def compose(self) -> ComposeResult:
        """Header, tree beside curves over figures, status, keys."""
        yield self._header
        with Horizontal(id="body"):
            yield self._tree
            yield self._results
        yield self._status
        yield KeyBar()

    def on_mount(self) -> None:
        """Put the cursor where the user wants to begin; the right side comes with the session."""
        self._tree.select(self._at)

    def begin(self, session: "Session") -> None:
        """Show results from now on."""
        self.session = session
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
        """Follow at once when the user pauses, and after the last key of a burst."""
        rested = monotonic() - self._moved > SETTLE
        self._moved = monotonic()
        if self._settling:
            self._settling.stop()
            self._settling = None
        if rested:
            self.call_after_refresh(self._follow)
        else:
            self._settling = self.set_timer(SETTLE, self._follow)

    def _follow(self) -> None:
        """Ask for what is selected, and show what there is of it."""
        if self._settling:
            self._settling.stop()
            self._settling = None
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

        self.scene = now = scene(self._tree.node, self.session, self._k)
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

    def on_explorer_reported(self, message: "Explorer.Reported") -> None:
        """Bring up to date what the event is about, and nothing else."""
        from svdtui.engine.events import DeviceKnown, Noticed, Progressed, StateChanged

        match message.event:
            case Progressed(progress):
                self._show_status()
                if self._has_card and progress.job in self._jobs():
                    self.show_scene()
            case StateChanged(job, _):
                self._tree.repaint()
                self._show_status()
                if job in self._jobs():
                    self._show_later(job)
            case Noticed(sentence):
                self.notify(sentence, severity="warning", timeout=8, markup=False)
                self._show_status()
            case DeviceKnown(device):
                self._header.set_device(device)

    @property
    def _has_card(self) -> bool:
        return self.scene is not None and isinstance(self.scene.content, Card)

    def _jobs(self) -> set[Job]:
        """The work that the selection shows."""
        node = self._tree.node
        if node.kind == "whole":
            return {info.job for info in self.model.matrices(node.address)}
        return set(self.model.jobs(node.address))

    def _show_later(self, job: Job) -> None:
        """Show new results: at once in a short view, gathered in a long one. What got lost is asked for again."""
        from svdtui.engine.events import State

        single = self._tree.node.kind not in ("model", "whole")
        if single and self.session and self.session.state(job) is State.ABSENT and not self._settling:
            self._follow()
        elif self.scene is None or self.scene.content is not None:
            self.show_scene()
        elif self._gathering is None:
            self._gathering = self.set_timer(GATHER, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self.show_scene()

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
        """Show or hide one of Q K V O."""
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
        from ..widgets.curves import TRANSFORMS

        names = list(TRANSFORMS)
        following = names[(names.index(self.look.transform) + 1) % len(names)]
        self._restyle(replace(self.look, transform=following))

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
        self.show_scene()

    def action_goto(self) -> None:
        """Ask for an address."""
        from .goto import Goto

        def chosen(address: Address | None) -> None:
            if address is not None:
                self.go(address)
                self._tree.focus()

        self.app.push_screen(Goto(self.model), chosen)

    def action_export(self) -> None:
        """Write the view as CSV, in a thread: a model's can be large."""
        from ..sharing import export_view

        if self._settling:
            self._follow()
        if self.scene is not None:
            self.run_worker(export_view(self, self.scene.view, self.look.hidden), group="export", exclusive=False)

    def action_copy(self) -> None:
        """Put the table on the terminal's clipboard."""
        from ..sharing import copy_view

        if self._settling:
            self._follow()
        if self.scene is not None:
            copy_view(self, self.scene.view)
