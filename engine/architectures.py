"""The architectures that svdtui knows, as data. To add one, add an entry here; no other module names a tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

from .layout import HeadMatrix


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one family of decoders names its tensors."""

    name: str
    layers: str
    """What stands before a layer's number: `layers` in `model.layers.12.…`. Any prefix may stand before it."""
    heads: tuple[HeadMatrix, ...]
    """The matrices of a head, in the order in which they are shown."""
    whole: Mapping[str, str]
    """A layer's whole matrices: shown name → tensor below the layer."""
    outer: Mapping[str, str]
    """Matrices outside the layers: shown name → end of the tensor's name."""

    @property
    def known(self) -> frozenset[str]:
        """All tensors of a layer that are known, by their names below it."""
        return frozenset((*(part.tensor for part in self.heads), *self.whole.values()))


@dataclass(frozen=True, slots=True)
class Placement:
    """An architecture found in a checkpoint: `prefix` ends where a layer's number begins."""

    architecture: Architecture
    prefix: str
    layers: tuple[int, ...]
    names: Mapping[tuple[int, str], str]
    """Layer and name below it → the tensor's full name, which wrappers may have lengthened."""

    def tensor(self, layer: int, suffix: str) -> str:
        """The full name of a layer's tensor; of one that is not there, that which it would have."""
        return self.names.get((layer, suffix)) or f"{self.prefix}{layer}.{suffix}"

    def module(self, layer: int, part: HeadMatrix) -> str:
        """The end of the name of a layer's module, which is the same in any class: `layers.0.self_attn.q_proj`."""
        return f"{self.architecture.layers}.{layer}.{part.tensor.removesuffix('.weight')}"


LLAMA = Architecture(
    name="Llama family",
    layers="layers",
    heads=(
        HeadMatrix("q", "self_attn.q_proj.weight", "rows", shared=False),
        HeadMatrix("k", "self_attn.k_proj.weight", "rows", shared=True),
        HeadMatrix("v", "self_attn.v_proj.weight", "rows", shared=True),
        HeadMatrix("o", "self_attn.o_proj.weight", "columns", shared=False),
    ),
    whole={
        "q_proj": "self_attn.q_proj.weight",
        "k_proj": "self_attn.k_proj.weight",
        "v_proj": "self_attn.v_proj.weight",
        "o_proj": "self_attn.o_proj.weight",
        "gate_proj": "mlp.gate_proj.weight",
        "up_proj": "mlp.up_proj.weight",
        "down_proj": "mlp.down_proj.weight",
    },
    outer={"embed_tokens": "embed_tokens.weight", "lm_head": "lm_head.weight"},
)
"""Llama, Mistral, Qwen2, Qwen3, SmolLM, Gemma 1 to 3 and others that keep Llama's names."""

ARCHITECTURES = (LLAMA,)
