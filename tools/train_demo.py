"""Train the small language model that `svdtui --demo` opens.

    python tools/train_demo.py            # about 20 minutes on two cores, overwrites engine/demo

A Llama-shaped decoder (grouped-query attention, one token per byte) learns the text that comes with every
Python: the standard library's sources and the help topics of `pydoc`. It is small enough to ship, and trained
enough that its spectra are those of a model which has learned something. Every random choice is seeded.
Another Python version has other text, and another processor, thread count or torch version adds in another
order, so expect the same weights only on the same machine, and nearly the same losses elsewhere.

Needs the `test` extra (transformers); nothing in the package imports this file.
"""

import argparse
import json
import math
import sysconfig
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

DEMO = Path(__file__).resolve().parent.parent / "engine" / "demo"

CONTEXT = 256
"""Bytes the model sees at once, in training and in the held-out loss."""

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 192,
    "intermediate_size": 320,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "initializer_range": 0.02,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
"""Written to config.json as it stands. Untied, so that the demo also has an `lm_head` to look at."""

SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "encodings",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "ensurepip",
}
"""Test data, code tables, the topics in their quoted form, and what is not CPython's own text."""

END_OF_DOCUMENT = b"\0"

HELD_OUT_SHARE = 20
"""One document in twenty is never trained on."""

HELD_OUT_WINDOWS = 512


def documents() -> Iterator[tuple[str, bytes]]:
    """Name and text of every document, in an order that does not depend on the file system."""
    for name, text in sorted(topics.items()):
        yield f"topics/{name}", text.encode()
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py"), key=lambda path: path.relative_to(library).parts):
        relative = path.relative_to(library)
        # _sysconfigdata… describes the machine that this Python was built on.
        if SKIPPED_FOLDERS.isdisjoint(relative.parts) and not path.name.startswith("_sysconfigdata"):
            yield relative.as_posix(), path.read_bytes()


def split_corpus() -> tuple[Tensor, Tensor]:
    """Training and held-out text as uint8 vectors; a hash of its name decides where a document goes."""
    training, held_out = bytearray(), bytearray()
    for name, text in documents():
        side = held_out if zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0 else training
        side += text + END_OF_DOCUMENT
    return torch.frombuffer(training, dtype=torch.uint8), torch.frombuffer(held_out, dtype=torch.uint8)


def windows_at(text: Tensor, starts: Tensor) -> Tensor:
    """The CONTEXT + 1 bytes from each start as token ids, int64 (len(starts), CONTEXT + 1)."""
    return text[starts[:, None] + torch.arange(CONTEXT + 1)].long()


def next_byte_loss(model: LlamaForCausalLM, windows: Tensor) -> Tensor:
    """Mean cross-entropy in nats per byte over every position of the windows."""
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits  # (windows, CONTEXT, 256)
    return functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, text: Tensor) -> float:
    """Nats per byte in fp32 over HELD_OUT_WINDOWS windows spread evenly over the held-out text."""
    model.train(mode=False)
    starts = torch.linspace(0, len(text) - CONTEXT - 1, HELD_OUT_WINDOWS, dtype=torch.float64).long()
    losses = [next_byte_loss(model, windows_at(text, part)).item() for part in torch.split(starts, 32)]
    model.train()
    return sum(losses) / len(losses)


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine from 1 down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(model: LlamaForCausalLM, text: Tensor, options: argparse.Namespace) -> None:
    """AdamW on random windows: fp32 weights, bf16 products, weight decay on matrices only."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    gains = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, options.steps, warmup=100)
    )
    sampler = torch.Generator().manual_seed(options.seed)
    begun, recent = time.monotonic(), 0.0
    for step in range(1, options.steps + 1):
        starts = torch.randint(len(text) - CONTEXT, (options.batch,), generator=sampler)
        with torch.autocast("cpu", torch.bfloat16):
            loss = next_byte_loss(model, windows_at(text, starts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        recent += (loss.item() - recent) / min(step, 100)
        if step % 100 == 0 or step == options.steps:
            speed = step * options.batch * CONTEXT / (time.monotonic() - begun)
            print(f"step {step:5d}  loss {recent:.3f}  {speed:,.0f} bytes/s", flush=True)


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """config.json and model.safetensors (bf16), as `from_pretrained` expects them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"torch_dtype": "bfloat16"}, indent=2) + "\n")
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model that svdtui --demo opens.")
    parser.add_argument("--out", type=Path, default=DEMO, help="folder to write (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=8, help=f"windows of {CONTEXT} bytes in a step")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    training, held_out = split_corpus()
    model = LlamaForCausalLM(LlamaConfig.from_dict(CONFIG))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters; {len(training):,} bytes to train on, {len(held_out):,} held out")

    print(f"held-out loss before training: {held_out_loss(model, held_out):.4f} nats/byte", flush=True)
    train(model, training, options)
    save(model, options.out)
    # Judged from the files, so that the figure is that of the bf16 weights which ship.
    shipped = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    print(f"held-out loss after training:  {held_out_loss(shipped, held_out):.4f} nats/byte")
    size = sum((options.out / name).stat().st_size for name in ("config.json", "model.safetensors"))
    print(f"wrote {options.out}: {size:,} bytes")


if __name__ == "__main__":
    main()
