"""Whatever is shown as an address can be typed: on screen, on the command line and in Python."""

from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Static

from svdtui.engine import Address, AddressError, Analysis, open_model
from svdtui.engine.model import Model
from svdtui.engine.naming import check_form, complete, find
from tests.checkpoints import write_checkpoint
from tests.pilot import at, burst, explorer, opened, press, screens, shown, title, until
from tests.terminal import Terminal

TENSOR = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of four heads over two KV heads, all heads computed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("addresses") / "tiny", layers=2).folder
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        for job in analysis.jobs():
            analysis.result(job)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return open_model(folder)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("model", Address()),
        ("", Address()),
        ("1.whole", Address(1, is_whole=True)),
        ("0.kv1.k", Address(0, 2, "k")),
        ("0.KV1.V", Address(0, 2, "v")),
        ("0.kv1", Address(0, 2)),
        (TENSOR, Address(1, matrix="k_proj")),
        ("model.embed_tokens.weight", Address(matrix="embed_tokens")),
        (" 1.3.q ", Address(1, 3, "q")),
    ],
)
def test_what_is_shown_is_found_and_called_as_it_was_asked(model: Model, text: str, place: Address) -> None:
    found = find(model, text)
    assert found == place
    assert find(model, str(found)) == place
    if "kv" in text.lower():
        assert str(found) == text.strip().lower()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.kv2.k", "KV heads 0 to 1"),
        ("0.kv1.q", "KV head 0.kv1 has k, v"),
        ("9.kv0.k", "no layer 9"),
        ("9.whole", "no layer 9"),
        ("model.layers.9.self_attn.k_proj.weight", "no tensor"),
        ("model.norm.weight", "none of the matrices that are analysed"),
        ("1.kv.k", "not an address"),
        ("0.1.", "not an address"),
    ],
)
def test_what_there_is_not_is_a_sentence(model: Model, text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        find(model, text)


def test_the_form_is_judged_without_a_model() -> None:
    for text in ("model", "1.whole", "0.kv1.k", TENSOR, "12.5.q", "lm_head"):
        check_form(text)
    for text in ("12.", "1.kv.k", "two words", "12.5.q.3", "."):
        with pytest.raises(AddressError):
            check_form(text)


def test_what_may_be_typed_is_completed(model: Model) -> None:
    assert complete(model, "mod")[0] == "model"
    assert TENSOR in complete(model, "model.layers.1.self_attn")
    assert complete(model, "0.kv") == ["0.kv0", "0.kv1"]
    assert complete(model, "0.kv1.") == ["0.kv1.k", "0.kv1.v"]
    assert complete(model, "1.w") == ["1.whole"]
    for text in ("", "0.", "0.1.", "0.kv0.", "model.", "e"):
        for name in complete(model, text):
            assert find(model, name) is not None
    assert complete(model, "model.norm") == complete(model, "model.layers.0.input_layernorm") == []


def test_python_takes_them_and_shows_them_as_they_were_asked(folder: Path) -> None:
    with Analysis(folder, cache_dir=folder.parent / "cache") as analysis:
        (row,) = analysis.view("1.kv1.k").rows
        assert str(row.info.address) == "1.kv1.k"
        np.testing.assert_array_equal(row.spectrum, analysis.spectrum("1.2.k"))
        assert [str(row.info.address) for row in analysis.view("1.kv1").rows] == ["1.kv1.k", "1.kv1.v"]
        assert analysis.metrics(TENSOR) == analysis.metrics("1.k_proj")
        assert [row.info.matrix for row in analysis.view("1.whole").rows] == [
            info.matrix for info in analysis.matrices("1")
        ]
        assert len(analysis.view("model").rows) == len(analysis.view().rows)


def test_a_layer_without_heads_is_its_whole_matrices(tmp_path: Path) -> None:
    plain = open_model(write_checkpoint(tmp_path / "plain", layers=1, config=False).folder)
    assert find(plain, "0.whole") == Address(0)
    with pytest.raises(AddressError, match=r"no config\.json"):
        find(plain, "0.kv0.k")


async def test_a_tensor_that_is_no_matrix_is_a_sentence_on_screen_too(folder: Path) -> None:
    async with opened(folder, "0.1") as pilot:
        for text in ("model.norm.weight", "model.norm"):
            await burst(pilot, f"g{text}\r")
            assert screens(pilot) == ["Explorer", "Goto"]
            said = pilot.app.screen.query_one("#goto-said", Static)
            assert "no" in str(said.render())
            await burst(pilot, "\x1b")
        assert at(pilot) == "0.1"


async def test_g_goes_there_and_the_title_says_what_was_asked(folder: Path) -> None:
    async with opened(folder, "0.1") as pilot:
        for text, words in (
            ("1.kv1.k", "layer 1 · KV head 1 (heads 2 to 3) · K"),
            ("1.whole", "layer 1 · whole matrices"),
            (TENSOR, "layer 1 · k_proj"),
            ("model", "all layers"),
        ):
            await press(pilot, "g", *("full_stop" if key == "." else key for key in text), "enter")
            await until(pilot, lambda words=words: words in shown(pilot, "#results"))  # type: ignore[misc]
        await press(pilot, "g", *"1", "full_stop", *"kv0", "enter")
        assert title(pilot).startswith(" ─ layer 1 · KV head 0 (heads 0 to 1)")
        assert explorer(pilot).scene.view.rows[0].info.matrix == "k"
        await press(pilot, "}")
        assert at(pilot) == "1.kv1"
        await press(pilot, "p", "2")
        assert "Pinned 1.kv1.k." in shown(pilot, "#status")
        await press(pilot, "down")
        assert at(pilot) == "1.2.q"


@pytest.mark.parametrize("keys", ["g model enter", "g 1 . w h o l e enter", "g 0 . k v 1 . v enter"])
async def test_the_place_is_remembered(folder: Path, tmp_path: Path, keys: str) -> None:
    places = tmp_path / "places.json"
    async with opened(folder, "0.1", places=places) as pilot:
        typed = [
            part
            for key in keys.split()
            for part in (list(key) if key == "model" else ["full_stop" if key == "." else key])
        ]
        await press(pilot, *typed)
        left = at(pilot)
    async with opened(folder, places=places, ready=False) as pilot:
        assert at(pilot) == left
        assert at(pilot) != "0.1"


@pytest.mark.parametrize(
    ("text", "words"),
    [("1.kv1.k", "layer 1 · KV head 1 (heads 2 to 3) · K"), (TENSOR, "layer 1 · k_proj"), ("model", "all layers")],
)
def test_the_command_line_opens_there(svdtui: list[str], folder: Path, text: str, words: str) -> None:
    with Terminal([*svdtui, str(folder), "--at", text, "--no-prefetch"], size=(120, 30)) as terminal:
        terminal.wait_for(words)


def test_the_command_line_says_what_there_is_not(svdtui: list[str], folder: Path) -> None:
    for text, why in (("1.kv2.k", "KV heads 0 to 1"), ("model.layers.7.mlp.up_proj.weight", "no tensor")):
        with Terminal([*svdtui, str(folder), "--at", text], size=(160, 30)) as terminal:
            terminal.wait_for(why)
            assert terminal.wait_exit() == AddressError.exit_code
