"""What opening a model on the Hub asks for, what a layer reads, and that all of it is one commit."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors.torch import load_file, save_file

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    EngineError,
    HeaderError,
    Job,
    ModelNotFoundError,
    ShardIndexError,
    Solver,
    open_model,
)
from svdtui.engine.checkpoint import HEADER_CAP
from svdtui.engine.notes import notes_on
from tests.checkpoints import Checkpoint, planted, raw_safetensors, write_checkpoint, write_index
from tests.hub_reader import FIRST_READ, HubReader, equal, local_spectra, reading

HEADS_BYTES = (256 + 128 + 128 + 256) * 256 * 2
"""Of a layer's Q, K, V and O."""

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
"""Layers 0 and 1 lie in the first shard, 2 and 3 in the second."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("made") / "m"
    made = write_checkpoint(folder, layers=4, hidden=256, vocab=512, tied=True, shards=2)
    assert [made.weight_map[f"model.layers.{layer}.self_attn.q_proj.weight"] for layer in range(4)] == [ONE] * 2 + [
        TWO
    ] * 2
    return made


@pytest.fixture
def reader(home: Path) -> Iterator[HubReader]:
    with reading(home) as reader:
        yield reader


# ---- requests and bytes ------------------------------------------------------------------------------------------


def test_opening_asks_what_there_is_and_for_config_and_index(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    asked = [(request.method, request.file) for request in reader.hub.requests]
    index = "model.safetensors.index.json"
    assert asked[0] == ("GET", "")
    assert sorted(asked[1:]) == [("GET", "config.json"), ("GET", index), ("HEAD", "config.json"), ("HEAD", index)]
    assert model.layers == (0, 1, 2, 3)
    assert (model.heads, model.kv_heads, model.dtype) == (4, 2, "bf16")
    assert not model.is_known(Job(0, HEADS))
    assert model.remote_bytes(Job(0, HEADS)) is None


def test_a_layer_reads_one_header_and_its_tensors(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    reader.hub.forget()
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    (header, tensors) = reader.ranges()
    assert header == (0, FIRST_READ)
    assert tensors is not None
    assert tensors[1] - tensors[0] == HEADS_BYTES == model.remote_bytes(Job(0, HEADS))
    assert reader.hub.bytes_of(ONE) == FIRST_READ + HEADS_BYTES
    assert reader.hub.count(host="hub") == 1  # where the shard is
    assert reader.hub.bytes_of(TWO) == 0


def test_a_second_layer_of_a_shard_asks_the_hub_nothing(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    reader.spectra(model, 0)
    reader.hub.forget()
    assert equal(reader.spectra(model, 1), local_spectra(made.folder, 1))
    assert reader.hub.count(host="hub") == 0
    assert reader.hub.bytes_of() == HEADS_BYTES
    assert reader.hub.count() == 1


def test_a_second_start_reads_no_header_and_downloads_nothing_again(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    reader.spectra(reader.open(), 0)
    reader.hub.forget()
    model = reader.open()
    assert [request.path for request in reader.hub.requests] == ["/api/models/org/m/revision/main"]
    assert model.is_known(Job(0, HEADS))
    assert not model.is_known(Job(2, HEADS))
    assert model.info(Address(0, 0, "q")).cols == 256
    reader.hub.forget()
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))  # from the store
    assert reader.hub.count() == 0
    assert equal(reader.spectra(model, 1), local_spectra(made.folder, 1))
    assert reader.hub.bytes_of() == HEADS_BYTES


def test_a_model_opened_by_its_commit_asks_nothing_the_second_time(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    first = reader.spectra(reader.open(f"org/m@{commit}"), 0)
    reader.hub.forget()
    model = reader.open(f"org/m@{commit}")
    assert equal(reader.spectra(model, 0), first)
    assert reader.hub.count() == 0
    assert model.notice == ""
    assert equal(reader.spectra(reader.open(model.location), 0), first)  # as the worker opens it
    assert reader.hub.count() == 0


def test_config_and_index_lie_where_every_hub_tool_finds_them(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder, branches={"release/v1": "main"})
    reader.open()
    reader.open("org/m@release/v1")
    for file in ("config.json", "model.safetensors.index.json"):
        for revision in ("main", "release/v1", commit):
            found = hf_hub_download(
                "org/m", file, revision=revision, cache_dir=reader.access.cache_dir, local_files_only=True
            )
            assert Path(found).read_bytes() == (made.folder / file).read_bytes()
    assert try_to_load_from_cache("org/m", ONE, cache_dir=reader.access.cache_dir) is None


def test_an_index_that_is_not_used_is_not_fetched(reader: HubReader, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m")
    for number in range(20):
        (made.folder / f"part{number}.safetensors.index.json").write_text("{}")
    (made.folder / "tokenizer.json").write_text("{}")
    reader.hub.add("org/m", made.folder)
    reader.open()
    assert {request.file for request in reader.hub.requests} == {"", "config.json", "model.safetensors"}


def test_a_config_that_is_too_long_is_not_even_fetched(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    with (folder / "config.json").open("ab") as config:
        config.truncate(101 * 10**6)
    reader.hub.add("org/m", folder)
    with pytest.raises(EngineError, match=r"config\.json is 101,000,000 bytes long"):
        reader.open()
    assert reader.hub.bytes_of("config.json") == 0


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_model_in_one_file_needs_its_header_at_once(reader: HubReader, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", hidden=256)
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    assert reader.ranges() == [(0, FIRST_READ)]
    assert reader.hub.count() == 5  # what there is, config (2), where the file is, its header
    assert equal(reader.spectra(model, 1), local_spectra(made.folder, 1))
    assert reader.hub.bytes_of("model.safetensors") == FIRST_READ + HEADS_BYTES
    reader.hub.forget()
    assert reader.open().is_known(Job(1, HEADS))
    assert reader.hub.count() == 1


def test_several_files_without_an_index(reader: HubReader, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=4, shards=3)
    (made.folder / "model.safetensors.index.json").unlink()
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    assert model.layers == (0, 1, 2, 3)
    assert equal(reader.spectra(model, ""), local_spectra(made.folder, ""))


def test_a_header_that_is_longer_than_the_first_read(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    save_file(load_file(folder / ONE), folder / ONE, metadata={"format": "pt", "notes": "x" * 250_000})
    reader.hub.add("org/m", folder)
    model = reader.open()
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    header, rest, _ = reader.ranges(ONE)
    assert header == (0, FIRST_READ)
    assert rest is not None
    assert (rest[0], rest[1] > 250_000) == (FIRST_READ, True)
    assert reader.hub.bytes_of(ONE) == rest[1] + HEADS_BYTES
    reader.hub.forget()
    assert reader.open().is_known(Job(0, HEADS))
    assert reader.hub.bytes_of(ONE) == 0


@pytest.mark.parametrize("solver", ["gram64", "svd32", "svd64"])
@pytest.mark.parametrize("smallest", [1e-1, 1e-5, 1e-9])
def test_a_whole_matrix_comes_over_the_network_once(
    reader: HubReader, tmp_path: Path, solver: Solver, smallest: float
) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    sigma = torch.logspace(0, torch.tensor(smallest).log10().item(), 200, dtype=torch.float64)
    weight = planted(sigma, 200, 200)
    made = write_checkpoint(tmp_path / "m", layers=1, hidden=200, overrides={name: weight})
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    reader.hub.forget()
    found = reader.spectra(model, "0.down_proj", solver)
    assert reader.hub.bytes_of() == weight.nbytes
    assert equal(found, local_spectra(made.folder, "0.down_proj", solver))
    if solver == "svd64":
        assert found["0.down_proj"] == pytest.approx(sigma.numpy(), rel=1e-5)


# ---- one commit --------------------------------------------------------------------------------------------------


def other_weights(made: Checkpoint, folder: Path) -> Path:
    """The same model, trained further."""
    shutil.copytree(made.folder, folder)
    for file in (ONE, TWO):
        save_file({name: tensor * 2 for name, tensor in load_file(folder / file).items()}, folder / file)
    return folder


def test_when_main_moves_the_next_opening_sees_it_and_keeps_results_apart(
    reader: HubReader, made: Checkpoint, tmp_path: Path
) -> None:
    old = reader.hub.add("org/m", made.folder)
    first = reader.open()
    reader.spectra(first, 0)
    new = reader.hub.add("org/m", other_weights(made, tmp_path / "new"))
    second = reader.open()
    assert (first.revision, second.revision) == (old, new)
    assert first.key != second.key
    found = reader.spectra(second, 0)
    assert found["0.0.q"] == pytest.approx(2 * reader.spectra(first, 0)["0.0.q"])
    assert equal(found, local_spectra(tmp_path / "new", 0))
    assert equal(reader.spectra(reader.open(f"org/m@{old}"), 0), local_spectra(made.folder, 0))


def test_an_open_model_stays_at_its_commit_though_main_moves(
    reader: HubReader, made: Checkpoint, tmp_path: Path
) -> None:
    old = reader.hub.add("org/m", made.folder)
    model = reader.open()
    reader.hub.add("org/m", other_weights(made, tmp_path / "new"))
    for layer in range(4):
        assert equal(reader.spectra(model, layer), local_spectra(made.folder, layer))
    assert equal(
        reader.spectra(reader.open(model.location), 0), local_spectra(made.folder, 0)
    )  # as the worker opens it
    resolved = {r.path for r in reader.hub.requests if "/resolve/" in r.path}
    assert all(f"/resolve/{old}/" in path for path in resolved)


def test_branches_and_pull_requests(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    old = reader.hub.add("org/m", made.folder)
    new = reader.hub.add("org/m", other_weights(made, tmp_path / "new"), branches={"refs/pr/1": old, "v1": old})
    assert [reader.open(f"org/m{at}").revision for at in ("", "@refs/pr/1", "@v1", "@main")] == [new, old, old, new]
    assert reader.open("org/m", revision="v1").revision == old
    with pytest.raises(ModelNotFoundError, match="org/m has no branch, tag or commit v2"):
        reader.open("org/m@v2")


# ---- files that are not what they should be ----------------------------------------------------------------------

Q = "model.layers.0.self_attn.q_proj.weight"

HOSTILE: dict[str, Callable[[Path], object]] = {
    "longer than the file": lambda path: raw_safetensors(path, b"{}", header_length=2**40),
    "longer than any": lambda path: raw_safetensors(path, b"{}", header_length=2**64 - 1),
    "over the cap": lambda path: raw_safetensors(path, b" " * (HEADER_CAP + 1)),
    "shorter than it is": lambda path: raw_safetensors(path, b'{"__metadata__":{}}', header_length=5),
    "no JSON": lambda path: raw_safetensors(path, b"\xff" * 200_000),
    "nested": lambda path: raw_safetensors(path, b"[" * 200_000),
    "overlapping": lambda path: raw_safetensors(
        path,
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [at, at + 8]} for name, at in (("a", 0), ("b", 4))},
        bytes(12),
    ),
    "wrong size": lambda path: raw_safetensors(
        path, {Q: {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "cut short": lambda path: raw_safetensors(
        path, {Q: {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4_000_000]}}, bytes(1_000_000)
    ),
    "surplus": lambda path: raw_safetensors(
        path, {Q: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, bytes(17)
    ),
    "3 bytes": lambda path: path.write_bytes(b"abc"),
    "empty": lambda path: path.write_bytes(b""),
    "Git LFS": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_gets_the_same_sentence_as_in_a_folder(
    reader: HubReader, made: Checkpoint, tmp_path: Path, kind: str
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    HOSTILE[kind](alone / "model.safetensors")
    commit = reader.hub.add("org/alone", alone)
    with pytest.raises(HeaderError) as here:
        open_model(alone)
    with pytest.raises(HeaderError) as there:
        reader.open("org/alone")
    assert str(there.value) == str(here.value).replace(str(alone), f"org/alone (commit {commit[:7]})")
    assert reader.hub.bytes_of("model.safetensors") <= max(FIRST_READ, 200_008)

    folder = shutil.copytree(made.folder, tmp_path / "m")
    HOSTILE[kind](folder / ONE)
    reader.hub.add("org/m", folder)
    model = reader.open()
    with pytest.raises(HeaderError, match=ONE):
        reader.spectra(model, 0)
    assert equal(reader.spectra(model, 3), local_spectra(made.folder, 3))  # the other shard is as good as ever


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "config.json", ""]
)
def test_an_index_that_leads_elsewhere_is_refused(
    reader: HubReader, made: Checkpoint, tmp_path: Path, shard: str
) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    (folder / "sub").mkdir()
    shutil.copy(folder / ONE, folder / "sub" / "x.safetensors")
    write_index(folder, made.weight_map | {Q: shard})
    reader.hub.add("org/m", folder)
    with pytest.raises(ShardIndexError, match=r"not the name of a \.safetensors file in this folder"):
        reader.open()
    assert reader.hub.count(host="storage") == 0


def test_an_index_that_names_an_absent_shard_is_refused(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    (folder / TWO).unlink()
    reader.hub.add("org/m", folder)
    with pytest.raises(ShardIndexError, match=rf"the shard {TWO} is missing \(1 of 2 shards are there\)"):
        reader.open()


def test_an_index_that_contradicts_a_header_is_found_out_when_the_header_is_read(
    reader: HubReader, made: Checkpoint, tmp_path: Path
) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    name = "model.layers.3.self_attn.q_proj.weight"
    write_index(folder, made.weight_map | {name: ONE})
    reader.hub.add("org/m", folder)
    model = reader.open()
    assert equal(reader.spectra(model, 2), local_spectra(made.folder, 2))
    assert not notes_on(model)
    rest = {place: sigma for place, sigma in local_spectra(made.folder, 3).items() if not place.endswith("q")}
    assert equal(reader.spectra(model, 3), rest)
    assert model.info(Address(3, 0, "q")).problem == f"The index says that {name} is in {ONE}, but it is not."
    assert [note for note in notes_on(model) if name in note]


def test_a_shape_that_contradicts_the_config_is_that_matrix_problem_only(reader: HubReader, tmp_path: Path) -> None:
    wrong = {
        "model.layers.1.self_attn.k_proj.weight": torch.ones(48, 64),
        "model.layers.1.self_attn.v_proj.weight": torch.ones(32, 64).to(torch.int8),
    }
    made = write_checkpoint(tmp_path / "m", shards=2, overrides=wrong)
    good = write_checkpoint(tmp_path / "good", shards=2)
    reader.hub.add("org/m", made.folder)
    here = open_model(made.folder).info(Address(1, 0, "k")).problem
    assert here
    assert "k_proj.weight has 48 rows" in here
    with Analysis(reader.open(), device="cpu", cache_dir=reader.cache_dir) as analysis:
        rows = {str(row.info.address): row for row in analysis.view(1).rows}
        assert [row.problem for name, row in rows.items() if name.endswith("k")] == [here] * 4
        assert all("has the dtype I8" in str(row.problem) for name, row in rows.items() if name.endswith("v"))
        truth = local_spectra(good.folder, 1)
        found = {name: row.spectrum for name, row in rows.items() if row.spectrum is not None}
        assert equal(found, {name: sigma for name, sigma in truth.items() if name.endswith(("q", "o"))})
        assert not [row.problem for row in analysis.view(0).rows if row.problem]
