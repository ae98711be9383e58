"""Tensors that disagree with config or index: a problem of their own matrices, from a folder as from the Hub."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from svdtui.engine import (
    Address,
    Analysis,
    CheckpointError,
    ConfigError,
    LayoutError,
    Model,
    ShardIndexError,
    open_model,
)
from svdtui.engine.matrices import MatrixInfo
from svdtui.engine.notes import notes_on
from svdtui.engine.views import infos_of
from tests.checkpoints import Checkpoint, decaying, write_checkpoint, write_index
from tests.hub_reader import HubReader, equal, local_spectra, reading

HEADS = range(4)
LAYERS = range(3)


def tensor(layer: int, matrix: str) -> str:
    return f"model.layers.{layer}.self_attn.{matrix}_proj.weight"


@pytest.fixture
def reader(home: Path) -> Iterator[HubReader]:
    with reading(home) as reader:
        yield reader


Make = Callable[..., Checkpoint]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Writes a checkpoint of three layers in two shards."""

    def make(**options: Any) -> Checkpoint:
        return write_checkpoint(tmp_path / "m", **{"layers": 3, "shards": 2, **options})

    return make


def matrices(model: Model) -> list[MatrixInfo]:
    """The matrices of all heads, once their headers have been read."""
    for _ in model.prepare(model.jobs(Address())):
        pass
    return list(infos_of(model, Address()))


def problems(model: Model) -> dict[str, str]:
    """Each matrix of a head that has no figures, and why."""
    infos = matrices(model)
    assert len(infos) == len(LAYERS) * len(HEADS) * 4
    return {str(info.address): info.problem for info in infos if info.problem}


def everywhere(made: Checkpoint, reader: HubReader) -> dict[str, str]:
    """The same from a folder and from the Hub."""
    reader.hub.add("org/m", made.folder)
    here = problems(open_model(made.folder))
    assert here == problems(reader.open())
    return here


def places(layers: Collection[int], matrices: str) -> set[str]:
    return {f"{layer}.{head}.{matrix}" for layer in layers for head in HEADS for matrix in matrices}


@pytest.mark.parametrize(
    ("wrong", "shape", "words"),
    [
        ("q", (48, 64), "has 48 rows, but the config says 4 heads × 16 = 64"),
        ("k", (64, 64), "has 64 rows, but the config says 2 KV heads × 16 = 32"),
        ("v", (32, 65), "has 65 columns, but the config says hidden_size 64"),
        ("o", (64, 60), "has 60 columns, but the config says 4 heads × 16 = 64"),
        ("o", (32, 64), "has 32 rows, but the config says hidden_size 64"),
        ("q", (64, 64, 1), "not rows × columns"),
        ("k", (32 * 64,), "not rows × columns"),
        ("v", (0,), "not rows × columns"),
        ("o", (0, 64), "is empty: 0 × 64"),
    ],
)
def test_a_tensor_of_another_shape_concerns_itself_only(
    made: Make, reader: HubReader, wrong: str, shape: tuple[int, ...], words: str
) -> None:
    matrix = decaying(*shape) if len(shape) == 2 and all(shape) else torch.ones(shape)
    found = everywhere(made(overrides={tensor(1, wrong): matrix.bfloat16()}), reader)
    assert found.keys() == places({1}, wrong)
    assert all(tensor(1, wrong) in problem for problem in found.values())
    assert all(words in problem for problem in found.values())


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 8, "head_dim": 16},  # K and V have as many rows as it says
        {"num_attention_heads": 8},  # Q and O have, whatever it says
        {"num_attention_heads": 2, "num_key_value_heads": 2},
        {"num_attention_heads": 8, "num_key_value_heads": 8},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"head_dim": 8},
        {"hidden_size": 128, "head_dim": 16},
    ],
    ids=str,
)
def test_a_config_with_other_heads_shows_none(made: Make, reader: HubReader, config: Mapping[str, Any]) -> None:
    """In the folder all is known at once, and nothing is left; on the Hub it is found out layer by layer."""
    folder = made(config=config).folder
    with pytest.raises(LayoutError, match="but the config says"):
        open_model(folder)
    reader.hub.add("org/m", folder)
    infos = matrices(reader.open())
    assert infos
    assert all(info.problem and info.n == 0 for info in infos)


def test_a_layer_with_other_heads_shows_none_of_them(made: Make, reader: HubReader) -> None:
    """Heads twice as wide: K, with half as many, has the very shape that the config expects."""
    wide = {"q": (128, 64), "k": (32, 64), "v": (32, 64), "o": (64, 128)}
    overrides = {tensor(2, name): decaying(*shape).bfloat16() for name, shape in wide.items()}
    found = everywhere(made(overrides=overrides), reader)
    assert found.keys() == places({2}, "qkvo")
    assert "do not fit its layer" in found["2.0.k"]
    assert f"{tensor(2, 'q')} has 128 rows" in found["2.0.k"]


@pytest.mark.parametrize("missing", ["qo", "kv"])
def test_what_a_layer_does_not_say_the_others_do(made: Make, missing: str) -> None:
    """Of a layer with nothing but K and V, or Q and O, the numbers may seem right."""
    config = {"num_attention_heads": 8, "head_dim": 16} if missing == "qo" else {"num_key_value_heads": 4}
    folder = made(drop=[tensor(0, name) for name in missing], config=config).folder
    with pytest.raises(LayoutError):
        open_model(folder)


def test_k_and_v_of_one_layer_leave_q_and_o_alone(made: Make, reader: HubReader) -> None:
    """The other layers confirm the numbers."""
    overrides = {tensor(0, name): decaying(48, 64).bfloat16() for name in "kv"}
    assert everywhere(made(overrides=overrides), reader).keys() == places({0}, "kv")


def test_the_others_have_their_figures(made: Make, reader: HubReader) -> None:
    truth = local_spectra(made().folder, 1)
    folder = made(overrides={tensor(1, "q"): decaying(48, 64).bfloat16(), tensor(0, "q"): torch.zeros(0)}).folder
    reader.hub.add("org/m", folder)
    rest = {place: sigma for place, sigma in truth.items() if not place.endswith("q")}
    assert equal(local_spectra(folder, 1), rest)
    assert equal(reader.spectra(reader.open(), 1), rest)


def test_a_plan_and_the_findings_do_without_a_tensor_that_disagrees(made: Make, tmp_path: Path) -> None:
    from svdtui.engine.lora import lora_modules

    model = open_model(made(overrides={tensor(1, "q"): decaying(48, 64).bfloat16()}).folder)
    with Analysis(model, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert analysis.findings().computed == 3
        modules = lora_modules(model, analysis.tables)
    [left_out] = modules.left_out
    assert left_out.startswith("1.q_proj is left out: it has another shape")


# ---- leftovers of training ----------------------------------------------------------------------------------------


def test_files_of_nothing_but_empty_tensors_are_told_as_that(made: Make, reader: HubReader) -> None:
    names = made().tensors
    folder = made(overrides={name: torch.zeros(0) for name in names}).folder
    reader.hub.add("org/m", folder)
    with pytest.raises(CheckpointError, match=r"all matrices of the layers are empty\. DeepSpeed's ZeRO-3"):
        open_model(folder)


# ---- the index ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("lm_head.weight", set()),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", set()),
        (tensor(0, "k"), places({0}, "k")),
        (tensor(2, "o"), places({2}, "o")),
    ],
)
def test_what_a_shard_lacks_concerns_itself_only(made: Make, reader: HubReader, name: str, wrong: set[str]) -> None:
    whole = made(tied=True, drop=[name])
    write_index(whole.folder, whole.weight_map | {name: whole.files[0].name})
    found = everywhere(whole, reader)
    assert found.keys() == wrong
    said = f"The index says that {name} is in {whole.files[0].name}, but it is not."
    assert set(found.values()) <= {said}
    assert any(name in note for note in notes_on(open_model(whole.folder)))


def test_a_tied_head_that_the_index_names_is_told_as_tied(made: Make) -> None:
    whole = made(tied=True)
    write_index(whole.folder, whole.weight_map | {"lm_head.weight": whole.files[0].name})
    problem = open_model(whole.folder).info(Address(matrix="lm_head")).problem
    assert problem
    assert "tied to embed_tokens" in problem


def test_an_index_of_other_files_is_refused(made: Make) -> None:
    whole = made()
    write_index(whole.folder, {name.replace("model.", "transformer."): file for name, file in whole.weight_map.items()})
    with pytest.raises(ShardIndexError, match=r"but it is not\. The files belong to different versions"):
        open_model(whole.folder)


def test_what_the_config_does_not_give_is_told_where_the_default_contradicts(made: Make) -> None:
    with pytest.raises(
        LayoutError, match=r"says 32 heads × 16 = 512\. There, num_attention_heads 32 is not written: it is the arch"
    ):
        open_model(made(config={"num_attention_heads": None, "head_dim": 16}).folder)
    with pytest.raises(
        ConfigError, match=r"5 key/value heads, which do not divide\. There, num_attention_heads 32 is not written"
    ):
        open_model(made(config={"num_attention_heads": None, "num_key_value_heads": 5}).folder)
