"""The worker opens a model on the Hub for the screen, which need not load what that takes."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from svdtui.engine import (
    HEADS,
    AccessError,
    Address,
    EngineError,
    HubName,
    Job,
    Model,
    ModelNotFoundError,
    ReadError,
    Session,
    State,
    WorkerError,
    view,
)
from svdtui.engine.errors import error_of
from svdtui.engine.hand import Spare
from svdtui.engine.opening import reopened
from svdtui.engine.process import WorkerProcess
from svdtui.tui.opener import by_worker
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_reader import HubReader, equal, local_spectra, reading
from tests.test_session import until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=3, shards=2)


@pytest.fixture
def reader(home: Path, made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubReader]:
    with reading(home) as reader:
        for name, value in (reader.hub.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"}).items():
            monkeypatch.setenv(name, value)
        reader.hub.add("org/m", made.folder)
        yield reader


@pytest.fixture
async def spare() -> AsyncIterator[Spare]:
    spare = Spare(await WorkerProcess.start(network=True))
    yield spare
    spare.process.kill()
    await spare.process.ended()


def ask(spare: Spare, reader: HubReader, name: str = "org/m") -> None:
    found = HubName.parse(name)
    assert found
    spare.open(found, solver="gram64", device="cpu", cache_dir=reader.cache_dir, offline=False)


async def test_it_is_the_same_model_and_the_worker_goes_on_with_it(
    reader: HubReader, spare: Spare, made: Checkpoint
) -> None:
    ask(spare, reader)
    described = await spare.opened()
    assert described
    asked = reader.hub.count()
    model = reopened(described, reader.cache_dir)
    other = reader.open()
    for same in ("key", "name", "revision", "location", "home", "notice", "layers", "heads", "is_remote"):
        assert getattr(model, same) == getattr(other, same), same
    reader.hub.forget()
    spare.begin(model, Address(1, 0), solver="gram64", device="cpu", cache_dir=reader.cache_dir, offline=False)
    session = Session(model, device="cpu", cache_dir=reader.cache_dir, prefetch=False, spare=spare)
    await session.start()
    session.want(Address(1, 0))
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)
    await session.close()
    assert not [request for request in reader.hub.requests if request.path.startswith("/api/")]  # opened once
    assert asked > 0
    found = {str(row.info.address): row.spectrum for row in view(model, Address(1), session.result).rows}
    assert equal({name: sigma for name, sigma in found.items() if sigma is not None}, local_spectra(made.folder, 1))


async def test_what_cannot_be_kept_in_the_hub_cache_comes_along(
    reader: HubReader, spare: Spare, home: Path, made: Checkpoint
) -> None:
    (home / "huggingface").mkdir(parents=True)
    (home / "huggingface" / "hub").write_text("no folder")
    ask(spare, reader)
    described = await spare.opened()
    assert described
    assert set(described["spare"]) == {"config.json", "model.safetensors.index.json"}
    before = reader.hub.count()
    model = reopened(described, reader.cache_dir)
    assert model.layers == (0, 1, 2)
    assert reader.hub.count() == before
    assert model.checkpoint.source.read("config.json", 0, 10**6) == (made.folder / "config.json").read_bytes()


async def test_a_header_that_cannot_be_kept_comes_along_too(
    reader: HubReader, spare: Spare, home: Path, tmp_path: Path
) -> None:
    reader.hub.add("org/one", write_checkpoint(tmp_path / "one", layers=1).folder)
    (home / "results").mkdir(parents=True)
    (home / "results" / "file").write_text("no folder")
    cache_dir = home / "results" / "file" / "cache"
    found = HubName.parse("org/one")
    assert found
    spare.open(found, solver="gram64", device="cpu", cache_dir=cache_dir, offline=False)
    described = await spare.opened()
    assert described
    before = reader.hub.count()
    model = await asyncio.to_thread(reopened, described, cache_dir)
    assert model.is_known(Job(0, HEADS))
    assert reader.hub.count() == before


async def test_what_has_gone_meanwhile_is_a_sentence(reader: HubReader, spare: Spare, home: Path) -> None:
    ask(spare, reader)
    described = await spare.opened()
    assert described
    shutil.rmtree(home / "huggingface")
    with pytest.raises(
        ReadError, match=r"have gone from the local Hub cache while it was opened.*Open the model again"
    ):
        reopened(described, reader.cache_dir)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("org/none", ModelNotFoundError),
        ("org/gated", AccessError),
        ("org/na--me", ModelNotFoundError),
        ("org/name-", ModelNotFoundError),
        ("models/foo", ModelNotFoundError),
    ],
)
async def test_why_it_cannot_be_opened_is_said_as_if_it_were_opened_here(
    reader: HubReader, spare: Spare, made: Checkpoint, name: str, kind: type[EngineError]
) -> None:
    reader.hub.add("org/gated", made.folder, gated=True)
    ask(spare, reader, name)
    with pytest.raises(kind) as there:
        await spare.opened()
    with pytest.raises(kind) as here:
        reader.open(name)
    assert (there.value.message, there.value.hint) == (here.value.message, here.value.hint)


async def test_when_the_worker_has_ended_the_model_is_opened_here(reader: HubReader, spare: Spare) -> None:
    ask(spare, reader)
    spare.process.kill()
    said: list[str] = []

    def here(watch: object) -> Model:
        assert watch == said.append
        return reader.open()

    open_it = by_worker(spare, asyncio.get_running_loop(), reader.cache_dir, here)
    model = await asyncio.to_thread(open_it, said.append)
    assert model.key == reader.open().key


async def test_who_leaves_does_not_begin_to_open_it_here(reader: HubReader, spare: Spare) -> None:
    ask(spare, reader)
    left = False

    class LeftError(BaseException):
        pass

    def watch(_: str) -> None:
        if left:
            raise LeftError

    def here(_: object) -> Model:
        raise AssertionError

    opening = asyncio.to_thread(by_worker(spare, asyncio.get_running_loop(), reader.cache_dir, here), watch)
    task = asyncio.ensure_future(opening)
    await asyncio.sleep(0.02)
    left = True
    spare.process.kill()
    with pytest.raises(LeftError):
        await task


def test_an_error_that_nobody_knows_is_one_of_the_worker() -> None:
    assert type(error_of("AccessError", "no", "log in")) is AccessError
    assert type(error_of("KeyboardInterrupt", "no", "")) is WorkerError
    assert type(error_of("printable", "no", "")) is WorkerError


SCREEN = """
import asyncio, sys
from svdtui.engine import HubName
from svdtui.engine.hand import Spare
from svdtui.engine.process import WorkerProcess
from svdtui.tui.opener import by_worker

async def run():
    spare = Spare(await WorkerProcess.start(network=True))
    spare.open(HubName("org/m"), solver="gram64", device="cpu", cache_dir=None, offline=False)
    open_it = by_worker(spare, asyncio.get_running_loop(), None, lambda watch: None)
    model = await asyncio.to_thread(open_it, lambda doing: None)
    spare.process.kill()
    print(model.name, {"huggingface_hub", "httpx", "httpx2", "numpy"} & {*sys.modules})

asyncio.run(run())
"""


@pytest.mark.usefixtures("reader")
def test_the_screen_does_not_load_the_hubs_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", SCREEN], capture_output=True, text=True, check=True)
    assert done.stdout == "org/m set()\n"
