"""What MODEL may be: something on this disk, a name on the Hub, or the address of a model's page."""

import os
from pathlib import Path

import pytest
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from svdtui.engine import ChoiceError, EngineError, HubName, ModelNotFoundError, find_target, open_model
from svdtui.engine.hub_errors import HubAccess
from svdtui.tui.start import download_first
from tests.hub_server import HubServer

thorough = settings(derandomize=True, deadline=None, max_examples=500)

SECRET = "hf_SECRETsecret"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("text", "repo_id", "revision"),
    [
        ("org/name", "org/name", None),
        ("Org-1/Name_2.5-B", "Org-1/Name_2.5-B", None),
        ("org/name@main", "org/name", "main"),
        ("org/name@", "org/name", None),
        ("org/name@feature/new/head", "org/name", "feature/new/head"),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ("org/name@v1.0@home", "org/name", "v1.0@home"),
        (f"org/name@{'0a' * 20}", "org/name", "0a" * 20),
        ("org/name/", "org/name", None),
        ("hf.co/org/name", "org/name", None),
        ("huggingface.co/org/name", "org/name", None),
        ("HuggingFace.co/org/name/tree/v1", "org/name", "v1"),
        (f"https://huggingface.co/org/name/commit/{'0a' * 20}", "org/name", "0a" * 20),
        ("https://huggingface.co/org/name/commits/v1/", "org/name", "v1"),
        (f"hf.co/org/name/commit/{'0a' * 20}?x=1", "org/name", "0a" * 20),
        ("hf://org/name", "org/name", None),
        ("hf://org/name@v1", "org/name", "v1"),
        ("hf://org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ("hf://org/name@refs%2Fpr%2F1", "org/name", "refs/pr/1"),
        ("hf://models/org/name@v1", "org/name", "v1"),
        ("https://huggingface.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/", "org/name", None),
        ("http://hf.co/org/name", "org/name", None),
        ("HTTPS://HuggingFace.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/tree/main", "org/name", "main"),
        ("https://huggingface.co/org/name/tree/v1.0/", "org/name", "v1.0"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", "org/name", "refs/pr/1"),
        ("https://huggingface.co/org/name/tree/feature%2Fnew", "org/name", "feature/new"),
        ("https://huggingface.co/org/name/blob/main/config.json", "org/name", "main"),
        ("https://huggingface.co/org/name/resolve/v1/model.safetensors?download=true", "org/name", "v1"),
        (f"https://me:{SECRET}@huggingface.co/org/name", "org/name", None),
    ],
)
def test_a_name_on_the_hub(text: str, repo_id: str, revision: str | None) -> None:
    assert find_target(text) == HubName(repo_id, revision)


@pytest.mark.parametrize(
    "text",
    [
        "org/name/further",
        "./org/name",
        "/org/name",
        "../name",
        "~/org/name",
        "a b/name",
        "name.safetensors",
        ".",
        "~x/y",
    ],
)
def test_a_path_whether_it_exists_or_not(text: str) -> None:
    assert find_target(text) == Path(text)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
@pytest.mark.parametrize("text", ["org/name", "org/name@main", "org/name.safetensors"])
def test_what_exists_wins_over_a_name_on_the_hub(text: str, make: object) -> None:
    Path("org").mkdir()
    assert callable(make)
    make(Path(text))
    assert find_target(text) == Path(text)


def test_a_folder_elsewhere_does_not_win() -> None:
    Path("org").mkdir()
    assert find_target("org/name") == HubName("org/name")


def test_an_address_is_never_a_path() -> None:
    Path("hf:/org/name").mkdir(parents=True)
    assert os.path.lexists("hf://org/name")  # as the system reads it
    assert find_target("hf://org/name") == HubName("org/name")


def test_the_address_of_a_page_of_another_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.lab:8080/hf")
    assert find_target("http://hub.lab:8080/hf/org/name/tree/v1") == HubName("org/name", "v1")
    assert find_target("https://huggingface.co/org/name") == HubName("org/name")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "https://huggingface.co/datasets/org/name",
            "https://huggingface.co/datasets/org/name is a dataset, not a model",
        ),
        ("hf://datasets/org/name@v1", "is a dataset, not a model"),
        ("https://huggingface.co/spaces/org/name", "is a space, not a model"),
        ("https://huggingface.co/org", "is not the address of a model on the Hub"),
        ("https://huggingface.co/org/name/discussions/1", "is not the address of a model on the Hub"),
        ("https://example.com/org/name", "https://example.com/org/name is not the address of a model on the Hub"),
        ("https://huggingface.co.example.com/org/name", "is not the address of a model on the Hub"),
        ("https://[::1/org/name", "is not the address of a model on the Hub"),
        ("hf://", "is not the address of a model on the Hub"),
    ],
)
def test_other_addresses_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r".") as refused:
        find_target(text)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@example.com/org/name",
        f"https://{SECRET}@huggingface.co/org",
        f"https://example.com/org/name?token={SECRET}",
        f"https://huggingface.co/datasets/org/name?X-Amz-Signature={SECRET}",
        f"https://huggingface.co/org#{SECRET}",
        f"hf://{SECRET}@spaces/org/name",
    ],
)
def test_a_secret_in_an_address_is_not_echoed(text: str) -> None:
    with pytest.raises(EngineError) as refused:
        find_target(text)
    assert SECRET not in str(refused.value)


def test_a_revision_beside_the_name() -> None:
    assert find_target("org/name", "v1") == HubName("org/name", "v1")
    assert find_target("org/name@v1", "v1") == HubName("org/name", "v1")
    assert find_target("https://huggingface.co/org/name", "refs/pr/2") == HubName("org/name", "refs/pr/2")


@pytest.mark.parametrize("text", ["org/name@v1", "hf://org/name@v1", "https://huggingface.co/org/name/tree/v1"])
def test_two_revisions_are_one_too_many(text: str) -> None:
    with pytest.raises(ChoiceError, match="and the revision v2 name two versions") as refused:
        find_target(text, "v2")
    assert refused.value.exit_code == 2


def test_an_empty_revision_is_refused() -> None:
    with pytest.raises(ChoiceError, match="The revision is empty"):
        find_target("org/name", "")


@pytest.mark.parametrize("text", ["org/name", "model.safetensors", "/nowhere"])
def test_a_path_has_no_revision(text: str) -> None:
    Path("org/name").mkdir(parents=True)
    with pytest.raises(ChoiceError, match=f"{text} is a path, and a revision is for models on the Hub") as refused:
        find_target(text, "main")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "hub"),
    [
        ("org/name", "org/name@v1"),
        ("org/name/", "org/name@v1"),
        ("org/name@v2", "org/name@v1"),
        ("org/both", "hf://org/both@v1"),
    ],
)
def test_a_revision_of_a_name_that_is_a_folder_here_tells_what_names_the_hubs(text: str, hub: str) -> None:
    for folder in ("org/name", "org/name@v2", "org/both", "org/both@v1"):
        Path(folder).mkdir(parents=True)
    with pytest.raises(ChoiceError) as refused:
        find_target(text, "v1")
    assert f"What is here comes first: {hub} names the Hub's." in refused.value.hint
    named = find_target(hub)
    assert isinstance(named, HubName)
    assert named.revision == "v1"


def test_a_download_of_a_name_that_is_a_folder_here_tells_what_names_the_hubs() -> None:
    Path("org/name").mkdir(parents=True)
    with pytest.raises(ChoiceError, match="org/name is a path, and --download") as refused:
        download_first(Path("org/name"), None)
    assert "hf://org/name names the Hub's" in refused.value.hint
    assert find_target("hf://org/name") == HubName("org/name")
    with pytest.raises(ChoiceError, match="Leave it out"):
        download_first(Path("folder"), None)


@pytest.mark.parametrize("text", ["gpt2", "llama-3.2", "gpt2@main"])
def test_a_single_word_that_is_no_folder(text: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"There is no file or folder {text}") as refused:
        find_target(text)
    assert "ORG/NAME" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name:v1.0", "org/name@v1.0"),
        ("models/org/name", "org/name"),
        ("models/org/name@v1", "org/name@v1"),
    ],
)
def test_what_is_nearly_a_name_on_the_hub_is_told_how_to_write_it(text: str, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"no file or folder {text} here, and no model on the Hub") as refused:
        find_target(text)
    assert f"Write {name} for a model on the Hub" in refused.value.hint
    assert find_target(name) == HubName.parse(name)
    Path(text).mkdir(parents=True)
    assert find_target(text) == Path(text)


@pytest.mark.parametrize("text", ["org/", "@main", "org/name/further", "a b/name"])
def test_what_is_neither_is_told_that_it_may_be_a_path_or_a_name(text: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no file or folder") as refused:
        open_model(text)
    assert "the path of a model folder, or a model on the Hub as ORG/NAME or ORG/NAME@REVISION" in refused.value.hint


@pytest.mark.parametrize("text", ["x" * 5000, "/x" * 2500, "x y/" + "x" * 5000, f"org/name:{'x' * 5000}"])
def test_a_name_without_end_is_not_echoed_whole(text: str) -> None:
    with pytest.raises(EngineError) as refused:
        open_model(text)
    assert " … " in str(refused.value)
    assert len(str(refused.value)) < 500


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ChoiceError, match="The model's name is empty") as refused:
        open_model("")
    assert refused.value.exit_code == 2


def test_a_name_that_is_neither_is_told_that_both_were_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # asks the real Hub otherwise
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # that of whoever runs the tests
    with HubServer() as hub:
        access = HubAccess(endpoint=hub.endpoint, cache_dir=str(tmp_path / "hub"))
        with pytest.raises(
            ModelNotFoundError, match=r"There is no folder org/name here, and no model org/name on 127\."
        ):
            open_model("org/name", access=access)


def test_a_name_that_the_hub_would_never_give_is_asked_for_nowhere(tmp_path: Path) -> None:
    with HubServer() as hub:
        access = HubAccess(endpoint=hub.endpoint, cache_dir=str(tmp_path / "hub"))
        with pytest.raises(ModelNotFoundError, match=r"There is no folder org/na\.\.me here, and on the Hub no model"):
            open_model("org/na..me", access=access)
        assert hub.count() == 0


# ---- whatever is typed -------------------------------------------------------------------------------------------

BEGINNINGS = ["", "org/name", "hf://", "hf://org/name", "https://", "https://huggingface.co/", "http://hf.co/org/name/"]
PIECES = [
    *("org", "name", "model.safetensors", "main", "refs/pr/1", "tree", "blob", "datasets", "models", "buckets", "gpt2"),
    *("/", "//", "@", ":", "hf://", "%2F", "%25", "%", "?", "#", "[", "]", "~"),
    *(".", "..", "-", " ", "\n", "\0", "\x1b", "ü", "\ud800", "\\"),
]
pieced = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
typed = st.text(max_size=30) | st.builds("{}{}".format, st.sampled_from(BEGINNINGS), pieced)


@thorough
@given(typed, st.none() | typed)
def test_any_text_is_a_path_a_name_or_refused_in_a_sentence(text: str, revision: str | None) -> None:
    found = found_or_refused(text, revision)
    if isinstance(found, EngineError):
        assert found.message.endswith(".")
        assert found.message.isprintable()
    elif isinstance(found, HubName):
        assert found.repo_id.count("/") == 1
        assert found.revision != ""
        assert revision is None or found.revision == revision


def found_or_refused(text: str, revision: str | None) -> Path | HubName | EngineError:
    try:
        return find_target(text, revision)
    except EngineError as error:
        return error


names = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9_]|[.-][a-zA-Z0-9]){0,8}", fullmatch=True)


@thorough
@given(names, names, st.none() | st.text(min_size=1, max_size=20) | typed.filter(bool))
def test_a_names_address_leads_back_to_it(org: str, name: str, revision: str | None) -> None:
    target = HubName(f"{org}/{name}", revision)
    assert find_target(target.url) == target


@thorough
@given(st.text(max_size=20) | typed)
def test_a_name_as_it_is_shown_leads_back_to_it(revision: str) -> None:
    target = find_target(f"org/name@{revision}")
    assert isinstance(target, HubName)
    assert find_target(str(target)) == target
