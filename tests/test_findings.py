"""The findings on figures whose truth is known by construction, and on models that have no figures to give."""

import multiprocessing
import pickle
import re
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from svdtui.engine import HEADS, Analysis, Job
from svdtui.engine.candidates import Candidate
from svdtui.engine.evidence import METRICS_NEEDED, Evidence, HeadFigures, gather
from svdtui.engine.finding import Finding, Verdict, cell_text, together
from svdtui.engine.findings import Findings, find
from svdtui.engine.findings_text import escaped, findings_markdown
from svdtui.engine.metrics import metric_table
from svdtui.engine.results import Tables
from tests.checkpoints import planted, write_checkpoint

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

NO_ORDER = np.array([5, 2, 7, 1, 8, 4, 3, 6, 12, 9, 1.5, 14, 0, 11, 6.5, 2.5])
"""Sixteen values without a trend: ρ = +0.14."""


def article(layers: int = 12, heads: int = 16, kv_heads: int = 16) -> Evidence:
    """A model on which all that the article says is true, with enough heads and layers to show it."""
    depth = np.linspace(0, 1, layers)[:, None]
    noise = 1e-3 * np.resize(NO_ORDER, (layers, heads))
    figures = {}
    for matrix in "qkvo":
        low_rank = matrix in "qk"
        slices = kv_heads if matrix in "kv" else heads
        values: dict[str, Array] = {
            "sigma_first": (10 - 2 * depth if low_rank else 3 + 0 * depth) + noise[:, :slices],
            "sigma_last": 0.1 + noise[:, :slices],
            "top_ratio": (0.6 - 0.1 * depth if low_rank else 0.2 + 0 * depth) + noise[:, :slices],
            "first_last_ratio": (90 - 40 * depth if low_rank else 9 + 0 * depth) + noise[:, :slices],
            "bottom_ratio": (0.02 + 0.02 * depth if low_rank else 0.1 + 0 * depth) + noise[:, :slices],
            "effective_rank": (30 + 10 * depth if low_rank else 60 + 0 * depth) + noise[:, :slices],
            "energy_rank_95": np.floor((20 if low_rank else 50) + 0 * noise[:, :slices]),
            "energy_rank_99": np.floor((40 if low_rank else 62) + 0 * noise[:, :slices]),
        }
        assert set(values) == set(METRICS_NEEDED)
        if low_rank:  # layer 0 alone has an order of heads
            values["top_ratio"][0] = np.linspace(0.55, 0.65, slices)
            values["bottom_ratio"][0] = np.linspace(0.02, 0.01, slices)
        figures[matrix] = HeadFigures(matrix, matrix in "kv", *((576, 64) if matrix == "o" else (64, 576)), values)
    everything = (True,) * layers
    return Evidence("m", "", 10, heads, kv_heads, tuple(range(layers)), everything, figures, (), 0, "", ())


def verdicts(evidence: Evidence) -> list[Verdict]:
    return [finding.verdict for finding in find(evidence).findings]


def of(evidence: Evidence, number: int) -> Finding:
    return find(evidence).findings[number - 1]


def part(finding: Finding, claim: str) -> tuple[Verdict, str]:
    [found] = [each for each in finding.parts if each.claim == claim]
    return found.verdict, found.why


def changed(evidence: Evidence, matrix: str, metric: str, values: Array) -> Evidence:
    figures = evidence.figures[matrix]
    new = replace(figures, values={**figures.values, metric: values})
    return replace(evidence, figures={**evidence.figures, matrix: new})


def without_layers(evidence: Evidence, *rows: int) -> Evidence:
    """As if these layers had not been computed yet."""
    found = evidence
    for matrix, figures in evidence.figures.items():
        for metric, values in figures.values.items():
            gone = values.copy()
            gone[list(rows)] = np.nan
            found = changed(found, matrix, metric, gone)
    return replace(found, computed=tuple(row not in rows for row in range(len(evidence.layers))))


# ---- verdicts --------------------------------------------------------------------------------------------------


def test_all_that_the_article_says_holds_where_it_is_true() -> None:
    assert verdicts(article()) == [HOLDS] * 5


def test_a_statement_fails_with_any_part_and_is_open_with_any_open_one() -> None:
    assert together([HOLDS, HOLDS]) is HOLDS
    assert together([HOLDS, UNKNOWN]) is UNKNOWN
    assert together([HOLDS, UNKNOWN, FAILS]) is FAILS
    assert together([]) is UNKNOWN


@pytest.mark.parametrize(("higher", "verdict"), [(7, HOLDS), (8, FAILS), (16, FAILS)])
def test_the_majority_of_the_query_heads_decides(higher: int, verdict: Verdict) -> None:
    evidence = article()
    values = evidence.figures["v"].values["top_ratio"].copy()
    values[0, :higher] = 0.9
    finding = of(changed(evidence, "v", "top_ratio", values), 1)
    found, why = part(finding, "top-10 of Q and K above V and O")
    assert (found, finding.verdict) == (verdict, verdict)
    assert why.startswith(f"in {16 - higher} of 16 heads; medians Q 0.60")
    assert [line[2:] for line in finding.tables[0].lines() if line[0] == "top-10"] == [
        (f"{16 - higher} of 16", f"{16 - higher} of 16", "16 of 16", f"{16 - higher} of 16", "16 of 16")
    ]
    assert ("Not so here: top-10 of Q and K above V and O." in finding.because) == (verdict is FAILS)


def test_a_shared_kv_head_counts_for_each_query_head_that_uses_it() -> None:
    evidence = article(kv_heads=2)
    values = evidence.figures["v"].values["sigma_first"].copy()
    values[0, 1] = 99
    _, why = part(of(changed(evidence, "v", "sigma_first", values), 1), "σ₁ of Q and K above V and O")
    assert why.startswith("in 8 of 16 heads")
    assert "V 51.00" in why  # the median of the two KV heads, 3 and 99


def test_query_heads_of_a_group_are_neighbours() -> None:
    evidence = article(heads=6, kv_heads=3)
    values = np.arange(36.0).reshape(12, 3)
    assert changed(evidence, "k", "sigma_first", values).by_query_head("k", "sigma_first")[1].tolist() == [
        *(3, 3, 4, 4, 5, 5)
    ]


def test_heads_without_figures_can_leave_the_majority_open() -> None:
    evidence = article()
    values = evidence.figures["q"].values["top_ratio"].copy()
    values[0, :8] = np.nan
    finding = of(changed(evidence, "q", "top_ratio", values), 1)
    assert finding.verdict is UNKNOWN
    assert "in 8 of 16 heads" in part(finding, "top-10 of Q and K above V and O")[1]
    assert "8 heads without a figure" in part(finding, "top-10 of Q and K above V and O")[1]


def test_a_trend_in_v_refutes_that_there_is_none() -> None:
    evidence = article()
    values = evidence.figures["v"].values["top_ratio"].copy()
    values[0] = np.linspace(0.2, 0.1, 16)
    finding = of(changed(evidence, "v", "top_ratio", values), 2)
    assert part(finding, "top-10 of V shows no trend")[0] is FAILS
    assert part(finding, "top-10 of Q rises")[0] is HOLDS
    assert finding.because.startswith("Not so here: top-10 of V shows no trend. So here: top-10 of Q rises")


def test_three_kv_heads_are_too_few_and_not_against() -> None:
    finding = of(article(heads=12, kv_heads=3), 2)
    verdict, why = part(finding, "top-10 of K rises")
    assert (verdict, why) == (UNKNOWN, "ρ = +1.00, p = 0.33; of 3 KV heads even a perfect order has p = 0.33")
    assert part(finding, "top-10 of Q rises")[0] is HOLDS
    assert finding.verdict is UNKNOWN


def test_equal_heads_have_no_order() -> None:
    evidence = changed(article(), "o", "top_ratio", np.full((12, 16), 0.2))
    verdict, why = part(of(evidence, 2), "top-10 of O shows no trend")
    assert (verdict, why) == (UNKNOWN, "the figures of all 16 heads are equal")


def test_a_layer_that_stands_apart_is_no_trend_with_depth() -> None:
    evidence = article()
    rising = 0.3 + 0.1 * np.linspace(0, 1, 12)[:, None] + np.zeros((12, 16))
    rising[0] = 0.9
    finding = of(changed(evidence, "q", "top_ratio", rising), 3)
    verdict, why = part(finding, "top-10 of Q falls with depth")
    assert verdict is FAILS
    assert "no trend found; first and last third 0.3227 → 0.3864" in why
    assert "would seem to change as stated: top-10 of Q (0.9000 → 0.4000)." in finding.paragraphs[0]


def test_the_thirds_must_agree_with_the_trend() -> None:
    curve = np.r_[30:26:-1, 10:4:-1, 26:10:-1, 4:0:-1].astype(float)  # falls all the way but for one step up
    evidence = article(layers=30)
    finding = of(changed(evidence, "q", "sigma_first", np.repeat(curve[:, None], 16, 1)), 3)
    verdict, why = part(finding, "σ₁ of Q falls with depth")
    assert verdict is FAILS, why
    assert "falls; first and last third 9.500 → 11.50, the other way" in why


def test_one_deeper_layer_with_a_trend_is_counted_and_named() -> None:
    evidence = article()
    values = evidence.figures["k"].values["top_ratio"].copy()
    values[7] = np.linspace(0.7, 0.4, 16)
    finding = of(changed(evidence, "k", "top_ratio", values), 4)
    assert part(finding, "top-10 of K shows no trend") == (FAILS, "1 of 11 layers shows one (layer 7)")
    assert part(finding, "top-10 of Q shows no trend") == (HOLDS, "0 of 11 layers show one")
    [row] = [line for line in finding.tables[0].lines() if line[:2] == ("K", "top-10")]
    assert row[2:9] == ("11", "0", "1", "10", "0", "−1.00", "7")


def test_it_is_said_when_there_was_no_trend_to_lose() -> None:
    flat = article()
    for matrix in "qk":
        for metric in ("top_ratio", "bottom_ratio"):
            values = flat.figures[matrix].values[metric].copy()
            values[0] = values[1]
            flat = changed(flat, matrix, metric, values)
    assert verdicts(flat) == [HOLDS, FAILS, HOLDS, HOLDS, HOLDS]
    said = "In layer 0 itself no such trend is found here"
    assert said in of(flat, 4).paragraphs[0]
    assert said not in " ".join(of(article(), 4).paragraphs)


# ---- what is missing -------------------------------------------------------------------------------------------


def test_layers_that_are_not_computed_yet_leave_all_that_is_about_all_layers_open() -> None:
    evidence = without_layers(article(), 3, 4, 11)
    assert verdicts(evidence) == [HOLDS, HOLDS, UNKNOWN, UNKNOWN, UNKNOWN]
    for number in (3, 4, 5):
        finding = of(evidence, number)
        assert finding.because == ("3 of 12 layers are not computed yet; the figures below are of the 9 that are.")
        assert {each.verdict for each in finding.parts} == {UNKNOWN}
        assert all(each.why.startswith("so far: ") for each in finding.parts)
    assert "layer 10" in [column.title for column in of(evidence, 3).tables[1].columns]
    assert "**Incomplete:** 9 of 12 layers computed" in findings_markdown(find(evidence))


def test_without_the_first_layer_nothing_is_said_of_it() -> None:
    evidence = without_layers(article(), 0)
    for number in (1, 2):
        finding = of(evidence, number)
        assert (finding.verdict, finding.because) == (UNKNOWN, "Layer 0 is not computed yet.")
    assert verdicts(without_layers(article(), *range(12))) == [UNKNOWN] * 5


def test_one_layer_has_no_depth() -> None:
    assert verdicts(article(layers=1)) == [HOLDS, HOLDS, UNKNOWN, UNKNOWN, UNKNOWN]
    assert of(article(layers=1), 4).because == "There is no deeper layer."
    assert part(of(article(layers=1), 3), "σ₁ of Q falls with depth")[1].startswith("1 layer with a figure")


def test_heads_with_nan_weights_are_left_out() -> None:
    evidence = article()
    for metric in METRICS_NEEDED:
        values = evidence.figures["q"].values[metric].copy()
        values[:, 0] = np.nan
        evidence = changed(evidence, "q", metric, values)
    found = find(evidence)
    assert [finding.verdict for finding in found.findings] == [HOLDS] * 5
    assert found.findings[1].tables[0].lines()[0][:3] == ("Q", "top-10", "15")
    assert not [each for each in found.candidates if each.matrix == "q" and each.head == 0]


# ---- candidates ------------------------------------------------------------------------------------------------


def test_candidates_come_by_effective_rank_and_say_what_pays() -> None:
    evidence = article()
    values = evidence.figures["v"].values["effective_rank"].copy()
    values[5, 2] = 8
    found = find(changed(evidence, "v", "effective_rank", values))
    assert len(found.candidates) == 12 * 16 * 4
    first = found.candidates[0]
    assert (first.place, first.is_whole, first.n) == ("5.kv2.v", False, 64)
    shares = [each.effective_rank / each.n for each in found.candidates]
    assert shares == sorted(shares)
    assert (first.parameters, first.factorised(50), first.pays(50)) == (64 * 576, 50 * 640, True)
    table = found.findings[4].tables[3]
    assert table.title == "Head slices with the least effective rank ÷ n, of 768"
    assert table.lines()[0][-2:] == ("32,000 (86.8 %)", "39,680: does not pay")


def test_a_factorisation_pays_only_when_it_is_smaller() -> None:
    square = Candidate(0, None, None, "q_proj", 100, 100, 60.0, 50, 70)
    assert (square.parameters, square.factorised(50)) == (10_000, 10_000)
    assert not square.pays(50)
    assert square.pays(49)


# ---- models ----------------------------------------------------------------------------------------------------


def tables_of(analysis: Analysis) -> Mapping[Job, Tables]:
    return {job: analysis.result(job).tables(analysis.k) for job in analysis.jobs()}


def test_figures_are_gathered_from_results(tmp_path: Path) -> None:
    name = "model.layers.{}.self_attn.{}_proj.weight"
    folder = write_checkpoint(
        tmp_path / "m",
        layers=2,
        overrides={
            name.format(0, "v"): torch.zeros(32, 64),
            name.format(1, "q"): planted([1.0] * 63 + [0.0], 64, 64).float(),
        },
    ).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        found = tables_of(analysis)
        evidence = gather(analysis.model, found.get)
        row = analysis.metrics("1.3.k")
        whole = gather(analysis.model, lambda job: analysis.result(job).tables(10) if job.kind == "q_proj" else None)
    assert evidence.computed == (True, True)
    assert evidence.figures["k"].values["top_ratio"][1, 1] == row.top_ratio  # query head 3 uses KV head 1
    assert np.isnan(evidence.figures["v"].values["top_ratio"][0]).all()
    assert (evidence.figures["o"].rows, evidence.figures["o"].cols) == (64, 16)
    assert evidence.whole_missing == 16
    assert [(str(each.address), each.rows, each.cols) for each in whole.wholes] == [
        ("0.q_proj", 64, 64),
        ("1.q_proj", 64, 64),
    ]
    assert whole.computed == (False, False)
    assert find(evidence).findings[4].paragraphs[0].endswith("could be left out as they are: 2.")
    assert {each.place for each in find(whole).candidates} == {"0.q_proj", "1.q_proj"}


def test_a_lost_direction_is_an_infinite_first_to_last_and_a_zero_head_has_none(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=1).folder
    sigma = np.array([[4.0, 2.0, 1.0], [4.0, 2.0, 0.0], [0.0, 0.0, 0.0], [np.nan] * 3])
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        evidence = gather(analysis.model, lambda job: {"q": metric_table(sigma)} if job.kind == HEADS else None)
    ratios = evidence.figures["q"].values["first_last_ratio"][0]
    assert ratios.tolist() == pytest.approx([4.0, np.inf, np.nan, np.nan], nan_ok=True)
    assert np.isnan(evidence.figures["k"].values["first_last_ratio"]).all()
    assert [each.head for each in find(evidence).candidates] == [1, 0]
    assert find(evidence).findings[4].paragraphs[0].endswith("could be left out as they are: 1.")


def test_without_heads_nothing_is_concluded_and_whole_matrices_are_ranked(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=2, config=False).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c") as analysis:
        found = analysis.findings()
    assert [finding.verdict for finding in found.findings] == [UNKNOWN] * 5
    assert {finding.because for finding in found.findings} == {analysis.model.heads_problem}
    assert len(found.candidates) == 16
    assert all(each.is_whole for each in found.candidates)
    assert "Whole matrices with the least effective rank ÷ n, of 16" in findings_markdown(found)


def test_another_first_layer_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=3).folder
    kept = write_checkpoint(
        tmp_path / "part",
        layers=3,
        drop=[name for name in write_checkpoint(tmp_path / "x", layers=3).tensors if ".layers.0." in name],
    ).folder
    assert folder.is_dir()
    with Analysis(kept, device="cpu", cache_dir=tmp_path / "c") as analysis:
        found = analysis.findings()
    assert found.findings[0].statement.startswith("In layer 1, ")
    assert "Layer 0 is not in these files: layer 1 is the first" in " ".join(found.notes)
    assert "config.json says 3 layers; 2 are in these files." in " ".join(found.notes)


def test_labels_follow_k(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=1).folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path / "c", k=3) as analysis:
        assert "top-3" in analysis.findings().findings[0].statement


# ---- data and text ---------------------------------------------------------------------------------------------


def test_findings_can_be_made_in_another_process_and_are_the_same_there() -> None:
    evidence = article()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(find, evidence).result(timeout=60)
    assert elsewhere == find(evidence)
    assert pickle.loads(pickle.dumps(elsewhere)) == elsewhere


def page(found: Findings) -> str:
    return findings_markdown(found)


def test_the_page_has_every_verdict_criterion_and_caveat() -> None:
    found = find(article(heads=12, kv_heads=3))
    text = page(found)
    for number, finding in enumerate(found.findings, 1):
        assert f"| {number} | {escaped(finding.statement)} | **{finding.verdict}** |" in text
        assert f"## {number}. {escaped(finding.title)}\n" in text
        assert escaped(finding.caveat) in text
        assert escaped(finding.criterion) in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for block in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "nan" not in text.lower()
    assert "None" not in text


def test_a_models_name_writes_no_markdown() -> None:
    evidence = replace(article(layers=1), model="a|b`<script>[x](y)\x1b[31m\n# c")
    first = page(find(evidence)).splitlines()[0]
    assert first == "# Findings: a\\|b\\`\\<script\\>\\[x\\](y)\\\\x1b\\[31m\\\\n\\# c"


@pytest.mark.parametrize(
    ("cell", "kind", "text"),
    [
        (None, "figure", "–"),
        (0.50392, "figure", "0.5039"),
        (27.7104, "figure", "27.71"),
        (84673.2, "figure", "84673"),
        (1.234e-7, "figure", "1.23e-7"),
        (4.5e9, "figure", "4.50e9"),
        (0.0, "figure", "0"),
        (float("inf"), "figure", "∞"),
        (1_234_567, "count", "1,234,567"),
        (0.03412, "p", "0.034"),
        (2e-5, "p", "2.0e-5"),
        (1.0, "p", "1"),
        ("0.3.q", "text", "0.3.q"),
    ],
)
def test_cells_are_short(cell: float | str | None, kind: str, text: str) -> None:
    assert cell_text(cell, kind) == text  # type: ignore[arg-type]
