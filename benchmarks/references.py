"""What the engine is compared with: the same weights as a notebook has them, as fp32 arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from svdtui.engine import JobResult, Model

Weights = NDArray[np.float32]


def head_slices(model: Model, layer: int) -> dict[str, list[Weights]]:
    """The slices of each of Q, K, V and O, contiguous; K and V have one for each KV head."""
    found = {}
    for tensor in model.head_tensors(layer):
        whole = projection(model, layer, tensor.matrix)
        parts = np.split(whole, tensor.count, axis=0 if tensor.side == "rows" else 1)
        found[tensor.matrix] = [np.ascontiguousarray(part) for part in parts]
    return found


def projection(model: Model, layer: int, matrix: str) -> Weights:
    """A whole Q, K, V or O, (rows, cols)."""
    ref = next(tensor.ref for tensor in model.head_tensors(layer) if tensor.matrix == matrix)
    with safe_open(Path(model.location) / ref.file, framework="pt") as file:
        weights: Weights = file.get_tensor(ref.name).float().numpy()
    return weights


def require_same(result: JobResult, slices: dict[str, list[Weights]]) -> None:
    """Both must compute the same thing: one slice of each matrix is compared.

    Raises:
        RuntimeError: numpy finds other singular values.
    """
    for matrix, parts in slices.items():
        expected = np.linalg.svd(parts[-1], compute_uv=False)
        if not np.allclose(result.matrices[matrix].sigma[-1], expected, rtol=1e-3):
            raise RuntimeError(f"{result.job} {matrix}: numpy finds other singular values")
