"""One layer's heads, and one whole matrix: the engine's warm path beside the calls that it replaces."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import torch

from svdtui.engine import HEADS, Job, open_model
from svdtui.engine.compute import Computer
from svdtui.engine.lapack import fp32_singular_values, load

from .references import Weights, head_slices, projection, require_same
from .report import Row, faster, seconds, within
from .timing import Work, in_turns, limited

SQUARE = 3072
"""Rows of the square matrices by which the machine's GEMM rate is measured."""

THREADS = {"the BLAS's own threads": None, "one thread": 1}
"""How numpy is run: as it is, and with one thread, which is faster for small slices on a busy machine."""

_RUNS = 3
"""Runs of the engine in a round: it is much faster than its references."""


def layer_rows(folder: Path, rounds: int) -> Iterator[Row]:
    """A layer's head slices, read, decoded and solved, beside numpy's SVD and beside their fp64 products alone."""
    model = open_model(folder)
    computer = Computer(model)
    layer = model.layers[0]
    slices = head_slices(model, layer)
    require_same(computer.compute(Job(layer, HEADS)), slices)
    every = [each for parts in slices.values() for each in parts]
    jobs = cycle([Job(layer, HEADS) for layer in model.layers])
    products = _large_products()
    load()  # so that its BLAS is limited too

    work: dict[str, Work] = {
        "ours": (_RUNS, lambda: computer.compute(next(jobs))),
        **{f"values, {many}": (1, limited(threads, _all_values(every))) for many, threads in THREADS.items()},
        **{
            f"{matrix}, {many}": (1, limited(threads, _plain_svd(parts[0])))
            for matrix, parts in slices.items()
            for many, threads in THREADS.items()
        },
        "fp32": (1, limited(1, lambda: [fp32_singular_values(each.copy()) for each in every])),
        **products,
    }
    taken = in_turns(rounds, work)
    computer.close()

    what = f"one layer: {len(every)} head slices of {_shape(every[0])}, read + spectra"
    values = {many: median(taken[f"values, {many}"]) for many in THREADS}
    loop = (
        "`numpy.linalg.svd` of the same slices as fp32 arrays, which it computes in fp64, values only "
        "(`compute_uv=False`), without reading"
    )
    yield _faster_than_both(what, taken["ours"], values, loop)
    plain = {
        many: sum(len(parts) * median(taken[f"{matrix}, {many}"]) for matrix, parts in slices.items())
        for many in THREADS
    }
    loop = "the plain call `numpy.linalg.svd(slice)`, with vectors (one slice of each of Q K V O timed, and scaled)"
    yield _faster_than_both("the same", taken["ours"], plain, loop)

    ratio = median(taken["fp32"]) / median(taken["ours"])
    detail = f"{seconds(median(taken['fp32']))} for LAPACK's `sgesdd` over the same slices, with one thread"
    yield Row("the same, beside an SVD that really computes in fp32", "–", f"{ratio:.1f} × faster", detail, None)

    best = min(products, key=lambda library: min(taken[library]))
    rate = 2 * SQUARE**3 / min(taken[best])
    flops = sum(2 * min(each.shape) ** 2 * max(each.shape) for each in every)
    reference = (
        f"its fp64 products alone: {flops / 1e9:.1f} GFLOP at the {rate / 1e9:.0f} GFLOP/s of {best} "
        f"({SQUARE} × {SQUARE} in fp64, the faster of numpy and torch; the fastest run of both sides)"
    )
    # fastest runs: what else the machine does slows a short layer and a long product down by different factors
    yield within("the same", 1.5, min(taken["ours"]), flops / rate, reference)


def whole_row(folder: Path, rounds: int) -> Iterator[Row]:
    """A whole Q beside torch's fp32 singular values."""
    model = open_model(folder)
    computer = Computer(model)
    jobs = cycle([Job(layer, "q_proj") for layer in model.layers])
    weights = torch.from_numpy(projection(model, model.layers[0], "q"))
    taken = in_turns(
        rounds,
        {
            "ours": (2, lambda: computer.compute(next(jobs))),
            "torch": (1, lambda: torch.linalg.svdvals(weights)),
        },
    )
    computer.close()
    what = f"one whole matrix of {_shape(weights.numpy())}, read + spectrum"
    yield faster(what, 4, taken["ours"], taken["torch"], "`torch.linalg.svdvals` in fp32, without reading")


def _faster_than_both(what: str, ours: list[float], theirs: dict[str, float], reference: str) -> Row:
    """The verdict is against the faster of numpy's two ways."""
    best = min(theirs, key=theirs.__getitem__)
    others = ", ".join(f"with {many} {seconds(took)}" for many, took in theirs.items() if many != best)
    return faster(what, 8, ours, [theirs[best]], f"{reference}; with {best} ({others})")


def _all_values(slices: list[Weights]) -> Callable[[], object]:
    return lambda: [np.linalg.svd(each, compute_uv=False) for each in slices]


def _plain_svd(matrix: Weights) -> Callable[[], object]:
    return lambda: np.linalg.svd(matrix)


def _large_products() -> dict[str, Work]:
    """A large fp64 product by each library."""
    square = np.random.default_rng(0).standard_normal((SQUARE, SQUARE))
    tensor = torch.from_numpy(square)
    product = torch.empty_like(tensor)
    return {
        "numpy": (2, lambda: np.matmul(square, square, out=product.numpy())),
        "torch": (2, lambda: torch.matmul(tensor, tensor, out=product)),
    }


def _shape(matrix: Weights) -> str:
    return " × ".join(map(str, matrix.shape))
