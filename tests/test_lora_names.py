"""The plan finds its modules in memory: published names, models as `transformers` makes them, adapters as peft does."""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto as auto

from svdtui.engine import Analysis
from svdtui.engine.lora import LoraPlan, lora_modules, lora_plan
from svdtui.engine.peft_names import targets
from tests.checkpoints import write_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of transformers, at what peft imports
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.utils.other import get_pattern_key

TEXT = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SEEING = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 32,
}
CLIP = {"model_type": "clip_vision_model", **SEEING}
SIGLIP = {"model_type": "siglip_vision_model", **SEEING}
LLAMA = {"model_type": "llama", **TEXT}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}


def seeing(text: Mapping[str, Any], vision: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    return {"text_config": dict(text), "vision_config": dict(vision), "image_token_index": 3, **others}


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": TEXT,
    "mistral": TEXT,
    "qwen2": TEXT,
    "qwen3": TEXT,
    "gemma": TEXT,
    "gemma2": TEXT,
    "gemma3_text": TEXT,
    "gemma3": seeing(TEXT, SEEING, mm_tokens_per_image=4, boi_token_index=4, eoi_token_index=5),
    "paligemma": seeing({"model_type": "gemma", **TEXT}, SIGLIP, projection_dim=32),
    "llava": seeing(LLAMA, CLIP),
    "llava_next": seeing(LLAMA, CLIP, image_grid_pinpoints=[[28, 28]]),
    "mistral3": seeing({"model_type": "mistral", **TEXT}, {"model_type": "pixtral", **SEEING, "head_dim": 8}),
    "mllama": seeing(
        {**TEXT, "num_hidden_layers": 4, "cross_attention_layers": [1], "rope_parameters": {"rope_type": "default"}},
        {
            "hidden_size": 16,
            "attention_heads": 2,
            "num_hidden_layers": 2,
            "num_global_layers": 2,
            "intermediate_size": 16,
            "image_size": 28,
            "patch_size": 14,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [0],
            "supported_aspect_ratios": [[1, 1]],
            "max_num_tiles": 1,
        },
    ),
    "llama4": seeing(
        {**TEXT, "intermediate_size_mlp": 16, "num_local_experts": 2, "moe_layers": []},
        {**SEEING, "vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16},
    ),
    "qwen2_vl": {
        "text_config": {**TEXT, **MROPE},
        "vision_config": {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14},
    },
    "qwen2_5_vl": {
        "text_config": {**TEXT, **MROPE},
        "vision_config": {
            "depth": 2,
            "hidden_size": 16,
            "out_hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 16,
        },
    },
    "idefics3": seeing(LLAMA, SEEING, image_token_id=3, scale_factor=1),
    "qwen2_audio": {
        "text_config": {"model_type": "qwen2", **TEXT},
        "audio_config": {
            "d_model": 16,
            "encoder_attention_heads": 2,
            "encoder_layers": 2,
            "encoder_ffn_dim": 16,
            "num_mel_bins": 8,
            "max_source_positions": 8,
        },
    },
}
"""Model types that open here, tiny; the second half sees or hears too."""

PUBLISHED = {
    "gemma3": "language_model.model.",
    "paligemma": "language_model.model.",
    "llava": "language_model.model.",
    "llava_next": "language_model.model.",
    "mistral3": "language_model.model.",
    "mllama": "language_model.model.",
    "llama4": "language_model.model.",
    "qwen2_vl": "model.",
    "qwen2_5_vl": "model.",
    "idefics3": "model.text_model.",
    "qwen2_audio": "language_model.model.",
}
"""What stands before the layers in the checkpoints on the Hub."""


def config_of(kind: str, **text: Any) -> PretrainedConfig:
    made = {**CONFIGS[kind]}
    if text:
        made["text_config"] = {**made["text_config"], **text}
    config: PretrainedConfig = AutoConfig.for_model(kind, **made)
    return config


def classes(kind: str) -> list[type[PreTrainedModel]]:
    """The class with a head that the checkpoint is of, and the one without."""
    import transformers

    heads = (
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    names = [next(mapping[kind] for mapping in heads if kind in mapping), auto.MODEL_MAPPING_NAMES[kind]]
    return [getattr(transformers, str(name)) for name in names]


def planned(folder: Path, budget: int, cache: Path) -> LoraPlan:
    with Analysis(folder, device="cpu", cache_dir=cache) as analysis:
        analysis.view()
        return lora_plan(lora_modules(analysis.model, analysis.tables), budget)


def adapted(model: PreTrainedModel, plan: LoraPlan) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what peft calls
        warnings.simplefilter("ignore", DeprecationWarning)
        made: PeftModel = get_peft_model(model, LoraConfig(**json.loads(plan.text())))
    return made


def adapters(model: PeftModel) -> dict[str, tuple[int, float]]:
    """Every adapter's place, rank and scaling."""
    return {
        name.removeprefix("base_model.model."): (layer.r["default"], layer.scaling["default"])
        for name, layer in model.named_modules()
        if "default" in getattr(layer, "lora_A", {})
    }


@pytest.fixture(scope="module", params=CONFIGS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A checkpoint as it is published."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp(request.param)
    kind: str = request.param
    classes(kind)[0](config_of(kind)).save_pretrained(root / "m")
    return kind, root


def test_every_planned_module_gets_its_adapter_and_nothing_else_does(saved: tuple[str, Path]) -> None:
    kind, root = saved
    plan = planned(root / "m", 4_000, root / "cache")
    with Analysis(root / "m", device="cpu", cache_dir=root / "cache") as analysis:
        tensors = [tensor.ref.name for layer in analysis.model.layers for tensor in analysis.model.head_tensors(layer)]
    assert all(name.startswith(PUBLISHED.get(kind, "model.") + "layers.") for name in tensors)
    wanted = {module.name: (rank, 1.0) for module, rank in plan.ranks}
    assert len(wanted) == len(tensors) >= 8
    for made in classes(kind):
        model = made(config_of(kind))
        before = {name for name, _ in model.named_modules()}
        found = adapted(model, plan)
        by_ending = {re.sub(r"^.*?(?=layers\.\d+\.self_attn\.)", "", n): each for n, each in adapters(found).items()}
        assert by_ending == wanted
        assert len(adapters(found)) == len(wanted)
        assert not any(re.search("vision|visual|audio", name) for name in adapters(found))
        assert set(adapters(found)) <= before
        trainable = sum(weight.numel() for weight in found.parameters() if weight.requires_grad)
        assert trainable == plan.parameters <= 4_000


def test_a_saved_adapter_finds_its_modules_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = classes("gemma3")[0]
    made(config_of("gemma3")).save_pretrained(tmp_path / "m")
    plan = planned(tmp_path / "m", 4_000, tmp_path / "cache")
    model = adapted(made.from_pretrained(tmp_path / "m"), plan)
    model.save_pretrained(str(tmp_path / "adapter"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as peft warns of keys that are missing
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        again = PeftModel.from_pretrained(made.from_pretrained(tmp_path / "m"), str(tmp_path / "adapter"))
    assert adapters(again) == adapters(model)
    assert len(adapters(again)) == len(plan.ranks)


def test_layers_with_the_keys_of_earlier_ones_have_no_such_module(tmp_path: Path) -> None:
    made = write_checkpoint(
        tmp_path / "m", layers=4, config={"num_kv_shared_layers": 2, "model_type": "gemma3n_text", "head_dim": 16}
    )
    plan = planned(made.folder, 10**6, tmp_path / "cache")
    assert {module.name for module, _ in plan.ranks} == {
        f"layers.{layer}.self_attn.{name}_proj" for layer in range(4) for name in ("qkvo" if layer < 2 else "qo")
    }
    said = " ".join(plan.summary())
    assert "2.k_proj is left out: it is not used, for the layer has the keys and values of an earlier one." in said


# ---- names alone, against how peft compares them ----------------------------------------------------------------


def tensors_below(*prefixes: str) -> list[str]:
    return [f"{prefix}layers.{n}.self_attn.{m}_proj.weight" for prefix in prefixes for n in (0, 1) for m in "qkvo"]


def chosen(prefix: str, *others: str, alone: bool = False) -> tuple[list[str] | str, str]:
    """`target_modules` for Q of layer 1 of a stack among others, and the doubt."""
    found = targets(prefix, others, is_language_only=alone)
    return found.target_modules(["layers.1.self_attn.q_proj"]), found.doubt


def matches(target_modules: list[str] | str, key: str) -> bool:
    """As `peft.tuners.tuners_utils.check_target_module_exists` has it."""
    if isinstance(target_modules, str):
        return re.fullmatch(target_modules, key) is not None
    return any(key == target or key.endswith(f".{target}") for target in target_modules)


@pytest.mark.parametrize(
    ("prefix", "others", "ours", "theirs"),
    [
        ("language_model.model.", ["vision_tower.vision_model.encoder."],
         ["model.language_model.", "language_model.model.", "language_model.", "model.", ""],
         ["model.vision_tower.", "vision_tower.encoder.", "model.vision_tower.vision_model.encoder.", "model.visual."]),
        ("model.", ["audio_encoder.dots.speech_encoder."], ["model.language_model.", "model."], ["model.audio_tower."]),
        ("language_model.model.", [], ["model.language_model.", "model.", ""], ["model.vision_tower.encoder."]),
        ("student.model.", ["teacher.model."], ["student.model.", "model.", ""], ["teacher.", "teacher.model."]),
        ("model.", ["ref_model.model."], ["model.", ""], ["ref_model.", "model.ref_model."]),
        ("model.language_model.", ["model.projector."], ["model.language_model.", "model."], ["model.projector."]),
        ("language_model.model.", ["model."], ["model.language_model.", "language_model."], ["model.", ""]),
        ("models.0.", ["models.1.", "models.2."], ["models.0.", "x.models.0.", "model."], ["models.1.", "x.models.2."]),
        ("models.1.model.", ["models.0.model.", "models.10.model."], ["models.1.", "models.1.model."],
         ["models.0.", "models.10.model."]),
        ("_orig_mod.model.", ["_orig_mod.vision_tower."], ["model.", "_orig_mod.model."], ["vision_tower."]),
    ],
)  # fmt: skip
def test_only_this_stack_is_found_whatever_leads_to_it(
    prefix: str, others: list[str], ours: list[str], theirs: list[str]
) -> None:
    wanted, _ = chosen(prefix, *others)
    for before in ours:
        assert matches(wanted, f"{before}layers.1.self_attn.q_proj")
        assert get_pattern_key(["layers.1.self_attn.q_proj"], f"{before}layers.1.self_attn.q_proj").startswith("layers")
        for other in ("layers.11.self_attn.q_proj", "layers.1.self_attn.k_proj", "xlayers.1.self_attn.q_proj"):
            assert not matches(wanted, before + other)
    for before in theirs:
        assert not matches(wanted, f"{before}layers.1.self_attn.q_proj")


def test_a_language_model_alone_is_a_plain_list() -> None:
    assert chosen("model.", alone=True) == (["layers.1.self_attn.q_proj"], "")
    assert isinstance(chosen("model.", "vision_tower.", alone=True)[0], str)


def test_another_language_model_in_the_files_is_told_of(tmp_path: Path) -> None:
    others = {name: torch.ones(64, 64) for name in tensors_below("teacher.model.") if "q_proj" in name}
    made = write_checkpoint(tmp_path / "m", overrides=others)
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        analysis.view()
        plan = lora_plan(lora_modules(analysis.model, analysis.tables), 5_000)
    [said] = [line for line in plan.summary() if "teacher" in line]
    assert said.startswith("teacher.model.layers… holds modules of the same names. peft's print_trainable_parameters()")
    assert f"must say {plan.parameters:,}; another number means that the model's class calls" in said
