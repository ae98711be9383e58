"""The main screen: what its keys do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Model

from ..keys import ON_EXPLORER, Owner, bindings
from ..overview_keys import (
    ELSEWHERE,
    listing_stepped,
    metric_stepped,
    rescaled,
    reversed_order,
    sorted_by,
    sorted_further,
)
from ..steps import head_beside, layer_beside
from ..widgets.results import Results
from ..widgets.stage import Look
from .asking import Question
from .going import Goes
from .panes import Panes
from .scans import Scans

if TYPE_CHECKING:
    from svdtui.engine.overview import Overview

    from ..overview_keys import Answer
    from ..scene import Scene
    from .heat import HeatLook


class Explorer(Panes, Scans, Goes):
    """The panes, and what a user does with them."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("explorer")]
    key_owners: ClassVar[tuple[Owner, ...]] = ON_EXPLORER

    def __init__(self, model: Model, at: Address, k: int) -> None:
        super().__init__(model, at, k)
        self._heat_look: HeatLook | None = None

    def on_model_tree_moved(self) -> None:
        """Who moves on does not pin."""
        self.withdraw()

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

    def action_metric(self, step: int) -> None:
        """The next metric, or the previous one."""
        self._rearrange(lambda seen: metric_stepped(self.look, seen, step))

    def action_listing(self) -> None:
        """All metrics of the next matrix, or one metric of all."""
        self._rearrange(lambda seen: listing_stepped(self.look, seen))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._rearrange(lambda seen: sorted_further(self.look, seen))

    def on_results_sorted(self, message: Results.Sorted) -> None:
        """A click on the head of a column sorts by it."""
        self._rearrange(lambda seen: sorted_by(self.look, seen, message.by))

    def action_reverse(self) -> None:
        """Reverse the order."""
        self._rearrange(lambda seen: reversed_order(self.look, seen))

    def _rearrange(self, change: "Callable[[Overview], Answer]") -> None:
        """Change how heads or layers are shown, and say so; elsewhere, say where that has an effect."""
        scene = self._followed()
        if scene is None or scene.overview is None:
            self._status.flash(ELSEWHERE)
            return
        look, sentence = change(scene.overview)
        self._restyle(look)
        self._status.flash(sentence)

    def action_log(self) -> None:
        """Logarithmic or linear."""
        scene = self._followed()
        if scene is not None and scene.overview is not None:
            self._rearrange(lambda seen: rescaled(self.look, seen))
        elif self.look.transform == "energy":
            self._status.flash("Cumulative energy is always drawn on a linear axis.")
        else:
            self._restyle(replace(self.look, log=not self.look.log))

    def action_transform(self) -> None:
        """The next of σ, σ/σ₁, cumulative energy."""
        if self.scene is not None and self.scene.overview is not None:
            self._status.flash("m and M choose what is drawn here; c is for spectra.")
            return
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
        if self._tree.node.kind == "model":
            self._status.flash("Select a layer, a head or a matrix to compute it again.")
            return
        self.session.again(self.address)
        self._status.flash("")
        self.show_scene()

    def scan_begun(self) -> None:
        """The tree marks what waits now."""
        self._tree.repaint()
        self.show_scene()

    def action_stop(self) -> None:
        """Stop what is being read or computed, and forget what waits."""
        if self.session is None:
            return
        from ..scene import stop

        self._status.flash(stop(self.session))
        self._tree.repaint()
        self.show_scene()

    @property
    def model_shown(self) -> Model:
        """Whose addresses can be typed."""
        return self.model

    def show_place(self, address: Address) -> None:
        """Go there."""
        self.go(address)
        self._tree.focus()

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
        matrices = dict(enumerate(self.model.head_matrices, 1))
        names = "  ".join(f"{i} {name.upper()}" for i, name in matrices.items())
        pins = {name: partial(self._pin, replace(self.address, matrix=name)) for name in matrices.values()}
        by_number = {str(i): pins[name] for i, name in matrices.items()}
        by_capital = {name.upper(): pin for name, pin in pins.items()}
        answers = {**pins, **by_number, **by_capital}
        self.ask(Question(f"Pin or unpin which?  {names}  esc none", answers, "Nothing pinned."))

    def _pin(self, address: Address) -> None:
        if self.session and self._pins:
            self._status.flash(self._pins.toggle(address, self.session, self._k))
            self.show_scene()

    def action_unpin(self) -> None:
        """Unpin all spectra, or bring them back."""
        if self._pins:
            self._status.flash(self._pins.clear())
            self.show_scene()

    async def action_heat(self) -> None:
        """Show the heat map; from there, a cell's matrix may be chosen."""
        if self.session is None or self._pins is None:
            return
        if not any(map(self.model.has_heads, self.model.depth_layers)):
            why = self.model.heads_problem or "These files hold no attention heads."
            self._status.flash(f"No heat map: {why}")
            return
        from .heat import Heat, HeatLook

        look = self._heat_look or HeatLook()
        heat = Heat(self.session, self._k, self.address, self.look, look, self._pins)

        def left(address: Address | None) -> None:
            self._heat_look = heat.heat_look
            self._restyle(heat.look)
            if address is not None:
                self.show_place(address)

        with self.app.batch_update():  # one frame instead of four
            await self.app.push_screen(heat, left)
        heat.refresh()

    async def action_findings(self) -> None:
        """Test the article's conclusions on what is computed."""
        if self.session is None:
            return
        from .findings import FindingsScreen

        def left(address: Address | None) -> None:
            if address is not None:
                self.show_place(address)

        with self.app.batch_update():
            await self.app.push_screen(FindingsScreen(self.session, self._k), left)

    @property
    def picture_name(self) -> str:
        """The selected place, as part of a file name."""
        from svdtui.engine.csv_export import scope_name

        return scope_name(self.address)

    def action_export(self) -> None:
        """Write what is shown as CSV, in a thread: a model's can be large."""
        from ..sharing import export_view
        from ..tables import rows_of

        if (scene := self._followed()) and self.session is not None:
            view = scene.view or rows_of(self.session, self.address, self._k)
            writing = export_view(self, view, self.look.hidden, scene.pinned, self._results.overview_csv)
            self.run_worker(writing, group="export", exclusive=False)

    def action_copy(self) -> None:
        """Put the table on the terminal's clipboard."""
        from svdtui.engine.csv_export import table_text
        from svdtui.engine.views import shown_view

        from ..sharing import copy_table

        if scene := self._followed():
            if scene.view is not None:
                view = shown_view(scene.view, self.look.hidden, scene.pinned)
                copy_table(self, table_text(view), len(view.rows))
            elif scene.overview is not None:
                copy_table(self, self._results.overview_text(), int(scene.overview.computed.sum()))

    def _followed(self) -> "Scene | None":
        """The scene of where the cursor is now."""
        if self._pace.is_settling:
            self._follow()
        return self.scene
