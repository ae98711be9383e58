"""The command line: its requests and refusals, and CSV without a screen."""

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner, Result

from svdtui.engine import (
    METRICS,
    Address,
    Analysis,
    ExportError,
    __version__,
    export,
    metrics_csv,
    table_text,
    view,
    write_text,
)
from svdtui.tui.cli import app
from tests.checkpoints import Checkpoint, write_checkpoint, write_shards
from tests.conftest import RunSvdtui
from tests.terminal import Terminal

METRICS_HEADER = (
    "model,revision,layer,head,kv_head,matrix,tensor,rows,cols,n,sigma_first,sigma_last,top10_ratio,first_last_ratio,"
    "bottom10_ratio,stable_rank,effective_rank,participation_ratio,energy_rank_90,energy_rank_95,energy_rank_99,"
    "frobenius_norm,nuclear_norm,dtype,solver"
)
SPECTRA_HEADER = "model,revision,layer,head,kv_head,matrix,index,sigma"
WIDE = {"COLUMNS": "200", "TERMINAL_WIDTH": "200"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=2, head_dim=24)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def here(*args: str | Path) -> Result:
    """The command line in this process, where torch is loaded already."""
    return CliRunner().invoke(app, [*map(str, args)], env=WIDE, prog_name="svdtui")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- requests --------------------------------------------------------------------------------------------------


def test_the_version() -> None:
    assert (here("--version").stdout, here("--version").exit_code) == (f"svdtui {__version__}\n", 0)


def test_help_explains_every_option_and_shows_examples() -> None:
    done = here("--help")
    assert done.exit_code == 0
    # fmt: off
    for option in ("--demo", "--at", "--csv", "--spectra-csv", "--layers", "--layer", "--head", "--matrix", "--solver",
                   "--device", "--top-k", "--cache-dir", "--no-prefetch", "--no-mouse", "--version", "--revision",
                   "--offline", "--download", "--findings", "--candidates", "--lora-plan", "--lora-budget",
                   "--workers", "--dask"):
        [_] = [line for line in done.stdout.splitlines() if re.search(rf"^│.*{option}\b.*  \S", line)]
    # fmt: on
    for panel in ("Where to start", "From the Hub", "Without a screen", "Computing", "Screen"):
        assert f" {panel} " in done.stdout
    for example in ("svdtui --demo", "svdtui MODEL --csv heads.csv", "--at 12.5.q", "svdtui meta-llama/"):
        assert example in done.stdout
    assert "ORG/NAME[@REV]" in done.stdout
    assert "Exit status: 0" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "give a model folder or ORG/NAME, or --demo"),
        (["MODEL", "--demo"], "give a model folder or ORG/NAME, or --demo"),
        (["MODEL", "OTHER"], "unexpected extra argument"),
        (["MODEL", "--nonsense"], "No such option: --nonsense"),
        (["--demo", "--revision", "main"], "is for models on the Hub, not --demo"),
        (["--demo", "--offline"], "is for models on the Hub, not --demo"),
        (["--demo", "--download"], "is for models on the Hub, not --demo"),
        (["ORG/NAME", "--download", "--offline"], "needs the network: leave out --offline"),
        (["MODEL", "--layer", "1"], "needs --csv or --spectra-csv; on screen use --at"),
        (["MODEL", "--matrix", "q"], "needs --csv or --spectra-csv; on screen use --at"),
        (["MODEL", "--csv", "-", "--at", "1"], "use --layers, --head and --matrix"),
        (["MODEL", "--csv", "-", "--spectra-csv", "-"], "must not be the same as --csv"),
        (["MODEL", "--csv", "a.csv", "--spectra-csv", "./b/../a.csv"], "must not be the same as --csv"),
        (["MODEL", "--csv", "x.json"], "writes CSV, not .json: end the name in .csv or .txt, or in nothing"),
        (["MODEL", "--csv", "x.csv.gz"], "writes CSV, not .gz"),
        (["MODEL", "--spectra-csv", "a/x.PARQUET"], "writes CSV, not .PARQUET"),
        (["MODEL", "--candidates", "x.tsv"], "writes CSV, not .tsv"),
        (["MODEL", "--findings", "x.html"], "writes Markdown, not .html: end the name in .md, .markdown or .txt"),
        (["MODEL", "--lora-plan", "x.yaml", "--lora-budget", "9"], "writes JSON, not .yaml: end the name in .json, or"),
        (["MODEL", "--findings", "--csv", "-"], "must not be the same as --csv"),
        (["MODEL", "--findings", "--candidates", "-"], "must not be the same as --findings"),
        (["MODEL", "--candidates", "a", "--lora-plan", "./a", "--lora-budget", "9"], "the same as --candidates"),
        (["MODEL", "--findings", "--layer", "1"], "are of the whole model"),
        (["MODEL", "--csv", "a", "--candidates", "b", "--matrix", "q_proj"], "are of the whole model"),
        (["MODEL", "--findings", "--at", "1"], "is for the screen; leave it out"),
        (["--findings", "MODEL"], "what follows --findings is its file"),
        (["MODEL", "--lora-plan", "a"], "needs --lora-budget"),
        (["MODEL", "--lora-budget", "9"], "needs --lora-plan"),
        (["MODEL", "--lora-plan", "a", "--lora-budget", "2X"], "'2X' is no number of parameters"),
        (["MODEL", "--lora-plan", "a", "--lora-budget", "0"], "'0' is no number of parameters"),
        (["MODEL", "--lora-plan", "a", "--lora-budget", "0.5"], "'0.5' is no number of parameters"),
        (["MODEL", "--lora-plan", "a", "--lora-budget", "nan"], "'nan' is no number of parameters"),
        (["MODEL", "--lora-plan", "a", "--lora-budget", "1e999999999"], "is no number of parameters"),
        (["MODEL", "--csv", "-", "--layer", "one"], "'--layer'"),
        (["MODEL", "--csv", "-", "--head", "0.5"], "'--head'"),
        (["MODEL", "--csv", "-", "--solver", "[/red]"], "gram64"),
        (["MODEL", "--csv", "-", "--device", "gpu"], "use auto, cpu, cuda, cuda:N or mps"),
        (["MODEL", "--csv", "-", "--device", "cuda:-1"], "use auto, cpu, cuda, cuda:N or mps"),
        (["MODEL", "--csv", "-", "--top-k", "0"], "--top-k"),
        (["MODEL", "--csv"], "--csv"),
        (["MODEL", "--csv", "-", "--workers", "0"], "--workers"),
        (["MODEL", "--csv", "-", "--workers", "2", "--dask", "tcp://h:1"], "is for this machine"),
    ],
)
def test_a_wrong_request_is_refused_with_status_2(args: Sequence[str], words: str) -> None:
    done = here(*args)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--revision", "main"], "a revision is for models on the Hub"),
        (["--download"], "--download is for models on the Hub"),
    ],
)
def test_a_folder_is_not_on_the_hub(options: list[str], words: str, made: Checkpoint) -> None:
    done = here(made.folder, "--csv", "-", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_wrong_request_looks_like_this_from_outside(run_svdtui: RunSvdtui) -> None:
    done = run_svdtui("MODEL", "--lora-budget", "9", env=WIDE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: svdtui [OPTIONS]" in done.stderr
    assert "Invalid value for --lora-budget: needs --lora-plan" in done.stderr


# ---- scopes ----------------------------------------------------------------------------------------------------


def heads_of(layers: Sequence[int], heads: Sequence[int]) -> list[tuple[str, str, str]]:
    return [(str(layer), str(head), matrix) for layer in layers for head in heads for matrix in "qkvo"]


SCOPES: list[tuple[list[str], Address, list[tuple[str, str, str]]]] = [
    ([], Address(), heads_of(range(2), range(4))),
    (["--layer", "1"], Address(1), heads_of([1], range(4))),
    (["--layer", "1", "--head", "2"], Address(1, 2), heads_of([1], [2])),
    (["--layer", "1", "--head", "2", "--matrix", "o"], Address(1, 2, "o"), [("1", "2", "o")]),
    (["--layer", "0", "--matrix", "down_proj"], Address(0, None, "down_proj"), [("0", "", "down_proj")]),
    (["--matrix", "lm_head"], Address(None, None, "lm_head"), [("", "", "lm_head")]),
]
"""Options, the same place on screen, and the layer, head and matrix of each row."""


@pytest.mark.parametrize(("options", "address", "places"), SCOPES, ids=[str(s[1]) or "model" for s in SCOPES])
def test_a_scope_has_its_rows_and_the_screens_export_the_same_bytes(
    options: Sequence[str],
    address: Address,
    places: list[tuple[str, str, str]],
    made: Checkpoint,
    cache: Path,
    tmp_path: Path,
) -> None:
    for name in ("headless", "screen"):
        (tmp_path / name).mkdir()
    files = [tmp_path / "headless" / name for name in ("metrics.csv", "spectra.csv")]
    done = here(made.folder, "--csv", files[0], "--spectra-csv", files[1], *options, "--cache-dir", cache)
    assert (done.exit_code, done.output) == (0, "")

    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        exported = export(view(analysis.model, address, analysis.result), tmp_path / "screen")

    assert [path.read_bytes() for path in exported] == [path.read_bytes() for path in files]
    metrics, spectra = (path.read_text() for path in files)
    assert (metrics.splitlines()[0], spectra.splitlines()[0]) == (METRICS_HEADER, SPECTRA_HEADER)
    assert [place_of(row) for row in rows_of(metrics)] == places
    assert list(dict.fromkeys(map(place_of, rows_of(spectra)))) == places
    assert exported[0].name == f"tiny{scope_of(address)}.metrics.csv"


def place_of(row: dict[str, str]) -> tuple[str, str, str]:
    return row["layer"], row["head"], row["matrix"]


def scope_of(address: Address) -> str:
    names = ["" if address.layer is None else f".layer-{address.layer}"]
    names += ["" if address.head is None else f".head-{address.head}"]
    return "".join(names) + (f".{address.matrix}" if address.matrix else "")


def test_the_command_itself_writes_the_same_on_stdout_and_into_files(
    svdtui: list[str], made: Checkpoint, cache: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [*svdtui, made.folder, "--layer", "1", "--cache-dir", cache]
    piped = subprocess.run(
        [*command, "--csv", "-", "--spectra-csv", tmp_path / "s.csv"], capture_output=True, check=True
    )
    again = subprocess.run(
        [*command, "--csv", tmp_path / "m.csv", "--spectra-csv", "-"], capture_output=True, check=True
    )
    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        expected = metrics_csv(analysis.view("1")).encode()
    assert piped.stdout == (tmp_path / "m.csv").read_bytes() == expected
    assert again.stdout == (tmp_path / "s.csv").read_bytes()
    assert (piped.stderr, again.stderr) == (b"", b"")


def test_the_figures_are_those_of_the_heads(made: Checkpoint, cache: Path) -> None:
    done = here(made.folder, "--csv", "-", "--cache-dir", cache, "--layer", "1")
    for row in rows_of(done.stdout):
        weights = made.head_slice(1, int(row["head"]), row["matrix"])  # type: ignore[arg-type]
        sigma = torch.linalg.svdvals(weights)
        assert (int(row["rows"]), int(row["cols"]), int(row["n"])) == (*weights.shape, len(sigma))
        assert float(row["sigma_first"]) == pytest.approx(float(sigma[0]), rel=1e-12)
        assert float(row["top10_ratio"]) == pytest.approx(float(sigma[:10].sum() / sigma.sum()), rel=1e-12)
        assert row["kv_head"] == (str(int(row["head"]) // 2) if row["matrix"] in "kv" else "")


def test_every_singular_value_is_a_row(made: Checkpoint, cache: Path) -> None:
    done = here(made.folder, "--spectra-csv", "-", "--layer", "0", "--head", "3", "--matrix", "v", "--cache-dir", cache)
    rows = rows_of(done.stdout)
    assert [int(row["index"]) for row in rows] == list(range(1, 25))
    assert {(row["kv_head"], row["matrix"]) for row in rows} == {("1", "v")}
    truth = torch.linalg.svdvals(made.head_slice(0, 3, "v"))
    assert [float(row["sigma"]) for row in rows] == pytest.approx(truth.tolist(), rel=1e-9)


def test_figures_keep_every_digit(made: Checkpoint, cache: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        known = analysis.metrics("0.0.q")
    [row] = rows_of(
        here(made.folder, "--csv", "-", "--layer", "0", "--head", "0", "--matrix", "q", "--cache-dir", cache).stdout
    )
    for info in METRICS:
        value = getattr(known, info.name)
        assert type(value)(row[info.column()]) == value


def test_top_k_names_and_changes_the_ratios(made: Checkpoint, cache: Path) -> None:
    done = here(made.folder, "--csv", "-", "--top-k", "3", "--layer", "0", "--cache-dir", cache)
    row = rows_of(done.stdout)[0]
    sigma = torch.linalg.svdvals(made.head_slice(0, 0, "q"))
    assert float(row["top3_ratio"]) == pytest.approx(float(sigma[:3].sum() / sigma.sum()), rel=1e-9)
    assert float(row["bottom3_ratio"]) == pytest.approx(float(sigma[-3:].sum() / sigma.sum()), rel=1e-9)


@pytest.mark.parametrize("solver", ["svd32", "svd64"])
def test_the_solver_is_named_in_every_row(solver: str, made: Checkpoint, cache: Path) -> None:
    done = here(made.folder, "--csv", "-", "--solver", solver, "--cache-dir", cache, "--layer", "0")
    assert {row["solver"] for row in rows_of(done.stdout)} == {solver}


def test_a_single_file_is_a_model_too(made: Checkpoint, tmp_path: Path) -> None:
    done = here(made.files[0], "--csv", "-", "--layer", "0", "--cache-dir", tmp_path)
    rows = rows_of(done.stdout)
    assert {row["model"] for row in rows} == {"model.safetensors"}
    assert len(rows) == 16


def test_a_zero_matrix_has_no_ratios_and_is_no_error(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.v_proj.weight"
    made = write_checkpoint(tmp_path / "m", layers=1, overrides={name: torch.zeros(32, 64)})
    done = here(made.folder, "--csv", "-", "--cache-dir", tmp_path / "cache")
    assert (done.exit_code, done.stderr) == (0, "")
    for row in rows_of(done.stdout):
        is_zero = row["matrix"] == "v"
        assert (row["top10_ratio"] == "") == is_zero
        assert (row["sigma_first"] == "0.0") == is_zero


# ---- files and streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.CSV", "x.txt", "x", "llama-3.1", "run-0.5b", ".hidden", "a.b/x"])
def test_endings_of_csv_and_none_are_known(name: str, made: Checkpoint, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.b").mkdir()
    done = here(made.folder, "--csv", tmp_path / name, "--layer", "0", "--cache-dir", cache)
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / name).read_text().startswith(METRICS_HEADER)


def test_a_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    path.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(path)
    write_text(tmp_path / "link.csv", "after")
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "link.csv").is_symlink()
    assert {each.name for each in tmp_path.iterdir() if each.is_file()} == {"out.csv", "link.csv"}


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "out.csv", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_exports_never_replace_each_other(made: Checkpoint, cache: Path, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        shown = analysis.view("0.1")
        (tmp_path / "tiny.layer-0.head-1.spectra.csv").symlink_to(tmp_path / "nowhere")
        names = [path.name for _ in range(2) for path in export(shown, tmp_path)]
    assert names == [f"tiny.layer-0.head-1-{number}.{kind}.csv" for number in (2, 3) for kind in ("metrics", "spectra")]
    with pytest.raises(ExportError, match="cannot be written"):
        export(shown, tmp_path / "nowhere")


def test_what_is_copied_for_a_spreadsheet_holds_the_same_cells(made: Checkpoint, cache: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        shown = analysis.view("0.1")
    lines = [line.split("\t") for line in table_text(shown).splitlines()]
    assert lines == list(csv.reader(io.StringIO(metrics_csv(shown))))


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"\t=1"),
        ('a,"b"', 'a,"b"'),
        ("a\nb", r"a\nb"),
        ("[red]\x1b[31m", r"[red]\x1b[31m"),
        ("\u202egpj", r"\u202egpj"),
        pytest.param(
            os.fsdecode(b"\xff"),
            r"\udcff",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="no such names on macOS"),
        ),
        ("naïve Modell", "naïve Modell"),
    ],
)
def test_a_name_is_harmless_in_a_cell(folder: str, shown: str, made: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / folder
    path.mkdir()
    for each in made.folder.iterdir():
        (path / each.name).symlink_to(each)
    done = here(path, "--csv", "-", "--layer", "0", "--cache-dir", tmp_path / "cache")
    rows = rows_of(done.stdout)
    assert {row["model"] for row in rows} == {shown}
    assert len(rows) == 16


def test_stdout_is_utf_8_in_any_locale(run_svdtui: RunSvdtui, made: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "naïve").symlink_to(made.folder)
    done = run_svdtui(
        tmp_path / "naïve", "--csv", "-", "--layer", "0", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("naïve,")


def test_a_reader_that_has_seen_enough_is_no_error(svdtui: list[str], made: Checkpoint, cache: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command: list[str | Path] = [*svdtui, made.folder, "--csv", "-", "--cache-dir", cache]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_a_device_or_pipe_is_written_into(run_svdtui: RunSvdtui, made: Checkpoint, cache: Path) -> None:
    done = run_svdtui(made.folder, "--csv", "/dev/stdout", "--layer", "0", "--cache-dir", cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 17


# ---- someone is looking ----------------------------------------------------------------------------------------


def slow_checkpoint(folder: Path, layers: int) -> Path:
    """Attention only, and seconds of work."""
    weight = torch.randn(768, 768, generator=torch.Generator().manual_seed(0)).bfloat16()
    names = [f"model.layers.{layer}.self_attn.{matrix}_proj.weight" for layer in range(layers) for matrix in "qkvo"]
    folder.mkdir()
    write_shards(folder, {name: weight.clone() for name in names}, shards=1)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 768, "num_attention_heads": 4}))
    return folder


def test_ctrl_c_ends_with_a_sentence_and_without_a_file(svdtui: list[str], tmp_path: Path) -> None:
    folder = slow_checkpoint(tmp_path / "slow", layers=40)
    cache = tmp_path / "cache"
    out = tmp_path / "out"
    out.mkdir()
    (out / "there.csv").write_text("what was there")
    options = ["--csv", str(out / "there.csv"), "--spectra-csv", str(out / "new.csv"), "--solver", "svd64"]
    with Terminal([*svdtui, folder, *options, "--cache-dir", cache], size=(120, 10)) as terminal:
        terminal.wait_for(lambda terminal: any(cache.rglob("*.heads.safetensors")), timeout=60)
        assert re.search(r"slow: +\d+%\|", terminal.text())
        terminal.press("ctrl+c")
        assert terminal.wait_exit() == 130
        assert "svdtui: Stopped; no file was written. What was computed is kept" in terminal.text()
        assert "Traceback" not in terminal.text()
    assert {path.name: path.read_text() for path in out.iterdir()} == {"there.csv": "what was there"}
    kept = [path.name for path in cache.rglob("*") if path.is_file()]
    assert 0 < len(kept) < 80
    assert all(re.fullmatch(r"layer-\d{5}\.heads\.safetensors", name) for name in kept)


def test_a_progress_bar_leaves_nothing_behind(svdtui: list[str], made: Checkpoint, cache: Path, tmp_path: Path) -> None:
    with Terminal([*svdtui, made.folder, "--csv", tmp_path / "out.csv", "--cache-dir", cache]) as terminal:
        assert terminal.wait_exit() == 0
        assert terminal.text() == ""
        assert b"tiny: " in terminal.output
        assert b"/2 layers]" in terminal.output
        assert b"1.heads" not in terminal.output
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 33


def test_a_file_system_that_is_read_only_is_called_so(
    made: Checkpoint, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    for flags, words in ((os.ST_RDONLY, "it is on a file system that is read-only"), (0, "permission denied")):
        monkeypatch.setattr(os, "statvfs", lambda path, flags=flags: SimpleNamespace(f_flag=flags))
        done = here(made.folder, "--csv", tmp_path / "x.csv", "--cache-dir", cache)
        assert done.exit_code == 1
        assert f"x.csv cannot be written: {words}. Give a path in a folder" in done.stderr


def test_the_module_is_the_command(made: Checkpoint, cache: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "svdtui.tui",
        made.folder,
        "--csv",
        "-",
        "--layer",
        "0",
        "--cache-dir",
        cache,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 17
