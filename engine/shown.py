"""Which of a checkpoint's layers are shown, and what identifies them: the stack, its part of the config, its names."""

import re
from collections import Counter
from functools import cached_property
from hashlib import blake2b
from typing import Any

from .architectures import Placement
from .checkpoint import Checkpoint
from .config_parts import language_part, layer_count, layer_count_problem, part_for, setting
from .errors import CheckpointError, ModelNotFoundError, ShardIndexError
from .matrices import DTYPES, tensor_problem
from .stacks import find_stacks, has_as_many, listed
from .wrappers import state_in, unwrapped

MOST_LAYERS = 10**6
"""A number of layers that no model has."""

_CONFIG_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64"}
"""A config's name → the name shown."""


class Shown:
    """One stack of layers of a checkpoint.

    Raises:
        ModelNotFoundError: there is no matrix of a known architecture.
        ChoiceError: there is no stack of that name.
    """

    def __init__(self, checkpoint: Checkpoint, stack: str | None = None) -> None:
        self.checkpoint = checkpoint
        config = checkpoint.config or {}
        self.stacks = find_stacks(checkpoint.tensors, layer_count(language_part(config), MOST_LAYERS))
        """All stacks of layers that can be opened, that which is shown unless another one is asked for first."""
        if not self.stacks.stacks:
            raise _nothing_known(checkpoint, self.stacks.states)
        chosen = self.stacks.choose(stack, checkpoint.source.name)
        self.stack = chosen.name
        """What the layers that are shown are called (see `stacks`)."""
        self.is_main = chosen is self.stacks.stacks[0]
        self._stack = chosen
        self._placement = chosen.placement
        self._counted: tuple[int, Counter[str]] | None = None
        self._config = part_for(config, chosen.prefix, is_main=self.is_main) if checkpoint.config is not None else None
        said = layer_count(self._config, MOST_LAYERS)
        if not self.is_main and said is not None and not has_as_many(self.layers, said):
            self._config = None  # it is about the others
        self.layer_count = None if self._config is None else said
        """How many layers the config says there are, when it says."""
        self.layer_count_problem = layer_count_problem(self._config, MOST_LAYERS)
        """A sentence when what it says is no number of layers, or empty."""

    @property
    def notice(self) -> str:
        """A sentence that the user should know about how the model was opened, or empty."""
        return self.checkpoint.source.notice

    @property
    def name(self) -> str:
        """The model's name: the folder's, or `ORG/NAME` for a Hub model; with `#STACK` when it is not the main one."""
        name = self.checkpoint.source.name
        return name if self.is_main else f"{name}#{self.stack}"

    @property
    def revision(self) -> str:
        """The commit, or empty for a plain folder."""
        return self.checkpoint.source.revision

    @property
    def location(self) -> str:
        """What opens the same model again."""
        return self.checkpoint.source.location

    @property
    def home(self) -> str:
        """What stays the same from one version of the model to the next: the folder, or the repository."""
        source = self.checkpoint.source
        home = source.location.removesuffix(f"@{source.revision}") if source.is_lazy else source.location
        return home if self.is_main else f"{home} {self.stack}"

    @property
    def key(self) -> str:
        """Identifies the exact files, and which of their stacks is shown."""
        return self.checkpoint.key + self._suffix

    @property
    def contents(self) -> str:
        """Identifies what is in the files, wherever they lie, and which of their stacks is shown."""
        return self.checkpoint.contents + self._suffix

    @property
    def _suffix(self) -> str:
        if self.is_main:
            return ""
        label = re.sub(r"[^\w.-]", "_", self.stack, flags=re.ASCII)[:40]
        return f"+{label}-{blake2b(self._stack.prefix.encode(), digest_size=4).hexdigest()}"

    @property
    def asked_stack(self) -> str | None:
        """What opens this stack again; None for that which is shown unless another one is asked for."""
        return None if self.is_main else self.stack

    @cached_property
    def depth_layers(self) -> tuple[int, ...]:
        """The layers that the config counts: those of trends over depth, findings, candidates and plans.

        One beyond them, such as one that predicts further tokens (MTP), is a model of its own.
        """
        count = self.layer_count
        return tuple(layer for layer in self.layers if count is None or layer < count) or self.layers

    def is_beyond(self, layer: int) -> bool:
        """Whether a layer lies beyond those that the config counts."""
        return layer > self.depth_layers[-1]

    def shares_kv(self, layer: int) -> bool:
        """Whether a layer uses the keys and values of an earlier one, as the last layers of Gemma 3n do.

        K and V that the files have for it lead nowhere, and `transformers` makes no such modules.
        """
        shared = (self._config or {}).get("num_kv_shared_layers")
        return isinstance(shared, int) and self.layer_count is not None and layer >= self.layer_count - shared

    @property
    def placement(self) -> Placement:
        """Which tensors are the decoder's."""
        return self._placement

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers that are there, ascending (a single shard may hold only some)."""
        return self._placement.layers

    @property
    def dtype(self) -> str:
        """The dtype of most of the decoder's tensors, as far as they are known; else what the config says, or empty."""
        for dtype, _ in self._dtypes.most_common(1):
            return DTYPES.get(dtype, dtype.lower())
        return _CONFIG_DTYPES.get(str(self.said("dtype") or self.said("torch_dtype")), "")

    def said(self, field: str) -> Any:
        """What the config says of the model as a whole."""
        return setting(self.checkpoint.config or {}, self._config, field)

    @property
    def _dtypes(self) -> Counter[str]:
        if len(self.stacks.stacks) == 1 and not self.stacks.states:
            return self.checkpoint.dtypes
        unread = len(self.checkpoint.unread_shards)
        if self._counted is None or self._counted[0] != unread:
            refs = (self.checkpoint.tensors[name] for name in self._placement.names.values())
            self._counted = unread, Counter(ref.dtype for ref in refs if len(ref.shape) == 2)
        return self._counted[1]

    @cached_property
    def _outer(self) -> dict[str, str]:
        """Matrices outside the layers → tensors. The shortest name wins: a vision tower may have an embedding too."""
        found: dict[str, str] = {}
        for shown, ending in self._placement.architecture.outer.items():
            last = ending.partition(".")[0]
            names = [
                name
                for name in self.checkpoint.tensors
                if last in name and f".{unwrapped(name)}".endswith(f".{ending}") and not state_in(name)
            ]
            names = [name for name in names if self.stacks.owner(name) is self._stack]
            if names:
                found[shown] = min(names, key=lambda n: (len(n), n))
        return found


def _nothing_known(checkpoint: Checkpoint, states: tuple[str, ...]) -> ModelNotFoundError:
    """Why there is no model in these tensors."""
    place = checkpoint.source.place
    if states:
        what = "optimiser states or gradients"
        return ModelNotFoundError(
            f"{place} holds {what} ({listed(states)}), and no weights of a layer.",
            "Give the weights that were saved beside them, such as model.safetensors.",
        )
    return ModelNotFoundError(
        f"{place} holds {len(checkpoint.tensors)} tensors, but no layer whose names "
        "svdtui knows (…layers.N.self_attn.q_proj.weight and the like).",
        "See the README for the architectures that are supported.",
    )


def nothing_left(checkpoint: Checkpoint) -> CheckpointError:
    """Why no matrix of a layer is there: the index is another one's, or all that it names is empty."""
    place = checkpoint.source.place
    if checkpoint.absent:
        return ShardIndexError(
            f"{place}: {tensor_problem(checkpoint.tensors[min(checkpoint.absent)])}",
            "The files belong to different versions: download the model again.",
        )
    return CheckpointError(
        f"{place}: all matrices of the layers are empty.",
        "DeepSpeed's ZeRO-3 leaves such files: gather the weights (zero_to_fp32.py, or "
        "stage3_gather_16bit_weights_on_model_save).",
    )
