"""The findings on a real model, judged here again from its known figures with numpy and scipy alone."""

import csv
import re
import subprocess
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.test_smollm2 import KNOWN_FIGURES

LAYERS, HEADS, GROUP = 30, 9, 3
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

pytestmark = pytest.mark.timeout(900)  # the first run downloads 93 MB


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, str], Array]:
    """Matrix and column of the known figures → (layers, query heads)."""
    found: dict[tuple[str, str], Array] = {}
    with KNOWN_FIGURES.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in ("s_max", "top10", "first_last", "bottom10"):
                grid = found.setdefault((row["matrix"], name), np.full((LAYERS, HEADS), np.nan))
                grid[int(row["layer"]), int(row["head"])] = float(row[name])
    return found


@pytest.fixture(scope="module")
def written(smollm2_folder: Path, svdtui: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the command says of the model."""
    folder = tmp_path_factory.mktemp("findings")
    files = [f"--csv={folder / 'm.csv'}", f"--candidates={folder / 'c.csv'}", f"--findings={folder / 'f.md'}"]
    command = [*svdtui, str(smollm2_folder), *files, "--cache-dir", str(folder / "cache")]
    subprocess.run(command, check=True, timeout=280)
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / "f.md").read_text()


def own(grid: Array, matrix: str) -> Array:
    """(layers, slices): each shared KV head once."""
    return grid[:, ::GROUP] if matrix in "kv" else grid


def exact_p(series: Array) -> float:
    """Two-sided p of Spearman's ρ over all orders; of 9 heads there are 362,880, which numpy sums at once."""
    ranks = stats.rankdata(series)
    index = np.arange(len(series))
    orders = np.array(list(permutations(ranks))) @ index
    found = ranks @ index
    return float(min(1.0, 2 * min((orders <= found).mean(), (orders >= found).mean())))


def section(page: str, number: int) -> str:
    return page.split(f"\n## {number}. ")[1].split("\n## ", maxsplit=1)[0].replace("\\", "")


def verdict(page: str, number: int) -> str:
    found = re.search(r"^\*\*(.+?)\.\*\*", section(page, number), re.MULTILINE)
    assert found
    return found[1].lower()


def line(page: str, number: int, claim: str) -> str:
    [found] = [each for each in section(page, number).splitlines() if each.startswith(f"- {claim}: ")]
    return found


def cells(page: str, number: int, *begin: str) -> list[list[str]]:
    rows = [each.strip("| ").split(" | ") for each in section(page, number).splitlines() if each.startswith("| ")]
    return [row for row in rows if row[: len(begin)] == list(begin)]


def test_the_verdicts(page: str) -> None:
    assert [verdict(page, number) for number in range(1, 6)] == [
        "holds",
        "does not hold",
        "does not hold",
        "does not hold",
        "does not hold",
    ]


def test_layer_0_is_as_the_article_says_in_all_heads(page: str, known: dict[tuple[str, str], Array]) -> None:
    for name, label, sign in (
        ("s_max", "σ₁", 1),
        ("top10", "top-10", 1),
        ("first_last", "first/last", 1),
        ("bottom10", "bottom-10", -1),
    ):
        q, k, v, o = (sign * known[m, name][0] for m in "qkvo")
        assert (np.minimum(q, k) > np.maximum(v, o)).sum() == HEADS  # what this model is like
        side = "above" if sign > 0 else "below"
        assert f"{label} of Q and K {side} V and O: **holds** (in 9 of 9 heads" in section(page, 1)
        [medians] = cells(page, 1, label)[1:]
        for shown, matrix in zip(medians[1:5], "qkvo", strict=True):
            assert float(shown) == pytest.approx(np.median(own(known[matrix, name], matrix)[0]), rel=6e-4)


def test_no_order_of_heads_in_layer_0(page: str, known: dict[tuple[str, str], Array]) -> None:
    p = {(m, name): exact_p(known[m, name][0]) for m in "qo" for name in ("top10", "bottom10")}
    assert min(p.values()) > 0.05  # no correction could make a trend of these
    for (matrix, name), value in p.items():
        [row] = cells(page, 2, matrix.upper(), "top-10" if name == "top10" else "bottom-10")
        rho = stats.spearmanr(range(HEADS), known[matrix, name][0]).statistic
        assert float(row[3].replace("−", "-")) == pytest.approx(rho, abs=0.006)
        assert float(row[4]) == pytest.approx(value, rel=0.05)
        assert row[7] == "no trend found"
    for claim in ("top-10 of Q rises", "bottom-10 of Q falls"):
        assert "**does not hold**" in line(page, 2, claim)
    for claim in ("top-10 of K rises", "bottom-10 of V shows no trend"):
        assert "**not enough data**" in line(page, 2, claim)  # 3 KV heads: 2 of 6 orders are perfect
        assert "p = 0.33" in line(page, 2, claim)


def test_depth_is_not_as_the_article_says_but_for_the_norm_of_k(page: str, known: dict[tuple[str, str], Array]) -> None:
    labels = {"s_max": "σ₁", "top10": "top-10", "first_last": "first/last", "bottom10": "bottom-10"}
    curves = {key: np.median(own(grid, key[0]), axis=1) for key, grid in known.items()}
    theory = {key: stats.spearmanr(range(LAYERS), curve) for key, curve in curves.items()}
    ordered = sorted(theory, key=lambda key: theory[key].pvalue)
    significant = {
        key
        for place, key in enumerate(ordered)
        if all(theory[k].pvalue * (len(ordered) - i) <= 0.05 for i, k in enumerate(ordered[: place + 1]))
    }
    assert significant == {("k", "s_max"), ("v", "s_max"), ("o", "s_max"), ("q", "top10")}  # what this model is like
    assert theory["q", "top10"].statistic > 0  # and Q's top-10 rises where the article's falls
    for (matrix, name), curve in curves.items():
        test, level = cells(page, 3, matrix.upper(), labels[name])
        assert float(test[3].replace("−", "-")) == pytest.approx(theory[matrix, name].statistic, abs=0.006)
        assert float(test[4]) == pytest.approx(theory[matrix, name].pvalue, rel=0.15, abs=1e-4)
        sense = "rises" if theory[matrix, name].statistic > 0 else "falls"
        assert test[7] == (sense if (matrix, name) in significant else "no trend found")
        levels = [curve[0], np.median(curve[:10]), np.median(curve[-10:]), curve[-1]]
        assert [float(each) for each in level[2:]] == pytest.approx(levels, rel=6e-4)
    parts = re.findall(r"^- (.+ with depth): \*\*(.+?)\*\*", section(page, 3), re.MULTILINE)
    assert [claim for claim, said in parts if said == "holds"] == ["σ₁ of K falls with depth"]
    assert len(parts) == 8
    assert "top-10 of Q (0.5074 → 0.2732)" in section(page, 3)  # the outermost layers alone would mislead


def test_one_deeper_layer_has_an_order_of_heads(page: str, known: dict[tuple[str, str], Array]) -> None:
    tests = [(m, name, layer) for m in "qo" for name in ("top10", "bottom10") for layer in range(1, LAYERS)]
    strong = [each for each in tests if abs(stats.spearmanr(range(HEADS), known[each[0], each[1]][each[2]])[0]) > 0.9]
    p = {each: exact_p(known[each[0], each[1]][each[2]]) for each in strong}
    first = min(p, key=lambda each: p[each])
    assert first == ("q", "top10", 18)
    assert p[first] * len(tests) < 0.05 < sorted(p.values())[1] * (len(tests) - 1)  # Holm: this one and no other
    assert line(page, 4, "top-10 of Q shows no trend").endswith(
        "**does not hold** (1 of 29 layers shows one (layer 18); of 28 it cannot be told)"
    )
    assert "**not enough data** (of 9 heads only |ρ| of 0.95" in line(page, 4, "bottom-10 of Q shows no trend")
    assert "In layer 0 itself no such trend is found here" in section(page, 4)


def test_q_and_k_are_of_lower_rank_and_layer_0_of_the_least(page: str, written: Path) -> None:
    """From the program's own CSV, which `test_smollm2.py` holds against the known figures."""
    rows = list(csv.DictReader((written / "m.csv").read_text().splitlines()))
    ranks = {(int(r["layer"]), int(r["head"]), r["matrix"]): float(r["effective_rank"]) for r in rows}
    agree = sum(
        max(ranks[layer, head, "q"], ranks[layer, head, "k"]) < min(ranks[layer, head, "v"], ranks[layer, head, "o"])
        for layer in range(LAYERS)
        for head in range(HEADS)
    )
    assert agree == 226
    assert "effective rank ÷ n of Q and K below V and O: **holds** (in 226 of 270 heads" in section(page, 5)
    assert "effective rank ÷ n of Q rises with depth: **does not hold**" in section(page, 5)
    least = sorted({(value, layer, matrix) for (layer, _, matrix), value in ranks.items()})[:10]
    assert {layer for _, layer, _ in least} <= {0, 7}
    assert {matrix for _, _, matrix in least} == {"q", "k"}
    first = next(csv.DictReader((written / "c.csv").read_text().splitlines()))
    assert (float(first["effective_rank"]), int(first["layer"]), first["matrix"]) == least[0]
    assert cells(page, 5, "0.3.q", "64×576")[0][6:] == ["37", "36,864", "14,080 (38.2 %)", "23,680 (64.2 %)"]
