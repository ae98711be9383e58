"""A user of the test Hub who meets faults: waits briefly, notes what is said meanwhile, and has a token to lose."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._http
import numpy as np
import pytest

from svdtui.engine import Analysis, EngineError, hub_errors, patience, transfer
from svdtui.engine.hub_errors import HubAccess
from svdtui.engine.results import JobResult
from tests.hub_faults import Fault, Redirect
from tests.hub_reader import HubReader, reading
from tests.hub_server import HubServer

TOKEN = "hf_memberMEMBERmember0123456789"

SILENCE = 0.3
"""Seconds without a byte after which an impatient user tries again."""

STRANGER = "http://stranger"
"""For a fault to redirect to: the Hub's third origin, whose port no table can know."""

_SECRET = re.compile(r"https?://\S*[?@]|hf_\w|(?i:X-Amz|signature|expires=|bearer|authorization)")
"""The query of an address or who asks there; a signature; a token; a header that has one."""


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all that is waited for in this process: our own tries, and the library's."""
    monkeypatch.setattr(hub_errors, "_SILENCE", SILENCE)
    monkeypatch.setattr(hub_errors, "_BACK_OFF", 0.015)
    for module in (transfer, patience):
        monkeypatch.setattr(module, "TICK", 0.005)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", SILENCE)
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(seconds / 100)})
    for library in (huggingface_hub.utils._http, huggingface_hub.file_download):
        monkeypatch.setattr(library, "time", hasty)


class Unwanted(Exception):
    """What a caller raises who has lost interest."""


def raiser(at: float) -> Callable[[str], None]:
    """Loses interest some seconds from now."""
    until = time.monotonic() + at

    def watch(_: str) -> None:
        if time.monotonic() >= until:
            raise Unwanted

    return watch


@dataclass
class Trial:
    """Opens a model and reads the heads of its layer 0."""

    reader: HubReader
    on_watch: Callable[[str], None] = lambda text: None
    said: list[str] = field(default_factory=list)
    """What was said while it was waited for."""

    @property
    def hub(self) -> HubServer:
        return self.reader.hub

    @property
    def access(self) -> HubAccess:
        return self.reader.access

    def meet(self, wrong: Sequence[Fault]) -> None:
        """From now on these go wrong."""
        for fault in wrong:
            if isinstance(fault, Redirect) and fault.to == STRANGER:
                self.hub.faults.append(replace(fault, to=self.hub.stranger))
            else:
                self.hub.faults.append(fault)

    def watch(self, text: str) -> None:
        self.said.append(text)
        self.on_watch(text)

    def open(self, name: str = "org/m") -> Analysis:
        model = self.reader.open(name, watch=self.watch)
        return Analysis(model, device="cpu", cache_dir=self.reader.cache_dir)

    def heads(self, analysis: Analysis) -> JobResult:
        return heads(analysis, self.watch)

    def assert_nothing_leaked(self, error: EngineError | None = None) -> None:
        """Nothing secret was said, and the token was sent to nobody but the Hub."""
        assert not self.hub.leaks
        for text in [*self.said, str(error or "")]:
            assert text.isprintable()
            assert not has_secrets(text), text


@contextmanager
def trial(folder: Path, token: str | None = TOKEN) -> Iterator[Trial]:
    """A new Hub and a user of it; `folder` is where the caches go."""
    with reading(folder) as reader:
        yield Trial(replace(reader, access=replace(reader.access, token=token)))
        end(reader.hub)


def end(hub: HubServer) -> None:
    """Cut every connection and wait for those who had one: the library would close the next test's session for them."""
    hub.refuse()
    deadline = time.monotonic() + 5
    while is_working() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_working()


def is_working() -> bool:
    """Whether a thread still reads, or waits for the library."""
    return any(thread.name == "hub" or thread.name.startswith("range-") for thread in threading.enumerate())


def has_secrets(text: str) -> bool:
    """Whether a text has something in it that nobody but the Hub and its user may see."""
    return _SECRET.search(text) is not None


def heads(analysis: Analysis, watch: Callable[[str], None] = lambda text: None) -> JobResult:
    (job,) = analysis.jobs("0")
    return analysis.result(job, lambda step: watch(step.waiting))


def assert_equal(result: JobResult, truth: JobResult) -> None:
    """To the last bit."""
    assert result.matrices.keys() == truth.matrices.keys() == set("qkvo")
    for name, matrix in truth.matrices.items():
        assert np.isfinite(matrix.sigma).all()
        assert np.array_equal(result.matrices[name].sigma, matrix.sigma)


def assert_sentence(error: EngineError, words: Sequence[str]) -> None:
    """It says all of that, and what to do."""
    for word in words:
        assert word in str(error)
    assert error.message.endswith(".")
    assert error.hint.endswith(".")
