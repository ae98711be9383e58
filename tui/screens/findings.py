"""The findings: the article's conclusions tested on this model, as a page to scroll through."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.worker import Worker

from svdtui.engine.address import Address
from svdtui.engine.csv_export import candidates_csv, file_name, free_paths, write_text
from svdtui.engine.errors import EngineError
from svdtui.engine.evidence import gather
from svdtui.engine.findings import Findings
from svdtui.engine.findings_process import find_aside
from svdtui.engine.findings_text import findings_markdown
from svdtui.engine.model import Model
from svdtui.engine.outputs import PAGE
from svdtui.engine.session import Session
from svdtui.engine.text import plural, printable

from ..activity import activity, readiness
from ..findings_lines import findings_lines
from ..keys import KEYS, Owner, bindings
from ..sharing import copy_text, write
from ..widgets.card import Card, card_lines
from ..widgets.lines import HeaderLine, KeyBar, StatusLine
from ..widgets.page import Page
from ..widgets.painted import Line
from .going import Goes
from .overlay import Overlay
from .scans import Scans

LOOK_AGAIN = 1.0
"""Seconds between two looks at whether more layers have been computed."""


class FindingsScreen(Scans, Goes, Overlay[Address | None]):
    """Works the findings out when it opens, and again when more layers are there.

    Gives back an address to go to, or None. Keys that need the findings are kept until there are some, and those that
    take the page out until it has all that was computed when they were pressed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("findings")]
    key_owners: ClassVar[tuple[Owner, ...]] = ("findings", "app")
    picture_name = ".findings"

    def __init__(self, session: Session, k: int) -> None:
        super().__init__(classes="-findings")
        self.session: Session = session
        self._k = k
        self._findings: Findings | None = None
        self._starts: list[int] = []
        self._wishes: list[Callable[[], None]] = []
        """What keys wanted before there were findings, or newer ones."""
        self._trouble = ""
        self._computed = -1
        """How many layers the findings know of."""
        self._was_behind = False
        """Whether the page says that it is tested again."""
        self._work: Worker[None] | None = None
        self._header = HeaderLine(session.model)
        self._page = Page("findings")
        self._status = StatusLine()

    def compose(self) -> ComposeResult:
        """Header, page, status, keys."""
        yield self._header
        yield self._page
        yield self._status
        yield KeyBar([key for key in KEYS if key.owner in ("findings", "app")])

    def on_mount(self) -> None:
        """Begin."""
        self._header.set_device(self.session.device)
        self._page.show(self._waiting)
        self._page.focus()
        self.session.look_at_all()
        self._look()
        self.set_interval(LOOK_AGAIN, self._look)

    def _waiting(self, width: int) -> list[Line]:
        layers = plural(len(self.session.model.layers), "layer")
        card = Card("◐ Findings", "busy", [f"Testing the article's statements on {layers} …"])
        return [*card_lines(card, width, max(4, self._page.size.height))]

    def _look(self) -> None:
        """Work them out, unless nothing has changed or that is being done."""
        self._show_progress()
        if self._work is None or self._work.is_finished:
            if self._is_behind:
                self._work = self.run_worker(self._find(), exclusive=True)
            else:
                self._grant()

    @property
    def _is_behind(self) -> bool:
        """Whether other layers are there than the findings know of."""
        return self.session.cached != self._computed

    def _show_progress(self) -> None:
        """Say what is being done, also at the page's head while it is older than what is computed."""
        session, is_again = self.session, self._findings is not None and self._is_behind
        if self._trouble:
            doing = f"! {self._trouble}", "warn"
        elif is_again and session.scan_progress is None and session.progress is None and not session.trouble:
            doing = "◐ Testing the statements again on all that is computed …", "busy"
        else:
            doing = activity(session)
        self._status.show(doing, readiness(session))
        if is_again != self._was_behind:
            self._was_behind = is_again
            if is_again:
                self._page.show(self._laid, keep_place=True)

    async def _find(self) -> None:
        session = self.session
        computed = session.cached
        await session.figures_read()
        evidence = await asyncio.to_thread(gather, session.model, session.tables, k=self._k)
        try:
            found = await find_aside(evidence, self._tell)
        except EngineError as error:
            self._computed = computed
            self._wishes.clear()
            card = Card("✗ No findings", "bad", [printable(str(error))])
            self._page.show(lambda width: [*card_lines(card, width, max(4, self._page.size.height))])
            return
        finally:
            self._trouble = ""
        self._computed = computed
        is_first, self._findings = self._findings is None, found
        self._page.show(self._laid, keep_place=not is_first)
        self._was_behind = self._is_behind
        self._show_progress()
        self._grant()

    def _grant(self) -> None:
        """Do what keys have wanted; what wants newer findings is kept once more."""
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish()

    def _tell(self, trouble: str) -> None:
        self._trouble = trouble

    def _laid(self, width: int) -> list[Line]:
        assert self._findings
        lines, self._starts = findings_lines(self._findings, width, is_again=self._is_behind)
        return lines

    # keys ----------------------------------------------------------------------------------------

    @property
    def model_shown(self) -> Model:
        """Whose addresses can be typed."""
        return self.session.model

    def show_place(self, address: Address) -> None:
        """Places are shown by the explorer."""
        self.dismiss(address)

    def _wish(self, wish: Callable[[], None]) -> bool:
        """Whether there are no findings yet; then this is done as soon as there are."""
        if self._findings is None:
            self._wishes.append(wish)
        return self._findings is None

    def action_scroll_lines(self, count: int) -> None:
        """Down by some lines, or up."""
        if self._wish(partial(self.action_scroll_lines, count)):
            return
        self._page.scroll_lines(count)

    def action_scroll_pages(self, count: int) -> None:
        """Down by some screens, or up."""
        if self._wish(partial(self.action_scroll_pages, count)):
            return
        self._page.scroll_pages(count)

    def action_scroll_far(self, direction: int) -> None:
        """To the end of the page, or to its beginning."""
        if self._wish(partial(self.action_scroll_far, direction)):
            return
        self._page.scroll_to_line(10**6 if direction > 0 else 0)

    def action_finding(self, number: int) -> None:
        """To one of the findings."""
        if self._wish(partial(self.action_finding, number)):
            return
        if number <= len(self._starts):
            self._page.scroll_to_line(self._starts[number - 1])

    def action_back(self) -> None:
        """Back to where the user was."""
        self.dismiss()

    def _wish_newest(self, action: Callable[[int], None], wanted: int) -> bool:
        """Whether the findings know of fewer than `wanted` layers, and not of all; then this is done when they do.

        What is computed later is not waited for: a scan may go on for hours.
        """
        is_old = self._computed < wanted and self._is_behind
        if is_old:
            self._wishes.append(partial(action, wanted))
        return is_old or self._wish(partial(action, wanted))

    def action_copy(self) -> None:
        """Put the page on the terminal's clipboard, as Markdown."""
        self._copy(self.session.cached)

    def _copy(self, wanted: int) -> None:
        if self._wish_newest(self._copy, wanted):
            self._status.flash(f"Copied as soon as the {self._awaited} are there.")
        elif self._findings is not None:
            copy_text(self, findings_markdown(self._findings), "The page")

    @property
    def _awaited(self) -> str:
        return "findings" if self._findings is None else "newest findings"

    def action_export(self) -> None:
        """Write the page as Markdown, and the candidates as CSV."""
        self._export(self.session.cached)

    def _export(self, wanted: int) -> None:
        found = self._findings
        if self._wish_newest(self._export, wanted) or found is None:
            self._status.flash(f"Exported as soon as the {self._awaited} are there.")
            return

        def writing() -> list[Path]:
            base = file_name(found.model)
            page, candidates = free_paths(Path.cwd(), base, ".findings.md", ".candidates.csv")
            write_text(page, findings_markdown(found), PAGE)
            write_text(candidates, candidates_csv(found.model, found.revision, found.candidates))
            return [page, candidates]

        missing = found.layers - found.computed
        remark = f"{plural(missing, 'layer')} not computed yet." if missing else ""
        self.run_worker(write(self, writing, "Exported", remark), group="export", exclusive=False)
