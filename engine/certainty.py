"""Which slices of a layer are certain: what the shapes of its tensors say about the config's head counts.

Q and O speak for heads × head_dim, K and V for KV heads × head_dim. A tensor that disagrees while its partner agrees
is wrong itself, and nothing else is. Where nothing in a layer agrees with one of the products, the numbers are wrong
for that layer, and with them all that they divide:

- heads × head_dim disagrees: no slice is certain, since a K that happens to have the right number of rows may be
  made of other heads;
- KV heads × head_dim disagrees: Q and O are certain only if another layer confirms the numbers. Without one, Q and O
  of hidden_size rows and columns would agree with any number of heads.

A layer that says nothing about a product is taken as the others are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .checkpoint import TensorRef
from .errors import LayoutError
from .layout import HeadCounts, HeadMatrix
from .matrices import SlicedTensor, tensor_problem

Parts = Sequence[tuple[HeadMatrix, TensorRef]]
"""The attention tensors of a layer that are there."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one tensor is found to be."""

    problem: str | None
    """Its own, as a sentence."""
    contradiction: str = ""
    """The same without advice, where its shape contradicts the config."""
    agrees: bool = False
    refutes: bool = False
    """Whether the side that heads divide is what contradicts the config."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the tensors of one layer, or of all, say about one product."""

    agrees: bool = False
    contradiction: str = ""
    """The first sentence against it, or empty."""

    @property
    def refutes(self) -> bool:
        """Whether it disagrees and nothing agrees."""
        return bool(self.contradiction) and not self.agrees

    @property
    def is_silent(self) -> bool:
        """Whether it says nothing."""
        return not self.contradiction and not self.agrees


class Certainty:
    """Judges the slices of each layer by its own tensors and, where these do not say enough, by those of the others."""

    def __init__(self, counts: HeadCounts, layers: Iterable[int], parts: Callable[[int], Parts]) -> None:
        self._counts = counts
        self._layers = layers
        self._parts = parts
        self._of_model: tuple[int, _Said, _Said, bool] | None = None

    def sliced(self, layer: int, unread: int) -> list[tuple[HeadMatrix, SlicedTensor]]:
        """The tensors of a layer with their problems; `unread` is how many shards' headers are not known yet."""
        parts = self._parts(layer)
        looks = [self._look(*part) for part in parts]
        doubt = self._doubt(parts, looks, unread)
        found = []
        for (part, ref), look in zip(parts, looks, strict=True):
            problem = look.problem or (_uncertain(ref, doubt) if doubt else None)
            is_divided = not look.contradiction and not doubt
            found.append(
                (part, SlicedTensor(part.matrix, ref, part.side, self._counts.count(part), problem, is_divided))
            )
        return found

    def is_settled(self, layer: int, unread: int) -> bool:
        """Whether no header that is not known yet could change what is said of a layer's slices."""
        parts = self._parts(layer)
        looks = [self._look(*part) for part in parts]
        queries, values = _products(parts, looks)
        if queries.refutes or (queries.agrees and values.agrees) or all(look.problem for look in looks):
            return True
        return self._of_all(unread)[2]

    def first_contradiction(self) -> LayoutError | None:
        """What contradicts the config first."""
        for layer in self._layers:
            for part, ref in self._parts(layer):
                if self._look(part, ref).contradiction:
                    return self._counts.contradiction(part, ref.name, ref.shape)
        return None

    def _look(self, part: HeadMatrix, ref: TensorRef) -> _Look:
        problem = tensor_problem(ref)
        if problem or not ref.is_known:
            return _Look(problem)
        error = self._counts.contradiction(part, ref.name, ref.shape)
        if error is None:
            return _Look(None, agrees=True)
        return _Look(str(error), error.message, refutes=not self._counts.divides(part, ref.shape))

    def _doubt(self, parts: Parts, looks: Sequence[_Look], unread: int) -> str:
        """The contradiction that makes all slices of a layer uncertain, or empty."""
        queries, values = _products(parts, looks)
        if queries.agrees and values.agrees:
            return ""
        model_queries, model_values, is_confirmed = self._of_all(unread)
        if queries.refutes or (queries.is_silent and model_queries.refutes):
            return queries.contradiction or model_queries.contradiction
        if not is_confirmed and (values.refutes or (values.is_silent and model_values.refutes)):
            return values.contradiction or model_values.contradiction
        return ""

    def _of_all(self, unread: int) -> tuple[_Said, _Said, bool]:
        """What all layers say, as far as they are known, and whether one of them confirms both products."""
        if self._of_model is None or self._of_model[0] != unread:
            every = []
            for layer in self._layers:
                parts = self._parts(layer)
                every.append(_products(parts, [self._look(*part) for part in parts]))
            queries, values = (
                _Said(any(s.agrees for s in said), next((s.contradiction for s in said if s.refutes), ""))
                for said in ([each[which] for each in every] for which in (0, 1))
            )
            self._of_model = unread, queries, values, any(q.agrees and v.agrees for q, v in every)
        return self._of_model[1:]


def _products(parts: Parts, looks: Sequence[_Look]) -> tuple[_Said, _Said]:
    """What a layer says about heads × head_dim, and about KV heads × head_dim."""
    queries, values = (
        _Said(any(look.agrees for look in some), next((look.contradiction for look in some if look.refutes), ""))
        for some in (
            [look for (part, _), look in zip(parts, looks, strict=True) if part.shared is shared]
            for shared in (False, True)
        )
    )
    return queries, values


def _uncertain(ref: TensorRef, contradiction: str) -> str:
    return (
        f"{ref.name} is not divided into heads: the numbers of config.json do not fit its layer. "
        f"{contradiction} The whole matrix can still be opened."
    )
