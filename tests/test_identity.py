"""Whose figures these are: a model is its files at their place, with what is in them, and never its name and times."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from svdtui.engine import HEADS, Analysis, Job, ReadError, open_model
from svdtui.engine.job_request import JobRequest, Opening, compute_job
from svdtui.engine.store import Store
from tests.checkpoints import write_checkpoint

JOB = Job(0, HEADS)


def write(folder: Path, seed: int) -> Path:
    """The same headers and sizes for every seed, other weights; all files have the times of a reproducible image."""
    made = write_checkpoint(folder, layers=1, seed=seed)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    return made.folder


def spectrum(folder: Path, cache: Path) -> "np.typing.NDArray[np.float64]":
    with Analysis(folder, device="cpu", cache_dir=cache) as analysis:
        return analysis.spectrum("0.3.q")


def overwrite(folder: Path, other: Path) -> None:
    """Write other weights into the same file, which keeps its size and its time."""
    weights = folder / "model.safetensors"
    weights.write_bytes((other / "model.safetensors").read_bytes())
    os.utime(weights, (0, 0))


def put_in_place(folder: Path, other: Path) -> None:
    """Put another file in the place of the weights, with the same size and time."""
    shutil.copy2(other / "model.safetensors", folder / "new")
    (folder / "new").replace(folder / "model.safetensors")


def change_one(folder: Path, _: Path) -> None:
    """One weight of the last head becomes another: in the middle of the last quarter of the queries' projection."""
    ref = open_model(folder).checkpoint.tensors["model.layers.0.self_attn.q_proj.weight"]
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(ref.start + 7 * ref.nbytes // 8)
        file.write(b"\x00\x44")  # 512.0
    os.utime(folder / "model.safetensors", (0, 0))


CHANGES = [overwrite, put_in_place, change_one]


def test_two_folders_of_the_same_name_share_nothing(tmp_path: Path) -> None:
    one = spectrum(write(tmp_path / "run1" / "checkpoint-500", 1), tmp_path / "cache")
    other = write(tmp_path / "run2" / "checkpoint-500", 2)
    assert not np.array_equal(spectrum(other, tmp_path / "cache"), one)


def test_a_folder_that_takes_the_place_of_another_has_figures_of_its_own(tmp_path: Path) -> None:
    one = spectrum(write(tmp_path / "now", 1), tmp_path / "cache")
    write(tmp_path / "next", 2)
    (tmp_path / "now").rename(tmp_path / "before")
    (tmp_path / "next").rename(tmp_path / "now")
    assert not np.array_equal(spectrum(tmp_path / "now", tmp_path / "cache"), one)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_replaced_with_the_same_time_has_other_figures(
    change: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, other = write(tmp_path / "m", 1), write(tmp_path / "other", 2)
    before = spectrum(folder, tmp_path / "cache")
    change(folder, other)
    after = spectrum(folder, tmp_path / "cache")
    assert not np.array_equal(after, before)
    assert np.array_equal(after, spectrum(folder, tmp_path / "fresh"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_replaced_while_the_model_is_open_gives_nothing(
    change: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, other = write(tmp_path / "m", 1), write(tmp_path / "other", 2)
    with (
        Analysis(folder, device="cpu", cache_dir=tmp_path / "cache") as one,
        Analysis(folder, device="cpu", cache_dir=tmp_path / "cache") as two,
    ):
        one.spectrum("0.3.q")
        change(folder, other)
        assert two.known(JOB) is None  # it is on the disk, and not that of these files
        with pytest.raises(ReadError, match="has changed since the model was opened"):
            two.spectrum("0.3.q")


def test_a_blob_that_is_overwritten_through_its_snapshot(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    write(folder, 1)
    blob = folder.parents[1] / "blobs" / "1234"
    blob.parent.mkdir()
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to("../../blobs/1234")
    before, key = spectrum(folder, tmp_path / "cache"), open_model(folder).key
    overwrite(folder, write(tmp_path / "other", 2))
    assert open_model(folder).key == key
    assert not np.array_equal(spectrum(folder, tmp_path / "cache"), before)


def test_a_worker_that_goes_on_for_long_sees_what_is_there_now(tmp_path: Path) -> None:
    folder, other = write(tmp_path / "m", 1), write(tmp_path / "other", 2)
    answers = []
    for _ in range(2):
        model = open_model(folder)
        request = JobRequest(Opening(model.location, None, "gram64", "cpu", contents=model.checkpoint.contents), JOB)
        answers.append(Store(model, "gram64", tmp_path / "cache").decode(JOB, compute_job(request)))
        overwrite(folder, other)
    assert answers[0] is not None
    assert answers[1] is not None
    assert not np.array_equal(answers[0].matrices["q"].sigma, answers[1].matrices["q"].sigma)


def test_little_is_read_to_know_a_result_again(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1, hidden=1024, heads=16, kv_heads=16, vocab=8, intermediate=8)
    assert made.files[0].stat().st_size > 8 * 10**6
    spectrum(made.folder, tmp_path / "cache")
    counts = Path("/proc/self/io")
    if not counts.exists():
        pytest.skip("this system does not count what is read")
    before = counts.read_text()
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert analysis.known(JOB) is not None
    read = int(counts.read_text().split()[1]) - int(before.split()[1])
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.safetensors"))
    assert read < kept + 500_000
