"""What is never written over: a model, what svdtui keeps, and files of other kinds. Refused before anything is done."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from svdtui.engine import Analysis, OutputError, export, write_text
from svdtui.engine.outputs import CSV, PAGE, PICTURE, PLAN, Kind, Outputs
from tests.checkpoints import write_checkpoint
from tests.terminal import Terminal
from tests.test_cli import here

TABLE = "model,revision,layer\nm,,0\n"
PAGE_TEXT = "# Findings: tiny\n\nStatements"
PLAN_TEXT = '{"r": 1, "lora_alpha": 1, "target_modules": [], "rank_pattern": {}, "alpha_pattern": {}}'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=1).folder
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text("{}")
    (folder / "labels.csv").write_text("id,label\n0,cat\n")
    (folder / "README.md").write_text("# A model\n")
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (blobs / "0123abcd").write_text('{"vocabulary": 1}')
    (folder / "tokenizer.json").symlink_to("../blobs/0123abcd")
    return folder


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def linked(target: Path, link: Path) -> Path:
    link.symlink_to(target)
    return link


def hard_linked(target: Path, link: Path) -> Path:
    link.hardlink_to(target)
    return link


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


REFUSED: dict[str, tuple[str, Callable[[Path, Path], Path]]] = {
    "the weights": ("--csv", lambda model, out: model / "model.safetensors"),
    "the config": ("--spectra-csv", lambda model, out: model / "config.json"),
    "the weights by a link": ("--csv", lambda model, out: linked(model / "model.safetensors", out / "m.csv")),
    "the config by a hard link": ("--candidates", lambda model, out: hard_linked(model / "config.json", out / "c.csv")),
    "the config by a folder's link": ("--csv", lambda model, out: linked(model, out / "link") / "config.json"),
    "a detour": ("--csv", lambda model, out: out / os.path.relpath(model / "config.json", out)),
    "a blob": ("--lora-plan", lambda model, out: model / "tokenizer.json"),
    "what a blob is": ("--lora-plan", lambda model, out: model.parent / "blobs" / "0123abcd"),
    "a table of the model's": ("--csv", lambda model, out: model / "labels.csv"),
    "deep in the model": ("--lora-plan", lambda model, out: model / "original" / "params.json"),
    "the model's page": ("--findings", lambda model, out: model / "README.md"),
    "a shard that there is not": ("--csv", lambda model, out: model / "model-00002-of-00002.safetensors"),
    "an index that there is not": ("--lora-plan", lambda model, out: model / "model.safetensors.index.json"),
    "the cache": ("--csv", lambda model, out: out.parent / "home" / "cache" / "svdtui" / "heads.csv"),
    "the chosen cache": ("--csv", lambda model, out: out / "kept" / "v1" / "heads.csv"),
    "the state": ("--findings", lambda model, out: out.parent / "home" / "state" / "svdtui" / "worker.log"),
    "a text": ("--csv", lambda model, out: written(out / "notes.txt", b"a, b and c\n")),
    "a page": ("--findings", lambda model, out: written(out / "README.md", b"# My notes\n")),
    "a page that is none": ("--findings", lambda model, out: written(out / "f.md", TABLE.encode())),
    "JSON with the ending of CSV": ("--csv", lambda model, out: written(out / "d.csv", b'  [{"a": 1}, 2]\n')),
    "bytes with the ending of CSV": ("--csv", lambda model, out: written(out / "b.csv", b"a,b\n\x00\x01")),
    "no UTF-8 with the ending of CSV": ("--csv", lambda model, out: written(out / "l.csv", b"a,b\nna\xefve,1\n")),
    "other JSON": ("--lora-plan", lambda model, out: written(out / "package.json", b'{"name": "x"}')),
    "an adapter's config": (
        "--lora-plan",
        lambda model, out: written(out / "a.json", PLAN_TEXT.replace("}}", '}, "peft_type": "LORA"}').encode()),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_never_written_over(what: str, model: Path, tmp_path: Path) -> None:
    option, place = REFUSED[what]
    out = tmp_path / "out"
    out.mkdir()
    path = place(model, out)
    before = contents(model.parent, out)
    budget = ("--lora-budget", "1M") if option == "--lora-plan" else ()
    cache = ("--cache-dir", out / "kept") if "chosen" in what else ()
    done = here(model, option, path, *budget, *cache)
    assert done.exit_code == 2
    if "end the name in" not in " ".join(done.stderr.split()):  # refused by its name alone
        [line] = done.stderr.splitlines()
        assert line.startswith(f"svdtui: {path} ")
        assert line.endswith(".")
    assert contents(model.parent, out) == before
    assert not (tmp_path / "home").exists()  # nothing has been computed


def test_a_model_that_is_one_file_is_kept_too(model: Path) -> None:
    before = contents(model)
    for name in ("model.safetensors", "config.json", "labels.csv"):
        assert here(model / "model.safetensors", "--csv", model / name).exit_code == 2
    assert contents(model) == before


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (CSV, "heads.csv", TABLE),
        (CSV, "no-ending", TABLE),
        (CSV, "others.csv", "a;b\n1;2\n"),
        (CSV, "others.TSV", "a\tb\n"),
        (CSV, "empty", ""),
        (PAGE, "f.md", PAGE_TEXT),
        (PAGE, "empty.md", ""),
        (PLAN, "plan.json", PLAN_TEXT),
        (PICTURE, "p.svg", '<svg class="x">'),
    ],
)
def test_a_file_of_the_kind_is_replaced(kind: Kind, name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    write_text(path, "new", kind, Outputs(tmp_path / "models" / "another"))
    assert path.read_text() == "new"


def test_what_svdtui_wrote_into_the_model_is_replaced_there(model: Path) -> None:
    path = model / "heads.csv"
    for _ in range(2):
        assert here(model, "--csv", path).exit_code == 0
    assert path.read_text().startswith("model,revision,layer")
    path.unlink()


def test_pipes_and_devices_are_written_to(model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert here(model, "--csv", pipe, "--spectra-csv", os.devnull).exit_code == 0
    reader.join()
    assert read[0].startswith("model,revision,layer")


def test_stdout_by_another_name_is_appended_to(svdtui: list[str], model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    command = f"exec {' '.join(svdtui)} {model} --csv /dev/stdout >> {log}"
    assert os.waitstatus_to_exitcode(os.system(command)) == 0
    assert log.read_text().startswith("before\nmodel,revision,layer")


def test_the_api_keeps_what_svdtui_keeps_and_other_kinds(model: Path, tmp_path: Path, home: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    kept = home / "cache" / "svdtui"
    kept.mkdir(parents=True)
    with Analysis(model, device="cpu") as analysis:
        view = analysis.view(0)
    with pytest.raises(OutputError, match="where svdtui keeps"):
        export(view, kept)
    with pytest.raises(OutputError, match="is no CSV file"):
        write_text(tmp_path / "notes.txt", "x")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_screen_exports_nothing_into_its_cache(svdtui: list[str], model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with Terminal([*svdtui, model, "--cache-dir", "."], cwd=kept, size=(120, 30)) as terminal:
        terminal.wait_for("cached 1/1")
        for key in ("e", "E"):
            terminal.press(key)
            terminal.wait_for(lambda terminal: "where svdtui keeps" in " ".join(terminal.text().split()))
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert not list(kept.glob("*.*"))
