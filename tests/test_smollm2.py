"""The main job on a real model: every head of SmolLM2-135M-Instruct, against numpy's float64 SVD."""

import csv
from pathlib import Path

import pytest

from tests.conftest import RunSvdtui

KNOWN_FIGURES = Path(__file__).parent / "data" / "smollm2-135m-heads.csv"
COLUMNS = {
    "s_max": "sigma_first",
    "s_min": "sigma_last",
    "top10": "top10_ratio",
    "first_last": "first_last_ratio",
    "bottom10": "bottom10_ratio",
    "fro": "frobenius_norm",
}
"""A known figure's column, and the one it is compared with."""

SCHEMA = (
    "model,revision,layer,head,kv_head,matrix,tensor,rows,cols,n,sigma_first,sigma_last,top10_ratio,first_last_ratio,"
    "bottom10_ratio,stable_rank,effective_rank,participation_ratio,energy_rank_90,energy_rank_95,energy_rank_99,"
    "frobenius_norm,nuclear_norm,dtype,solver"
)
QUERY_HEADS, KV_HEADS = 9, 3

pytestmark = pytest.mark.timeout(900)  # the first run downloads 93 MB


@pytest.fixture(scope="module")
def known() -> dict[tuple[int, int, str], dict[str, str]]:
    with KNOWN_FIGURES.open(newline="") as file:
        return {_place(row): row for row in csv.DictReader(file)}


def _place(row: dict[str, str]) -> tuple[int, int, str]:
    return int(row["layer"]), int(row["head"]), row["matrix"]


def test_every_head_has_the_known_figures(
    smollm2_folder: Path,
    known: dict[tuple[int, int, str], dict[str, str]],
    run_svdtui: RunSvdtui,
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.csv"

    done = run_svdtui(smollm2_folder, "--csv", path, "--cache-dir", tmp_path / "cache", timeout=280)

    assert done.returncode == 0, done.stderr
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert table.fieldnames == SCHEMA.split(",")
    assert [_place(row) for row in rows] == list(known)  # all 1,080, in order
    wrong = [
        f"{layer}.{head}.{matrix} {ours}: {row[ours]}, known {known[layer, head, matrix][theirs]}"
        for row in rows
        for layer, head, matrix in [_place(row)]
        for theirs, ours in COLUMNS.items()
        if float(row[ours]) != pytest.approx(float(known[layer, head, matrix][theirs]), rel=1e-6, abs=0)
    ]
    assert not wrong, "\n".join(wrong[:20])


def test_every_row_says_what_it_was_computed_from(smollm2_folder: Path, run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    done = run_svdtui(smollm2_folder, "--layer", "7", "--csv", "-", "--cache-dir", tmp_path / "cache")

    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == QUERY_HEADS * 4
    for row in rows:
        head, matrix = int(row["head"]), row["matrix"]
        assert row["tensor"] == f"model.layers.7.self_attn.{matrix}_proj.weight"
        assert row["kv_head"] == (str(head * KV_HEADS // QUERY_HEADS) if matrix in "kv" else "")
        assert (row["rows"], row["cols"], row["n"]) == (("576", "64", "64") if matrix == "o" else ("64", "576", "64"))
        assert (row["dtype"], row["solver"]) == ("bf16", "gram64")
