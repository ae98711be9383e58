"""Models of very many layers, tensors and shards: what a user waits for must not grow with them.

The layers are tiny, so that a scan reports results as fast as it can, and most of the work is the program's own.
"""

import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from .program import Program
from .report import Row, seconds, spread, within

FEW, MANY = 1_000, 10_000
"""Layers."""

SHARDS, TENSORS = 3_000, 100_000

HIDDEN, HEADS = 8, 2

_OPEN = """
import sys, time
from svdtui.engine.opening import open_model
begin = time.perf_counter()
open_model(sys.argv[1])
print(time.perf_counter() - begin)
"""


def many_rows(starts: int) -> Iterator[Row]:
    """All figures; what is built for them goes away again."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {layers: thin_model(Path(scratch) / str(layers), layers, 1) for layers in (FEW, MANY)}
        ends = {layers: _scanned(folder, Path(scratch) / "home", starts) for layers, folder in folders.items()}
        beside = f"{FEW:,} layers; {spread(ends[MANY])}; from the key to the end of the process, while s is obeyed"
        yield within(f"q while {MANY:,} layers are scanned", 2, median(ends[MANY]), median(ends[FEW]), beside)
        few = _opened(thin_model(Path(scratch) / "few", TENSORS // 40, SHARDS // 10), starts)
        many = _opened(thin_model(Path(scratch) / "many", TENSORS // 4, SHARDS), starts)
        beside = f"{SHARDS // 10:,} shards × {TENSORS // 10:,}; without the start of the program"
        yield within(f"opening {SHARDS:,} shards × {TENSORS:,} tensors", 15, many, few, beside)
        yield Row("the same", "≤ 3 s", seconds(many), f"fastest of {starts}", many <= 3)


def thin_model(folder: Path, layers: int, shards: int) -> Path:
    """Attention of `HEADS` heads and nothing else, in as many files."""
    names = [f"model.layers.{layer}.self_attn.{matrix}_proj.weight" for layer in range(layers) for matrix in "qkvo"]
    size = 2 * HIDDEN * HIDDEN
    weights = struct.pack("<64H", *(0x3F80 + 37 * i % 128 for i in range(HIDDEN * HIDDEN)))
    each = -(-len(names) // shards)
    weight_map: dict[str, str] = {}
    folder.mkdir()
    for shard in range(shards):
        part = names[shard * each : (shard + 1) * each]
        if not part:
            break
        entries = {
            name: {"dtype": "BF16", "shape": [HIDDEN, HIDDEN], "data_offsets": [i * size, (i + 1) * size]}
            for i, name in enumerate(part)
        }
        header = json.dumps(entries).encode()
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        (folder / file).write_bytes(struct.pack("<Q", len(header)) + header + weights * len(part))
        weight_map |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"hidden_size": HIDDEN, "num_attention_heads": HEADS}))
    return folder


def _scanned(folder: Path, home: Path, starts: int) -> list[float]:
    """Seconds from `q` to the end while a scan has just begun. The screen is never quiet then."""
    ends = []
    for number in range(starts):
        cache = home / f"cache-{folder.name}-{number}"
        with Program([folder, "--at", "0.0", "--no-prefetch", "--cache-dir", cache], home) as program:
            program.wait_for(lambda text: "│ cpu" in text)
            program.settle(0.5)
            program.send("s")
            mark = program.size
            program.wait_for(lambda text: "layers ·" in text or "left" in text, since=mark)
            begin = time.perf_counter()
            program.quit()
            ends.append(time.perf_counter() - begin)
    return ends


def _opened(folder: Path, starts: int) -> float:
    """The fewest seconds in which a model was opened."""
    command = [sys.executable, "-P", "-c", _OPEN, str(folder)]
    return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(starts))
