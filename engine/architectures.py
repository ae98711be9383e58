"""The architectures that svdtui knows, as data. To add one, add an entry here; no other module names a tensor."""

import re
from collections.abc import Iterable, Mapping
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

    def find(self, names: Iterable[str]) -> "Placement | None":
        """Where the decoder's layers are among a checkpoint's tensors, or None when there are none.

        A multimodal model has towers of its own with similar names; the decoder is the stack that holds most of
        the tensors named here, and of two equals the one nearer to the root.
        """
        known = [part.tensor for part in self.heads]
        known += [tensor for tensor in self.whole.values() if tensor not in known]
        pattern = re.compile(
            rf"(?P<prefix>(?:.+\.)?){self.layers}\.(?P<layer>0|[1-9]\d{{0,5}})\.(?:{'|'.join(map(re.escape, known))})",
            re.ASCII,
        )
        stacks: dict[str, list[int]] = {}
        for name in names:
            if found := pattern.fullmatch(name):
                stacks.setdefault(found["prefix"], []).append(int(found["layer"]))
        if not stacks:
            return None
        prefix = max(stacks, key=lambda p: (_is_text(p), len(stacks[p]), -p.count("."), p))
        return Placement(self, f"{prefix}{self.layers}.", tuple(sorted(set(stacks[prefix]))))


TOWER = re.compile(r"vision|visual|video|audio|speech|image|encoder")
"""What the name of a tower that sees or hears has in it."""


def _is_text(prefix: str) -> bool:
    """Whether a prefix can be the language model's: a vision or audio tower's says so."""
    return not TOWER.search(prefix)


@dataclass(frozen=True, slots=True)
class Placement:
    """An architecture found in a checkpoint: `prefix` ends where a layer's number begins."""

    architecture: Architecture
    prefix: str
    layers: tuple[int, ...]

    def tensor(self, layer: int, suffix: str) -> str:
        """The full name of a layer's tensor."""
        return f"{self.prefix}{layer}.{suffix}"

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


def find_architecture(names: Iterable[str]) -> Placement | None:
    """The first architecture whose layers are among these tensor names."""
    names = tuple(names)
    return next(filter(None, (architecture.find(names) for architecture in ARCHITECTURES)), None)
