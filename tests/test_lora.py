"""The LoRA rank plan: within its budget, in proportion, and as the real peft reads it."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from svdtui.engine import Analysis, ChoiceError, Job
from svdtui.engine.lora import LoraPlan, Module, Modules, lora_modules, lora_plan
from tests.checkpoints import planted, write_checkpoint

Q, K, V, O = (f"model.layers.{{}}.self_attn.{name}_proj.weight" for name in "qkvo")  # noqa: E741


def planned(*modules: tuple[int, int, int], budget: int) -> list[int]:
    """The rank of each module, given as rows, columns and energy rank."""
    made = tuple(Module(f"layers.{i}.q_proj", *module) for i, module in enumerate(modules))
    ranks = {module.name: rank for module, rank in lora_plan(Modules(made, "heads", ()), budget).ranks}
    return [ranks.get(module.name, 0) for module in made]


def test_ranks_are_in_proportion_to_energy_ranks() -> None:
    assert planned((100, 100, 40), (100, 100, 20), (100, 100, 10), budget=200 * 14) == [8, 4, 2]
    assert planned((100, 100, 40), (100, 100, 20), (100, 100, 10), budget=200 * 15 - 1) == [8, 4, 2]


def test_every_module_begins_with_rank_1_where_the_budget_allows() -> None:
    assert planned((100, 100, 49), (100, 100, 1), budget=400) == [1, 1]
    assert planned((100, 100, 49), (100, 100, 1), budget=600) == [2, 1]


def test_a_budget_below_rank_1_for_all_serves_the_largest_energy_ranks() -> None:
    assert planned((100, 100, 10), (100, 100, 30), (100, 100, 20), budget=400) == [0, 1, 1]
    plan = lora_plan(Modules((Module("a", 100, 100, 10), Module("b", 100, 100, 30)), "heads", ()), 399)
    assert [(module.name, rank) for module, rank in plan.ranks] == [("b", 1)]
    assert "1 module left out: the budget is too small for rank 1 of all." in plan.summary()


def test_no_module_has_more_than_its_energy_rank_or_than_pays() -> None:
    assert planned((100, 100, 3), (100, 100, 99), budget=10**9) == [3, 49]  # 50 · 200 is the whole matrix
    [said] = lora_plan(Modules((Module("a", 100, 100, 3),), "heads", ()), 10**9).summary()
    assert "1 module of rank 3, 600 of 1,000,000,000 parameters. No module could use more" in said


def test_too_small_a_budget_is_refused_with_what_is_needed() -> None:
    with pytest.raises(
        ChoiceError, match="budget of 199 parameters is too small: rank 1 of the smallest module has 200"
    ):
        planned((100, 100, 10), (200, 100, 10), budget=199)
    with pytest.raises(ChoiceError, match="no attention module"):
        lora_plan(Modules((), "heads", ()), 10**6)


SIZES = st.tuples(st.integers(2, 300), st.integers(2, 300)).flatmap(
    lambda shape: st.tuples(st.just(shape[0]), st.just(shape[1]), st.integers(1, min(shape)))
)


@given(st.lists(SIZES, min_size=1, max_size=12), st.integers(4, 40_000))
def test_a_plan_keeps_its_budget_and_leaves_nothing_that_could_be_given(
    sizes: list[tuple[int, int, int]], budget: int
) -> None:
    made = tuple(Module(str(i), *size) for i, size in enumerate(sizes))
    made = tuple(module for module in made if module.largest >= 1)
    if not made or budget < min(module.cost for module in made):
        return
    plan = lora_plan(Modules(made, "heads", ()), budget)
    ranks = dict.fromkeys(made, 0) | dict(plan.ranks)
    left = budget - plan.parameters
    assert plan.parameters == sum(rank * (module.rows + module.cols) for module, rank in plan.ranks)
    assert left >= 0
    for module, rank in ranks.items():
        assert rank <= module.largest
        assert rank == module.largest or module.cost > left


@given(st.lists(st.integers(1, 64), min_size=1, max_size=12), st.integers(1, 400))
def test_no_module_gets_a_rank_that_another_needed_more(energy_ranks: list[int], affordable: int) -> None:
    ranks = planned(*((64, 192, rank) for rank in energy_ranks), budget=256 * affordable)
    for rank, energy in zip(ranks, energy_ranks, strict=True):
        for other, others_energy in zip(ranks, energy_ranks, strict=True):
            if rank < min(energy, 47) and other > 1:  # 48 · 256 is the whole matrix
                assert (rank + 1) / energy >= other / others_energy


# ---- from a model ----------------------------------------------------------------------------------------------


def modules_of(analysis: Analysis) -> Modules:
    for job in analysis.jobs():
        analysis.result(job)
    return lora_modules(analysis.model, analysis.tables)


def test_energy_ranks_are_the_heads_sum_until_every_whole_matrix_is_there(tmp_path: Path) -> None:
    equal = planted([3.0] * 4 + [1e-3] * 28, 32, 64).float()  # rank 4 of 32; each KV head of 16 rows has rank 4 too
    names = [name.format(0) for name in (K, V)]
    folder = write_checkpoint(
        tmp_path / "m", layers=1, dtype=torch.float32, overrides={name: equal.clone() for name in names}
    ).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        heads = modules_of(analysis)
        for name in ("q_proj", "k_proj", "v_proj"):
            analysis.result(Job(0, name))
        assert lora_modules(analysis.model, analysis.tables) == heads  # o_proj is missing: one measure for all
        analysis.result(Job(0, "o_proj"))
        whole = lora_modules(analysis.model, analysis.tables)
        energy = analysis.metrics("0.q_proj").energy_rank_95
    assert (heads.basis, whole.basis) == ("heads", "whole matrices")
    by_name = {module.name: module.energy_rank for module in heads.modules}
    assert by_name["layers.0.self_attn.k_proj"] == 8  # an upper bound: the two heads share their directions
    exact = {module.name: module.energy_rank for module in whole.modules}
    assert exact["layers.0.self_attn.k_proj"] == 4
    assert exact["layers.0.self_attn.q_proj"] == energy
    assert all(exact[name] <= by_name[name] <= 64 for name in exact)
    said = [lora_plan(modules, 10**6).summary()[0] for modules in (heads, whole)]
    assert "from the sum over each module's heads, an upper bound" in said[0]
    assert said[1].endswith("from the whole matrices' spectra.")


def test_what_cannot_be_measured_is_left_out_and_named(tmp_path: Path) -> None:
    broken = torch.ones(64, 64)
    broken[0, 0] = torch.nan
    overrides = {Q.format(0): broken, V.format(0): torch.zeros(32, 64), O.format(1): torch.ones(64, 64).char()}
    folder = write_checkpoint(tmp_path / "m", overrides=overrides).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        found = modules_of(analysis)
        nothing = lora_modules(analysis.model, lambda job: None)
    assert set(found.left_out) == {
        "0.q_proj is left out: it holds weights that are NaN, infinite or too large.",
        "0.v_proj is left out: it is all zeros.",
        "1.o_proj is left out: it has no spectrum.",
    }
    assert len(found.modules) == 5
    assert "1.k_proj is left out: it has not been computed." in nothing.left_out


def test_the_heads_sum_is_no_more_than_a_matrix_can_have(tmp_path: Path) -> None:
    flat = planted([1.0] * 32, 32, 32).float()  # 4 heads of 16 rows, but of 32 columns: no more than rank 32
    name = "model.layers.0.self_attn.q_proj.weight"
    made = write_checkpoint(
        tmp_path / "m", layers=1, hidden=32, head_dim=16, overrides={name: torch.cat([flat, flat]).contiguous()}
    )
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        [q] = [module for module in modules_of(analysis).modules if "q_proj" in module.name]
    assert (q.rows, q.cols, q.energy_rank) == (64, 32, 32)


def test_without_heads_the_whole_matrices_are_planned_for(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", config=False).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        found = modules_of(analysis)
    assert (len(found.modules), found.basis) == (8, "whole matrices")


@pytest.mark.parametrize("kind", [AutoModelForCausalLM, AutoModel])
def test_the_real_peft_gives_every_module_its_planned_rank(
    kind: type[AutoModelForCausalLM | AutoModel], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what peft calls
        warnings.simplefilter("ignore", DeprecationWarning)
        from peft import LoraConfig, get_peft_model

        made = write_checkpoint(tmp_path / "m", layers=12)  # layers 1 and 11 must not be taken for each other
        with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
            plan = lora_plan(modules_of(analysis), 20_000)
        model = kind.from_config(AutoConfig.from_pretrained(made.folder))  # type: ignore[no-untyped-call]
        adapted = get_peft_model(model, LoraConfig(**json.loads(plan.text())))

    found = {
        name.removeprefix("base_model.model.").removeprefix("model."): (layer.r["default"], layer.scaling["default"])
        for name, layer in adapted.named_modules()
        if "default" in getattr(layer, "lora_A", {})
    }
    assert found == {module.name: (rank, 1.0) for module, rank in plan.ranks}
    assert len(found) == 48
    assert len({rank for rank, _ in found.values()}) > 1
    trainable = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert trainable == plan.parameters <= 20_000


def test_the_file_holds_nothing_but_arguments_of_loraconfig() -> None:
    plan = LoraPlan(((Module("a", 4, 4, 3), 1), (Module("b", 4, 4, 3), 3)), 100, "heads", ())
    assert json.loads(plan.text()) == {
        "r": 3,
        "lora_alpha": 3,
        "target_modules": ["a", "b"],
        "rank_pattern": {"a": 1, "b": 3},
        "alpha_pattern": {"a": 1, "b": 3},
    }
