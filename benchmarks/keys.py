"""Key presses while the worker computes: how soon the screen answers, and in how many bytes."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median

from svdtui.engine import HEADS, Job, open_model

from .program import SIZE, Answer, Program, ProgramError
from .report import Row, kilobytes, percentile, seconds

UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
NAMES = {UP: "up", DOWN: "down", RIGHT: "right", LEFT: "left"}

ROUND = (RIGHT, *[DOWN] * 20, *[UP] * 20, LEFT, *"}}xc}1x1cc{2{2{")
"""From head 0 into its matrices, down half of the heads and back; then neighbouring heads, axis, curve and hidden
matrices. It ends where it began, nothing in it leaves layer 0, and each key has something to draw."""


@dataclass
class Pressed:
    """Keys that were pressed while the worker was computing, and the answers."""

    answers: list[tuple[str, Answer]] = field(default_factory=list)
    wall_seconds: float = 0
    worker_seconds: float = 0
    """CPU time of the worker meanwhile."""


def key_rows(folder: Path, presses: int) -> Iterator[Row]:
    """Latency and bytes of `presses` keys."""
    pressed = _press(folder, presses)
    first = [answer.first for _, answer in pressed.answers if answer.first is not None]
    silent = [NAMES.get(key, key) for key, answer in pressed.answers if answer.first is None]
    late = percentile(first, 95)
    size = " × ".join(map(str, SIZE))
    yield Row(
        "key to first byte while the worker computes",
        "p95 ≤ 40 ms",
        f"p95 {seconds(late)}",
        f"{len(first)} keys in a pty of {size}, median {seconds(median(first))}, longest {seconds(max(first))}; the "
        f"worker kept {pressed.worker_seconds / pressed.wall_seconds:.1f} cores busy"
        + (f"; no answer to `{'` `'.join(silent)}`" if silent else ""),
        late <= 0.04 and not silent,
    )
    cursor, plots = [], []
    for key, answer in pressed.answers:
        if key in {UP, DOWN} and len(answer.frames) > 1:  # the cursor first, and then what it points at
            cursor.append((answer.frames[0], key))
            plots.append((sum(answer.frames[1:]), key))
        elif answer.frames:
            plots.append((answer.bytes_written, key))
    yield _bytes_row("bytes of a cursor move", 1500, cursor, "the first frame after an arrow key")
    yield _bytes_row("bytes of a plot change", 15000, plots, "the frames that follow, or the answer to another key")


def _bytes_row(what: str, most: int, sizes: list[tuple[int, str]], detail: str) -> Row:
    highest, key = max(sizes)
    measured = f"median {kilobytes(median(size for size, _ in sizes))}, most {kilobytes(highest)}"
    detail = f"{len(sizes)} of them, the largest after `{NAMES.get(key, key)}`; {detail}"
    return Row(what, f"≤ {kilobytes(most)}", measured, detail, highest <= most)


def _press(folder: Path, presses: int) -> Pressed:
    """Press keys in layer 0, whose spectra are there, while whole matrices are computed.

    The slowest solver makes a whole matrix take long enough; it uses all cores, as the others do.
    """
    pressed = Pressed()
    options = ["--at", "0.0", "--solver", "svd64", "--no-prefetch"]
    with tempfile.TemporaryDirectory() as home, Program([folder, *options], Path(home)) as program:
        is_there = _Results(Path(home))
        program.wait_until(lambda: is_there(Job(0, HEADS)), 300)
        program.settle(1)
        jobs = (Job(layer, f"{matrix}_proj") for layer in open_model(folder).layers for matrix in "qo")
        running: Job | None = None
        keys = cycle(ROUND)
        while len(pressed.answers) < presses:
            if running is None or is_there(running):
                running = next(jobs, None)
                if running is None:
                    raise ProgramError("all matrices were computed before enough keys were pressed: use more --layers")
                _go(program, str(running))
                _go(program, "0.0")
                keys = cycle(ROUND)
            key = next(keys)
            begin, cpu = time.perf_counter(), program.worker_seconds()
            answer = program.press(key)
            if is_there(running):
                continue  # it ended meanwhile: this key does not count
            pressed.wall_seconds += time.perf_counter() - begin
            pressed.worker_seconds += program.worker_seconds() - cpu
            pressed.answers.append((key, answer))
    return pressed


def _go(program: Program, address: str) -> None:
    """Go to an address as a user does."""
    program.send("g")
    program.settle()
    program.send(address)
    program.settle()
    program.send("\r")
    program.settle(1)


class _Results:
    """Whether a job's result is on disk."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, job: Job) -> bool:
        return any(self._home.rglob(f"layer-{job.layer:05d}.{job.kind}.safetensors"))
