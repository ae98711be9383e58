"""How peft finds the planned modules in memory, where `transformers` may name them otherwise than the files do.

A checkpoint says `language_model.model.layers.0.self_attn.q_proj`; in memory it is
`model.language_model.layers.0.self_attn.q_proj`, `language_model.layers.0.…` or, where only the language model is made,
`model.layers.0.…`: that depends on the class and on the version of `transformers`. From `layers` on, all agree. What
stands before leads to the language model or to a tower that sees or hears, whose modules may end alike. So a module is
found by its ending, and not below anything that leads to another stack.

peft compares `target_modules` with the end of a module's name when it is a list, and with all of it, as a regular
expression, when it is text; the keys of `rank_pattern` are regular expressions for the end. A dot there matches itself.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .config_parts import is_language
from .text import printable, shortened
from .wrappers import WRAPPERS

_NEUTRAL = WRAPPERS | {"model", "base_model"}
"""What classes and wrappers put before their parts, or leave out."""

_TOWER = r"[^.]*(?:vision|visual|video|audio|speech|image|encoder)[^.]*"
"""A part of a name that leads to a tower that sees or hears, in memory; the files may call it otherwise."""

_LANGUAGE = frozenset({"language_model", "text_model", "llm", "decoder"})
"""What a language model may be called in memory, whatever the files call it."""


@dataclass(frozen=True, slots=True)
class Targets:
    """How the modules of one stack are told from those of others."""

    is_alone: bool = True
    """Whether no class has another stack whose modules could end alike, so that a list of endings will do."""
    barred: tuple[str, ...] = ()
    """Regular expressions for a part of a name that leads to another stack."""
    needed: tuple[str, ...] = ()
    """The same for what leads to this one, where another stack's name has no part of its own."""
    doubt: str = ""
    """A sentence on another language model in the same files, which may be called anything in memory; or empty."""

    def target_modules(self, endings: Sequence[str]) -> list[str] | str:
        """`LoraConfig.target_modules` for the modules that end so."""
        if self.is_alone:
            return list(endings)
        barred = rf"(?!(?:.*\.)?(?:{'|'.join(self.barred)})\.)" if self.barred else ""
        needed = "".join(rf"(?=(?:.*\.)?{part}\.)" for part in self.needed)
        return rf"{barred}{needed}(?:.*\.)?(?:{'|'.join(map(re.escape, endings))})"


ALONE = Targets()
"""Of a checkpoint that holds one stack, in memory too."""


def targets(prefix: str, others: Iterable[str], *, is_language_only: bool) -> Targets:
    """How a stack is told from all others, by what stands before their layers in a checkpoint.

    `is_language_only` is what the config says: a checkpoint that is one shard of several may hold no tensor of a vision
    tower that is there in memory.
    """
    ours, others = _parts(prefix), sorted(others)
    barred: list[str] = []
    needed: list[str] = []
    doubt = ""
    if not is_language(prefix):
        needed.append(_TOWER)
    elif not re.search(_TOWER, prefix):
        barred.append(_TOWER)
    for other in others:
        theirs = _parts(other)
        foreign = [part for part in theirs if part not in ours]
        telling = [part for part in foreign if part not in _LANGUAGE]
        lacking = [part for part in ours if part not in theirs]
        if telling or not lacking:
            barred += map(re.escape, telling or foreign)
        else:
            needed += map(re.escape, lacking[:1])
        if is_language(other):
            doubt = f"{shortened(printable(other), 200)}layers… holds modules of the same names."
    return Targets(is_language_only and not others, _once(barred), _once(needed), doubt)


def _parts(prefix: str) -> tuple[str, ...]:
    """What leads to a stack's layers, without what wraps it; `models.1` of an ensemble is one part."""
    parts: list[str] = []
    for part in filter(None, prefix.split(".")):
        if not part.isdigit():
            parts.append(part)
        elif parts:
            parts[-1] += f".{part}"
    return tuple(part for part in parts if part not in _NEUTRAL)


def _once(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parts))
