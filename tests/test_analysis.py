"""The Python API, as the README shows it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svdtui.engine import Address, AddressError, Analysis, ChoiceError, DeviceError, TensorError, demo_path, open_model

from .checkpoints import Checkpoint, write_checkpoint


@pytest.fixture
def made(tmp_path: Path) -> Checkpoint:
    return write_checkpoint(tmp_path / "m")


def test_a_spectrum_and_its_metrics(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        sigma = analysis.spectrum("1.3.k")
        truth = np.linalg.svd(np.asarray(made.head_slice(1, 3, "k").numpy(), dtype=np.float64), compute_uv=False)
        assert sigma == pytest.approx(truth, rel=1e-9)
        metrics = analysis.metrics("1.3.k")
        assert metrics.sigma_first == sigma[0]
        assert metrics.top_ratio == pytest.approx(sigma[:10].sum() / sigma.sum())
        assert len(analysis.view("1").rows) == 4 * 4
        assert len(analysis.view().rows) == 2 * 4 * 4
        assert [info.label for info in analysis.matrices("0.1")] == ["Q", "K", "V", "O"]
        whole = made.tensors["model.layers.0.mlp.gate_proj.weight"].double()
        assert analysis.spectrum("0.gate_proj")[0] == pytest.approx(float(torch.linalg.matrix_norm(whole, 2)))


def test_a_spectrum_given_out_is_the_callers_own(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.spectrum("0.0.q")[:] = 0
        assert analysis.spectrum("0.0.q")[0] > 0


def test_results_come_from_the_cache_without_reading_weights(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        first = analysis.spectrum("0.0.q")
    model = open_model(made.folder)
    made.files[0].unlink()
    with Analysis(model, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert np.array_equal(analysis.spectrum("0.0.q"), first)


@pytest.mark.parametrize("address", ["9.0.q", "0.9.q", "0.0.x", "0.x_proj", "", "0", "0.1", "zero", "0.0.q.q", "-1"])
def test_what_is_no_matrix_is_refused(made: Checkpoint, tmp_path: Path, address: str) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis, pytest.raises(AddressError):
        analysis.spectrum(address)


def test_a_faulty_matrix_raises_with_tensor_and_count(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.v_proj.weight"
    weight = torch.ones(32, 64)
    weight[0, :3] = torch.nan
    made = write_checkpoint(tmp_path / "m", overrides={name: weight})
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        with pytest.raises(TensorError, match=rf"{name}: 3 of the 1,024 values of V in head 1"):
            analysis.spectrum("0.1.v")
        assert analysis.metrics("0.2.v").sigma_first is not None


def test_a_device_that_is_not_there(made: Checkpoint, tmp_path: Path) -> None:
    with (
        Analysis(made.folder, device="cuda:99", cache_dir=tmp_path / "cache") as analysis,
        pytest.raises(DeviceError, match=r"(?i)cuda"),
    ):
        analysis.spectrum("0.0.q")


@pytest.mark.parametrize(
    "options",
    [
        *({"k": 0}, {"k": -3}, {"k": "a"}, {"k": 2.5}, {"k": None}, {"k": True}, {"solver": "svd16"}),
        *({"cache_dir": 3}, {"cache_dir": b"x"}),
    ],
)
def test_choices_that_there_are_not_are_refused(made: Checkpoint, options: dict[str, Any]) -> None:
    with pytest.raises(ChoiceError):
        Analysis(made.folder, **options)


@pytest.mark.parametrize("place", [None, b"12", 2.5, True, ["0", None], [b"0"], {}.keys])
def test_what_is_no_place_is_refused(made: Checkpoint, tmp_path: Path, place: Any) -> None:
    with Analysis(made.folder, cache_dir=tmp_path / "cache") as analysis:
        for ask in (analysis.view, analysis.jobs, analysis.scan, analysis.remote_bytes):
            with pytest.raises(AddressError, match="is no place"):
                ask(place)


@pytest.mark.parametrize("who", [{"executor": 3}, {"workers": "a"}, {"workers": 1.5}, {"dask": 3}])
def test_what_computes_nothing_is_refused(made: Checkpoint, tmp_path: Path, who: Any) -> None:
    with Analysis(made.folder, cache_dir=tmp_path / "cache") as analysis, pytest.raises(ChoiceError):
        analysis.scan(**who)


def test_whole_numbers_of_numpy_are_whole_numbers(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache", k=np.int64(2)) as analysis:  # type: ignore[arg-type]
        assert len(analysis.view(np.int64(1)).rows) == 16  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [None, 5, b"m"])
def test_what_names_no_model_is_refused(model: Any) -> None:
    with pytest.raises(ChoiceError, match=f"not by a {type(model).__name__}. Give a model folder"):
        Analysis(model)


def test_an_empty_name_is_not_the_working_folder(made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    with pytest.raises(ChoiceError, match="The model's name is empty"):
        Analysis("")
    with Analysis(".") as analysis:
        assert analysis.model.layers == (0, 1)


def test_results_that_cannot_be_kept_name_the_parameter(made: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "file" / "cache") as analysis:
        assert analysis.spectrum("0.0.q")[0] > 0
        assert "Results cannot be kept" in analysis.notice
        assert analysis.notice.endswith(". cache_dir names another folder.")


def test_a_layer_may_be_named_by_its_number_and_a_matrix_as_it_is_shown(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert len(analysis.view(1).rows) == 16
        assert np.array_equal(analysis.spectrum("1.0.Q"), analysis.spectrum("1.0.q"))


def test_a_tied_head_is_found_under_its_own_name(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", tied=True)
    with Analysis(made.folder) as analysis, pytest.raises(AddressError, match="tied to embed_tokens"):
        analysis.spectrum("lm_head")


def test_mps_computes_on_the_cpu_and_says_so(made: Checkpoint, tmp_path: Path) -> None:
    with Analysis(made.folder, device="mps", cache_dir=tmp_path / "cache") as analysis:
        analysis.spectrum("0.0.q")
        assert "fp64" in analysis.notice


def test_the_demo_has_the_shape_that_it_claims() -> None:
    model = open_model(demo_path())
    assert len(model.layers) >= 6
    assert model.heads >= 6
    assert model.kv_heads == 2
    assert model.dtype == "bf16"
    assert sum(file.size for file in model.checkpoint.source.files().values()) < 5 * 10**6
    assert model.info(Address(0, 5, "k")).kv_head == 1
