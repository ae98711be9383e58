"""Where something is in a model: `12.5.q`, `12.q_proj`, `12.whole`, `12.5`, `12`, `lm_head`, or `model`."""

import re
from dataclasses import dataclass, field
from typing import Literal, Self

from .errors import AddressError

Scope = Literal["model", "layer", "head", "whole", "matrix"]

ROOT = "model"
"""What the model as a whole is called where nothing would not be seen."""

WHOLE = "whole"
"""What a layer's whole matrices are called together."""

_MATRIX = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A model, a layer, a query head, a layer's whole matrices or one matrix; `layer` and `head` count from 0.

    `matrix` is `q`, `k`, `v` or `o` below a head, and a name such as `q_proj` or `lm_head` for a whole matrix.
    """

    layer: int | None = None
    head: int | None = None
    matrix: str | None = None
    is_whole: bool = False
    """Whether these are the whole matrices of `layer`, all together."""
    kv_head: int | None = field(default=None, compare=False)
    """By which KV head `head` was asked for, the first that shares it: `12.kv1.k` is the same place as `12.4.k`."""

    @property
    def scope(self) -> Scope:
        """What kind of place this is."""
        if self.matrix is not None:
            return "matrix"
        if self.head is not None:
            return "head"
        if self.is_whole:
            return "whole"
        return "layer" if self.layer is not None else "model"

    @property
    def parent(self) -> "Address":
        """The place that holds this one; the model holds itself."""
        if self.matrix is not None:
            return Address(self.layer, self.head, kv_head=self.kv_head)
        return Address(self.layer) if self.head is not None or self.is_whole else Address()

    def __str__(self) -> str:
        head = self.head if self.kv_head is None else f"kv{self.kv_head}"
        parts = (self.layer, head, WHOLE if self.is_whole else self.matrix)
        return ".".join(str(part) for part in parts if part is not None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`, as far as that needs no model: `naming.find` knows KV heads and tensors too.

        Raises:
            AddressError: `text` has not the form of an address. Whether the place exists is for the model to say.
        """
        match text.strip().split("."):
            case [""] | ["model"]:
                return cls()
            case [layer, "whole"] if _NUMBER.fullmatch(layer):
                return cls(int(layer), is_whole=True)
            case [layer] if _NUMBER.fullmatch(layer):
                return cls(int(layer))
            case [matrix] if _MATRIX.fullmatch(matrix):
                return cls(matrix=matrix)
            case [layer, head] if _NUMBER.fullmatch(layer) and _NUMBER.fullmatch(head):
                return cls(int(layer), int(head))
            case [layer, matrix] if _NUMBER.fullmatch(layer) and _MATRIX.fullmatch(matrix):
                return cls(int(layer), matrix=matrix)
            case [layer, head, matrix] if (
                _NUMBER.fullmatch(layer) and _NUMBER.fullmatch(head) and _MATRIX.fullmatch(matrix)
            ):
                return cls(int(layer), int(head), matrix.lower())  # they are shown as Q K V O
        raise AddressError(
            f"{text.strip()!r} is not an address.",
            "Write a layer (12), a head (12.5), a head's matrix (12.5.q, or 12.kv1.k), a whole matrix (12.q_proj, "
            "lm_head), 12.whole, model, or a tensor's full name.",
        )
