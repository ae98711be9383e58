"""Models of the test Hub, opened in this process with caches of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import pytest
from huggingface_hub import constants

from svdtui.engine import Analysis, Model, Solver, open_model
from svdtui.engine.hub_errors import HubAccess
from svdtui.engine.source import Watch, no_watch
from tests.hub_server import HubServer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Spectra = dict[str, "NDArray[np.float64]"]
"""Address → singular values."""

FIRST_READ = 100_000
"""Bytes of the first read of a shard's header."""


@dataclass(frozen=True)
class HubReader:
    """A user of a Hub: where it is, and what is kept of it on this machine."""

    hub: HubServer
    access: HubAccess
    cache_dir: Path

    def open(
        self, model: str = "org/m", *, revision: str | None = None, offline: bool = False, watch: Watch = no_watch
    ) -> Model:
        return open_model(
            model, revision=revision, offline=offline, cache_dir=self.cache_dir, watch=watch, access=self.access
        )

    def spectra(self, model: Model, place: str | int, solver: Solver = "gram64") -> Spectra:
        return spectra(model, place, self.cache_dir, solver)

    def ranges(self, file: str | None = None) -> list[tuple[int, int] | None]:
        """What was read of weights, in order."""
        return [r.range for r in self.hub.requests if r.host == "storage" and file in (None, r.file)]


@contextmanager
def reading(home: Path) -> Iterator[HubReader]:
    """A new Hub and a user of it, not logged in; the caches are where programs that a test starts have them."""
    with pytest.MonkeyPatch.context() as patch, HubServer() as hub:
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # asks the real Hub otherwise
        patch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # that of whoever runs the tests
        access = HubAccess(endpoint=hub.endpoint, cache_dir=str(home / "huggingface" / "hub"))
        yield HubReader(hub, access, home / "cache" / "svdtui")
        huggingface_hub.close_session()


def spectra(model: Model, place: str | int, cache_dir: Path, solver: Solver = "gram64") -> Spectra:
    """The spectra of a place, computed in this process."""
    with Analysis(model, device="cpu", cache_dir=cache_dir, solver=solver) as analysis:
        rows = analysis.view(place).rows
    return {str(row.info.address): row.spectrum for row in rows if row.spectrum is not None}


def local_spectra(folder: Path, place: str | int, solver: Solver = "gram64") -> Spectra:
    """The same of the folder that the Hub serves, beside which the results are kept."""
    return spectra(open_model(folder), place, folder.parent / "local", solver)


def equal(one: Spectra, other: Spectra) -> bool:
    """Whether they are the same to the last bit."""
    return {name: sigma.tobytes() for name, sigma in one.items()} == {
        name: sigma.tobytes() for name, sigma in other.items()
    }
