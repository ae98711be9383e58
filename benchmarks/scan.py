"""All layers, one after another: the time through queue, worker and store, and the memory of all processes."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

from svdtui.engine import HEADS, Address, Event, Job, Model, Session, State, StateChanged, open_model
from svdtui.engine.compute import Computer
from svdtui.engine.text import plural

from .memory import PeakMemory
from .program import Program, command
from .report import Row, megabytes, seconds
from .timing import REST

_LIMIT = 1e9
"""Bytes that all processes together may take."""

_SAME = 1.05
"""How much more memory a longer scan may take and still count as taking the same."""


def time_row(folder: Path, rounds: int) -> Iterator[Row]:
    """A scan of all layers beside as many times the bare computation of one."""
    model = open_model(folder)
    scans, layers = asyncio.run(_scans(model, rounds))
    scan, one, count = median(scans), median(layers), len(model.layers)
    ratio = scan / (count * one)
    detail = f"{seconds(scan)} through queue, worker and store, beside {count} × {seconds(one)} for a layer as above"
    yield Row(f"a scan of {count} layers", f"≤ 1.1 × {count} single layers", f"{ratio:.2f} ×", detail, ratio <= 1.1)


async def _scans(model: Model, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of whole scans by a warm worker, and of single layers in this process, in turns."""
    news: asyncio.Queue[Event] = asyncio.Queue()
    scans, layers = [], []
    computer = Computer(model)
    computer.compute(Job(model.layers[0], HEADS))
    with tempfile.TemporaryDirectory() as cache:
        session = Session(model, cache_dir=Path(cache), prefetch=False, on_event=news.put_nowait)
        try:
            await session.start()
            await _ask(session, model.layers[0], news)
            for _ in range(rounds):
                await asyncio.sleep(REST)
                begin = time.perf_counter()
                for layer in model.layers:
                    await _ask(session, layer, news)
                scans.append(time.perf_counter() - begin)
                await asyncio.sleep(REST)
                for layer in model.layers:
                    begin = time.perf_counter()
                    computer.compute(Job(layer, HEADS))
                    layers.append(time.perf_counter() - begin)
        finally:
            session.stop()
            computer.close()
            await asyncio.sleep(REST)  # the loop still has to see the worker end
    return scans, layers


async def _ask(session: Session, layer: int, news: "asyncio.Queue[Event]") -> None:
    """Ask for a layer's heads anew, and wait for them."""
    session.again(Address(layer))
    while True:
        match await asyncio.wait_for(news.get(), 120):
            case StateChanged(Job(layer=done, kind="heads"), State.CACHED) if done == layer:
                return
            case StateChanged(job, State.FAILED):
                raise RuntimeError(f"{job} failed: {session.failure(job)}")


def memory_rows(short: Path, long: Path) -> Iterator[Row]:
    """The peak of all processes while a user goes through all layers on screen, and without a screen."""
    peaks = {folder: (_on_screen(folder), _headless(folder)) for folder in (short, long)}
    counts = {folder: len(open_model(folder).layers) for folder in peaks}
    screen, headless = peaks[long]
    highest = max(screen.peak, headless.peak)
    what = f"peak memory of all processes, {plural(counts[long], 'layer')}"
    detail = (
        f"{screen.unit} of screen + worker, sampled {screen.samples} times; with `--csv`, one process, "
        f"{megabytes(headless.peak)}"
    )
    yield Row(what, "≤ 1 GB", megabytes(screen.peak), detail, highest <= _LIMIT)
    few, _ = peaks[short]
    ratio = screen.peak / few.peak
    yield Row(
        f"the same, beside {plural(counts[short], 'layer')}",
        f"the same (≤ {_SAME:g} ×)",
        f"{ratio:.2f} ×",
        f"{megabytes(screen.peak)} beside {megabytes(few.peak)}",
        ratio <= _SAME,
    )


def _on_screen(folder: Path) -> PeakMemory:
    """Go from layer to layer as soon as each is there."""
    memory = PeakMemory()
    with tempfile.TemporaryDirectory() as home, Program([folder, "--at", "0.0"], Path(home)) as program:
        layers = open_model(folder).layers
        for layer in layers:

            def is_there(layer: int = layer) -> bool:
                memory.sample(program.processes())
                return any(Path(home).rglob(f"layer-{layer:05d}.heads.safetensors"))

            program.wait_until(is_there)
            if layer != layers[-1]:
                program.send("]")
        for _ in range(10):  # the last result's way to the screen
            program.settle(0.05, 0.05)
            memory.sample(program.processes())
        program.quit()
    return memory


def _headless(folder: Path) -> PeakMemory:
    memory = PeakMemory()
    with tempfile.TemporaryDirectory() as home:
        argv = [*command(), folder, "--csv", Path(home) / "out.csv", "--cache-dir", home]
        with subprocess.Popen([*map(str, argv)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            running = psutil.Process(process.pid)
            while process.poll() is None:
                memory.sample([running])
                time.sleep(0.02)
            if process.returncode:
                assert process.stderr
                raise RuntimeError(f"svdtui --csv failed: {process.stderr.read().decode().strip()}")
    return memory
