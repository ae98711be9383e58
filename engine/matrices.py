"""What a model is made of for those who compute and show it: jobs, matrices, and tensors that divide into slices."""

from dataclasses import dataclass
from typing import Self

from .address import Address
from .checkpoint import TensorRef
from .layout import Side
from .text import printable, shortened

HEADS = "heads"
"""The kind of job that computes all attention heads of a layer."""

DTYPES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
"""The dtypes that can be analysed: safetensors' name → the name shown."""


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of work: all attention heads of a layer (`kind` is `heads`), or one whole matrix (its name)."""

    layer: int | None
    kind: str

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"{self.layer}.{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`."""
        layer, _, kind = text.rpartition(".")
        return cls(int(layer) if layer else None, kind)


def job_name(job: Job) -> str:
    """A job in a user's words: `layer 12` for its heads, `layer 12 gate_proj`, `lm_head`."""
    if job.layer is None:
        return job.kind
    return f"layer {job.layer}" if job.kind == HEADS else f"layer {job.layer} {job.kind}"


@dataclass(frozen=True, slots=True)
class MatrixInfo:
    """One matrix that can be shown: a head's slice of a tensor, or a whole tensor."""

    address: Address
    label: str
    tensor: str
    rows: int
    cols: int
    dtype: str
    kv_head: int | None
    job: Job
    index: int
    """Which slice of its job's spectra for this matrix it is: the head, the KV head, or 0."""
    problem: str | None
    """Why it can never be computed, as a sentence."""

    @property
    def n(self) -> int:
        """How many singular values it has."""
        return min(self.rows, self.cols)

    @property
    def is_known(self) -> bool:
        """Whether shape and dtype are known; of a remote model they are once its shard's header has been read."""
        return bool(self.dtype or self.problem)

    @property
    def matrix(self) -> str:
        """Its name in a CSV: `q`, `k`, `v`, `o`, or the whole matrix's own."""
        return self.address.matrix or ""


@dataclass(frozen=True, slots=True)
class SlicedTensor:
    """A tensor and how it divides into `count` matrices of `rows` × `cols`, one after another along `side`."""

    matrix: str
    ref: TensorRef
    side: Side
    count: int
    problem: str | None = None
    """Why it has no spectrum, as a sentence."""
    is_divided: bool = True
    """Whether it is certain that it has so many slices."""

    @property
    def rows(self) -> int:
        """Rows of one slice; 0 for a tensor that has no rows and columns, or no certain slices."""
        return self._shape[0] // (self.count if self.side == "rows" else 1)

    @property
    def cols(self) -> int:
        """Columns of one slice; 0 for a tensor that has no rows and columns, or no certain slices."""
        return self._shape[1] // (self.count if self.side == "columns" else 1)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.ref.shape if len(self.ref.shape) == 2 and self.is_divided else (0, 0)


def shown_dtype(ref: TensorRef) -> str:
    """A dtype as it is shown; empty while it is not known."""
    return DTYPES.get(ref.dtype, ref.dtype.lower())


def tensor_problem(ref: TensorRef) -> str | None:
    """Why a tensor has no spectrum, as a sentence, or None (also while it is not known)."""
    if not ref.is_known:
        return None
    name = shortened(printable(ref.name), 400)
    if ref.is_absent:
        return f"The index says that {name} is in {shortened(printable(ref.file), 200)}, but it is not."
    if ref.dtype not in DTYPES:
        return f"{name} has the dtype {ref.dtype}; spectra are computed of {', '.join(DTYPES)}."
    if len(ref.shape) != 2:
        return f"{name} has the shape {shortened(str(list(ref.shape)), 100)}, not rows × columns."
    return None if all(ref.shape) else f"{name} is empty: {ref.shape[0]} × {ref.shape[1]}."


def is_empty(ref: TensorRef) -> bool:
    """Whether a tensor is known to have no elements."""
    return ref.is_known and not all(ref.shape)
