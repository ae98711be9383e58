"""A metric over layers and heads, as charts and findings see it."""

from pathlib import Path

import numpy as np
import pytest

from svdtui.engine import Address, Analysis, ChoiceError, Job
from svdtui.engine.errors import AddressError
from svdtui.engine.grid import grid
from svdtui.engine.results import Tables
from tests.checkpoints import write_checkpoint


def test_holds_the_figures_of_every_slice_and_says_what_is_missing(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=3, heads=4, kv_heads=2).folder
    with Analysis(folder, cache_dir=tmp_path / "c") as analysis:

        def tables(job: Job) -> Tables | None:
            return None if job.layer == 1 else analysis.result(job).tables()

        stable = grid(analysis.model, "k", "stable_rank", tables)
        assert stable.values.shape == (3, 2)  # KV heads
        assert stable.computed.tolist() == [True, False, True]
        assert np.isnan(stable.values[1]).all()
        assert grid(analysis.model, "q", "stable_rank", tables).values.shape == (3, 4)
        for row in analysis.view(Address(2)).rows:
            if row.info.matrix == "k":
                assert row.metrics
                assert stable.values[2, row.info.index] == row.metrics.stable_rank


def test_refuses_what_there_is_not(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m").folder
    with Analysis(folder, cache_dir=tmp_path / "c") as analysis:
        with pytest.raises(ChoiceError, match="no metric 'rank'"):
            grid(analysis.model, "q", "rank", lambda job: None)
        with pytest.raises(AddressError, match="no head matrix 'gate_proj'"):
            grid(analysis.model, "gate_proj", "stable_rank", lambda job: None)
