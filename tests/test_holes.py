"""Models in which matrices are missing or have no spectrum: what is said is about the others, and nothing breaks."""

import csv
import io
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from svdtui.engine import Analysis
from svdtui.engine.evidence import gather
from svdtui.engine.finding import Verdict
from svdtui.engine.findings import Findings
from svdtui.tui.screens.findings import FindingsScreen
from svdtui.tui.screens.heat import Heat
from svdtui.tui.widgets.page import Page
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, opened, press, until, waiting
from tests.test_cli import here

HIDDEN, HEAD_DIM = 32, 8
SHARING = {"MHA": (4, 4), "GQA": (4, 2), "MQA": (4, 1), "one head": (1, 1)}


@dataclass
class Holes:
    """A small model, and what is wrong with which of its attention matrices (layer, matrix)."""

    layers: int
    heads: int
    kv_heads: int
    missing: set[tuple[int, str]] = field(default_factory=set)
    broken: dict[tuple[int, str], str] = field(default_factory=dict)
    """`nan`, `zero` or `int8`."""

    def write(self, folder: Path) -> Path:
        width, kv_width = self.heads * HEAD_DIM, self.kv_heads * HEAD_DIM
        shapes = {"q": (width, HIDDEN), "k": (kv_width, HIDDEN), "v": (kv_width, HIDDEN), "o": (HIDDEN, width)}
        weights = {"nan": torch.tensor(torch.nan), "zero": torch.tensor(0.0), "int8": torch.tensor(1).char()}
        return write_checkpoint(
            folder,
            layers=self.layers,
            hidden=HIDDEN,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=HEAD_DIM,
            intermediate=8,
            vocab=16,
            overrides={tensor(*at): weights[why].expand(shapes[at[1]]) for at, why in self.broken.items()},
            drop=[tensor(*place) for place in self.missing],
        ).folder

    @property
    def there(self) -> set[tuple[int, str]]:
        """The matrices that the files hold."""
        return {(layer, matrix) for layer in range(self.layers) for matrix in "qkvo"} - self.missing

    @property
    def measured(self) -> set[tuple[int, str]]:
        """Those that have a rank."""
        return {place for place in self.there if place not in self.broken}


def tensor(layer: int, matrix: str) -> str:
    return f"model.layers.{layer}.self_attn.{matrix}_proj.weight"


def some_holes(seed: int) -> Holes:
    """Anything missing or broken, by kind or one by one."""
    chance = random.Random(seed)
    heads, kv_heads = chance.choice([*SHARING.values(), (2, 1)])
    made = Holes(chance.choice([1, 1, 2, 3, 6]), heads, kv_heads)
    every = [(layer, matrix) for layer in range(made.layers) for matrix in "qkvo"]
    without = {matrix for matrix in "qkvo" if chance.random() < 0.25}
    made.missing = {place for place in every if place[1] in without or chance.random() < 0.15}
    for place in every:
        if place not in made.missing and chance.random() < 0.3:
            made.broken[place] = chance.choice(["nan", "zero", "int8"])
    return made


@pytest.mark.parametrize("seed", range(20))
def test_files_say_what_is_there_whatever_is_not(seed: int, tmp_path: Path) -> None:
    holes = some_holes(seed)
    folder = holes.write(tmp_path / "m")
    cache = ("--cache-dir", tmp_path / "cache")
    done = here(folder, "--findings", tmp_path / "f.md", "--candidates", tmp_path / "c.csv", *cache)
    flawed = set(holes.broken.values()) & {"nan", "int8"}
    assert (done.exit_code, done.stdout) == (1 if flawed or not holes.there else 0, "")
    assert all(line.startswith("svdtui: ") for line in done.stderr.splitlines())
    page = (tmp_path / "f.md").read_text()
    assert page.count("\n## ") == 5
    for matrix in "qkvo":
        layers = {layer for layer, each in holes.there if each == matrix}
        assert (f"No layer has {matrix.upper()} in these files" in page) == bool(holes.there and not layers)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert {(int(row["layer"]), row["matrix"]) for row in rows} == holes.measured
    for row in rows:
        assert (row["kv_head"] == "") == (row["matrix"] in "qo")
        assert (row["head"] == "") == (row["matrix"] in "kv")

    planned = here(folder, "--lora-plan", tmp_path / "p.json", "--lora-budget", "100k", *cache)
    assert planned.exit_code == (2 if not holes.measured else 1 if flawed else 0)
    if holes.measured:
        assert f"svdtui: LoRA plan: {len(holes.measured)} module" in planned.stderr
    else:
        assert "There is no attention module to plan an adapter for." in planned.stderr


def findings_of(holes: Holes, tmp_path: Path) -> Findings:
    with Analysis(holes.write(tmp_path / "m"), device="cpu", cache_dir=tmp_path / "cache") as analysis:
        return analysis.findings()


@pytest.mark.parametrize(
    ("matrix", "sharing"), [*(("k", sharing) for sharing in SHARING), *((matrix, "GQA") for matrix in "qvo")]
)
def test_a_matrix_that_no_layer_has_leaves_the_others_their_findings(matrix: str, sharing: str, tmp_path: Path) -> None:
    holes = Holes(8, *SHARING[sharing], missing={(layer, matrix) for layer in range(8)})
    found = findings_of(holes, tmp_path)
    [note] = found.notes
    assert note == (
        f"No layer has {matrix.upper()} in these files: of what is said of {matrix.upper()}, nothing can be told."
    )
    for part in found.findings[2].parts:
        assert ("0 layers with a figure" in part.why) == (f" of {matrix.upper()} " in part.claim)
    assert all(part.verdict is Verdict.UNKNOWN for part in found.findings[0].parts)  # they compare all four
    assert {each.matrix for each in found.candidates if not each.is_whole} == set("qkvo") - {matrix}


def test_kv_heads_are_the_architectures_and_not_guessed_from_what_is_there(tmp_path: Path) -> None:
    holes = Holes(1, 4, 2, missing={(0, "k"), (0, "v")})
    with Analysis(holes.write(tmp_path / "m"), device="cpu", cache_dir=tmp_path / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
        found = gather(analysis.model, analysis.tables)
    assert {matrix: found.figures[matrix].is_shared for matrix in "qkvo"} == {
        "q": False,
        "k": True,
        "v": True,
        "o": False,
    }
    assert found.by_query_head("k", "sigma_first").shape == (1, 4)
    assert found.n == HEAD_DIM


def test_layers_that_lack_a_matrix_are_named(tmp_path: Path) -> None:
    holes = Holes(6, 4, 2, missing={(1, "k"), (4, "k"), (2, "o")}, broken={(3, "v"): "nan", (5, "q"): "int8"})
    assert set(findings_of(holes, tmp_path).notes) == {
        "Layer 5 has no Q with a spectrum: what is said of Q is about the 5 other layers.",
        "Layers 1, 4 have no K in these files: what is said of K is about the 4 other layers.",
        "Layer 3 has no V with a spectrum: what is said of V is about the 5 other layers.",
        "Layer 2 has no O in these files: what is said of O is about the 5 other layers.",
    }


def test_without_attention_there_is_nothing_to_test(tmp_path: Path) -> None:
    holes = Holes(2, 4, 2, missing={(layer, matrix) for layer in range(2) for matrix in "qkvo"})
    done = here(holes.write(tmp_path / "m"), "--findings", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 1
    assert done.stdout.count("**Not enough data.** No layer of these files has attention heads.") == 5
    assert done.stderr == "svdtui: No layer of these files has attention heads, which is what findings are about.\n"


def page_of(pilot: Screen) -> str:
    page = pilot.app.screen.query_one(Page)
    return "\n".join(page.render_line(y).text for y in range(page.size.height))


@pytest.mark.parametrize("matrices", ["k", "qkv"])
async def test_findings_and_heat_map_of_a_model_with_holes_open_on_screen(matrices: str, tmp_path: Path) -> None:
    holes = Holes(2, 4, 2, missing={(layer, matrix) for layer in range(2) for matrix in matrices})
    folder = holes.write(tmp_path / "m")
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.view()
    async with opened(folder, "0") as pilot:
        await until(pilot, lambda: not waiting(pilot))
        await press(pilot, "f")
        assert isinstance(pilot.app.screen, FindingsScreen)
        await until(pilot, lambda: "tested on this" in page_of(pilot))
        await press(pilot, "escape", "H")
        assert isinstance(pilot.app.screen, Heat)
        await press(pilot, *"1234", "m", "down", "right", "enter")
