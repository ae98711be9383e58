"""Several stacks of layers in one checkpoint: which is shown, that this is said, and that all of them can be opened."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from svdtui.engine import HEADS, Address, Analysis, ChoiceError, Job, Model, ModelNotFoundError, open_model
from svdtui.engine.errors import ModelChangedError
from svdtui.engine.evidence import gather
from svdtui.engine.job_request import JobRequest, Opening, check_opening, compute_job
from svdtui.engine.lora import lora_modules
from svdtui.engine.notes import notes_on
from svdtui.engine.overview import overview
from svdtui.engine.results import Tables
from svdtui.engine.stacks import find_stacks
from svdtui.engine.store import Store
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_reader import reading

SIZES: dict[str, Any] = {"hidden": 32, "heads": 2, "kv_heads": 1, "intermediate": 40, "vocab": 16}

Tensors = Mapping[str, torch.Tensor]


def stack(folder: Path, prefix: str, layers: int = 2, seed: int = 1, **options: Any) -> dict[str, torch.Tensor]:
    """The tensors of another model's layers."""
    made = write_checkpoint(
        folder / "other", prefix=prefix, layers=layers, seed=seed, tied=True, **{**SIZES, **options}
    )
    return made.tensors


def written(folder: Path, *others: Tensors, **options: Any) -> Checkpoint:
    """A model of two layers, with others beside it."""
    together = {name: tensor for other in others for name, tensor in other.items()}
    return write_checkpoint(folder / "m", overrides=together, **{**SIZES, **options})


def renamed(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


# ---- which is shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "others"),
    [
        ("model.", ["ref_model."]),
        ("model.", ["model_ema."]),
        ("model.", ["ema.model."]),
        ("model.", ["module_ema.module.", "teacher.model."]),
        ("student.", ["teacher."]),
        ("student.model.", ["teacher.model."]),
        ("policy.model.", ["reference.model."]),
        ("actor.model.", ["critic.model.", "reward.model."]),
        ("vlm.model.language_model.", ["vlm.vision_tower.vision_model.encoder."]),
        ("paligemma_with_expert.paligemma.language_model.", ["paligemma_with_expert.gemma_expert.model."]),
        ("thinker.model.", ["talker.model."]),
        ("", ["ema."]),
        ("text_model.encoder.", ["vision_model.encoder."]),
        ("StudentNetwork.", ["TeacherModel."]),
        ("myDecoder.", ["emaModel."]),
        ("momentum_model.", ["emaModel.momentum_model."]),
        ("language_model.model.", ["audio_tower.", "mtp."]),
    ],
)
def test_of_equals_the_plainest_name_is_shown(tmp_path: Path, shown: str, others: list[str]) -> None:
    """Also where the others come first and hold as much."""
    besides = [stack(tmp_path, prefix) for prefix in others]
    config: dict[str, Any] = {"text_config": {}} if shown == "text_model.encoder." else {}
    model = open_model(written(tmp_path, *besides, prefix=shown, config=config).folder)
    name = shown.rstrip(".") or "layers"
    assert model.stack == name
    assert model.info(Address(1, matrix="q_proj")).tensor == f"{shown}layers.1.self_attn.q_proj.weight"
    assert set(model.stacks.names) == {name, *(other.rstrip(".").removesuffix(".module") for other in others)}


@pytest.mark.parametrize(("plain", "other"), [("model.", "teacher."), ("draft.", "ref_model."), ("ema.", "decoder.")])
def test_the_configs_layer_count_comes_first(tmp_path: Path, plain: str, other: str) -> None:
    """Whatever a stack is called: the config is about the one that has its layers."""
    fewer = stack(tmp_path, plain, layers=1)
    more = stack(tmp_path, "student.", layers=4)
    model = open_model(written(tmp_path, fewer, more, prefix=other).folder)
    assert model.stack == other.rstrip(".")
    assert model.heads == 2


def test_a_tower_with_the_configs_layer_count_is_no_language_model(tmp_path: Path) -> None:
    tower = stack(tmp_path, "vision_tower.vision_model.encoder.", layers=2)
    model = open_model(
        written(tmp_path, tower, prefix="language_model.model.", layers=3, config={"num_hidden_layers": 2}).folder
    )
    assert model.stack == "language_model.model"


# ---- the others ---------------------------------------------------------------------------------------------------


def test_each_stack_opens_with_its_own_weights_and_results(tmp_path: Path) -> None:
    made = written(tmp_path, ema := stack(tmp_path, "ema.model."), prefix="model.")
    models = {name: open_model(made.folder, stack=name) for name in (None, "model", "ema.model", "ema")}
    assert len({model.key for model in models.values()}) == 2
    assert len({model.contents for model in models.values()}) == 2
    assert len({model.home for model in models.values()}) == 2
    for _ in range(2):  # the second time from the cache
        for name, model in models.items():
            tensors = ema if name in {"ema", "ema.model"} else made.tensors
            prefix = "ema.model." if name in {"ema", "ema.model"} else "model."
            with Analysis(model, device="cpu", cache_dir=tmp_path / "cache") as analysis:
                for place in ("1.q_proj", "embed_tokens"):
                    tensor = analysis.model.info(Address.parse(place)).tensor
                    assert tensor.startswith(prefix)
                    truth = torch.linalg.svdvals(tensors[tensor].double())
                    assert analysis.spectrum(place) == pytest.approx(truth.numpy(), rel=1e-9)


def test_another_stack_has_heads_only_where_the_config_is_about_it(tmp_path: Path) -> None:
    others = [
        stack(tmp_path, "ref_model."),
        stack(tmp_path, "draft.", layers=1, hidden=16, heads=1),
        stack(tmp_path, "wide.", hidden=64, heads=2),
        stack(tmp_path, "vision_tower.", heads=4, kv_heads=4),
    ]
    folder = written(tmp_path, *others).folder
    heads = {name: open_model(folder, stack=name).heads for name in open_model(folder).stacks.names}
    assert heads == {"model": 2, "ref_model": 2, "draft": 0, "wide": 0, "vision_tower": 0}
    for name in ("draft", "wide", "vision_tower"):
        model = open_model(folder, stack=name)
        assert "Heads are unknown" in str(model.heads_problem)
        assert model.info(Address(0, matrix="q_proj")).problem is None


def test_a_copy_has_the_layer_that_the_config_does_not_count_too(tmp_path: Path) -> None:
    folder = written(tmp_path, stack(tmp_path, "ref_model.", layers=3), layers=3).folder
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    model = open_model(folder, stack="ref_model")
    assert (model.heads, model.depth_layers) == (2, (0, 1))
    assert any("Layer 2 lies beyond" in note for note in notes_on(model))


def test_a_config_that_is_about_others_counts_no_layers(tmp_path: Path) -> None:
    folder = written(tmp_path, stack(tmp_path, "draft.", layers=1), stack(tmp_path, "critic.", layers=5)).folder
    for name in ("draft", "critic"):
        model = open_model(folder, stack=name)
        assert (model.layer_count, model.incomplete, model.depth_layers) == (None, None, model.layers)
        assert not any("beyond" in note or "config.json" in note for note in notes_on(model))


def test_a_tower_is_divided_by_its_own_part_of_the_config(tmp_path: Path) -> None:
    tower = stack(tmp_path, "vision_tower.encoder.", heads=4, kv_heads=4)
    config = {"vision_config": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}}
    folder = written(tmp_path, tower, config=config).folder
    assert (open_model(folder).heads, open_model(folder, stack="vision_tower").heads) == (2, 4)


def test_matrices_outside_the_layers_belong_to_their_stack(tmp_path: Path) -> None:
    head = {"critic.lm_head.weight": torch.ones(16, 32), "actor.lm_head.weight": torch.ones(16, 32)}
    made = written(tmp_path, stack(tmp_path, "critic.model."), head, prefix="actor.model.", drop=["lm_head.weight"])
    for name in ("actor.model", "critic.model"):
        infos = open_model(made.folder, stack=name).matrices(Address())
        assert {info.tensor.partition(".")[0] for info in infos} == {name.partition(".")[0]}
        assert len(infos) == 2


def test_who_computes_for_others_opens_the_same_stack(tmp_path: Path) -> None:
    folder = written(tmp_path, stack(tmp_path, "ref_model.")).folder
    main, other = open_model(folder), open_model(folder, stack="ref_model")
    job = Job(0, HEADS)
    stores = {each: Store(each, "gram64", tmp_path / "cache") for each in (main, other)}
    for model in (main, other):
        opening = Opening(model.location, model.key, "gram64", "cpu", stack=model.asked_stack)
        data = compute_job(JobRequest(opening, job))
        assert stores[model].decode(job, data)
        assert not stores[other if model is main else main].decode(job, data)
        with pytest.raises(ModelChangedError):
            check_opening(replace(opening, stack="model" if model is other else "ref_model"))


def test_a_stack_of_a_model_on_the_hub(home: Path, tmp_path: Path) -> None:
    made = written(tmp_path, ref := stack(tmp_path, "ref_model."), shards=2)
    with reading(home) as reader:
        reader.hub.add("org/m", made.folder)
        model = open_model("org/m", cache_dir=reader.cache_dir, access=reader.access, stack="ref_model")
        assert any("these files also hold model" in note for note in notes_on(model))
        found = reader.spectra(model, 1)
    assert len(found) == 2 * 4
    truth = torch.linalg.svdvals(ref["ref_model.layers.1.self_attn.q_proj.weight"].double()[:16])
    assert found["1.0.q"] == pytest.approx(truth.numpy(), rel=1e-9)


@pytest.mark.parametrize("name", ["nothing", "", "model.layers", "a"])
def test_a_stack_that_is_not_there_is_a_sentence(tmp_path: Path, name: str) -> None:
    others = [stack(tmp_path, "a.x."), stack(tmp_path, "a.y.")]
    with pytest.raises(ChoiceError, match=r"has model, a\.x, a\.y\. Name one of them"):
        open_model(written(tmp_path, *others).folder, stack=name)


def test_the_command_line_says_what_is_shown_and_opens_the_others(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    folder = written(tmp_path, stack(tmp_path, "ref_model.")).folder
    for name, prefix in ((None, "model."), ("ref_model", "ref_model.")):
        chosen = ["--stack", name] if name else []
        done = run_svdtui(folder, "--csv", "-", "--workers", "2", *chosen)
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert len(rows) == 2 * 2 * 4
        assert all(row["tensor"].startswith(prefix) for row in rows)
        assert {row["model"] for row in rows} == {"m#ref_model" if name else "m"}  # spectra have no other sign of it
        other = "model" if name else "ref_model"
        assert f"Shown is {name or 'model'}; these files also hold {other}: --stack NAME opens another." in done.stderr
    done = run_svdtui(folder, "--stack", "teacher", "--findings")
    assert done.returncode == 2
    assert "There is no stack 'teacher'" in done.stderr


# ---- states of an optimiser ---------------------------------------------------------------------------------------

STATES = [
    *("exp_avg.", "exp_avg_sq.model.", "max_exp_avg_sq.", "grad.", "grads.model.", "model_grads.", "momentum_buffer."),
    *(
        "optimizer.state.model.",
        "optimizer_state.exp_avg.",
        "state/exp_avg/model.",
        "accum_grad.model.",
        "mu.",
        "adam_v.",
        "optimizer_state_dict.model.",
        "optimizers.0.",
        "zero_optimizer.model.",
        "adamw.m.",
        "state1.",
        "hessian.",
        "fisher_information.",
        "momentum_1.",
        "square_avgs.",
    ),
]


@pytest.mark.parametrize("prefix", STATES)
def test_states_and_gradients_are_never_taken_for_weights(tmp_path: Path, prefix: str) -> None:
    """They hold as much as the weights, have more layers and may lie nearer the root."""
    states = stack(tmp_path, prefix, layers=3, seed=2)
    made = written(tmp_path, states, prefix="base.language_model.model.")
    model = open_model(made.folder)
    assert model.stacks.names == ("base.language_model.model",)
    assert model.info(Address(matrix="embed_tokens")).tensor.startswith("base.")
    assert any("are no weights" in note for note in notes_on(model))
    only = write_checkpoint(tmp_path / "only", prefix=prefix, **SIZES)
    with pytest.raises(ModelNotFoundError, match=r"holds optimiser states or gradients \(.*\), and no weights"):
        open_model(only.folder)


def test_states_behind_the_names_of_weights_are_told_too(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", **SIZES)
    states = {f"{name}.exp_avg": tensor for name, tensor in made.tensors.items()}
    folder = write_checkpoint(tmp_path / "s", overrides=states, drop=list(made.tensors), **SIZES).folder
    with pytest.raises(ModelNotFoundError, match=r"optimiser states or gradients \(exp_avg\)"):
        open_model(folder)


# ---- wrappers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.layers", "_orig_mod.model.layers"),
        ("model.layers", "module.model.layers"),
        ("model.layers", "_forward_module._fsdp_wrapped_module.model.layers"),
        ("model.layers", "base_model.model.model.layers"),
        ("self_attn", "_fsdp_wrapped_module.self_attn"),
        ("self_attn", "_checkpoint_wrapped_module.self_attn"),
        ("self_attn", "_fsdp_wrapped_module._checkpoint_wrapped_module.self_attn"),
        ("self_attn.", "self_attn._orig_mod."),
        ("layers.", "layers._checkpoint_wrapped_module."),
        ("proj.weight", "proj.base_layer.weight"),
        ("proj.weight", "proj._orig_mod.weight"),
        ("embed_tokens.weight", "embed_tokens.base_layer.weight"),
        ("lm_head.weight", "_orig_mod.lm_head.weight"),
    ],
)
def test_wrappers_anywhere_in_a_name_are_looked_through(tmp_path: Path, old: str, new: str) -> None:
    plain = write_checkpoint(tmp_path / "plain", **SIZES)
    names = {name.replace(old, new): tensor for name, tensor in plain.tensors.items()}
    made = write_checkpoint(tmp_path / "m", overrides=names, drop=plain.tensors.keys() - names.keys(), **SIZES)
    model, truth = open_model(made.folder), open_model(plain.folder)
    assert (model.layers, model.heads) == (truth.layers, truth.heads)
    for place in (Address(1, 1), Address(0), Address()):
        found = {str(info.address): info.tensor for info in model.matrices(place)}
        expected = {str(info.address): info.tensor.replace(old, new) for info in truth.matrices(place)}
        assert found == expected  # what is shown is what the file says
    assert not notes_on(model)


def test_only_some_layers_may_be_wrapped(tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain", **SIZES)
    names = {name.replace("layers.1.", "layers.1._checkpoint_wrapped_module."): t for name, t in plain.tensors.items()}
    made = write_checkpoint(tmp_path / "m", overrides=names, drop=plain.tensors.keys() - names.keys(), **SIZES)
    model = open_model(made.folder)
    assert model.layers == (0, 1)
    assert "wrapped" in model.info(Address(1, 0, "q")).tensor
    assert "wrapped" not in model.info(Address(0, 0, "q")).tensor


def test_a_wrapped_copy_is_another_stack(tmp_path: Path) -> None:
    made = written(tmp_path, stack(tmp_path, "module.model."))
    model = open_model(made.folder)
    assert model.stacks.names == ("model", "module.model")
    assert open_model(made.folder, stack="module.model").info(Address(0, 0, "q")).tensor.startswith("module.")


# ---- layers beyond the config's -----------------------------------------------------------------------------------


@pytest.fixture
def mtp(tmp_path: Path) -> Model:
    """A model of three layers and one more, which predicts a second token."""
    return open_model(write_checkpoint(tmp_path / "m", layers=4, config={"num_hidden_layers": 3}, **SIZES).folder)


def test_a_layer_beyond_the_config_is_no_part_of_what_is_said_of_all(mtp: Model, tmp_path: Path) -> None:
    assert mtp.layers == (0, 1, 2, 3)
    assert [mtp.is_beyond(layer) for layer in mtp.layers] == [False, False, False, True]
    with Analysis(mtp, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.scan()
        for layer in mtp.layers:
            for info in mtp.matrices(Address(layer)):
                analysis.result(info.job)
        evidence = gather(mtp, analysis.tables)
        assert evidence.layers == (0, 1, 2)
        assert {whole.address.layer for whole in evidence.wholes} <= {None, 0, 1, 2}
        assert any("Layer 3 lies beyond the 3 layers of config.json" in note for note in evidence.notes)
        findings = analysis.findings()
        assert {candidate.layer for candidate in findings.candidates} <= {None, 0, 1, 2}
        plan = lora_modules(mtp, analysis.tables)
        assert len(plan.modules) == 3 * 4
        assert overview(mtp, Address(), analysis.tables, 10).numbers == (0, 1, 2)
        rows = analysis.view().rows  # what is stored is exact, and has its rows
        assert {row.info.address.layer for row in rows} == {0, 1, 2, 3}


def test_a_layer_beyond_the_config_is_told(mtp: Model) -> None:
    from svdtui.tui.widgets.outline import Outline

    assert mtp.incomplete is None
    assert any("Layer 3 lies beyond" in note for note in notes_on(mtp))
    marks = [node.detail for node in Outline(mtp).nodes if node.kind == "layer"]
    assert marks == ["", "", "", "extra"]


def test_nothing_but_layers_beyond_the_config_is_shown_as_it_is(tmp_path: Path) -> None:
    def nothing(_: object) -> Tables | None:
        return None

    made = write_checkpoint(tmp_path / "m", layers=4, shards=4, config={"num_hidden_layers": 2}, **SIZES)
    model = open_model(made.files[-1])
    assert min(model.layers) >= 2
    assert model.depth_layers == model.layers
    assert overview(model, Address(), nothing, 10).numbers == model.layers


def test_context_is_no_text(tmp_path: Path) -> None:
    """A tower whose name has such a word in it stays one."""
    other = stack(tmp_path, "context_encoder.")
    assert open_model(written(tmp_path, other, prefix="body.").folder).stack == "body"


def test_names_made_to_hurt_are_placed_in_time() -> None:
    many = [f"a{i}.{name}" for i in range(3000) for name in ("layers.0.self_attn.q_proj.weight", "embed_tokens.weight")]
    found = find_stacks([*many, "layers.0." * 20_000 + "self_attn.q_proj.weight", "module." * 50_000 + "x"], 1)
    assert len(found.stacks) == 3001
    assert [found.owner(name).name for name in many[1::2]] == [f"a{i}" for i in range(3000)]
