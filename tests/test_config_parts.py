"""Which part of config.json is about the layers that are shown, and how its numbers are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from svdtui.engine import ConfigError, open_model
from svdtui.engine.config_parts import language_part, number, part_for
from svdtui.engine.layout import head_counts
from tests.checkpoints import write_checkpoint

TEXT = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
VISION = {"hidden_size": 32, "num_attention_heads": 16, "num_hidden_layers": 5}


def nested(*keys: str, inner: dict[str, Any] = TEXT, **around: Any) -> dict[str, Any]:
    config = dict(inner)
    for key in reversed(keys):
        config = {key: config, "vision_config": VISION, **around}
    return config


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("text_config",),
        ("llm_config",),
        ("language_config",),
        ("llm_cfg",),
        ("decoder_config",),
        ("thinker_config", "text_config"),
        ("llm_config", "text_config"),
    ],
    ids=str,
)
def test_the_language_models_part_is_found(tmp_path: Path, keys: tuple[str, ...]) -> None:
    assert language_part(nested(*keys)) == TEXT
    made = write_checkpoint(tmp_path / "m", config=False)
    (made.folder / "config.json").write_text(json.dumps(nested(*keys, architectures=["X"])))
    model = open_model(made.folder)
    assert (model.heads, model.kv_heads, model.head_dim, model.layer_count) == (4, 2, 16, 2)


def test_what_stands_around_a_part_is_no_number_of_it() -> None:
    around = {"head_dim": 8, "num_key_value_heads": 1, "hidden_size": 1024, "num_hidden_layers": 40}
    counts = head_counts(language_part({**around, "text_config": {"hidden_size": 64, "num_attention_heads": 4}}))
    assert counts
    assert (counts.heads, counts.kv_heads, counts.head_dim, counts.hidden_size) == (4, 4, 16, 64)


def test_a_part_that_is_silent_is_what_its_class_takes_it_for() -> None:
    """llava-1.5-7b names the type alone."""
    config = {"text_config": {"model_type": "llama", "vocab_size": 32064}, "hidden_size": 1, "num_attention_heads": 1}
    counts = head_counts(language_part(config))
    assert counts
    assert (counts.heads, counts.hidden_size) == (32, 4096)


@pytest.mark.parametrize("part", [{}, {"vocab_size": 10}, None, [], "llama"])
def test_a_part_that_says_nothing_leaves_what_stands_around_it(part: object) -> None:
    assert language_part({**TEXT, "text_config": part})["num_attention_heads"] == 4


@pytest.mark.parametrize(
    ("prefix", "heads"),
    [
        ("thinker.model.", 4),
        ("talker.model.", 8),
        ("thinker.audio_tower.", 16),
        ("thinker.visual.blocks.", None),
        ("model.language_model.", 4),
    ],
)
def test_each_stack_has_its_own_part(prefix: str, heads: int | None) -> None:
    config = {
        "thinker_config": {"text_config": TEXT, "audio_config": {"num_attention_heads": 16}},
        "talker_config": {"text_config": {**TEXT, "num_attention_heads": 8}},
        "num_attention_heads": 99,
    }
    part = part_for(config, prefix, is_main=False)
    assert (part and part.get("num_attention_heads")) == heads


@pytest.mark.parametrize("head_dim", [0, 16, 16.0, "16", None, 0.0, "0"])
def test_a_head_dim_is_read_as_it_is_meant(tmp_path: Path, head_dim: object) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=1, config={"head_dim": head_dim}).folder)
    assert (model.heads, model.kv_heads, model.head_dim) == (4, 2, 16)


def test_integral_floats_are_integers() -> None:
    counts = head_counts({key: float(value) for key, value in TEXT.items()})
    assert counts
    assert (counts.heads, counts.kv_heads, counts.head_dim, counts.hidden_size) == (4, 2, 16, 64)
    assert all(isinstance(each, int) for each in (counts.heads, counts.kv_heads, counts.head_dim, counts.hidden_size))


@pytest.mark.parametrize("field", ["head_dim", "num_key_value_heads", "num_attention_heads", "hidden_size"])
@pytest.mark.parametrize(
    "value", [-4, -16.0, 1e308, 10**30, 4.5, float("nan"), float("inf"), True, False, "x", "-4", "", [], [4], {"a": 1}]
)
def test_nonsense_is_a_sentence(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"config\.json says {field} .*, which is no positive integer") as caught:
        head_counts({**TEXT, field: value})
    assert str(caught.value).endswith(f"Correct {field}.")


@pytest.mark.parametrize("value", [-1, "x", 1e308, True, float("nan"), 10**9])
def test_a_number_of_layers_that_is_none_is_left_out_and_told(tmp_path: Path, value: object) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=1, config={"num_hidden_layers": value}).folder)
    assert (model.layer_count, model.depth_layers) == (None, (0,))
    assert model.incomplete
    assert "which is no positive integer of a usual size. Whether layers are missing" in model.incomplete


def test_a_number_may_be_missing() -> None:
    assert number({}, "head_dim") is None
