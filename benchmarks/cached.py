"""A model whose results are all on disk: opening, moving, sorting and exporting, up to 128 layers of 128 heads.

The weights are holes in a file: nothing reads them. The results are made up, and stored as the program stores its own.
"""

import json
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from svdtui.engine import HEADS, Job, JobResult, MatrixResult, Model, open_model
from svdtui.engine.results import expected_shapes
from svdtui.engine.store import Store

from .program import SIZE, Answer, Program, command
from .report import Row, kilobytes, percentile, seconds, spread

LARGE = 128
"""Layers, and heads of each."""

LAYERS, LAYER_HEADS = 32, 32
"""Those of Llama-3-8B."""

HEAD_DIM, KV_HEADS = 128, 8

MOVES = ("\x1b[C", "\x1b[B") * 15 + ("\x1b[D", "\x1b[A") * 15


def cached_rows(starts: int) -> Iterator[Row]:
    """All figures; what is built for them goes away again."""
    with tempfile.TemporaryDirectory() as scratch:
        large = _computed(Path(scratch) / "large", LARGE, LARGE)
        yield _start_row(large, Path(scratch) / "home", starts)
        yield from _key_rows(large, Path(scratch) / "home")
        yield _csv_row(_computed(Path(scratch) / "llama", LAYERS, LAYER_HEADS), Path(scratch), starts)


def _computed(folder: Path, layers: int, heads: int) -> Path:
    """A model folder with all its results in `folder`/cache."""
    hidden = HEAD_DIM
    shapes = {
        "q": (heads * HEAD_DIM, hidden),
        "k": (KV_HEADS * HEAD_DIM, hidden),
        "v": (KV_HEADS * HEAD_DIM, hidden),
        "o": (hidden, heads * HEAD_DIM),
    }
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "head_dim": HEAD_DIM,
        "num_attention_heads": heads,
        "num_key_value_heads": KV_HEADS,
    }
    header, end = {}, 0
    for layer in range(layers):
        for matrix, (rows, cols) in shapes.items():
            start, end = end, end + 2 * rows * cols
            name = f"model.layers.{layer}.self_attn.{matrix}_proj.weight"
            header[name] = {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    _store_results(open_model(folder), Store(open_model(folder), "gram64", folder / "cache"))
    return folder


def _store_results(model: Model, store: Store) -> None:
    random = np.random.default_rng(0)
    for layer in model.layers:
        job = Job(layer, HEADS)
        matrices = {}
        for matrix, (count, n) in expected_shapes(model, job).items():
            fall = random.uniform(2, 5, (count, 1)) * np.linspace(0, 1, n)  # (slices, n)
            matrices[matrix] = MatrixResult(np.exp(2 - fall), ("gram64",) * count, (0,) * count)
        store.save(store.encode(JobResult(job, matrices)), job)


def _program(folder: Path, home: Path, at: str) -> Program:
    return Program([folder, "--at", at, "--no-prefetch", "--cache-dir", folder / "cache"], home)


def _start_row(folder: Path, home: Path, starts: int) -> Row:
    taken = []
    for _ in range(starts + 1):
        with _program(folder, home, "0.0") as program:
            taken.append(program.wait_for(lambda text: f"cached {LARGE}/{LARGE} layers" in text and "●" in text))
            program.settle()
            program.quit()
    del taken[0]
    detail = f"median of starts; {spread(taken)}; from exec to a frame with every mark, in a pty of {_size()}"
    what = f"opening {LARGE} layers × {LARGE} heads, all computed"
    return Row(what, "≤ 1 s", seconds(median(taken)), detail, median(taken) <= 1)


def _key_rows(folder: Path, home: Path) -> Iterator[Row]:
    with _program(folder, home, "0.0") as program:
        program.wait_for(lambda text: "│ cpu" in text)
        program.settle(1)
        program.press("H")
        program.settle(1)
        moves = [program.press(key, quiet=0.1) for key in MOVES]
        program.press("\x1b")
        program.settle(1)
        program.quit()
    yield _latency_row(f"cursor move in the heat map of {LARGE} × {LARGE}", 0.010, moves)
    most = max(answer.bytes_written for answer in moves)
    middle = kilobytes(median(answer.bytes_written for answer in moves))
    told = f"median {middle}, most {kilobytes(most)}"
    yield Row("bytes of it", "≤ 2.00 KB", told, f"{len(moves)} of them in a pty of {_size()}", most <= 2000)
    with _program(folder, home, "0") as program:
        program.wait_for(lambda text: "│ cpu" in text)
        program.settle(1)
        sorts = [program.press(key, quiet=0.2) for key in "ooOooOooO"]
        program.quit()
    yield _latency_row(f"sorting a table of {LARGE} heads", 0.050, sorts)


def _latency_row(what: str, most: float, answers: list[Answer]) -> Row:
    first = [answer.first for answer in answers if answer.first is not None]
    late = percentile(first, 95)
    spent = f"median {seconds(median(first))}, most {seconds(max(first))}"
    is_met = late <= most and len(first) == len(answers)
    detail = f"{len(first)} keys, from the key to the first byte; {spent}"
    return Row(what, f"p95 ≤ {seconds(most)}", f"p95 {seconds(late)}", detail, is_met)


def _csv_row(folder: Path, scratch: Path, runs: int) -> Row:
    target = scratch / "heads.csv"
    taken = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        argv = [*command(), folder, "--csv", target, "--cache-dir", folder / "cache"]
        subprocess.run([*map(str, argv)], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begin)
    del taken[0]
    with target.open() as file:
        rows = sum(1 for _ in file) - 1
    if rows != LAYERS * LAYER_HEADS * 4:
        raise RuntimeError(f"the CSV has {rows:,} rows")
    detail = f"median of runs; {spread(taken)}; {rows:,} rows from cached results, the start of the program included"
    what = f"CSV of {LAYERS} layers × {LAYER_HEADS} heads"
    return Row(what, "≤ 2 s", seconds(median(taken)), detail, median(taken) <= 2)


def _size() -> str:
    return " × ".join(map(str, SIZE))
