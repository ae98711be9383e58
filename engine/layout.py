"""Which rows or columns of which tensor are matrix `m` of head `h`: one rule over a table of data.

A weight is stored as `nn.Linear` keeps it, out × in. Heads lie one after another along the side that they divide: the
rows of Q, K and V (their outputs) and the columns of O (its inputs). With H query heads and G key/value heads, query
head `h` reads KV head `h // (H/G)` (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .config_parts import number
from .errors import ConfigError, LayoutError

Side = Literal["rows", "columns"]


@dataclass(frozen=True, slots=True)
class HeadMatrix:
    """How one matrix of every head lies in one tensor of a layer."""

    matrix: str
    tensor: str
    """The tensor's name below the layer, such as `self_attn.q_proj.weight`."""
    side: Side
    shared: bool
    """Whether the heads are KV heads, each shared by a group of query heads."""


@dataclass(frozen=True, slots=True)
class HeadCounts:
    """The numbers that divide a layer's attention tensors into heads."""

    heads: int
    kv_heads: int
    head_dim: int
    hidden_size: int | None
    assumed: tuple[tuple[str, int], ...] = ()
    """What the config does not say, and what the architecture's default makes it."""

    def kv_head(self, head: int) -> int:
        """The KV head that query head `head` reads."""
        return head // (self.heads // self.kv_heads)

    def count(self, part: HeadMatrix) -> int:
        """How many slices the tensor of `part` has."""
        return self.kv_heads if part.shared else self.heads

    def divides(self, part: HeadMatrix, shape: tuple[int, ...]) -> bool:
        """Whether the side that heads divide is as long as they need."""
        return (shape[0] if part.side == "rows" else shape[1]) == self.count(part) * self.head_dim

    def contradiction(self, part: HeadMatrix, name: str, shape: tuple[int, ...]) -> LayoutError | None:
        """What is wrong with rows × columns that are not exactly `count` heads of `head_dim` by the hidden size.

        It has the numbers of the config and of the tensor.
        """
        split, other = shape if part.side == "rows" else shape[::-1]
        count = self.count(part)
        if split != count * self.head_dim:
            kind = "KV heads" if part.shared else "heads"
            return LayoutError(
                f"{name} has {split:,} {part.side}, but the config says "
                f"{count} {kind} × {self.head_dim} = {count * self.head_dim:,}.{_told(self.assumed)}",
                _MISMATCH_HINT,
            )
        weights = self.head_dim * other
        if weights > _LARGEST_HEAD:
            return LayoutError(
                f"{name} has {weights:,} weights in each head, more than the {_LARGEST_HEAD:,} that are read.",
                "This is no ordinary model; get it from its publisher.",
            )
        if self.hidden_size is not None and other != self.hidden_size:
            side = "columns" if part.side == "rows" else "rows"
            return LayoutError(
                f"{name} has {other:,} {side}, but the config says hidden_size {self.hidden_size:,}."
                f"{_told(self.assumed)}",
                _MISMATCH_HINT,
            )
        return None


def _told(assumed: Sequence[tuple[str, int]]) -> str:
    """What to add to a sentence on what a config says: how much of it the config does not say, or nothing."""
    if not assumed:
        return ""
    named = " and ".join(f"{field} {value}" for field, value in assumed)
    verbs = ("is", "it is") if len(assumed) == 1 else ("are", "they are")
    return f" There, {named} {verbs[0]} not written: {verbs[1]} the architecture's default."


_MISMATCH_HINT = (
    "The config.json belongs to another model, or this architecture stores its heads in another way; "
    "without config.json the whole matrices can still be opened."
)


_LARGEST_HEAD = 2**24
"""Weights of a head's slice: several times those of the largest models, and little enough for any memory."""

MOST_HEADS = 4096
"""More heads than any model has; a tree of them can still be drawn."""

CONFIG_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {"hidden_size": 4096, "num_attention_heads": 32},
    "mistral": {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8},
    "qwen3": {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128},
    "gemma": {"hidden_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256},
    "gemma2": {"hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
    "gemma3_text": {"hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
}
"""What a config of this `model_type` means where it is silent: the defaults of its class in `transformers`.

Published multimodal configs (gemma-3-4b-it, llava-1.5-7b) leave such fields out.
"""


def is_language_only(config: Mapping[str, Any]) -> bool:
    """Whether a config is of a language model and nothing else: it nests no other's config and names no tower."""
    nested = [key for key, value in config.items() if isinstance(value, Mapping) and key.endswith("_config")]
    towers = [key for key, value in config.items() if value and re.search("vision|visual|audio|speech|image|mm_", key)]
    return not towers and set(nested) <= {"quantization_config"}


def head_counts(part: Mapping[str, Any]) -> HeadCounts | None:
    """The head counts of the part of a config that is about these layers, or None when it does not say.

    `head_dim` is the config's own when present, and not 0, else hidden_size / heads.

    Raises:
        ConfigError: a number is missing its counterpart, is no positive integer, or does not divide.
    """
    defaults = CONFIG_DEFAULTS.get(str(part.get("model_type")), {})
    said = {**defaults, **part}
    assumed = tuple((field, value) for field, value in defaults.items() if field not in part)
    heads = number(said, "num_attention_heads", MOST_HEADS)
    if heads is None:
        return None
    kv_heads = number(said, "num_key_value_heads", MOST_HEADS) or heads
    hidden = number(said, "hidden_size")
    head_dim = number(said, "head_dim", lenient=True)
    if heads % kv_heads:
        raise ConfigError(
            f"config.json says {heads} attention heads and {kv_heads} key/value heads, which do not divide."
            f"{_told(assumed)}",
            "Correct num_attention_heads or num_key_value_heads.",
        )
    if head_dim is None:
        if hidden is None:
            return None
        if hidden % heads:
            raise ConfigError(
                f"config.json says hidden_size {hidden} and {heads} attention heads, which do not divide, "
                f"and gives no head_dim.{_told(assumed)}",
                "Add head_dim, or correct hidden_size or num_attention_heads.",
            )
        head_dim = hidden // heads
    return HeadCounts(heads, kv_heads, head_dim, hidden, assumed)
