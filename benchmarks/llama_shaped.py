"""A checkpoint with the attention of Llama-3-8B: its shapes, its dtype and its config, random weights, any depth.

Shards of two layers are built once and kept; a checkpoint of N layers is a folder of links to them, with an index and
a config of its own. The spectra are planted. A head of Q or K is `A · M`, where the rows of M (from an orthogonal
4096 × 4096 matrix) are orthonormal, so the singular values are those of the 128 × 128 matrix A; heads of O are
`M · A` in the same way, and a whole Q or O has the values of its 32 heads. They fall exponentially, Q and K more
steeply than V and O; σ₁/σₙ is 5 to 300 in a head and at most 600 in a whole matrix.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

HIDDEN, HEADS, KV_HEADS, HEAD_DIM = 4096, 32, 8, 128

LAYER_BYTES = 2 * 2 * HIDDEN * (HEADS + KV_HEADS) * HEAD_DIM
"""bf16 bytes of one layer's attention."""

_LAYERS_PER_SHARD = 2
_RECIPE = 1
"""Part of the folder's name: raise it when the weights change."""

_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": 14336,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def checkpoint(root: Path, layers: int) -> Path:
    """The folder of a checkpoint with so many layers; its missing shards are built first.

    Raises:
        OSError: the disk has no room for them, or cannot be written.
    """
    pool = root / f"llama-3-8b-shaped-{_RECIPE}"
    pool.mkdir(parents=True, exist_ok=True)
    count = -(-layers // _LAYERS_PER_SHARD)
    shards = [pool / f"shard-{shard:02d}.safetensors" for shard in range(count)]
    missing = [shard for shard, path in enumerate(shards) if not path.exists()]
    needed = len(missing) * _LAYERS_PER_SHARD * LAYER_BYTES
    free = shutil.disk_usage(pool).free
    if needed > 0.9 * free:
        raise OSError(f"{layers} layers need {needed / 1e9:.1f} GB more in {pool}, where {free / 1e9:.1f} GB are free")
    if missing:
        print(f"building {needed / 1e9:.1f} GB of weights in {pool} …", file=sys.stderr)
        mixing = _orthogonal()
        for shard in missing:
            _write_shard(shards[shard], shard, mixing)
    return _link(pool / f"{layers}-layers", shards, layers)


def _link(folder: Path, shards: list[Path], layers: int) -> Path:
    """A folder that holds the first layers of the shards."""
    folder.mkdir(exist_ok=True)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards):
        link = folder / f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        if not link.is_symlink():
            link.symlink_to(Path("..") / shard.name)
        own = range(number * _LAYERS_PER_SHARD, (number + 1) * _LAYERS_PER_SHARD)
        weight_map |= {_name(layer, matrix): link.name for layer in own if layer < layers for matrix in "qkvo"}
    index = {"metadata": {"total_size": layers * LAYER_BYTES}, "weight_map": weight_map}
    for name, content in (
        ("model.safetensors.index.json", index),
        ("config.json", _CONFIG | {"num_hidden_layers": layers}),
    ):
        text = json.dumps(content, indent=2)
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
    return folder


def _name(layer: int, matrix: str) -> str:
    return f"model.layers.{layer}.self_attn.{matrix}_proj.weight"


def _write_shard(path: Path, shard: int, mixing: torch.Tensor) -> None:
    tensors = {}
    for layer in range(shard * _LAYERS_PER_SHARD, (shard + 1) * _LAYERS_PER_SHARD):
        for place, matrix in enumerate("qkvo"):
            tensors[_name(layer, matrix)] = _weight(matrix, mixing, seed=100 * layer + place)
    unfinished = path.with_suffix(".tmp")
    save_file(tensors, unfinished, metadata={"format": "pt"})
    unfinished.replace(path)


def _orthogonal() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    basis: torch.Tensor = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=random)).Q  # (hidden, hidden)
    return basis


def _weight(matrix: str, mixing: torch.Tensor, seed: int) -> torch.Tensor:
    """One projection, bf16: (heads · head_dim, hidden), or (hidden, heads · head_dim) for O."""
    random = torch.Generator().manual_seed(seed)
    heads = KV_HEADS if matrix in "kv" else HEADS
    fall = 4.0 if matrix in "qk" else 2.5  # σ₁/σₙ is about e to this
    sigma = torch.empty(heads, 1, 1).uniform_(0.7, 1.4, generator=random) * fall
    first = torch.empty(heads, 1, 1).uniform_(5.0, 10.0, generator=random)
    sigma = first * torch.exp(-sigma * torch.linspace(0, 1, HEAD_DIM))  # (heads, 1, head_dim)
    turns = torch.linalg.qr(torch.randn(heads, HEAD_DIM, HEAD_DIM, generator=random)).Q
    order = torch.randperm(HIDDEN, generator=random)
    rows = mixing[order[: heads * HEAD_DIM]].view(heads, HEAD_DIM, HIDDEN)
    weight = torch.bmm(turns * sigma, rows).view(heads * HEAD_DIM, HIDDEN)
    return (weight.T if matrix == "o" else weight).bfloat16().contiguous()
