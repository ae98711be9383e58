"""Slices on their way from the worker to the screen, before their layer is done."""

import json
from pathlib import Path

import numpy as np
import pytest

from svdtui.engine import HEADS, Address, Job, MatrixResult, Model, open_model, view
from svdtui.engine.arriving import PartialResult, SolvedSlices
from svdtui.engine.overview import HeadsOverview, overview
from svdtui.tui.widgets.outline import Node, Outline, shows_any

from .checkpoints import write_checkpoint

JOB = Job(0, HEADS)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Four heads that share two KV heads, of 16 values each."""
    return open_model(write_checkpoint(tmp_path / "m", layers=1).folder)


def solved(matrix: str, first: int, *values: float, nonfinite: int = 0) -> SolvedSlices:
    """A slice for each value, whose singular values are all that; NaN is one that has none."""
    sigma = np.array([[value] * 16 for value in values])
    there = ~np.isnan(sigma[:, 0])
    return SolvedSlices(
        matrix,
        first,
        MatrixResult(
            sigma,
            tuple("gram64" if each else "" for each in there),
            tuple(0 if each else nonfinite for each in there),
        ),
    )


def test_a_slice_crosses_the_pipe_to_the_last_bit() -> None:
    sigma = np.random.default_rng(0).standard_normal((3, 16)) * [[1e-300], [1], [1e300]]
    sigma[1] = np.nan
    sent = SolvedSlices("v", 5, MatrixResult(sigma, ("gram64", "", "svd64"), (0, 7, 0)))
    came = SolvedSlices.unpacked(json.loads(json.dumps(sent.packed())))
    assert (came.matrix, came.first, len(came)) == ("v", 5, 3)
    assert came.places == {("v", 5), ("v", 6), ("v", 7)}
    assert came.result.sigma.tobytes() == sigma.tobytes()
    assert (came.result.solvers, came.result.nonfinite) == (("gram64", "", "svd64"), (0, 7, 0))


def test_what_has_not_arrived_is_missing_and_what_has_no_spectrum_says_why(model: Model) -> None:
    part = PartialResult(model, JOB)
    before = part.result
    part.put([solved("q", 2, 3.0), solved("k", 1, 4.0), solved("o", 2, np.nan, nonfinite=9)])
    assert not any(matrix.solved.any() for matrix in before.matrices.values())
    assert part.result.matrices["q"].solved.tolist() == [False, False, True, False]
    seen = view(model, Address(0, 2), {JOB: part.result}.get)
    assert [row.info.matrix for row in seen.rows] == ["q", "k", "o"]
    assert seen.missing == 1
    assert seen.rows[0].spectrum is not None
    assert seen.rows[0].spectrum.tolist() == [3.0] * 16
    assert "9 of the" in (seen.rows[2].problem or "")
    assert view(model, Address(0, 0), {JOB: part.result}.get).missing == 4


def test_heads_side_by_side_tell_what_is_to_come_from_what_has_no_spectrum(model: Model) -> None:
    part = PartialResult(model, JOB)
    part.put([solved("q", 1, 3.0, np.nan, nonfinite=2), solved("k", 1, 4.0)])
    result = part.result
    so_far = {name: matrix.solved for name, matrix in result.matrices.items()}
    heads = overview(model, Address(0), lambda job: result.tables(10), 10, so_far)
    assert isinstance(heads, HeadsOverview)
    assert heads.solved("q").tolist() == [False, True, True, False]
    assert heads.solved("k").tolist() == [False, False, True, True]
    assert heads.solved("o").tolist() == [False] * 4
    assert heads.computed.tolist() == [False, True, True, True]
    assert heads.flaws("q").tolist() == [0, 0, 1, 0]
    assert heads.flaws("o").tolist() == [0] * 4
    assert not heads.is_whole
    assert not overview(model, Address(0), lambda job: result.tables(10), 10, {"q": so_far["q"]}).solved("o").any()
    assert heads.values("q", "sigma_first").tolist() == pytest.approx([np.nan, 3, np.nan, np.nan], nan_ok=True)


def test_slices_are_drawn_where_they_are_shown(model: Model) -> None:
    """Elsewhere nothing is painted for them: over SSH each frame costs."""
    outline = Outline(model)
    (layer,) = [node for node in outline.nodes if node.kind == "layer"]
    head = next(node for node in outline.children(layer) if node.address == Address(0, 2))
    matrices = {node.address.matrix: node for node in outline.children(head)}

    def shown(matrix: str, index: int) -> list[Node]:
        nodes = [outline.nodes[0], layer, head, matrices["q"], matrices["k"]]
        return [node for node in nodes if shows_any(node, {(matrix, index)}, model)]

    assert shown("q", 2) == [layer, head, matrices["q"]]
    assert shown("k", 1) == [layer, head, matrices["k"]]
    assert shown("o", 2) == [layer, head]
    assert shown("q", 1) == [layer]
