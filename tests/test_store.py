"""Results on disk: what was kept comes back exactly, and what is damaged or someone else's never does."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svdtui.engine import HEADS, Analysis, Job, JobResult, MatrixResult, Model, Solver, open_model
from svdtui.engine.atomic import write_atomically
from svdtui.engine.checkpoint import Checkpoint
from svdtui.engine.results import expected_shapes
from svdtui.engine.store import Store
from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui

JOB = Job(0, HEADS)


def small_checkpoint(folder: Path) -> Model:
    """A model whose results take about a kilobyte each."""
    return open_model(
        write_checkpoint(folder, layers=2, hidden=8, heads=2, kv_heads=1, intermediate=12, vocab=16).folder
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return small_checkpoint(tmp_path_factory.mktemp("store") / "model")


@pytest.fixture
def store(model: Model, tmp_path: Path) -> Store:
    return Store(model, "gram64", tmp_path / "cache")


def made_up(model: Model, job: Job = JOB, seed: int = 0) -> JobResult:
    """A result of the right shape, one slice of it with NaN weights."""
    random = np.random.default_rng(seed)
    matrices = {}
    for name, (count, n) in expected_shapes(model, job).items():
        sigma = np.sort(random.random((count, n)))[:, ::-1].copy()
        solvers, nonfinite = ["gram64"] * count, [0] * count
        if name == "q":
            sigma[0], solvers[0], nonfinite[0] = np.nan, "", 3
        matrices[name] = MatrixResult(sigma, tuple(solvers), tuple(nonfinite))
    return JobResult(job, matrices)


def is_equal(one: JobResult | None, other: JobResult) -> bool:
    """The same to the last bit."""
    return (
        one is not None
        and one.job == other.job
        and one.matrices.keys() == other.matrices.keys()
        and all(
            mine.sigma.tobytes() == theirs.sigma.tobytes()
            and (mine.solvers, mine.nonfinite) == (theirs.solvers, theirs.nonfinite)
            for mine, theirs in zip(one.matrices.values(), other.matrices.values(), strict=True)
        )
    )


# ---- what comes back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", [JOB, Job(1, HEADS), Job(1, "q_proj"), Job(None, "lm_head")], ids=str)
def test_a_result_comes_back_to_the_last_bit(job: Job, model: Model, store: Store) -> None:
    kept = made_up(model, job)
    assert store.load(job) is None
    store.save(store.encode(kept), job)
    assert is_equal(store.load(job), kept)
    assert store.present() == {job}
    store.forget(job)
    assert store.load(job) is None
    assert store.present() == set()


def test_files_lie_by_format_model_and_solver(model: Model, store: Store, tmp_path: Path) -> None:
    for job in (JOB, Job(None, "lm_head")):
        store.save(store.encode(made_up(model, job)), job)
    folder = tmp_path / "cache" / "v2" / model.key / "gram64"
    assert sorted(path.name for path in folder.iterdir()) == [
        "layer-00000.heads.safetensors",
        "model.lm_head.safetensors",
    ]


def test_other_files_in_the_folder_are_no_results(model: Model, store: Store) -> None:
    store.save(store.encode(made_up(model)), JOB)
    for name in (
        "README",
        "layer-00001.heads.safetensors.tmp",
        ".layer-00001.heads.safetensors.x.tmp",
        "layer-.heads.safetensors",
        "layer-٣.heads.safetensors",
        "layer-00001..safetensors",
        "model.safetensors",
    ):
        (store.folder / name).touch()
    assert store.present() == {JOB}


# ---- damage ----------------------------------------------------------------------------------------------------


def test_a_file_cut_at_any_length_is_no_result(model: Model, store: Store) -> None:
    data = store.encode(made_up(model))
    store.save(data, JOB)
    path = store.path(JOB)
    for length in range(len(data) - 1, -1, -1):
        os.truncate(path, length)
        assert store.load(JOB) is None, length


def test_a_file_with_any_bit_flipped_is_no_result(model: Model, store: Store) -> None:
    data = bytearray(store.encode(made_up(model)))
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            assert store.decode(JOB, bytes(data)) is None, (place, bit)
            data[place] ^= 1 << bit
    assert store.decode(JOB, bytes(data)) is not None


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.data())
def test_a_file_with_any_damage_is_no_result_or_the_right_one(model: Model, data: st.DataObject) -> None:
    store = Store(model, "gram64")
    kept = made_up(model)
    content = bytearray(store.encode(kept))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    found = store.decode(JOB, bytes(content))
    assert found is None or is_equal(found, kept)


def test_text_that_no_program_wrote_is_no_result(store: Store) -> None:
    for text in ("", "null", "[]", '{"__metadata__":{"svdtui":"[]","checksum":""}}', '{"a":' * 5000):
        content = len(text).to_bytes(8, "little") + text.encode()
        assert store.decode(JOB, content) is None


# ---- other models, other solvers -------------------------------------------------------------------------------


def other_layer(model: Model, root: Path) -> tuple[Store, Job]:
    return Store(model, "gram64", root), Job(1, HEADS)


def other_solver(model: Model, root: Path) -> tuple[Store, Job]:
    return Store(model, "svd64", root), JOB


def other_version_of_the_model(model: Model, root: Path) -> tuple[Store, Job]:
    changed = dataclasses.replace(model.checkpoint, contents=model.checkpoint.contents + "x")
    return Store(Model(changed), "gram64", root), JOB


def other_place_in_the_file(model: Model, root: Path) -> tuple[Store, Job]:
    """The same key, but the tensors lie elsewhere: what a commit that was changed afterwards would look like."""
    return Store(with_tensors(model, lambda start: start + 8), "gram64", root), JOB


def with_tensors(model: Model, start: Callable[[int], int]) -> Model:
    old = model.checkpoint
    refs = {name: dataclasses.replace(ref, start=start(ref.start)) for name, ref in old.tensors.items()}
    return Model(Checkpoint(old.source, refs, old.config, old.key))


def other_heads(model: Model, root: Path) -> tuple[Store, Job]:
    old = model.checkpoint
    assert old.config
    config = dict(old.config) | {"num_attention_heads": 4, "num_key_value_heads": 2}
    return Store(Model(Checkpoint(old.source, old.tensors, config, old.key)), "gram64", root), JOB


@pytest.mark.parametrize(
    "stranger", [other_layer, other_solver, other_version_of_the_model, other_place_in_the_file, other_heads]
)
def test_a_result_of_something_else_is_not_believed(
    stranger: Callable[[Model, Path], tuple[Store, Job]], model: Model, store: Store
) -> None:
    data = store.encode(made_up(model))
    theirs, job = stranger(model, store.root)
    theirs.save(data, job)  # a file in the wrong place, or one that was right before the model changed
    assert theirs.load(job) is None
    assert store.decode(JOB, data) is not None


def test_a_changed_model_has_other_results(tmp_path: Path) -> None:
    before = small_checkpoint(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    config = json.loads((tmp_path / "model" / "config.json").read_text())

    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    touched = open_model(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"rope_theta": 5}))
    configured = open_model(tmp_path / "model")

    assert len({before.key, touched.key, configured.key}) == 3


def test_a_snapshot_with_a_replaced_file_has_other_results(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    write_checkpoint(folder, layers=1, seed=1)
    before = open_model(folder)
    with Analysis(before, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        first = analysis.spectrum("0.0.q")
    made = write_checkpoint(folder, layers=1, seed=2)
    stat = before.checkpoint.source.files()["model.safetensors"]
    os.utime(made.files[0], ns=(0, stat.mtime_ns + 10**9))
    after = open_model(folder)
    assert after.key == before.key
    with Analysis(after, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        assert not np.array_equal(analysis.spectrum("0.0.q"), first)


def test_another_copy_of_the_same_files_has_results_of_its_own(tmp_path: Path) -> None:
    one = small_checkpoint(tmp_path / "here" / "model")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    other = open_model(tmp_path / "there" / "model")
    assert other.key != one.key
    assert other.checkpoint.contents == one.checkpoint.contents
    (tmp_path / "link").symlink_to(tmp_path / "here" / "model")
    assert open_model(tmp_path / "link").checkpoint.contents != one.checkpoint.contents  # its name is the model's
    (tmp_path / "road").symlink_to(tmp_path / "here")
    assert open_model(tmp_path / "road" / "model").key == one.key


# ---- disks -----------------------------------------------------------------------------------------------------


def test_a_folder_in_place_of_a_file_costs_the_cache(model: Model, store: Store) -> None:
    store.path(JOB).mkdir(parents=True)
    assert store.load(JOB) is None
    store.forget(JOB)
    with pytest.raises(IsADirectoryError):
        store.save(store.encode(made_up(model)), JOB)
    assert [path.name for path in store.folder.iterdir()] == [store.path(JOB).name]


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    script = (
        "import resource, sys; from pathlib import Path; from svdtui.engine.atomic import write_atomically;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); write_atomically(Path(sys.argv[1]), bytes(1000))"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27]" in done.stderr
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == {"file": b"before"}


def test_a_file_is_replaced_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with path.open("rb") as reader:
        write_atomically(path, b"after")
        assert reader.read() == b"before"
    assert path.read_bytes() == b"after"


# ---- several programs ------------------------------------------------------------------------------------------

_WRITER = """
import sys
from pathlib import Path
from tests.test_store import JOB, made_up
from svdtui.engine import open_model
from svdtui.engine.store import Store

model = open_model(sys.argv[1])
store = Store(model, "gram64", Path(sys.argv[2]))
data = store.encode(made_up(model, seed=int(sys.argv[3])))
print("ready", flush=True)
while True:
    store.save(data, JOB)
"""


def test_readers_see_whole_files_while_two_programs_write(model: Model, store: Store) -> None:
    versions = [made_up(model, seed=seed) for seed in (1, 2)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, model.location, store.root, str(seed)],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
        )
        for seed in (1, 2)
    ]
    try:
        for writer in writers:
            assert writer.stdout
            assert writer.stdout.readline() == b"ready\n"
        while store.load(JOB) is None:
            time.sleep(0.01)
        seen: set[int] = set()
        deadline = time.monotonic() + 20
        reads = 0
        while (reads < 500 or len(seen) < 2) and time.monotonic() < deadline:
            found = store.load(JOB)
            [which] = [number for number, version in enumerate(versions) if is_equal(found, version)]
            seen.add(which)
            reads += 1
        assert seen == {0, 1}
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_two_programs_share_a_cache(svdtui: list[str], tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=12)
    cache = tmp_path / "cache"
    running = [
        subprocess.Popen(
            [*svdtui, made.folder, "--csv", tmp_path / f"{number}.csv", "--cache-dir", cache], stderr=subprocess.PIPE
        )
        for number in range(2)
    ]
    assert [(program.communicate(timeout=100)[1], program.returncode) for program in running] == [(b"", 0)] * 2
    one, other = ((tmp_path / f"{number}.csv").read_bytes() for number in range(2))
    assert one == other
    assert one.count(b"\n") == 1 + 12 * 4 * 4
    kept = [path.name for path in cache.rglob("*") if path.is_file()]
    assert sorted(kept) == [f"layer-{layer:05d}.heads.safetensors" for layer in range(12)]


# ---- the whole way ---------------------------------------------------------------------------------------------


def test_damaged_results_are_computed_again_and_replaced(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=4)
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.view()
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    whole = [path.read_bytes() for path in files]
    os.truncate(files[0], 100)
    files[1].write_bytes(b"")
    files[2].write_bytes(whole[2][:-1] + bytes([whole[2][-1] ^ 1]))
    files[3].write_bytes(whole[2])  # another layer's

    done = run_svdtui(made.folder, "--csv", tmp_path / "again.csv", "--cache-dir", tmp_path / "cache")
    fresh = run_svdtui(made.folder, "--csv", tmp_path / "fresh.csv", "--cache-dir", tmp_path / "fresh")

    for run in (done, fresh):
        assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "fresh.csv").read_bytes()
    model = open_model(made.folder)
    store = Store(model, "gram64", tmp_path / "cache")
    for layer, before in enumerate(whole):
        kept = store.decode(Job(layer, HEADS), before)
        assert kept is not None
        assert is_equal(store.load(Job(layer, HEADS)), kept)


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        first = analysis.spectrum("0.1.k")
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        steps: list[object] = []
        analysis.result(JOB, steps.append)
        assert steps == []
        assert np.array_equal(analysis.spectrum("0.1.k"), first)


@pytest.mark.parametrize("solver", ["svd32", "svd64"])
def test_every_solver_keeps_its_own_results(solver: Solver, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "model", layers=1)
    for each in ("gram64", solver):
        with Analysis(made.folder, solver=each, device="cpu", cache_dir=tmp_path / "cache") as analysis:
            assert {row.solver for row in analysis.view().rows} == {each}
    assert {path.parent.name for path in (tmp_path / "cache").rglob("*.safetensors")} == {"gram64", solver}
