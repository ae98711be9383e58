"""A model on the Hub, on screen and without one: opening, leaving, stopping, and what is said before bytes are read."""

import asyncio
import csv
import io
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from textual.pilot import Pilot

from svdtui.engine import Address, EngineError, Model, open_model
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.opener import Opener
from svdtui.tui.places import Places
from svdtui.tui.screens.explorer import Explorer
from svdtui.tui.screens.help import Help
from svdtui.tui.screens.small import TooSmall
from svdtui.tui.widgets.painted import Painted
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_faults import ALWAYS, CaptivePortal, ServerError, Slow, Stall
from tests.hub_server import HubServer
from tests.terminal import Terminal

DRAWN = re.compile("[\u2801-\u28ff]")
"""Braille: a curve is on screen."""

READING = re.compile(r"◐ layer 1: \d\.\d of \d\.\d MB · [\d.]+ [kM]B/s")
"""The status line while bytes arrive."""

EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Three layers, a shard for each and some."""
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=3, shards=3)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Layers of 5 MB each, so that reading one can be looked at."""
    return write_checkpoint(
        tmp_path_factory.mktemp("models") / "wide", layers=3, hidden=1024, heads=8, intermediate=32, shards=3
    )


@pytest.fixture
def hub(tiny: Checkpoint) -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.add("org/tiny", tiny.folder)
        yield hub
        assert not hub.leaks


@pytest.fixture
def opened(svdtui: list[str], hub: HubServer) -> Callable[..., Terminal]:
    """Starts `svdtui` in a terminal where the Hub is the test's."""

    def open_in_terminal(
        *args: str | Path, size: tuple[int, int] = (80, 24), env: Mapping[str, str | None] | None = None
    ) -> Terminal:
        return Terminal([*svdtui, *args], size=size, env={**hub.environ, **(env or {})})

    return open_in_terminal


Opened = Callable[..., Terminal]


def flat(terminal: Terminal) -> str:
    """The screen as one line, so that a broken sentence reads on."""
    return " ".join("".join(line.ljust(terminal.size[0]) for line in terminal.lines()).split())


def leave(terminal: Terminal) -> None:
    terminal.press("q")
    assert terminal.wait_exit() == 0


# opening ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
def test_it_says_what_it_asks_for_and_then_explores(
    hub: HubServer, opened: Opened, tiny: Checkpoint, size: tuple[int, int]
) -> None:
    commit = hub.add("org/tiny", tiny.folder)
    hub.faults.append(Slow(1.5, path="/api/models/*"))
    with opened("org/tiny", size=size) as terminal:
        terminal.wait_for("Opening org/tiny")
        terminal.wait_for("Asking 127.0.0.1 for org/tiny")
        assert "q or esc leaves." in terminal.text()
        assert all(len(line) <= size[0] for line in terminal.lines())
        terminal.wait_for("layer 0 · head 0")
        terminal.wait_for(DRAWN)
        assert f"org/tiny @ {commit[:7]}" in terminal.lines()[0]
        leave(terminal)
        assert terminal.is_restored
        assert not terminal.processes()


def test_nothing_that_only_the_hub_needs_is_loaded_before_the_first_frame() -> None:
    code = (
        "import sys, svdtui.tui.app, svdtui.tui.start; from svdtui.engine.target import find_target; "
        "find_target('org/tiny@main'); print({'huggingface_hub', 'numpy', 'plotext', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_seconds_are_counted_while_the_hub_is_silent(hub: HubServer, opened: Opened) -> None:
    hub.faults.append(Stall(path="/api/models/*", seconds=4))
    with opened("org/tiny") as terminal:
        terminal.wait_for("Asking 127.0.0.1")
        assert not re.search(r"\d s$", terminal.text(), re.MULTILINE)
        terminal.wait_for(re.compile("^ +3 s$", re.MULTILINE))
        terminal.wait_for(DRAWN)


LEAVE: dict[str, tuple[Callable[[Terminal], None], int]] = {
    "q": (lambda t: t.press("q"), 0),
    "escape": (lambda t: t.press("escape"), 0),
    "ctrl+c": (lambda t: t.press("ctrl+c"), 0),
    "SIGINT": (lambda t: t.signal(signal.SIGINT), 128 + signal.SIGINT),
    "SIGTERM": (lambda t: t.signal(signal.SIGTERM), 128 + signal.SIGTERM),
}


@pytest.mark.parametrize("way", LEAVE)
def test_it_is_left_at_once_while_the_hub_is_silent(hub: HubServer, opened: Opened, way: str) -> None:
    go, status = LEAVE[way]
    hub.faults.append(Stall(path="/api/models/*", times=ALWAYS))
    with opened("org/tiny") as terminal:
        terminal.wait_for("Asking 127.0.0.1")
        begin = time.monotonic()
        go(terminal)
        assert terminal.wait_exit() == status
        assert time.monotonic() - begin < 4  # the request itself takes 10 s to be given up
        assert terminal.is_restored
        assert not terminal.processes()


def test_tries_are_counted_and_the_last_one_ends_in_a_sentence(hub: HubServer, opened: Opened) -> None:
    hub.refuse()
    with opened("org/tiny") as terminal:
        terminal.wait_for(re.compile(r"Waiting for the network, try [2-5] of 5 \(connection refused\)"))
        terminal.wait_for("svdtui: ", timeout=40)
        assert terminal.wait_exit() == 1
        assert "connection refused" in flat(terminal)
        assert terminal.is_restored


def test_a_hub_that_comes_back_is_noticed(hub: HubServer, opened: Opened) -> None:
    hub.refuse()
    with opened("org/tiny") as terminal:
        terminal.wait_for("try 2 of 5")
        hub.accept()
        terminal.wait_for(DRAWN)


REFUSED: dict[str, tuple[list[str], dict[str, str], int, str]] = {
    "missing": (["org/missing"], {}, 1, "no model org/missing on 127.0.0.1"),
    "gated": (["org/gated"], {}, 1, "org/gated is gated"),
    "bad token": (["org/tiny"], {"HF_TOKEN": "hf_unknown"}, 1, "does not accept your token"),
    "no such revision": (["org/tiny@nope"], {}, 1, "no branch, tag or commit nope"),
    "pickles": (["org/pickles"], {}, 1, "holds no .safetensors file"),
    "no such layer": (["org/tiny", "--at", "99"], {}, 2, "There is no layer 99: org/tiny has layers 0 to 2."),
    "offline": (["org/tiny", "--offline"], {}, 1, "not in the local Hub cache"),
}
"""Arguments, environment, exit status, and words of the sentence."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_opened_is_a_sentence_on_a_restored_terminal(
    hub: HubServer, opened: Opened, tiny: Checkpoint, tmp_path: Path, case: str
) -> None:
    args, env, status, words = REFUSED[case]
    hub.add("org/gated", tiny.folder, gated=True, tokens=["hf_good"])
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "pytorch_model.bin").write_bytes(b"\x80\x02")
    hub.add("org/pickles", tmp_path / "pickles")
    with opened(*args, env=env) as terminal:
        assert terminal.wait_exit() == status
        assert terminal.is_restored
        assert terminal.lines()[0].startswith("svdtui: ")
        assert words in flat(terminal)
        assert "hf_unknown" not in terminal.output.decode()
        assert "Traceback" not in terminal.text()


def test_a_login_page_is_no_model(hub: HubServer, opened: Opened) -> None:
    hub.faults.append(CaptivePortal(times=ALWAYS))
    with opened("org/tiny") as terminal:
        assert terminal.wait_exit(60) == 1
        assert terminal.lines()[0].startswith("svdtui: ")
        assert terminal.is_restored


def test_without_colour_no_colour_is_written(hub: HubServer, opened: Opened) -> None:
    hub.faults.append(Slow(1, path="/api/models/*"))
    with opened("org/tiny", env={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for(DRAWN)
        assert not re.search(rb"\x1b\[[\d;]*\b(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)[;m]", terminal.output)


# opening, with a stand-in for the network -------------------------------------------------------------------


class Gate:
    """Opens a local folder when it is told to, and meanwhile says something."""

    def __init__(self, folder: Path, doing: str = "Knocking") -> None:
        self.folder = folder
        self.doing = doing
        self.open = threading.Event()

    def __call__(self, watch: Callable[[str], None]) -> Model:
        while not self.open.wait(0.01):
            watch(self.doing)
        return open_model(self.folder)


def app_of(opener: Opener, at: str | None = None) -> SvdtuiApp:
    return SvdtuiApp(opener, None if at is None else Address.parse(at), places=Places(), prefetch=False)


async def until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        await pilot.pause()
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not in 20 s")


def card_text(app: SvdtuiApp) -> str:
    widget = app.screen.query_one("#opening", Painted)
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height))


async def test_what_the_network_says_is_shown_as_it_is(tiny: Checkpoint) -> None:
    gate = Gate(tiny.folder, "\x1b[31mmoved to [red]\u202e")
    app = app_of(Opener("org/tiny", gate))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: r"\x1b[31mmoved to [red]\u202e" in card_text(app))


async def test_what_lies_above_stays_until_it_is_closed(tiny: Checkpoint) -> None:
    gate = Gate(tiny.folder)
    app = app_of(Opener("org/tiny", gate), "1.2")
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help))
        gate.open.set()
        await asyncio.sleep(0.3)
        await pilot.pause()
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Explorer))
        assert app.explorer
        assert str(app.explorer.address) == "1.2"
        await until(pilot, lambda: app.session is not None)


async def test_a_small_terminal_is_asked_for_room_first(tiny: Checkpoint) -> None:
    gate = Gate(tiny.folder)
    gate.open.set()
    app = app_of(Opener("org/tiny", gate))
    async with app.run_test(size=(60, 20)) as pilot:
        await asyncio.sleep(0.3)
        await pilot.pause()
        assert isinstance(app.screen, TooSmall)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: isinstance(app.screen, Explorer))


async def test_the_palette_offers_what_can_be_done_meanwhile(tiny: Checkpoint) -> None:
    app = app_of(Opener("org/tiny", Gate(tiny.folder)))
    async with app.run_test(size=(100, 30)) as pilot:
        titles = [command.title for command in app.get_system_commands(pilot.app.screen)]
        assert titles == ["Help  (?)", "Save a picture  (E)", "Quit  (q)", "Theme"]
        await pilot.press("q")


def test_a_flaw_of_the_program_is_told_without_what_may_be_secret() -> None:
    address = "https://storage.example/?Signature=secret"
    found: list[Model | EngineError] = []

    def fail(_: Callable[[str], None]) -> Model:
        raise KeyError(address)

    opener = Opener("org/tiny", fail)
    opener.start(found.append)
    wait_for(lambda: not opener.is_running)
    [error] = found
    assert re.fullmatch(r"Opening org/tiny failed with KeyError \(\w+\.py, line \d+\)\. Please report it\.", str(error))


def test_the_wait_ends_in_the_thread_too(tiny: Checkpoint) -> None:
    found: list[Model | EngineError] = []
    opener = Opener("org/tiny", Gate(tiny.folder))
    opener.start(found.append)
    assert opener.is_running
    opener.leave()
    wait_for(lambda: not opener.is_running)
    assert not found


HANGING = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from svdtui.tui.explore import explore
from svdtui.tui.opener import Opener

def hang(watch):
    watch("Hanging")
    ThreadPoolExecutor().submit(time.sleep, 60).result()

sys.exit(explore(Opener("org/tiny", hang), None))
"""


def test_it_is_left_at_once_whatever_hangs() -> None:
    with Terminal([sys.executable, "-c", HANGING]) as terminal:
        terminal.wait_for("Hanging")
        begin = time.monotonic()
        leave(terminal)
        assert time.monotonic() - begin < 4
        assert terminal.is_restored


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# what is read, and what is said before ----------------------------------------------------------------------


def test_shapes_are_shown_as_soon_as_the_header_is_read(hub: HubServer, opened: Opened, wide: Checkpoint) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 1.5e6
    hub.faults.append(Slow(2, host="storage", file="*.safetensors"))
    with opened("org/wide", "--at", "1.0.q", "--no-prefetch", size=(120, 30)) as terminal:
        terminal.wait_for("─ … ─")
        assert re.search(r"if flat 10/n +… ", terminal.text())
        terminal.wait_for("─ 128×1024 · n = 128 · bf16")
        assert "…" not in terminal.text()
        terminal.wait_for("─ 128×1024 · n = 128 · bf16 · gram64 ─")


def test_a_table_fills_in_shapes_too(hub: HubServer, opened: Opened) -> None:
    hub.faults.append(Slow(2, host="storage", file="*.safetensors"))
    with opened("org/tiny", "--at", "1.0", size=(140, 30)) as terminal:
        terminal.wait_for(re.compile(r"Q +… +· +·"))
        terminal.wait_for(re.compile(r"Q +16×64 +\d"))


def test_bytes_are_told_while_a_layer_is_read_and_what_the_network_does(
    hub: HubServer, opened: Opened, wide: Checkpoint
) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 1.5e6
    hub.faults.append(ServerError(503, host="storage", skip=1, times=2))
    with opened("org/wide", "--at", "1") as terminal:
        terminal.wait_for("5.2 MB from the Hub.")
        terminal.wait_for(re.compile(r"◐ layer 1: waiting for the network, try 2 of 5"))
        terminal.wait_for(READING)


def test_esc_stops_a_stream_and_r_reads_it_again(hub: HubServer, opened: Opened, wide: Checkpoint) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 200_000  # seconds until the first slice is there
    with opened("org/wide", "--at", "1") as terminal:
        terminal.wait_for(READING)
        terminal.press("escape")
        terminal.wait_for("Stopped layer 1.")
        assert_silent(hub)
        assert re.search(
            r"○ layer 1\n.*\n.* Stopped\.\n.* 5\.2 MB will be read from the Hub\.\n.* Press r to read it again\.",
            terminal.text(),
        )
        terminal.press("right", "down", "up")  # looking elsewhere in it does not start it
        time.sleep(0.5)
        assert_silent(hub)
        hub.bandwidth = None
        terminal.press("r")
        terminal.wait_for("cached 1/3 layers")
        leave(terminal)


def test_esc_stops_what_r_began(hub: HubServer, opened: Opened, wide: Checkpoint) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 1e6
    with opened("org/wide", "--at", "1") as terminal:
        for _ in range(2):
            terminal.wait_for(READING)
            terminal.press("escape")
            terminal.wait_for(re.compile(r"Press r to read it again\.|stopped: r reads it again"))  # some may be there
            assert_silent(hub)
            terminal.press("r")


def assert_silent(hub: HubServer) -> None:
    """The server sends nothing any more, but for what had left it already."""
    time.sleep(0.3)
    before = hub.bytes_of()
    time.sleep(0.5)
    assert hub.bytes_of() == before


def test_esc_with_nothing_to_stop_says_so(opened: Opened) -> None:
    with opened("org/tiny", "--no-prefetch") as terminal:
        terminal.wait_for("cached 1/3 layers")
        terminal.press("escape")
        terminal.wait_for("Nothing is being read or computed.")
        terminal.press("g")
        terminal.wait_for("tab completes")
        terminal.press("escape")
        terminal.wait_gone("tab completes")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding is above what is read without a word."""
    embedding = torch.zeros(1_700_000, 64, dtype=torch.bfloat16)
    made = write_checkpoint(tmp_path_factory.mktemp("models") / "large", layers=1, overrides={EMBEDDING: embedding})
    return made.folder


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
def test_a_spectrum_is_drawn_before_its_layer_has_come(
    hub: HubServer,
    opened: Opened,
    wide: Checkpoint,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 500_000  # ten seconds a layer
    with opened("org/wide", "--at", "0.5", size=size) as terminal:
        terminal.wait_for(DRAWN)
        terminal.wait_for(re.compile(r"V +[\dx× ]*[\d.]+"))
        assert re.search(r"\bO +(128×1024|1024×128)? +· +·", terminal.text())
        assert "◐ layer 0" in terminal.text()
        terminal.press("e")
        terminal.wait_for("not computed yet: left out.")
        (metrics,) = tmp_path.glob("*.metrics.csv")
        rows = list(csv.DictReader(io.StringIO(metrics.read_text())))
        assert {row["matrix"] for row in rows} < set("qkvo")
        assert {(row["layer"], row["head"]) for row in rows} == {("0", "5")}
        terminal.press("p")
        terminal.wait_for("Pin or unpin which?")
        terminal.press("1" if "q" in {row["matrix"] for row in rows} else "2")
        terminal.wait_for(re.compile(r"Pinned 0\.5\.[qk]"))
        terminal.press("up")  # to another head, and from there to the layer
        terminal.press("left", "left")
        terminal.wait_for("layer 0 · top-10 by head")
        terminal.wait_for(re.compile(r" 5 +1( +[·\d.]+)* +·"))
        assert "8 heads, partly solved" in terminal.text()
        hub.bandwidth = None
        terminal.wait_for(re.compile(r" 5 +1( +0\.\d+){4}"))
        leave(terminal)


def test_what_is_there_stays_when_the_rest_is_stopped(hub: HubServer, opened: Opened, wide: Checkpoint) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 1e6
    with opened("org/wide", "--at", "1", "--no-prefetch") as terminal:
        terminal.wait_for(DRAWN)
        terminal.press("escape")
        terminal.wait_for("8 heads, stopped: r reads it again")
        assert_silent(hub)
        assert DRAWN.search(terminal.text())
        assert re.search(r"◂? [QKVO] …", terminal.text())  # no median of a part
        terminal.press("right")
        for _ in range(8):
            terminal.press("down")
        terminal.wait_for("layer 1 · head 7")
        terminal.press("r")
        hub.bandwidth = None
        terminal.wait_for("cached 1/3 layers")
        terminal.wait_for(re.compile(r"O +(1024×128 +)?[\d.]+ +[\d.]+"))
        assert "stopped" not in terminal.text()
        leave(terminal)


def test_a_large_matrix_waits_for_the_user(hub: HubServer, opened: Opened, large: Path) -> None:
    hub.add("org/large", large)
    with opened("org/large", "--at", "embed_tokens") as terminal:
        terminal.wait_for("218 MB will be read from the Hub.")
        assert re.search(r"○ embed_tokens\n.*\n.* 218 MB will .*\n.* Press r to read it\.", terminal.text())
        assert "1700000×64 · n = 64 · bf16" in terminal.text()
        terminal.press("up", "down")
        time.sleep(0.5)
        assert hub.bytes_of("model.safetensors") < 1e6
        hub.bandwidth = 50e6
        terminal.press("r")
        terminal.wait_for(re.compile(r"◐ embed_tokens: \d+ of 218 MB"))


def test_a_scan_of_the_hub_is_begun_by_its_key_once_more_and_by_no_other(opened: Opened) -> None:
    with opened("org/tiny", "--no-prefetch", size=(140, 30)) as terminal:
        terminal.wait_for("cached 1/3")
        for key in ("q", "S", "down", "escape"):
            terminal.press("s")
            terminal.wait_for("s once more begins")
            terminal.press(key)
            terminal.wait_for("Nothing begun.")
            assert "layer 0 · head 0" in terminal.text()
        terminal.send("ss")
        terminal.wait_for("cached 3/3")
        leave(terminal)


def test_a_notice_of_the_opening_is_shown(hub: HubServer, opened: Opened) -> None:
    with opened("org/tiny", "--no-prefetch") as terminal:
        terminal.wait_for("cached 1/3")
        leave(terminal)
    hub.refuse()
    with opened("org/tiny", "--no-prefetch", size=(140, 30)) as terminal:
        terminal.wait_for(DRAWN)
        assert "! " in terminal.lines()[-2]
        assert "Shown is commit" in terminal.lines()[-2]
        leave(terminal)
    before = len(hub.requests)
    with opened("org/tiny", "--offline") as terminal:
        terminal.wait_for(DRAWN)
        assert "Shown is commit" not in terminal.text()
    assert len(hub.requests) == before


# downloading first ------------------------------------------------------------------------------------------


def test_a_download_comes_before_the_screen(hub: HubServer, opened: Opened, tiny: Checkpoint) -> None:
    with opened("org/tiny", "--download") as terminal:
        terminal.wait_for(DRAWN)
        leave(terminal)
        assert "from the Hub." not in terminal.output.decode(errors="replace")
    for file in ("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"):
        assert hub.bytes_of(file) == (tiny.folder / file).stat().st_size


def test_ctrl_c_ends_a_download_at_once(hub: HubServer, opened: Opened, wide: Checkpoint) -> None:
    hub.add("org/wide", wide.folder)
    hub.bandwidth = 5e5
    with opened("org/wide", "--download") as terminal:
        terminal.wait_for("Fetching")
        wait_for(lambda: hub.bytes_of() > 2e5)
        begin = time.monotonic()
        terminal.press("ctrl+c")
        assert terminal.wait_exit() == 130
        assert time.monotonic() - begin < 2
        assert "svdtui: Stopped; the files that were complete are kept." in terminal.lines()
        assert not terminal.processes()


# without a screen -------------------------------------------------------------------------------------------


def figures_of(text: str) -> list[list[str]]:
    """A CSV's cells without those that say which model it is."""
    return [row[2:] for row in csv.reader(io.StringIO(text))]


def test_csv_has_the_figures_of_the_folder(hub: HubServer, run_svdtui: RunSvdtui, tiny: Checkpoint) -> None:
    remote = run_svdtui("org/tiny", "--csv", "-", "--layer", "1", env=hub.environ)
    local = run_svdtui(tiny.folder, "--csv", "-", "--layer", "1")
    assert (remote.returncode, local.returncode) == (0, 0)
    assert figures_of(remote.stdout) == figures_of(local.stdout)
    assert remote.stderr == "svdtui: 25 kB will be read from the Hub.\n"
    again = run_svdtui("org/tiny", "--csv", "-", "--layer", "1", env=hub.environ)
    assert (again.stdout, again.stderr) == (remote.stdout, "")


def test_without_a_screen_it_says_what_it_waits_for(hub: HubServer, opened: Opened, tmp_path: Path) -> None:
    hub.faults.append(Slow(1.5, path="/api/models/*"))
    hub.faults.append(ServerError(503, host="storage", skip=3, times=2))
    with opened("org/tiny", "--csv", tmp_path / "m.csv", size=(160, 24)) as terminal:
        terminal.wait_for("svdtui: Asking 127.0.0.1 for org/tiny")
        terminal.wait_for("layers · waiting for the network, try 2 of 5")
        assert terminal.wait_exit() == 0
        assert terminal.lines()[0] == "svdtui: 74 kB will be read from the Hub."
        assert terminal.text().count("\n") == 0
    assert (tmp_path / "m.csv").exists()


def test_without_a_screen_ctrl_c_ends_the_wait(hub: HubServer, opened: Opened, tmp_path: Path) -> None:
    hub.faults.append(Stall(path="/api/models/*", times=ALWAYS))
    with opened("org/tiny", "--csv", tmp_path / "m.csv") as terminal:
        terminal.wait_for("Asking")
        begin = time.monotonic()
        terminal.press("ctrl+c")
        assert terminal.wait_exit() == 130
        assert time.monotonic() - begin < 4
        assert "Stopped; no file was written." in flat(terminal)
    assert not (tmp_path / "m.csv").exists()
