"""What `e` and `y` take out of the screen: what is shown, with the pinned and without the hidden."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from svdtui.engine import Analysis
from tests.checkpoints import write_checkpoint
from tests.pilot import Screen, opened, press, shown, toasts, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of four heads over two KV heads; the heads of the first two are computed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("exports") / "tiny", layers=3).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs()[:2]:
            analysis.result(job)
    return folder


async def exported(folder: Path, place: str, keys: Sequence[str], names: Sequence[str]) -> list[list[dict[str, str]]]:
    """The lines of the files that are there after some keys at a place."""
    async with opened(folder, place, prefetch=False) as pilot:
        await press(pilot, *keys, "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        for name in names:
            assert name in toasts(pilot)
    return [list(csv.DictReader(Path(name).read_text().splitlines())) for name in names]  # noqa: ASYNC240


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.csv"))


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("target")
async def test_the_model_is_exported_with_its_medians_and_bands(folder: Path) -> None:
    rows, lines = await exported(folder, "", ["m"], ["tiny.metrics.csv", "tiny.overview.csv"])
    assert {line["metric"] for line in lines} == {"first_last_ratio"}
    assert [(line["layer"], line["matrix"]) for line in lines] == [(n, m) for n in "01" for m in "qkvo"]
    for line in lines:
        figures = {
            (row["kv_head"] or row["head"]): float(row["first_last_ratio"])
            for row in rows
            if (row["layer"], row["matrix"]) == (line["layer"], line["matrix"])
        }
        assert int(line["slices"]) == len(figures)
        low, middle, high = np.quantile(list(figures.values()), (0.1, 0.5, 0.9))
        assert float(line["quantile_10"]) == pytest.approx(low, rel=1e-12)
        assert float(line["median"]) == pytest.approx(middle, rel=1e-12)
        assert float(line["quantile_90"]) == pytest.approx(high, rel=1e-12)
        assert float(line["flat"]) == 1


@pytest.mark.usefixtures("target")
async def test_a_layer_is_exported_as_its_table_is_laid_out(folder: Path) -> None:
    rows, lines = await exported(folder, "1", ["v"], ["tiny.layer-1.metrics.csv", "tiny.layer-1.overview.csv"])
    assert {(line["layer"], line["matrix"]) for line in lines} == {("1", "q")}
    assert len({line["metric"] for line in lines}) == len(lines) == 13
    assert {line["metric"] for line in lines} < set(rows[0])


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize(("place", "name"), [("", "tiny"), ("1", "tiny.layer-1"), ("1.2", "tiny.layer-1.head-2")])
async def test_hidden_matrices_are_in_no_file(folder: Path, place: str, name: str) -> None:
    names = [f"{name}.{kind}.csv" for kind in ("metrics", "spectra", *(["overview"] if "." not in place else []))]
    for lines in await exported(folder, place, ["1", "4"], names):
        assert {line["matrix"] for line in lines} == {"k", "v"}


async def test_all_hidden_is_said(folder: Path, target: Path) -> None:
    async with opened(folder, "1.2", prefetch=False) as pilot:
        await press(pilot, *"1234", "e")
        await until(pilot, lambda: "hidden: 1 2 3 4 show" in toasts(pilot))
        assert not written(target)


def lines_of(pilot: Screen) -> list[list[str]]:
    lines = shown(pilot, "#results").splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["matrix"])
    return [line.split() for line in lines[start + 1 :] if line.split()]


@pytest.mark.parametrize("place", ["1.2", "1.2.v"])
async def test_pinned_spectra_are_in_the_table_and_in_its_file(folder: Path, target: Path, place: str) -> None:
    async with opened(folder, "0.3.q", prefetch=False) as pilot:
        await press(pilot, "p", "g", *("full_stop" if key == "." else key for key in place), "enter", "2", "e")
        await until(pilot, lambda: "Exported" in toasts(pilot))
        own = ["V"] if place.endswith("v") else ["Q", "V", "O"]
        table = lines_of(pilot)[: len(own) + 1]
        assert [line[0] for line in table] == [*own, "a"]
        assert table[-1][1] == "0.3.q"
        with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
            assert f"{analysis.metrics('0.3.q').sigma_first:.3f}"[:4] in " ".join(table[-1])
        await press(pilot, "y")
        copied = [line.split("\t") for line in pilot.app.clipboard.splitlines()]
    (file,) = (name for name in written(target) if name.endswith(".metrics.csv"))
    lines = list(csv.reader((target / file).read_text().splitlines()))
    assert [row[2:6:3] for row in lines[1:]] == [["1", name.lower()] for name in own] + [["0", "q"]]
    assert copied == lines


async def test_a_pin_leads_to_its_place_and_p_on_it_unpins(folder: Path) -> None:
    async with opened(folder, "0.3.q", prefetch=False) as pilot:
        await press(pilot, "p", "g", "1", "full_stop", "2", "enter", "tab", "end", "p")
        assert "Unpinned 0.3.q." in shown(pilot, "#status")
        assert [line[0] for line in lines_of(pilot)[:4]] == ["Q", "K", "V", "O"]
