"""Ranks for LoRA adapters of the attention modules, from energy ranks and within a budget, as peft reads them."""

import heapq
import json
from dataclasses import dataclass, fields
from math import isnan
from typing import Any, Literal

from .errors import ChoiceError
from .evidence import layers_of
from .layout import is_language_only
from .metrics import Metrics
from .model import HEADS, Job, MatrixInfo, Model
from .peft_names import ALONE, Targets, targets
from .results import Tables, TablesOf
from .text import plural

Basis = Literal["whole matrices", "heads"]

_COLUMNS = {field.name: number for number, field in enumerate(fields(Metrics))}
_LEFT_OUT_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Module:
    """A linear layer that an adapter can be laid beside."""

    name: str
    """The end of its name in memory, such as `layers.0.self_attn.q_proj`."""
    rows: int
    cols: int
    energy_rank: int
    """The rank that keeps 95 % of the weight's energy, or a bound from its heads."""

    @property
    def cost(self) -> int:
        """Trainable parameters of one rank: A is r × cols and B rows × r, so m + n."""
        return self.rows + self.cols

    @property
    def largest(self) -> int:
        """The largest rank it is given: its energy rank, as long as r(m + n) < mn; else full fine-tuning is smaller."""
        return min(self.energy_rank, (self.rows * self.cols - 1) // self.cost)


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules that can have an adapter, all measured in one way, so that their ranks can be compared."""

    modules: tuple[Module, ...]
    basis: Basis
    left_out: tuple[str, ...]
    """Why others have none, a sentence each."""
    targets: Targets = ALONE
    """How peft finds them among all others."""


@dataclass(frozen=True, slots=True)
class LoraPlan:
    """A rank for each module, Σ r(m + n) within the budget."""

    ranks: tuple[tuple[Module, int], ...]
    """Modules with a rank of at least 1, in the model's order."""
    budget: int
    basis: Basis
    left_out: tuple[str, ...]
    targets: Targets = ALONE

    @property
    def parameters(self) -> int:
        """Trainable parameters of all adapters: Σ r(m + n)."""
        return sum(module.cost * rank for module, rank in self.ranks)

    def config(self) -> dict[str, Any]:
        """Arguments of `peft.LoraConfig`. α is the rank everywhere: the scaling α/r is 1, so that only ranks differ."""
        pattern = {module.name: rank for module, rank in self.ranks}
        ranks = sorted(pattern.values())
        middle = ranks[len(ranks) // 2]
        return {
            "r": middle,
            "lora_alpha": middle,
            "target_modules": self.targets.target_modules(list(pattern)),
            "rank_pattern": pattern,
            "alpha_pattern": dict(pattern),
        }

    def text(self) -> str:
        """The file: JSON for `LoraConfig(**json.load(file))`."""
        return json.dumps(self.config(), indent=2) + "\n"

    def summary(self) -> tuple[str, ...]:
        """What was planned and from what, in sentences."""
        ranks = [rank for _, rank in self.ranks]
        span = str(min(ranks)) if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
        source = (
            "the whole matrices' spectra"
            if self.basis == "whole matrices"
            else "the sum over each module's heads, an upper bound: not all whole matrices have been computed"
        )
        more_left = len(self.left_out) - _LEFT_OUT_SHOWN
        full = all(rank == module.largest for module, rank in self.ranks)
        more = " No module could use more: each has its energy rank, or the largest that pays." if full else ""
        count = (
            f"peft's print_trainable_parameters() must say {self.parameters:,}; another number means that the model's "
            "class calls its modules otherwise."
        )
        planned = f"{plural(len(ranks), 'module')} of rank {span}, {self.parameters:,} of {self.budget:,} parameters."
        return (
            f"LoRA plan: {planned}{more} Ranks follow the rank at 95 % energy, from {source}.",
            *([] if self.targets.is_alone else [" ".join(filter(None, (self.targets.doubt, count)))]),
            *self.left_out[:_LEFT_OUT_SHOWN],
            *([f"{plural(more_left, 'more module')} left out."] if more_left > 0 else []),
        )


def lora_modules(model: Model, tables: TablesOf) -> Modules:
    """The attention modules of all layers and their energy ranks.

    An energy rank is that of the whole matrix when the results of all of them are there. Otherwise it is the sum of
    those of its heads, for every module: as many directions keep 95 % of each head's energy, and so of the whole
    matrix's, which may need fewer where heads share directions.
    """
    layers = layers_of(model)
    found = [(layer, matrix, info) for layer in layers for matrix, info in model.attention(layer)]
    wholes = {info.job: tables(info.job) for _, _, info in found}
    basis: Basis = "whole matrices" if all(wholes[info.job] or info.problem for _, _, info in found) else "heads"
    heads = {layer: tables(Job(layer, HEADS)) for layer in layers} if basis == "heads" else {}
    undivided = {(layer, part.matrix) for layer in layers for part in model.head_tensors(layer) if part.problem}
    config = model.checkpoint.config or {}
    parts = {part.matrix: part for part in model.placement.architecture.heads}
    modules, left_out = [], []
    for layer, matrix, info in found:
        table, name = (heads[layer], matrix) if basis == "heads" else (wholes[info.job], info.matrix)
        rank, why = _energy_rank(info, table, name)
        module = Module(model.placement.module(layer, parts[matrix]), info.rows, info.cols, rank)
        if (layer, matrix) in undivided and not info.problem:
            why = "has another shape than config.json says, and so than its module"
        elif parts[matrix].shared and model.shares_kv(layer):
            why = "is not used, for the layer has the keys and values of an earlier one"
        elif not why and module.largest < 1:
            why = "is too small for an adapter to have fewer parameters"
        if why:
            left_out.append(f"{info.address} is left out: it {why}.")
        else:
            modules.append(module)
    [ours] = [stack.prefix for stack in model.stacks.stacks if stack.placement is model.placement]
    others = [stack.prefix for stack in model.stacks.stacks if stack.placement is not model.placement]
    found_by = targets(ours, others, is_language_only=bool(config) and is_language_only(config))
    return Modules(tuple(modules), basis, tuple(left_out), found_by)


def _energy_rank(info: MatrixInfo, table: Tables | None, name: str) -> tuple[int, str]:
    """The rank, and why there is none."""
    if info.problem:
        return 0, "has no spectrum"
    if table is None or name not in table:
        return 0, "has not been computed"
    total = 0
    for figures in table[name].tolist():
        if isnan(figures[_COLUMNS["sigma_first"]]):
            return 0, "holds weights that are NaN, infinite or too large"
        if figures[_COLUMNS["sigma_first"]] > 0:
            total += int(figures[_COLUMNS["energy_rank_95"]])
    return min(total, info.n), "" if total else "is all zeros"


def lora_plan(modules: Modules, budget: int) -> LoraPlan:
    """Ranks in proportion to the energy ranks, as large as the budget allows and never beyond it.

    Every module begins with rank 1, when that is within the budget. Each further rank goes to the module whose next
    rank would be the least share of its energy rank, as long as it is affordable and pays. When not even rank 1 for
    all is affordable, those with the largest energy ranks come first and the others are left out.

    Raises:
        ChoiceError: there is no module, or the budget is too small for any.
    """
    if not modules.modules:
        raise ChoiceError(
            "There is no attention module to plan an adapter for.", " ".join(modules.left_out[:_LEFT_OUT_SHOWN])
        )
    least = min(module.cost for module in modules.modules)
    if budget < least:
        raise ChoiceError(
            f"A LoRA budget of {plural(budget, 'parameter')} is too small: "
            f"rank 1 of the smallest module has {least:,}.",
            "Give a larger budget.",
        )
    everything = sum(module.cost for module in modules.modules)
    first = 1 if everything <= budget else 0
    left = budget - first * everything
    ranks = [first] * len(modules.modules)
    waiting = [((first + 1) / module.energy_rank, index) for index, module in enumerate(modules.modules)]
    heapq.heapify(waiting)
    while waiting:
        _, index = heapq.heappop(waiting)
        module = modules.modules[index]
        if module.cost > left or ranks[index] >= module.largest:
            continue
        left -= module.cost
        ranks[index] += 1
        heapq.heappush(waiting, ((ranks[index] + 1) / module.energy_rank, index))
    chosen = tuple((module, rank) for module, rank in zip(modules.modules, ranks, strict=True) if rank)
    dropped = len(ranks) - len(chosen)
    beyond = [f"{plural(dropped, 'module')} left out: the budget is too small for rank 1 of all."] if dropped else []
    return LoraPlan(chosen, budget, modules.basis, (*beyond, *modules.left_out), modules.targets)
