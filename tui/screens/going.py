"""The key that asks for an address, for every screen that shows a model."""

from typing import Any

from textual.screen import Screen

from svdtui.engine.address import Address
from svdtui.engine.model import Model


class Goes(Screen[Any]):
    """Shows places of a model, and goes to those that are typed."""

    def action_goto(self) -> None:
        """Ask for an address."""
        from .goto import Goto

        def chosen(address: Address | None) -> None:
            if address is not None:
                self.show_place(address)

        self.app.push_screen(Goto(self.model_shown), chosen)

    @property
    def model_shown(self) -> Model:
        """Whose addresses can be typed."""
        raise NotImplementedError

    def show_place(self, address: Address) -> None:
        """Go there."""
        raise NotImplementedError
