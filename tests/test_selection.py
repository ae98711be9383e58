"""Which rows `--layers`, `--head` and `--matrix` choose: those of the whole CSV that they name, and no others."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from svdtui.engine import AddressError, Analysis, metrics_csv
from svdtui.engine.selection import layer_ranges
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.test_cli import here, rows_of

LAYERS, HEADS = 6, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Six layers; layer 2 lacks its gate_proj and layer 3 its K."""
    drop = ["model.layers.2.mlp.gate_proj.weight", "model.layers.3.self_attn.k_proj.weight"]
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", layers=LAYERS, drop=drop)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(made: Checkpoint, cache: Path) -> dict[str, list[str]]:
    """The lines of all heads' CSV files, for metrics and for spectra."""
    files = {option: here(made.folder, option, "-", "--cache-dir", cache) for option in ("--csv", "--spectra-csv")}
    return {option: done.stdout.splitlines() for option, done in files.items()}


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("7", [range(7, 8)]),
        ("0-3,7", [range(4), range(7, 8)]),
        (" 7 , 0 - 3", [range(7, 8), range(4)]),
        ("5-5", [range(5, 6)]),
        ("-1", [range(-1, 0)]),
    ],
)
def test_a_list_of_layers(text: str, ranges: list[range]) -> None:
    assert layer_ranges(text) == tuple(ranges)


@pytest.mark.parametrize("text", ["", ",", "1,", "1-", "-1-2", "1--2", "0..3", "a", "1.5", "٣", "0-3 7", "9" * 10])
def test_what_is_no_list_of_layers_is_told_what_one_is(text: str) -> None:
    with pytest.raises(AddressError, match=r"is no list of layers: write 7, 0-3 or 0-3,7\."):
        layer_ranges(text)


def test_a_range_that_runs_backwards_is_told_the_right_way_round() -> None:
    with pytest.raises(AddressError, match=r"3-1 is no range of layers: write 1-3\."):
        layer_ranges("0,3-1")


CHOICES: list[tuple[list[str], Sequence[int], Sequence[int], str]] = [
    (["--layers", "0-1,5"], [0, 1, 5], range(HEADS), "qkvo"),
    (["--layers", "5,0-1,1"], [0, 1, 5], range(HEADS), "qkvo"),
    (["--layer", "0-1", "--layers", "5"], [0, 1, 5], range(HEADS), "qkvo"),
    (["--layer", "4"], [4], range(HEADS), "qkvo"),
    (["--layers", "1-2", "--head", "3"], [1, 2], [3], "qkvo"),
    (["--head", "3"], range(LAYERS), [3], "qkvo"),
    (["--matrix", "q"], range(LAYERS), range(HEADS), "q"),
    (["--matrix", "K"], [0, 1, 2, 4, 5], range(HEADS), "k"),
    (["--matrix", "o", "--head", "2"], range(LAYERS), [2], "o"),
    (["--matrix", "v", "--layers", "0,2"], [0, 2], range(HEADS), "v"),
    (["--matrix", "v", "--layers", "0,2", "--head", "0"], [0, 2], [0], "v"),
]


@pytest.mark.parametrize(("options", "layers", "heads", "matrices"), CHOICES, ids=lambda v: " ".join(map(str, v)))
def test_the_rows_are_those_lines_of_the_whole_file(
    options: list[str],
    layers: Sequence[int],
    heads: Sequence[int],
    matrices: str,
    made: Checkpoint,
    cache: Path,
    whole: dict[str, list[str]],
) -> None:
    for kind, (header, *lines) in whole.items():
        done = here(made.folder, kind, "-", *options, "--cache-dir", cache)
        wanted = [
            line
            for line in lines
            for layer, head, _, matrix in [line.split(",")[2:6]]
            if int(layer) in layers and int(head) in heads and matrix in matrices
        ]
        assert done.exit_code == 0
        assert done.stdout.splitlines() == [header, *wanted]


@pytest.mark.parametrize(
    ("options", "layers", "told"),
    [
        (["--matrix", "down_proj"], range(LAYERS), ""),
        (["--matrix", "gate_proj"], [0, 1, 3, 4, 5], "svdtui: Layer 2 has no gate_proj in these files.\n"),
        (["--matrix", "gate_proj", "--layers", "1-2,4"], [1, 4], "svdtui: Layer 2 has no gate_proj in these files.\n"),
        (["--matrix", "embed_tokens"], [None], ""),
    ],
)
def test_a_whole_matrix_is_that_of_all_layers_as_the_screen_writes_it(
    options: list[str], layers: Sequence[int | None], told: str, made: Checkpoint, cache: Path
) -> None:
    done = here(made.folder, "--csv", "-", *options, "--cache-dir", cache)
    assert done.exit_code == 0
    assert done.stderr.endswith(told)
    assert ("gate_proj in these files" in done.stderr) == bool(told)
    with Analysis(made.folder, device="cpu", cache_dir=cache) as analysis:
        places = [options[1] if layer is None else f"{layer}.{options[1]}" for layer in layers]
        alone = [metrics_csv(analysis.view(place)).splitlines() for place in places]
        together = metrics_csv(analysis.view(places))
    assert done.stdout == together
    assert together.splitlines() == [alone[0][0], *(line for _, line in alone)]


def test_only_the_chosen_layers_are_computed(made: Checkpoint, tmp_path: Path) -> None:
    done = here(made.folder, "--csv", "-", "--layers", "0,4-5", "--matrix", "q", "--cache-dir", tmp_path)
    assert {row["layer"] for row in rows_of(done.stdout)} == {"0", "4", "5"}
    kept = {path.name for path in tmp_path.rglob("layer-*")}
    assert kept == {f"layer-{layer:05d}.heads.safetensors" for layer in (0, 4, 5)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "4-9"], "There are no layers 6-9: tiny has layers 0 to 5."),
        (["--layers", "2,6"], "There is no layer 6: tiny has layers 0 to 5."),
        (["--layers", "8,3,6-7,0"], "There are no layers 6-7, 8: tiny has layers 0 to 5."),
        (["--layers", "0-999999999"], "There are no layers 6-999999999: tiny has layers 0 to 5."),
        (["--layers", "1-2", "--head", "4"], "There is no head 4: tiny has heads 0 to 3 in a layer."),
        (["--layer", "3", "--matrix", "k"], "There is no matrix 'k' there: Layer 3 has q_proj, v_proj, o_proj, gate_"),
        (["--layers", "3", "--matrix", "k"], "up_proj, down_proj; its heads have q, v, o."),
        (["--head", "1", "--matrix", "gate_proj"], "no matrix 'gate_proj' there: Head 0.1 has q, k, v, o."),
        (
            ["--matrix", "w1"],
            "no matrix 'w1' there: tiny has embed_tokens, lm_head. Its layers have q_proj, ",
        ),
        (["--matrix", "w1"], "up_proj, down_proj; their heads have q, k, v, o."),
        (["--layers", "0", "--matrix", "lm_head"], "There is no matrix 'lm_head' there: Layer 0 has q_proj"),
    ],
)
def test_what_is_not_there_is_a_sentence_that_says_what_is(
    options: list[str], words: str, made: Checkpoint, cache: Path
) -> None:
    done = here(made.folder, "--csv", "-", *options, "--cache-dir", cache)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("svdtui: There ")
    assert words in line


def test_a_shard_with_gaps_says_which_layers_it_has(made: Checkpoint, tmp_path: Path) -> None:
    first = [name for name in made.tensors if ".layers.0." in name]
    drop = [name.replace(".0.", f".{layer}.") for layer in (1, 2) for name in first]
    some = write_checkpoint(tmp_path / "some", layers=LAYERS, drop=drop)
    done = here(some.folder, "--csv", "-", "--layers", "0-3", "--cache-dir", tmp_path)
    assert done.stderr == "svdtui: There are no layers 1-2: some has layers 0, 3-5.\n"


def test_without_heads_their_matrices_are_told_apart_from_whole_ones(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", config=False)
    done = here(made.folder, "--csv", "-", "--matrix", "q", "--cache-dir", tmp_path)
    assert done.exit_code == 2
    assert "Its layers have q_proj, " in done.stderr
    assert "down_proj. Heads are unknown: there is no config.json" in done.stderr
