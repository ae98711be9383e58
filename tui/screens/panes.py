"""The panes of the main screen: the tree at the left, the selection's curves and figures at the right."""

import gc
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen

from svdtui.engine.address import Address
from svdtui.engine.model import Job, Model

from ..keys import offered
from ..pace import SETTLE, Pace
from ..widgets.card import Card
from ..widgets.lines import HeaderLine, KeyBar, StatusLine
from ..widgets.outline import Node, shows_any, shows_job
from ..widgets.results import Results
from ..widgets.stage import Look
from ..widgets.tree import ModelTree

if TYPE_CHECKING:
    from svdtui.engine.events import Event
    from svdtui.engine.session import Session

    from ..marks import Mark
    from ..pins import Pins
    from ..scene import Scene


class Panes(Screen[None]):
    """Lets the right side follow the tree's cursor, and shows what the session reports."""

    AUTO_FOCUS = "#tree"

    class Reported(Message):
        """The session has news."""

        def __init__(self, event: "Event") -> None:
            super().__init__()
            self.event = event

    class News(Message):
        """The session has reported something since the last time."""

    def __init__(self, model: Model, at: Address, k: int) -> None:
        super().__init__()
        self.model = model
        self.session: Session | None = None
        self.scene: Scene | None = None
        self.look = Look()
        self._k = k
        self.first = at
        """Where the user begins."""
        self._asked = at
        self._tree = ModelTree(model, self._mark)
        self._results = Results(k)
        self._header = HeaderLine(model)
        self._status = StatusLine()
        self._keys = KeyBar(offered("curves"))
        self._pace = Pace(self, self._follow, self.show_scene)
        self._is_behind = False
        self._has_told = False
        """Whether a message tells of a trouble that may pass."""
        self._reports: list[Event] = []
        self._is_tree_old = False
        self._pins: Pins | None = None

    def compose(self) -> ComposeResult:
        """Header, tree beside curves over figures, status, keys."""
        yield self._header
        with Horizontal(id="body"):
            yield self._tree
            yield self._results
        yield self._status
        yield self._keys

    def on_mount(self) -> None:
        """Put the cursor where the user wants to begin; the right side comes with the session."""
        self._tree.select(self.first)

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
        """Import what draws while the compute process starts, not when its result is there and keys are pressed."""
        from ..widgets import chart  # noqa: F401
        from . import heat  # noqa: F401

        gc.freeze()  # modules and styles stay anyway: looking through them again and again costs up to 0.1 s a time

    @property
    def address(self) -> Address:
        """What is selected; a KV head as such, where it was asked for so."""
        here = self._tree.node.address
        return self._asked if self._asked == here else here

    @property
    def node(self) -> Node:
        """The node under the tree's cursor."""
        return replace(self._tree.node, address=self.address)

    # following the cursor ------------------------------------------------------------------------

    def on_model_tree_moved(self) -> None:
        """Follow, not with every key of a burst."""
        self._status.move_on()
        self._pace.moved()

    def _follow(self) -> None:
        """Ask for what is selected, and show what there is of it."""
        self._pace.settled()
        if self.session is None:
            return
        node = self._tree.node
        if node.kind != "whole":
            self.session.want(node.address)
        if node.kind == "model":
            self.session.look_at_all()
        self.show_scene()

    def show_scene(self) -> None:
        """Draw the selection as far as its results are there."""
        if self.session is None:
            return
        from ..scene import scene

        self.scene = now = scene(self.node, self.session, self._k, self._pins)
        self._results.show(now, self.look)
        self._keys.offer(offered(now.where))
        self._show_status()

    def on_results_opened(self, message: Results.Opened) -> None:
        """A line of the table leads to its matrix in the tree."""
        self.go(message.address)
        self._tree.focus()

    def go(self, address: Address, *, tidy: bool = False) -> None:
        """Select a place."""
        self._asked = address
        self._tree.select(address, tidy=tidy)

    # what the session reports --------------------------------------------------------------------

    def report(self, event: "Event") -> None:
        """Take note of an event, in its turn: of all that has come meanwhile at once."""
        self._reports.append(event)
        if len(self._reports) == 1:
            self.post_message(self.News())

    def on_panes_news(self) -> None:
        """Bring up to date what has been reported."""
        from ..news import condensed

        events, self._reports = condensed(self._reports), []
        for event in events:
            self._take(event)
        if self._is_tree_old:
            self._is_tree_old = False
            self._tree.repaint()
        if self.app.screen is self:
            self._show_status()

    def _take(self, event: "Event") -> None:
        """What one event is about, and nothing else; tree and status line are drawn after all of them."""
        from svdtui.engine.events import (
            DeviceKnown,
            FiguresRead,
            HeaderRead,
            Noticed,
            Progressed,
            ScanEnded,
            SlicesSolved,
            StateChanged,
            StatesChanged,
            Troubled,
        )

        if isinstance(event, Noticed | Troubled) and event.message:
            self.notify(event.message, severity="warning", timeout=8, markup=False)
            self._has_told = True
        if self.app.screen is not self:
            self._is_behind = True  # under an overlay, the smallest change has the whole terminal written anew
            self.app.screen.post_message(self.Reported(event))  # the overlay may show the same
            return
        match event:
            case Progressed(progress):
                has_card = self.scene is not None and isinstance(self.scene.content, Card)
                if has_card and self._shows(progress.job):
                    self.show_scene()
            case SlicesSolved(job, slices) if self._shows(job) and shows_any(self._tree.node, slices, self.model):
                self._show_soon()
            case StateChanged(job, _):
                self._is_tree_old = True
                if self._shows(job):
                    self._show_later(job)
            case StatesChanged():
                self._is_tree_old = True
                self._show_soon()
            case HeaderRead():
                self._header.repaint()
                self._is_tree_old = True
                self._show_soon()
            case FiguresRead(jobs) if any(map(self._shows, jobs)):
                self._show_soon()
            case ScanEnded(sentence):
                self._show_status()
                self._status.flash(sentence, is_news=True)
            case DeviceKnown(device):
                self._header.set_device(device)

    def on_screen_resume(self) -> None:
        """Show what has happened under an overlay."""
        if self._is_behind:
            self._is_behind = False
            self._header.set_device(self.session.device if self.session else "")
            self._tree.repaint()
            self.show_scene()

    def _shows(self, job: Job) -> bool:
        """Whether the selection shows what a job computes."""
        return shows_job(self._tree.node, job, self.model)

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
        now = self.scene
        if now is None or isinstance(now.content, Card) or (now.content is not None and now.overview is None):
            self.show_scene()
        else:
            self._pace.gather()

    def _show_status(self) -> None:
        if self.session is not None:
            from ..activity import activity, readiness

            self._status.show(activity(self.session), readiness(self.session))
            if self._has_told and not self.session.notice and not self.session.trouble:
                self._has_told = False
                self.app.clear_notifications()  # what was told of is over

    def _mark(self, node: Node) -> "Mark | None":
        """The sign of a node's state in the tree."""
        if self.session is None:
            return None
        from ..marks import mark_of

        return mark_of(node, self.session)
