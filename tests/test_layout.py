"""Which rows are head h? `transformers` is the judge: our slice of a head is what its model uses for that head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from svdtui.engine import Address, ConfigError, LayoutError, Model, open_model
from svdtui.engine.layout import CONFIG_DEFAULTS, head_counts
from svdtui.engine.model import SlicedTensor

from .checkpoints import write_checkpoint

HEADS, KV_HEADS, HIDDEN, TOKENS = 6, 2, 48, 5

FAMILIES = {
    "llama": {},
    "mistral": {"head_dim": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 24},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "smollm3": {},
    "granite": {},
}
"""Model types whose tensors are named as Llama's; some with a head_dim that is not hidden / heads."""


@pytest.fixture(scope="module", params=FAMILIES)
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, Model]:
    """A tiny random model as `transformers` runs it, and as we see its saved checkpoint."""
    config = AutoConfig.for_model(
        request.param,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        num_hidden_layers=2,
        intermediate_size=40,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
        **FAMILIES[request.param],
    )
    torch.manual_seed(0)
    network: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    folder = tmp_path_factory.mktemp(request.param)
    network.save_pretrained(folder)
    return network, open_model(folder)


def run(network: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Of layer 0: attention weights, (heads, tokens, tokens), and what goes into O, (tokens, heads, head_dim)."""
    seen: list[torch.Tensor] = []
    o_proj = network.get_submodule("model.layers.0.self_attn.o_proj")
    handle = o_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        out = network(torch.arange(TOKENS)[None] + 3, output_attentions=True)
    handle.remove()
    return out.attentions[0][0], seen[0][0].view(TOKENS, HEADS, -1)


def our_slice(network: PreTrainedModel, tensor: SlicedTensor, index: int) -> torch.Tensor:
    """The part of the network's own parameter that we take for slice `index`."""
    parameter = network.get_parameter(tensor.ref.name).data
    return parameter.chunk(tensor.count, 0 if tensor.side == "rows" else 1)[index]


def changed(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    return [i for i in range(HEADS) if not torch.equal(before[i], after[i])]


@pytest.mark.parametrize("head", [0, 2, 3, 5])
def test_q_k_v_slices_feed_exactly_the_heads_we_show_them_under(
    judged: tuple[PreTrainedModel, Model], head: int
) -> None:
    network, model = judged
    assert (model.heads, model.kv_heads) == (HEADS, KV_HEADS)
    infos = {info.matrix: info for info in model.matrices(Address(0, head))}
    weights, values = run(network)
    for tensor in model.head_tensors(0):
        info = infos[tensor.matrix]
        part = our_slice(network, tensor, info.index)
        assert part.shape == (info.rows, info.cols)
        kept = part.clone()
        if tensor.matrix == "o":
            continue
        part.mul_(-0.5).add_(0.1)  # not a mere scale, which Qwen3's norm of Q and K would undo
        after_weights, after_values = run(network)
        part.copy_(kept)
        sharing = [h for h in range(HEADS) if h // (HEADS // KV_HEADS) == info.kv_head]
        if tensor.matrix == "q":
            assert changed(weights, after_weights) == [head]
        elif tensor.matrix == "k":
            assert changed(weights, after_weights) == sharing
            assert head in sharing
        else:
            assert changed(weights, after_weights) == []
            assert changed(values.transpose(0, 1), after_values.transpose(0, 1)) == sharing


@pytest.mark.parametrize("head", [0, 4])
def test_o_columns_carry_exactly_one_head(judged: tuple[PreTrainedModel, Model], head: int) -> None:
    network, model = judged
    tensor = next(t for t in model.head_tensors(0) if t.matrix == "o")
    _, values = run(network)  # (tokens, heads, head_dim)
    o_proj = network.get_submodule("model.layers.0.self_attn.o_proj")
    only = torch.zeros_like(values)
    only[:, head] = values[:, head]
    with torch.no_grad():
        whole = o_proj(only.flatten(1)) - o_proj(torch.zeros(TOKENS, only.flatten(1).shape[1]))
    assert torch.allclose(whole, values[:, head] @ our_slice(network, tensor, head).T, atol=1e-6)


def test_a_multimodal_model_shows_its_text_layers(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text: dict[str, Any] = {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_hidden_layers": 2,
        "intermediate_size": 40,
        "vocab_size": 64,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 5,
        "intermediate_size": 32,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=1,
        eoi_token_index=2,
        image_token_index=3,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "m")
    model = open_model(tmp_path / "m")
    assert model.layers == (0, 1)
    assert (model.heads, model.kv_heads, model.head_dim) == (4, 2, 16)
    assert "vision" not in model.info(Address(0, 0, "q")).tensor


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model.", ""])
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    made = write_checkpoint(tmp_path / "m", prefix=prefix, nested_text_config=bool(prefix))
    model = open_model(made.folder)
    assert model.layers == (0, 1)
    assert model.info(Address(1, 3, "v")).tensor == f"{prefix}layers.1.self_attn.v_proj.weight"
    assert {info.matrix for info in model.matrices(Address())} == {"embed_tokens", "lm_head"}


@pytest.mark.parametrize("family", CONFIG_DEFAULTS)
def test_a_silent_config_means_what_transformers_takes_it_for(family: str) -> None:
    truth = AutoConfig.for_model(family)
    counts = head_counts({"model_type": family})
    assert counts is not None
    head_dim = getattr(truth, "head_dim", None) or truth.hidden_size // truth.num_attention_heads
    assert (counts.heads, counts.kv_heads, counts.head_dim, counts.hidden_size) == (
        truth.num_attention_heads,
        truth.num_key_value_heads,
        head_dim,
        truth.hidden_size,
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_attention_heads": 8}, ["q_proj", "64 rows", "8 heads × 16"]),
        ({"num_key_value_heads": 4}, ["k_proj", "32 rows", "4 KV heads × 16 = 64"]),
        ({"hidden_size": 128, "head_dim": 16}, ["64 columns", "hidden_size 128"]),
        ({"head_dim": 32}, ["64 rows", "4 heads × 32 = 128"]),
    ],
    ids=str,
)
def test_shapes_that_contradict_the_config_are_refused_with_both_numbers(
    tmp_path: Path, config: dict[str, Any], words: list[str]
) -> None:
    made = write_checkpoint(tmp_path / "m", head_dim=16, config=config)
    with pytest.raises(LayoutError) as caught:
        open_model(made.folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": "4"},
        {"num_attention_heads": True},
        {"num_attention_heads": 3, "num_key_value_heads": 2},
        {"num_attention_heads": 7, "num_key_value_heads": 7},
    ],
    ids=str,
)
def test_head_counts_that_make_no_sense_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    made = write_checkpoint(tmp_path / "m", config=config)
    with pytest.raises(ConfigError):
        open_model(made.folder)


def test_multi_query_attention_shows_one_kv_head_under_all(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", kv_heads=1).folder)
    assert [model.info(Address(0, head, "k")).kv_head for head in range(4)] == [0, 0, 0, 0]
    assert [model.info(Address(0, head, "q")).kv_head for head in range(4)] == [None] * 4


def test_a_single_shard_shows_the_layers_that_it_holds(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=4, shards=3)
    model = open_model(made.files[1])
    inside = {name for name, file in made.weight_map.items() if file == made.files[1].name}
    assert set(model.checkpoint.tensors) == inside
    assert model.layers
    assert set(model.layers) < {0, 1, 2, 3}


def test_slices_are_what_the_article_takes(tmp_path: Path) -> None:
    """The table in the article: rows of Q, rows of KV head h // group, columns of O."""
    made = write_checkpoint(tmp_path / "m", heads=4, kv_heads=2, layers=1)
    model = open_model(made.folder)
    for tensor in model.head_tensors(0):
        weight = made.tensors[tensor.ref.name]
        for head in range(4):
            info = model.info(Address(0, head, tensor.matrix))
            ours = weight.chunk(tensor.count, 0 if tensor.side == "rows" else 1)[info.index].double()
            assert np.array_equal(ours.numpy(), made.head_slice(0, head, tensor.matrix).numpy())  # type: ignore[arg-type]


def test_a_packed_quantised_tensor_concerns_itself_only(tmp_path: Path) -> None:
    packed = torch.zeros(2048, 1, dtype=torch.uint8)
    flat = torch.zeros(7, dtype=torch.int8)
    names = [f"model.layers.0.self_attn.{m}_proj.weight" for m in "qk"]
    made = write_checkpoint(tmp_path / "m", overrides={names[0]: packed, names[1]: flat})
    model = open_model(made.folder)
    infos = {info.matrix: info for info in model.matrices(Address(0, 1))}
    assert infos["q"].problem
    assert "U8" in infos["q"].problem
    assert infos["k"].problem
    assert infos["v"].problem is None


def test_layers_that_lack_a_matrix_are_told(tmp_path: Path) -> None:
    name = "model.layers.{}.self_attn.k_proj.weight"
    one = open_model(write_checkpoint(tmp_path / "one", layers=3, drop=[name.format(1)]).folder)
    assert one.incomplete == f"Layer 1 has no {name.format(1)} in these files: there are no figures of it."
    two = open_model(write_checkpoint(tmp_path / "two", layers=3, drop=[name.format(0), name.format(2)]).folder)
    assert two.incomplete
    assert "and so with 1 other layer" in two.incomplete
    assert open_model(write_checkpoint(tmp_path / "all", layers=3).folder).incomplete is None


@pytest.mark.parametrize("said", [-1, 0, "three", 10**9, 2.5, True, [3]])
def test_a_number_of_layers_that_is_none_is_told(said: object, tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=2, config={"num_hidden_layers": said}).folder)
    assert model.layers == (0, 1)
    assert model.incomplete == (
        f"config.json says num_hidden_layers {said!r}, which is no positive integer of a usual size. "
        "Whether layers are missing from these files is not known."
    )


@pytest.mark.parametrize("said", [None, 2, 2.0])
def test_a_number_of_layers_that_fits_or_is_not_given_needs_no_word(said: object, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=2, config={"num_hidden_layers": said})
    assert open_model(made.folder).incomplete is None
