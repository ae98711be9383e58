"""Which part of config.json is about which stack of layers, and the numbers in it.

A number counts only where it stands in that part: the head_dim of a vision tower, or of the whole, is not the language
model's. What a part does not say is what its class in `transformers` takes it for (`layout.CONFIG_DEFAULTS`).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from .errors import ConfigError

Config = Mapping[str, Any]

_LANGUAGE = (
    *("text_config", "llm_config", "language_config", "language_model_config", "lm_config", "text_model_config"),
    *("llm_cfg", "text_cfg", "decoder_config", "mllm_config", "thinker_config"),
)
"""Where the language model's part stands, one within another: `thinker_config.text_config`."""

_SAYS = ("num_attention_heads", "hidden_size", "num_hidden_layers", "num_key_value_heads", "head_dim", "model_type")
"""A part without any of them says nothing; transformers' remote code then reads what stands around it."""

_LANGUAGE_NAME = re.compile(r"(?:^|[._])(?:text|language)(?:[._]|$)")

_TOWER = re.compile(r"vision|visual|video|vpm|audio|apm|speech|image|talker|predictor")

LARGEST = 10**9
"""Wider than any model is; products of such numbers can still be printed."""


def is_language(prefix: str) -> bool:
    """Whether a prefix of tensor names can be the language model's: a vision or audio tower's says so."""
    return bool(_LANGUAGE_NAME.search(prefix)) or not (_TOWER.search(prefix) or "encoder" in prefix)


def language_part(config: Config) -> Config:
    """The part that is about the language model: of a text-only model all of it."""
    part = config
    while nested := next((part[key] for key in _LANGUAGE if isinstance(part.get(key), Mapping)), None):
        if not any(nested.get(key) is not None for key in (*_SAYS, *_LANGUAGE)):
            break
        part = nested
    return part


def part_for(config: Config, prefix: str, *, is_main: bool) -> Config | None:
    """The part that is about the layers below a prefix of tensor names, or None when none says so.

    `is_main` is for the stack that is shown unless another one is asked for.
    """
    part, is_found = config, is_language(prefix)
    for component in filter(None, prefix.split(".")):
        words = [component, component.partition("_")[0].replace("visual", "vision")]
        keys = [key for word in words for key in (f"{word}_config", word)]
        nested = next((part[key] for key in keys if isinstance(part.get(key), Mapping)), None)
        if nested is not None:
            part, is_found = nested, True
        elif _TOWER.search(component) and not is_language(prefix):
            is_found = False  # what was found so far is about more than this tower
    if is_found:
        return language_part(part)
    return config if is_main and not any(isinstance(value, Mapping) for value in config.values()) else None


def setting(config: Config, part: Config | None, field: str) -> Any:
    """What is said of the model as a whole, such as `dtype`; in a nested config it may stand above the part."""
    found = None if part is None else part.get(field)
    return config.get(field) if found is None else found


def layer_count(part: Config | None, most: int) -> int | None:
    """How many layers a part says there are; None where that is no number of layers."""
    try:
        return None if part is None else number(part, "num_hidden_layers", most - 1)
    except ConfigError:
        return None


def layer_count_problem(part: Config | None, most: int) -> str:
    """What is wrong with the number of layers that a part gives, as a sentence, or empty."""
    try:
        if part is not None:
            number(part, "num_hidden_layers", most - 1)
    except ConfigError as error:
        return error.message
    return ""


def number(config: Config, field: str, largest: int = LARGEST, *, lenient: bool = False) -> int | None:
    """A positive integer, which may be written as 4.0; None where there is none.

    `lenient` reads "4" too, and takes 0 for none: `transformers` writes a head_dim of 0 for some models.

    Raises:
        ConfigError: it is anything else, or larger than `largest`.
    """
    value = config.get(field)
    if lenient and isinstance(value, str) and re.fullmatch(r"\d{1,12}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if value is None or (lenient and value == 0 and isinstance(value, int) and not isinstance(value, bool)):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= largest:
        raise ConfigError(
            f"config.json says {field} {config[field]!r}, which is no positive integer of a usual size.",
            f"Correct {field}.",
        )
    return value
