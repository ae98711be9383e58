"""Findings, candidates and LoRA plan on the command line."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from svdtui.engine import Analysis
from svdtui.engine.findings_text import findings_markdown
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.test_cli import here, rows_of

CANDIDATES_HEADER = (
    "model,revision,kind,layer,head,kv_head,matrix,rows,cols,n,effective_rank,effective_rank_share,energy_rank_95,"
    "energy_rank_95_share,energy_rank_99,parameters,parameters_95,pays_95,parameters_99,pays_99"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_all_files_come_from_one_scan(made: Checkpoint, tmp_path: Path) -> None:
    names = ("m.csv", "f.md", "c.csv", "r.json")
    metrics, findings, candidates, plan = (tmp_path / name for name in names)
    done = here(
        *(made.folder, "--csv", metrics, "--findings", findings, "--candidates", candidates),
        *("--lora-plan", plan, "--lora-budget", "5k", "--cache-dir", tmp_path / "cache"),
    )
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("svdtui: LoRA plan: 12 modules of rank ")
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert findings.read_text() == findings_markdown(analysis.findings())
        known = analysis.metrics("2.3.q")
    assert len(rows_of(metrics.read_text())) == 3 * 4 * 4
    rows = rows_of(candidates.read_text())
    assert candidates.read_text().splitlines()[0] == CANDIDATES_HEADER
    assert len(rows) == 3 * (4 + 2 + 2 + 4)
    assert [float(row["effective_rank_share"]) for row in rows] == sorted(
        float(r["effective_rank_share"]) for r in rows
    )
    [row] = [row for row in rows if (row["layer"], row["head"], row["matrix"]) == ("2", "3", "q")]
    assert float(row["effective_rank"]) == known.effective_rank
    assert int(row["parameters_95"]) == (known.energy_rank_95 or 0) * (16 + 64)
    assert row["pays_95"] == ("yes" if int(row["parameters_95"]) < 16 * 64 == int(row["parameters"]) else "no")
    assert {(r["head"], r["kv_head"], r["kind"]) for r in rows if r["matrix"] == "k"} == {
        ("", "0", "head"),
        ("", "1", "head"),
    }
    assert set(json.loads(plan.read_text())["rank_pattern"]) == set(json.loads(plan.read_text())["target_modules"])


@pytest.mark.parametrize("options", [["--findings"], ["--findings", "-"], ["--findings", "--device", "cpu"]])
def test_findings_without_a_file_are_on_stdout(options: list[str], made: Checkpoint, cache: Path) -> None:
    done = here(made.folder, "--cache-dir", cache, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("# Findings: tiny\n")


def test_findings_before_the_model_take_a_file(
    run_svdtui: RunSvdtui, made: Checkpoint, cache: Path, tmp_path: Path
) -> None:
    done = run_svdtui("--findings", tmp_path / "f.md", made.folder, "--cache-dir", cache)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "f.md").read_text().startswith("# Findings: tiny\n")


def test_whole_matrices_are_candidates_when_their_results_are_there(made: Checkpoint, tmp_path: Path) -> None:
    cache = ("--cache-dir", tmp_path / "cache")
    assert here(made.folder, "--csv", tmp_path / "m.csv", "--matrix", "lm_head", *cache).exit_code == 0
    done = here(made.folder, "--candidates", "-", *cache)
    assert (done.exit_code, done.stderr) == (0, "")
    whole = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["kind"] == "whole"]
    assert [(row["layer"], row["head"], row["kv_head"], row["matrix"]) for row in whole] == [("", "", "", "lm_head")]


def test_a_budget_that_is_too_small_writes_no_file(made: Checkpoint, cache: Path, tmp_path: Path) -> None:
    files = ("--findings", tmp_path / "f.md", "--lora-plan", tmp_path / "r.json")
    done = here(made.folder, *files, "--lora-budget", "10", "--cache-dir", cache)
    assert (done.exit_code, list(tmp_path.glob("*.*"))) == (2, [])
    assert "svdtui: A LoRA budget of 10 parameters is too small: rank 1 of the smallest module has 96." in done.stderr


def test_a_folder_that_may_not_be_written_is_refused_before_computing(made: Checkpoint, tmp_path: Path) -> None:
    done = here(made.folder, "--findings", tmp_path / "no" / "f.md", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 1
    assert "there is no folder" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_head_with_nan_is_said_and_the_rest_is_found(tmp_path: Path) -> None:
    broken = torch.ones(64, 64)
    broken[0, 0] = torch.nan
    made = write_checkpoint(tmp_path / "m", overrides={"model.layers.0.self_attn.q_proj.weight": broken})
    done = here(made.folder, "--findings", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 1  # as for --csv
    assert "are NaN or infinite" in done.stderr
    assert "1 head without a figure" in done.stdout


def test_a_model_without_heads_says_so_in_every_finding(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", config=False)
    done = here(made.folder, "--findings", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 0
    assert done.stdout.count("**Not enough data.** Heads are unknown: there is no config.json") == 5
