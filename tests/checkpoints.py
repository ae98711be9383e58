"""Tiny real checkpoints, built on the fly: Hugging Face model folders of a few hundred kilobytes.

checkpoint = write_checkpoint(tmp_path / "tiny", layers=3, heads=4, kv_heads=2, shards=2)
checkpoint.head_slice(0, 3, "k")          # what the program should find, float64
"""

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

HeadMatrix = Literal["q", "k", "v", "o"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was written, for a test to compare with."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    config: dict[str, Any]
    """The language model's own part of `config.json`, nested or not."""
    weight_map: dict[str, str]
    """Which file holds which tensor."""
    prefix: str

    @property
    def files(self) -> list[Path]:
        """The safetensors files, in order."""
        return [self.folder / name for name in sorted(set(self.weight_map.values()))]

    def attention(self, layer: int, matrix: HeadMatrix) -> torch.Tensor:
        return self.tensors[f"{self.prefix}layers.{layer}.self_attn.{matrix}_proj.weight"]

    def head_slice(self, layer: int, head: int, matrix: HeadMatrix) -> torch.Tensor:
        """Rows (Q, K, V) or columns (O) of a query head, float64; K and V are those of its KV head."""
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        head_dim = self.config.get("head_dim") or self.config["hidden_size"] // heads
        first = (head * kv_heads // heads if matrix in "kv" else head) * head_dim
        weight = self.attention(layer, matrix).double()
        return weight[:, first : first + head_dim] if matrix == "o" else weight[first : first + head_dim]


def planted(singular_values: Sequence[float] | torch.Tensor, rows: int, cols: int, *, seed: int = 0) -> torch.Tensor:
    """A (rows, cols) float64 matrix with these min(rows, cols) singular values between random rotations."""
    sigma = torch.as_tensor(singular_values, dtype=torch.float64)
    if sigma.shape != (min(rows, cols),):
        raise ValueError(f"{rows} × {cols} has {min(rows, cols)} singular values, not {tuple(sigma.shape)}")
    random = torch.Generator().manual_seed(seed)
    left = _orthonormal(rows, len(sigma), random)
    right = _orthonormal(cols, len(sigma), random)
    return (left * sigma) @ right.T


def _orthonormal(size: int, count: int, random: torch.Generator) -> torch.Tensor:
    basis: torch.Tensor = torch.linalg.qr(
        torch.randn(size, count, generator=random, dtype=torch.float64)
    ).Q  # (size, count)
    return basis


def decaying(rows: int, cols: int, *, seed: int = 0) -> torch.Tensor:
    """A matrix whose singular values fall from 4 to 0.04, as a trained weight's do, not as noise's."""
    return planted(torch.logspace(0.6, -1.4, min(rows, cols), dtype=torch.float64), rows, cols, seed=seed)


def write_checkpoint(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int | None = None,
    intermediate: int = 96,
    vocab: int = 128,
    dtype: torch.dtype = torch.bfloat16,
    prefix: str = "model.",
    model_type: str = "llama",
    tied: bool = False,
    biases: bool = False,
    shards: int = 1,
    config: bool | Mapping[str, Any] = True,
    nested_text_config: bool = False,
    seed: int = 0,
    overrides: Mapping[str, torch.Tensor] | None = None,
    drop: Collection[str] = (),
    index: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Write a Llama-shaped checkpoint: random weights, decaying spectra; same arguments, same bytes.

    - `head_dim`: hidden / heads unless given; only then it stands in the config too.
    - `tied`: no `lm_head`. `biases`: Q, K and V have one, as in Qwen2.
    - `shards`: with 1, `model.safetensors` and no index; with more, Hugging Face's names and an index.
    - `config`: False writes none; a mapping is laid over it, a value of None removing its key.
    - `nested_text_config`: the config lies under `text_config`, as in models that also see.
    - `overrides`: tensors that replace or join the others, by full name, in their own shape and dtype.
    - `drop`: full names of tensors to leave out of files and index.
    - `index`: entries laid over the index's weight map (which is then written even for one shard): a name
      that its shard lacks, a shard that does not exist, a path that leads elsewhere.
    """
    text_config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    if head_dim is not None:
        text_config["head_dim"] = head_dim
    if isinstance(config, Mapping):
        text_config = {key: value for key, value in (text_config | dict(config)).items() if value is not None}

    width = head_dim or hidden // heads
    shapes = _attention_shapes(hidden, heads * width, kv_heads * width, biases=biases) | {
        "mlp.gate_proj.weight": (intermediate, hidden),
        "mlp.up_proj.weight": (intermediate, hidden),
        "mlp.down_proj.weight": (hidden, intermediate),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    named = {f"{prefix}embed_tokens.weight": (vocab, hidden), f"{prefix}norm.weight": (hidden,)}
    named |= {f"{prefix}layers.{layer}.{name}": shape for layer in range(layers) for name, shape in shapes.items()}
    if not tied:
        named["lm_head.weight"] = (vocab, hidden)
    tensors = {name: _weight(shape, seed * 1000 + place).to(dtype) for place, (name, shape) in enumerate(named.items())}
    tensors |= overrides or {}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items() if name not in drop}

    folder.mkdir(parents=True, exist_ok=True)
    weight_map = write_shards(folder, tensors, shards)
    if shards > 1 or index:
        total_size = sum(tensor.nbytes for tensor in tensors.values())
        write_index(folder, weight_map | dict(index or {}), total_size=total_size)
    if config is not False:
        nested = {"model_type": f"{model_type}_vision", "text_config": text_config}
        whole = nested if nested_text_config else text_config
        (folder / "config.json").write_text(json.dumps(whole, indent=2))
    return Checkpoint(folder, tensors, text_config, weight_map, prefix)


def _attention_shapes(hidden: int, q_rows: int, kv_rows: int, *, biases: bool) -> dict[str, tuple[int, ...]]:
    rows = {"q": q_rows, "k": kv_rows, "v": kv_rows}
    shapes: dict[str, tuple[int, ...]] = {
        f"self_attn.{name}_proj.weight": (size, hidden) for name, size in rows.items()
    }
    shapes["self_attn.o_proj.weight"] = (hidden, q_rows)
    if biases:
        shapes |= {f"self_attn.{name}_proj.bias": (size,) for name, size in rows.items()}
    return shapes


def _weight(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    match shape:
        case rows, cols:
            return decaying(rows, cols, seed=seed)
        case _:
            return torch.ones(shape)


def write_shards(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int) -> dict[str, str]:
    """Spread tensors over files in order; which file holds which."""
    names = list(tensors)
    per_shard = -(-len(names) // shards)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        part = {name: tensors[name] for name in names[shard * per_shard : (shard + 1) * per_shard]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    return weight_map


def write_index(folder: Path, weight_map: Mapping[str, str], *, total_size: int = 0) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": total_size}, "weight_map": dict(weight_map)}, indent=2))
    return path


def raw_safetensors(
    path: Path, header: bytes | Mapping[str, Any], data: bytes = b"", *, header_length: int | None = None
) -> Path:
    """Write a safetensors file byte by byte: a header as it is given, true or not, then the data.

    `header_length` is what the first eight bytes claim; the header's own length unless given.
    """
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text) if header_length is None else header_length) + text + data)
    return path
