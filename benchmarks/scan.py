"""All layers, one after another: the time through queue, worker and store, and the memory of all processes."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil

from svdtui.engine import HEADS, Address, Job, Model, Opening, open_model
from svdtui.engine.compute import Computer
from svdtui.engine.lanes import LocalWorkers, plan
from svdtui.engine.limits import usable_cores
from svdtui.engine.scan import scan
from svdtui.engine.store import Store
from svdtui.engine.text import plural

from .memory import PeakMemory
from .program import Program, command
from .report import Row, megabytes, seconds
from .timing import REST
from .warm_session import WarmSession

_LIMIT = 1e9
"""Bytes that all processes together may take."""

_SAME = 1.05
"""How much more memory a longer scan may take and still count as taking the same."""


def time_row(folder: Path, rounds: int) -> Iterator[Row]:
    """A scan of all layers but the first, which warms the worker up, beside as many times the computation of one."""
    model = open_model(folder)
    scans, layers = asyncio.run(_scans(model, rounds))
    scan, one, count = median(scans), median(layers), len(model.layers) - 1
    ratio = scan / (count * one)
    detail = f"{seconds(scan)} through queue, worker and store, beside {count} × {seconds(one)} for a layer as above"
    yield Row(f"a scan of {count} layers", f"≤ 1.1 × {count} single layers", f"{ratio:.2f} ×", detail, ratio <= 1.1)


async def _scans(model: Model, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of whole scans by a warm worker, and of single layers in this process, in turns."""
    scans, layers = [], []
    computer = Computer(model)
    computer.compute(Job(model.layers[0], HEADS))
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            async with WarmSession(model, Path(cache)) as session:
                await session.show(Address(model.layers[0]))
                await asyncio.sleep(REST)
                scans.append(await session.scan())
        await asyncio.sleep(REST)
        for layer in model.layers[1:]:
            begin = time.perf_counter()
            computer.compute(Job(layer, HEADS))
            layers.append(time.perf_counter() - begin)
    computer.close()
    return scans, layers


def workers_row(folder: Path, rounds: int) -> Iterator[Row]:
    """The same layers by two processes that share the cores, beside one that has them all. No target: it depends."""
    model = open_model(folder)
    one, two = _by_workers(model, rounds)
    ratio = median(one) / median(two)
    cores = usable_cores()
    detail = (
        f"{seconds(median(two))} beside {seconds(median(one))} for one worker, which has all {cores} cores too: "
        "a second can only use what that leaves idle while it reads and writes, and shares the memory's bandwidth"
    )
    yield Row(f"a scan of {len(model.layers)} layers, `--workers 2`", "–", f"{ratio:.2f} × as fast", detail, None)


def _by_workers(model: Model, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of scans by one and by two processes that are ready, in turns; caches begin empty."""
    taken: tuple[list[float], list[float]] = ([], [])
    jobs = [Job(layer, HEADS) for layer in model.layers]
    for _ in range(rounds):
        for count in (1, 2):
            with tempfile.TemporaryDirectory() as cache:
                opening = Opening(model.location, model.key, "gram64", "cpu", cache)
                workers = LocalWorkers(plan(opening, count))
                try:
                    scan(jobs[:count], workers, lambda job, answer: None)  # buffers are there, pages touched
                    for job in jobs[:count]:
                        Store(model, "gram64", Path(cache)).forget(job)
                    time.sleep(REST)
                    begin = time.perf_counter()
                    failures = scan(jobs, workers, lambda job, answer: None)
                    taken[count - 1].append(time.perf_counter() - begin)
                finally:
                    workers.close()
            if failures:
                raise next(iter(failures.values()))
    return taken


def memory_rows(short: Path, long: Path) -> Iterator[Row]:
    """The peak of all processes while a user goes through all layers on screen, and without a screen."""
    layers = {folder: open_model(folder).layers for folder in (short, long)}
    peaks = {folder: (on_screen(folder, layers[folder]), _headless(folder)) for folder in layers}
    counts = {folder: len(layers[folder]) for folder in layers}
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


def on_screen(model: str | Path, layers: Sequence[int], environ: Mapping[str, str] | None = None) -> PeakMemory:
    """Go from layer to layer as soon as each is there."""
    memory = PeakMemory()
    with tempfile.TemporaryDirectory() as home, Program([model, "--at", "0.0"], Path(home), environ) as program:
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
