"""Measure speed, memory and latency, and print a Markdown table: `make bench`, or `python benchmarks/run.py --help`.

Every row is measured in this run, beside its reference. A missed target is said, and is no error: exit status 1 means
that something could not be measured at all.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "layer": "one layer's head slices beside numpy's SVD, and beside their fp64 products alone",
    "whole": "one whole 4096 × 4096 matrix beside torch's svdvals",
    "scan": "all layers beside as many single ones, and by two workers beside one",
    "memory": "peak memory of all processes, for few and for many layers",
    "start": "first frame, cached and fresh spectrum",
    "keys": "latency and bytes of key presses while the worker computes",
    "cached": "opening, moving, sorting and exporting where all is computed, up to 128 layers of 128 heads",
    "accuracy": "errors of values on matrices whose singular values are known exactly",
    "many": "very many layers, tensors and shards beside fewer",
    "hub": "a model on the Hub beside the same in a folder, over loopback",
}


def main() -> int:
    """Run the parts that are asked for; the exit status."""
    options = _options()
    layers, few = (32, 8) if options.full else (options.layers, max(1, options.layers // 4))
    # torch and the program itself, which --help does without
    from benchmarks import accuracy, cached, hub, keys, layer, machine, many, scan, start
    from benchmarks.llama_shaped import checkpoint
    from benchmarks.report import HEADER

    told = machine.machine()
    folder = options.folder
    try:
        if options.only != ["accuracy"]:
            folder = checkpoint(options.folder, layers)
    except OSError as error:
        print(f"the weights cannot be built: {error}", file=sys.stderr)
        return 1
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "layer": lambda: layer.layer_rows(folder, options.rounds),
        "whole": lambda: layer.whole_row(folder, max(1, options.rounds - 1)),
        "scan": lambda: chain(scan.time_row(folder, options.rounds), scan.workers_row(folder, options.rounds)),
        "memory": lambda: scan.memory_rows(checkpoint(options.folder, few), folder),
        "start": lambda: start.start_rows(folder, options.starts),
        "keys": lambda: keys.key_rows(folder, options.presses),
        "cached": lambda: cached.cached_rows(options.starts),
        "accuracy": accuracy.accuracy_rows,
        "many": lambda: many.many_rows(options.starts),
        "hub": lambda: hub.hub_rows(checkpoint(options.folder, hub.LAYERS), options.rounds),
    }
    rows: list[Row] = []
    failures = 0
    begin = time.perf_counter()
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state  # where a worker's log goes
        for name in options.only or PARTS:
            print(f"measuring {PARTS[name]} …", file=sys.stderr)
            try:
                for row in parts[name]():
                    print(row, flush=True)
                    rows.append(row)
            except Exception as error:  # the other parts can still be measured
                print(f"{name} could not be measured: {type(error).__name__}: {error}", file=sys.stderr)
                failures += 1
    missed = sum(row.met is False for row in rows)
    verdict = f"MISSED: {missed} of {len(rows)} rows." if missed else "No target was missed."
    if failures:
        verdict += f" NOT MEASURED: {failures} of {len(options.only or PARTS)} parts."
    print(f"\n{verdict} {told} The run took {(time.perf_counter() - begin) / 60:.1f} min.")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure svdtui's speed, memory and latency on a checkpoint shaped as Llama-3-8B.",
        epilog="parts: " + "; ".join(f"{name}: {what}" for name, what in PARTS.items()),
    )
    parser.add_argument(
        "--only", choices=PARTS, action="append", metavar="PART", help="only this part; may be repeated"
    )
    parser.add_argument("--layers", type=_positive, default=8, help="layers of the checkpoint, 84 MB each (8)")
    parser.add_argument("--full", action="store_true", help="32 layers (2.7 GB), and memory beside 8")
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds of each comparison (3)")
    parser.add_argument("--starts", type=_positive, default=5, help="starts of the program, of each kind (5)")
    parser.add_argument("--presses", type=_positive, default=120, help="keys pressed (120)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache" / "bench", help="where the weights are kept (.cache/bench)"
    )
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    return options


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # so that `benchmarks` is a package, and its modules hide no one else's
    sys.exit(main())
