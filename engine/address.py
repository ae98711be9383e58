"""Where something is in a model: `12.5.q`, `12.q_proj`, `12.5`, `12`, `lm_head`, or nothing for the whole model."""

import re
from dataclasses import dataclass
from typing import Literal, Self

from .errors import AddressError

Scope = Literal["model", "layer", "head", "matrix"]

_MATRIX = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A model, a layer, a query head or one matrix; `layer` and `head` count from 0.

    `matrix` is `q`, `k`, `v` or `o` below a head, and a name such as `q_proj` or `lm_head` for a whole matrix.
    """

    layer: int | None = None
    head: int | None = None
    matrix: str | None = None

    @property
    def scope(self) -> Scope:
        """What kind of place this is."""
        if self.matrix is not None:
            return "matrix"
        if self.head is not None:
            return "head"
        return "layer" if self.layer is not None else "model"

    @property
    def parent(self) -> "Address":
        """The place that holds this one; the model holds itself."""
        if self.matrix is not None:
            return Address(self.layer, self.head)
        return Address(self.layer) if self.head is not None else Address()

    def __str__(self) -> str:
        parts = (self.layer, self.head, self.matrix)
        return ".".join(str(part) for part in parts if part is not None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`.

        Raises:
            AddressError: `text` has not the form of an address. Whether the place exists is for the model to say.
        """
        match text.strip().split("."):
            case [""]:
                return cls()
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
            "Write a layer (12), a head (12.5), a head's matrix (12.5.q) or a whole matrix (12.q_proj, lm_head).",
        )
