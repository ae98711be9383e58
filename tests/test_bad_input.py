"""Whatever is wrong with the input: one sentence on stderr (what, where, what to do), an exit status, no traceback."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from svdtui.engine import Address, Analysis, EngineError, ReadError, ShardIndexError, open_model
from svdtui.engine.notes import notes_on
from tests.checkpoints import Checkpoint, decaying, raw_safetensors, write_checkpoint, write_index
from tests.conftest import RunSvdtui
from tests.terminal import Terminal

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 4976698672\n"
Q = "model.layers.0.self_attn.q_proj.weight"
K = "model.layers.0.self_attn.k_proj.weight"

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def complaint(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one sentence that a failed run wrote, and nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return sentence(line)


def sentence(line: str) -> str:
    """A line of stderr without its beginning."""
    assert line.startswith("svdtui: ")
    assert line.endswith(".")
    assert line.isprintable()
    return line.removeprefix("svdtui: ")


def figures(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a metrics file by layer, head and matrix."""
    with path.open(newline="") as file:
        return {(row["layer"], row["head"], row["matrix"]): row for row in csv.DictReader(file)}


# ---- checkpoints that cannot be opened -------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """Something unusable, and what the sentence on it must say; `{path}` is where it lies."""

    make: Callable[[Path], Path]
    words: Sequence[str]


def edited(edit: Callable[[Checkpoint], object], **options: object) -> Callable[[Path], Path]:
    """A good checkpoint, spoilt."""

    def make(folder: Path) -> Path:
        edit(write_checkpoint(folder / "model", layers=1, **options))  # type: ignore[arg-type]
        return folder / "model"

    return make


def single(name: str, content: bytes, size: int | None = None) -> Callable[[Path], Path]:
    """A folder with one file of this content; made `size` bytes long without writing them."""

    def make(folder: Path) -> Path:
        (folder / "model").mkdir()
        with (folder / "model" / name).open("wb") as file:
            file.write(content)
            if size is not None:
                file.truncate(size)
        return folder / "model"

    return make


def cut(checkpoint: Checkpoint) -> None:
    whole = checkpoint.files[0].read_bytes()
    checkpoint.files[0].write_bytes(whole[:-100])


def lengthened(checkpoint: Checkpoint) -> None:
    """A header that claims to be longer than its file."""
    content = checkpoint.files[0].read_bytes()
    checkpoint.files[0].write_bytes((len(content) + 1).to_bytes(8, "little") + content[8:])


def scrambled(checkpoint: Checkpoint) -> None:
    content = checkpoint.files[0].read_bytes()
    checkpoint.files[0].write_bytes(content[:8] + bytes(range(256)) + content[264:])


def with_new_dtype(checkpoint: Checkpoint) -> None:
    content = checkpoint.files[0].read_bytes()
    checkpoint.files[0].write_bytes(content.replace(b'"BF16"', b'"I128"', 1))


def twice(checkpoint: Checkpoint) -> None:
    """The same tensors in a second file, and no index to say which counts."""
    file = checkpoint.files[0]
    (file.parent / "other.safetensors").write_bytes(file.read_bytes())
    file.rename(file.parent / "first.safetensors")


def loop(folder: Path) -> Path:
    path = folder / "link"
    path.symlink_to(path)
    return path


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def folder_named_as_weights(folder: Path) -> Path:
    (folder / "model" / "model.safetensors").mkdir(parents=True)
    return folder / "model"


def torch_pickle(folder: Path) -> Path:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    return folder / "pytorch_model.bin"


def pickles_only(folder: Path) -> Path:
    for name in ("pytorch_model.bin", "model.gguf"):
        (folder / name).write_bytes(b"\x80\x02")
    return folder


UNUSABLE = {
    "missing path": Bad(lambda folder: folder / "nowhere", ["no file or folder {path}", "Give the path"]),
    "empty folder": Bad(lambda folder: folder, ["{path} holds no .safetensors file"]),
    "folder of pickles": Bad(pickles_only, ["holds no .safetensors file", ".bin, .gguf files, which are not read"]),
    "pickle": Bad(torch_pickle, ["{path} is not a safetensors file", "never pickled weights"]),
    "loop of links": Bad(loop, ["{path} leads to neither a file nor a folder"]),
    "named pipe": Bad(pipe, ["{path} leads to neither a file nor a folder"]),
    "folder named as weights": Bad(folder_named_as_weights, ["{path} holds no .safetensors file"]),
    "truncated shard": Bad(edited(cut), ["model.safetensors is cut short", "Download or copy the file again"]),
    "header longer than the file": Bad(edited(lengthened), ["model.safetensors is cut short", "the whole file has"]),
    "garbage header": Bad(edited(scrambled), ["model.safetensors has a damaged header", "Download or copy"]),
    "garbage file": Bad(single("model.safetensors", b"PK\3\4" * 500), ["no safetensors file", "2,000"]),
    "header of 26 MB": Bad(
        single("model.safetensors", (26 * 10**6).to_bytes(8, "little") + b"{", size=27 * 10**6),
        ["a header of 26,000,000 bytes, more than the 25,000,000", "get the model from its publisher"],
    ),
    "empty file": Bad(single("model.safetensors", b""), ["model.safetensors is only 0 bytes long"]),
    "one byte": Bad(single("model.safetensors", b"{"), ["model.safetensors is only 1 byte long"]),
    "dtype that nobody knows": Bad(
        edited(with_new_dtype), ["model.safetensors has a damaged header", "unknown variant `I128`"]
    ),
    "Git LFS pointer": Bad(
        single("model.safetensors", LFS_POINTER), ["model.safetensors is a Git LFS pointer", "git lfs pull"]
    ),
    "config a Git LFS pointer": Bad(
        edited(lambda made: (made.folder / "config.json").write_bytes(LFS_POINTER)),
        ["config.json is not valid JSON", "Git LFS pointer", "git lfs pull"],
    ),
    "shard missing": Bad(
        edited(lambda made: made.files[1].unlink(), shards=2),
        ["the shard model-00002-of-00002.safetensors is missing (1 of 2 shards are there)", "Finish the download"],
    ),
    "index out of the folder": Bad(
        edited(lambda made: None, index={Q: "../secret.safetensors"}),
        ["index.json places the tensor " + Q + " in '../secret.safetensors'", "not the name of", "Do not trust"],
    ),
    "all tensors absent from their shards": Bad(
        edited(lambda made: write_index(made.folder, {Q: made.files[0].name, K: made.files[0].name}), drop=[Q, K]),
        [f"The index says that {K} is in model.safetensors, but it is not", "download"],
    ),
    "index without a byte": Bad(
        edited(lambda made: (made.folder / "model.safetensors.index.json").write_bytes(b""), shards=2),
        ["model.safetensors.index.json is not valid JSON", "Download the file again"],
    ),
    "index without a map": Bad(
        edited(lambda made: (made.folder / "model.safetensors.index.json").write_text('{"metadata": {}}'), shards=2),
        ["model.safetensors.index.json has no weight_map"],
    ),
    "tensors in two files": Bad(
        edited(twice), ["the tensor lm_head.weight is both in first.safetensors and in other.safetensors", "Open one"]
    ),
    "shapes against the config": Bad(
        edited(lambda made: None, config={"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16}),
        [Q + " has 64 rows", "3 heads × 16 = 48", "config.json belongs to another model"],
    ),
    "hidden size against the tensors": Bad(
        edited(lambda made: None, config={"hidden_size": 128, "head_dim": 16}),
        [Q + " has 64 columns", "hidden_size 128"],
    ),
    "head counts that do not divide": Bad(
        edited(lambda made: None, config={"num_key_value_heads": 3}),
        ["4 attention heads and 3 key/value heads, which do not divide", "Correct"],
    ),
    "head count as text": Bad(
        edited(lambda made: None, config={"num_attention_heads": "four"}), ["num_attention_heads 'four'"]
    ),
    "config no JSON": Bad(
        edited(lambda made: (made.folder / "config.json").write_bytes(b"\xff{")), ["config.json is not valid JSON"]
    ),
    "config no object": Bad(
        edited(lambda made: (made.folder / "config.json").write_text("[]")), ["config.json is not a JSON object"]
    ),
    "config nested too deep": Bad(
        edited(lambda made: (made.folder / "config.json").write_text('{"a":' * 100_000)),
        ["config.json is not valid JSON"],
    ),
    "config too long": Bad(
        edited(lambda made: os.truncate(made.folder / "config.json", 2 * 10**8)),
        ["config.json is 200,000,000 bytes long, more than the 50,000,000"],
    ),
    "no layers": Bad(
        edited(lambda made: None, prefix="bert.encoder.block"), ["no layer whose names svdtui knows", "See the README"]
    ),
}


@pytest.mark.parametrize("case", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_model_is_a_sentence(case: Bad, run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path = case.make(tmp_path / "there")
    (tmp_path / "out").mkdir()

    done = run_svdtui(path, "--csv", tmp_path / "out" / "metrics.csv", timeout=30)

    said = complaint(done)
    for words in case.words:
        assert words.format(path=path) in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "shard",
    [
        "../secret.safetensors",
        "/etc/secret.safetensors",
        "..\\secret.safetensors",
        "below\\secret.safetensors",
        "C:secret.safetensors",
        "below/secret.safetensors",
        "./model.safetensors",
        "..",
        ".hidden.safetensors",
        "config.json",
        "model.safetensors\0.json",
        "",
        None,
        7,
        ["model.safetensors"],
        {"model.safetensors": 1},
    ],
)
def test_an_index_names_only_files_of_its_folder(shard: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for place in (tmp_path / "secret.safetensors", model / "below" / "secret.safetensors"):
        raw_safetensors(place, {})
    made = write_checkpoint(model, layers=1)
    write_index(model, made.weight_map | {Q: shard})

    with pytest.raises(ShardIndexError, match="not the name of a"):
        open_model(model)


def test_the_missing_shard_is_told_even_where_the_index_holds_worse(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    for extra in ({"a": "missing.safetensors", "b": ["x"]}, {"b": ["x"], "a": "missing.safetensors"}):
        write_index(made.folder, made.weight_map | extra)  # type: ignore[arg-type]
        with pytest.raises(ShardIndexError):
            open_model(made.folder)


@pytest.mark.parametrize("link", ["nowhere", "itself"])
def test_a_shard_whose_link_leads_nowhere_is_missing(link: str, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1, shards=2)
    made.files[1].unlink()
    made.files[1].symlink_to(made.files[1] if link == "itself" else tmp_path / "nowhere")
    with pytest.raises(ShardIndexError, match="is missing"):
        open_model(made.folder)


def test_a_long_name_makes_no_long_sentence(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    write_index(made.folder, made.weight_map | {"x" * 10**6: "model.safetensors"})
    [note] = notes_on(open_model(made.folder))
    assert len(note) < 2000


# ---- what is not permitted -------------------------------------------------------------------------------------

_WITHOUT_PRIVILEGES = """
import ctypes, os, sys
if os.geteuid() == 0:  # root may read and write everything: give that up
    libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for effective_and_permitted in (0, 1):
        sets[effective_and_permitted] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0
sys.argv[0] = "svdtui"
from svdtui.tui.cli import main
main()
"""


@linux_only
@pytest.mark.parametrize("what", ["", "config.json", "model.safetensors"])
def test_what_may_not_be_read_is_a_sentence(what: str, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    closed = made.folder / what
    closed.chmod(0)

    done = without_privileges(made.folder, "--csv", tmp_path / "out.csv")

    closed.chmod(0o700)
    said = complaint(done)
    assert str(closed) in said
    assert "Permission denied" in said
    assert "permissions" in said or "may read it" in said


@linux_only
def test_what_may_not_be_written_is_a_sentence_before_anything_is_computed(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "there.csv").touch()
    closed.chmod(0o500)

    for name in ("new.csv", "there.csv"):
        done = without_privileges(made.folder, "--csv", closed / name)
        assert f"{name} cannot be written: permission denied. Give a path in a folder" in complaint(done)
    assert not (tmp_path / "home" / "cache").exists()


def without_privileges(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WITHOUT_PRIVILEGES, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere/out.csv", ["cannot be written: there is no folder", "Give a path in a folder that you may write to"]),
        ("folder", ["folder is a folder", "Give the name of a file in it"]),
        ("loop.csv", ["loop.csv cannot be written"]),
    ],
)
def test_a_csv_that_cannot_be_written_is_a_sentence(
    path: str, words: Collection[str], run_svdtui: RunSvdtui, tmp_path: Path
) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    (out / "loop.csv").symlink_to(out / "loop.csv")

    said = complaint(run_svdtui(made.folder, "--csv", out / path))

    assert all(each in said for each in words)
    assert {path.name for path in out.iterdir()} == {"folder", "loop.csv"}


@linux_only
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_a_full_or_closed_stdout_is_a_sentence(stdout: str, svdtui: list[str], tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    done = shell(f"exec {{svdtui}} {{0}} --csv - {stdout}", svdtui, made.folder)
    assert "stdout" in complaint(done)


@linux_only
def test_a_full_disk_costs_the_cache_and_not_the_result(svdtui: list[str], tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=2)
    cache = tmp_path / "cache"

    done = shell("ulimit -f 0; exec {svdtui} {0} --csv - --cache-dir {1}", svdtui, made.folder, cache)

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + 2 * 4 * 4
    [line] = done.stderr.splitlines()
    assert re.search(rf"Results cannot be kept in {cache}.*: File too large\. --cache-dir", sentence(line))
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@linux_only
def test_a_full_disk_leaves_no_part_of_a_csv(svdtui: list[str], tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.csv").write_text("what was there")

    done = shell(
        "ulimit -f 0; exec {svdtui} {0} --csv {1}/metrics.csv --spectra-csv {1}/new.csv", svdtui, made.folder, out
    )

    assert done.returncode == 1
    assert "metrics.csv cannot be written: File too large." in sentence(done.stderr.splitlines()[-1])
    assert {path.name: path.read_text() for path in out.iterdir()} == {"metrics.csv": "what was there"}


def shell(command: str, svdtui: Sequence[str], *paths: Path) -> subprocess.CompletedProcess[str]:
    text = command.format(*paths, svdtui=" ".join(svdtui))
    return subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("in_the_way", ["cache", "cache/v2"])
def test_a_cache_that_cannot_be_written_costs_the_cache_and_not_the_result(
    in_the_way: str, run_svdtui: RunSvdtui, tmp_path: Path
) -> None:
    made = write_checkpoint(tmp_path / "model", layers=2)
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("a file")

    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv", "--cache-dir", tmp_path / "cache")

    assert done.returncode == 0
    [line] = done.stderr.splitlines()  # once, although there are two layers
    assert f"Results cannot be kept in {tmp_path / 'cache' / 'v2'}" in sentence(line)
    assert len(figures(tmp_path / "out.csv")) == 2 * 4 * 4


# ---- checkpoints that are usable in part -----------------------------------------------------------------------


def test_without_a_config_there_are_whole_matrices(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=2, config=False)

    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv")

    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "Heads are unknown: there is no config.json" in sentence(line)
    rows = figures(tmp_path / "out.csv")
    whole = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert list(rows) == [
        *((str(layer), "", name) for layer in range(2) for name in whole),
        ("", "", "embed_tokens"),
        ("", "", "lm_head"),
    ]
    truth = torch.linalg.svdvals(made.tensors["model.layers.1.mlp.up_proj.weight"].double())
    assert float(rows["1", "", "up_proj"]["sigma_first"]) == pytest.approx(float(truth[0]), rel=1e-12)


def test_without_a_config_a_head_is_refused_with_the_reason(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1, config=False)
    done = run_svdtui(made.folder, "--layer", "0", "--head", "0", "--csv", "-")
    assert "no head 0. Heads are unknown: there is no config.json" in complaint(done, 2)


def test_without_any_heads_the_whole_matrices_are_named(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    attention = [Q.replace("q_proj", f"{name}_proj") for name in "qkvo"]
    made = write_checkpoint(tmp_path / "model", layers=1, drop=attention)
    done = run_svdtui(made.folder, "--layer", "0", "--csv", tmp_path / "out.csv")
    said = complaint(done)
    assert "no attention heads there. --matrix names a whole matrix: gate_proj, up_proj, down_proj." in said


def test_heads_that_no_tensor_has_are_not_shown(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    attention = [Q.replace("q_proj", f"{name}_proj") for name in "qkvo"]
    config = {"num_attention_heads": 4000, "num_key_value_heads": None, "head_dim": 1}
    made = write_checkpoint(tmp_path / "model", layers=1, drop=attention, config=config)
    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv", timeout=20)
    assert "no attention heads there" in complaint(done)


def test_a_thousand_million_heads_of_packed_weights_are_refused_at_once(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    packed = {Q.replace("q_proj", f"{name}_proj"): torch.zeros(8, 8, dtype=torch.int32) for name in "qkvo"}
    config = {"num_attention_heads": 10**9, "num_key_value_heads": None, "head_dim": 1}
    made = write_checkpoint(tmp_path / "model", layers=1, overrides=packed, config=config)
    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv", timeout=20)
    assert "num_attention_heads 1000000000, which is no positive integer of a usual size" in complaint(done)


@dataclass(frozen=True)
class Wounded:
    """A checkpoint in which five of eight attention tensors cannot be analysed, and what a run made of it."""

    made: Checkpoint
    done: subprocess.CompletedProcess[str]
    rows: dict[tuple[str, ...], dict[str, str]]


PREFIX = "=1+1 \x1b[31m[bold red]\u202e."
"""A prefix of tensor names that is a formula, an escape sequence, markup, and text run backwards."""


@pytest.fixture(scope="module")
def wounded(tmp_path_factory: pytest.TempPathFactory, svdtui: list[str]) -> Wounded:
    folder = tmp_path_factory.mktemp("wounded")
    name = PREFIX + "layers.{}.self_attn.{}_proj.weight"
    with_nan, with_inf, tiny_floats = decaying(32, 64).bfloat16(), decaying(64, 64), decaying(64, 64)
    with_nan[3, 5] = with_nan[3, 6] = torch.nan  # head 0's
    with_inf[:, 40] = -torch.inf  # 64 values, all of head 2's columns
    overrides = {
        name.format(0, "k"): with_nan,
        name.format(0, "o"): with_inf.float(),
        name.format(0, "v"): torch.ones(32, 64, dtype=torch.int8),
        name.format(1, "q"): tiny_floats.to(torch.float8_e4m3fn),
        name.format(1, "v"): torch.ones(32, 64, dtype=torch.bool),
    }
    made = write_checkpoint(folder / "=cmd|'[blink]'", layers=2, prefix=PREFIX, overrides=overrides)
    command: list[str | Path] = [*svdtui, made.folder, "--csv", folder / "out.csv", "--cache-dir", folder / "cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Wounded(made, done, figures(folder / "out.csv"))


def test_faulty_tensors_leave_the_others_alone(wounded: Wounded) -> None:
    assert wounded.done.returncode == 1
    assert len(wounded.rows) == 2 * 4 * 4
    for (layer, head, matrix), row in wounded.rows.items():
        is_faulty = (
            (layer, matrix) in {("0", "v"), ("1", "q"), ("1", "v")}
            or ((layer, matrix) == ("0", "k") and head in "01")
            or (layer, head, matrix) == ("0", "2", "o")
        )
        computed = [row[name] for name in ("sigma_first", "top10_ratio", "energy_rank_90", "nuclear_norm", "solver")]
        assert any(computed) == (not is_faulty), (layer, head, matrix)
        if not is_faulty:
            weights = wounded.made.head_slice(int(layer), int(head), matrix)  # type: ignore[arg-type]
            truth = float(torch.linalg.svdvals(weights)[0])
            assert float(row["sigma_first"]) == pytest.approx(truth, rel=1e-12)


def test_nan_and_infinite_values_are_counted_by_tensor(wounded: Wounded) -> None:
    said = [sentence(line) for line in wounded.done.stderr.splitlines()]
    assert [line for line in said if "layers.0.self_attn.k_proj.weight: 2 of the 1,024 values of K in head 0" in line]
    [_] = [line for line in said if "layers.0.self_attn.o_proj.weight: 64 of the 1,024 values of O in head 2" in line]


def test_a_dtype_without_a_spectrum_is_named(wounded: Wounded) -> None:
    said = [sentence(line) for line in wounded.done.stderr.splitlines()]
    for tensor, dtype in (("0.self_attn.v", "I8"), ("1.self_attn.q", "F8_E4M3"), ("1.self_attn.v", "BOOL")):
        [_] = [line for line in said if f"layers.{tensor}_proj.weight has the dtype {dtype}; spectra are" in line]


def test_hostile_names_are_harmless_in_a_terminal_and_in_a_spreadsheet(wounded: Wounded) -> None:
    shown = r"=1+1 \x1b[31m[bold red]\u202e.layers.0.self_attn.v_proj.weight"
    assert shown in wounded.done.stderr
    for row in wounded.rows.values():
        assert row["model"] == "'=cmd|'[blink]'"
        assert row["tensor"].startswith("'" + shown[:30])
        assert all(cell.isprintable() for cell in row.values())


def test_a_model_of_nothing_but_nan_is_told_in_a_few_lines(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    shapes = {"q": (64, 64), "k": (32, 64), "v": (32, 64), "o": (64, 64)}
    overrides = {
        f"model.layers.{layer}.self_attn.{name}_proj.weight": torch.full(shape, torch.nan)
        for layer in range(3)
        for name, shape in shapes.items()
    }
    made = write_checkpoint(tmp_path / "model", layers=3, overrides=overrides)

    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv")

    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 11
    assert "38 more matrices have no figures" in sentence(lines[-1])
    assert not any(row["sigma_first"] for row in figures(tmp_path / "out.csv").values())


@pytest.mark.parametrize("solver", ["gram64", "svd32", "svd64"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_every_solver_finds_what_is_not_finite(value: float, dtype: torch.dtype, solver: str, tmp_path: Path) -> None:
    weights = decaying(64, 64).to(dtype)
    weights[17, 3] = weights[17, 4] = value  # head 1's
    weights[20, 3] = weights[20, 60] = -value
    made = write_checkpoint(tmp_path / "model", layers=1, overrides={Q: weights})
    with Analysis(made.folder, solver=solver, device="cpu", cache_dir=tmp_path / "cache") as analysis:  # type: ignore[arg-type]
        heads = {head: analysis.view(f"0.{head}.q").rows[0].problem for head in range(4)}
        whole = analysis.view("0.q_proj").rows[0].problem
    assert {head: problem is None for head, problem in heads.items()} == {0: True, 1: False, 2: True, 3: True}
    assert heads[1] == f"{Q}: 4 of the 1,024 values of Q in head 1 are NaN or infinite."
    assert whole == f"{Q}: 4 of the 4,096 values are NaN or infinite."


# ---- files that change while the model is open -----------------------------------------------------------------


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def rewrite(path: Path) -> None:
    """The same bytes, written again a moment later."""
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shrink, "has changed since the model was opened"),
        (rewrite, "has changed since the model was opened"),
        (Path.unlink, "cannot be read: No such file"),
        (replace_by_folder, "has changed since the model was opened"),
    ],
)
def test_a_file_that_changes_is_a_sentence(change: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        change(made.files[0])
        with pytest.raises(ReadError, match=words):
            analysis.spectrum("0.0.q")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


# ---- what this machine or this model does not have -------------------------------------------------------------


def test_a_device_that_is_not_there_is_a_sentence(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv", "--device", "cuda:99")
    assert re.search(r"no CUDA device\. .*--device cpu|no cuda:99: .* Use cuda:0", complaint(done))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (["--layer", "2"], "no layer 2: model has layers 0 to 1."),
        (["--layer", "-1"], "no layer -1: model has layers 0 to 1."),
        (["--layer", "0", "--head", "4"], "no head 4: model has heads 0 to 3 in a layer."),
        (["--layer", "0", "--head", "-1", "--matrix", "q"], "no head -1: model has heads 0 to 3 in a layer."),
        (["--layer", "0", "--head", "0", "--matrix", "q_proj"], "no matrix 'q_proj' there: Head 0.0 has q, k, v, o."),
        (
            ["--layer", "0", "--matrix", "lm_head"],
            "no matrix 'lm_head' there: Layer 0 has q_proj, k_proj,",
        ),
        (["--matrix", "\x1b[31mq"], r"no matrix '\x1b[31mq' there: model has embed_tokens, lm_head."),
    ],
)
def test_a_place_out_of_range_is_a_sentence_that_says_the_range(
    scope: Sequence[str], words: str, run_svdtui: RunSvdtui, tmp_path: Path
) -> None:
    made = write_checkpoint(tmp_path / "model", layers=2)
    done = run_svdtui(made.folder, *scope, "--csv", tmp_path / "out.csv")
    assert words in complaint(done, 2)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("head", [-1, 4])
def test_no_head_is_counted_from_the_end(head: int, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    with Analysis(made.folder, cache_dir=tmp_path / "cache") as analysis, pytest.raises(EngineError, match="no head"):
        analysis.spectrum(Address(0, head, "q"))


# ---- the screen ------------------------------------------------------------------------------------------------


def test_the_screen_needs_a_terminal(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    said = complaint(run_svdtui(made.folder))
    assert "needs a terminal" in said
    assert "--csv FILE" in said


@pytest.mark.parametrize(
    ("args", "term", "code", "words"),
    [
        ([], "dumb", 1, "TERM=dumb cannot show a screen. Set TERM"),
        (["--at", "99"], "xterm-256color", 2, "There is no layer 99: model has layer 0 only."),
        (["--at", "0.0.q.q"], "xterm-256color", 2, "'0.0.q.q' is not an address. Write a layer (12)"),
    ],
)
def test_what_keeps_the_screen_from_opening_is_a_sentence(
    args: Sequence[str], term: str, code: int, words: str, svdtui: list[str], tmp_path: Path
) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    with Terminal([*svdtui, made.folder, *args], size=(160, 24), env={"TERM": term}) as terminal:
        assert terminal.wait_exit() == code
        assert terminal.text().startswith("svdtui: ")
        assert words in terminal.text()
        assert b"\x1b" not in terminal.output


def test_an_unusable_model_leaves_the_terminal_alone(svdtui: list[str], tmp_path: Path) -> None:
    with Terminal([*svdtui, tmp_path / "nowhere"], size=(160, 24)) as terminal:
        assert terminal.wait_exit() == 1
        assert terminal.output.decode().strip() == (
            f"svdtui: There is no file or folder {tmp_path / 'nowhere'}. Give the path of a model folder."
        )


def test_a_killed_worker_is_a_sentence_and_the_screen_goes_on(svdtui: list[str], tmp_path: Path) -> None:
    big = torch.randn(3000, 3200, generator=torch.Generator().manual_seed(0))
    made = write_checkpoint(tmp_path / "slow", layers=1, overrides={"model.layers.0.mlp.down_proj.weight": big})
    options = ["--at", "0.down_proj", "--solver", "svd64", "--no-prefetch"]
    with Terminal([*svdtui, made.folder, *options], size=(120, 30)) as terminal:
        killed: set[int] = set()
        for attempt in range(2):
            terminal.wait_for(lambda terminal: bool(living(terminal) - killed), timeout=60)
            terminal.wait_for("0/1 spectra", timeout=60)  # in mid-job
            (worker,) = living(terminal) - killed
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
            if attempt == 0:
                terminal.wait_for("was killed (out of memory?) on layer 0 down_proj; trying once more.")
                terminal.wait_gone("0/1 spectra")  # until the next worker has begun
        terminal.wait_for("Press r to try again")
        terminal.press("up")  # to up_proj
        terminal.wait_for("96×64 · n = 64 · bf16 · svd64", timeout=60)
        terminal.press("q")
        assert terminal.wait_exit() == 0
        assert terminal.is_restored


def living(terminal: Terminal) -> set[int]:
    """The process numbers of the terminal's compute processes."""
    found = set()
    for process in terminal.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # gone, or a zombie
            if "svdtui.engine.worker" in process.cmdline():
                found.add(process.pid)
    return found
