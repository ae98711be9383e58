"""Mirrors that say less than the Hub or send readers elsewhere, and an environment that names what is not there."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from svdtui.engine import Analysis, HubName, NetworkError, open_model
from svdtui.engine.hub_environment import about_certificates, check_connection, check_environment
from svdtui.engine.hub_errors import answer_seconds, silence_seconds
from svdtui.engine.results import JobResult
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_faults import ALWAYS, Fault
from tests.hub_trials import SILENCE, TOKEN, Trial, assert_equal, assert_sentence, heads, make_impatient

INFO = "/api/models/*/revision/*"
TREE = "/api/models/*/tree/*"
CONFIG = "config.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=1, shards=2)


@pytest.fixture(scope="module")
def truth(made: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> JobResult:
    """What comes out of the local folder."""
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path_factory.mktemp("cache")) as analysis:
        return heads(analysis)


@pytest.fixture
def trial(made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    make_impatient(monkeypatch)
    with hub_trials.trial(tmp_path) as trial:
        trial.hub.add("org/m", made.folder, gated=True, tokens=[TOKEN])
        yield trial


# ---- a list of files without their sizes -----------------------------------------------------------------------


def listed(trial: Trial, **left_out: Any) -> Fault:
    """The list of files, without some of what the Hub says of each, or with something else instead."""
    repo = trial.hub.site.repos["org/m"]
    info = repo.info(repo.branches["main"], blobs=True)
    siblings = [{key: value for key, value in file.items() if key not in left_out} for file in info["siblings"]]
    return faults.Answer(200, {}, json.dumps({**info, "siblings": siblings}).encode(), path=INFO, times=ALWAYS)


def no_siblings(trial: Trial) -> Fault:
    repo = trial.hub.site.repos["org/m"]
    info = repo.info(repo.branches["main"], blobs=True)
    return faults.Answer(200, {}, json.dumps({**info, "siblings": None}).encode(), path=INFO, times=ALWAYS)


def test_a_list_without_sizes_is_made_up_for_by_the_tree(trial: Trial, truth: JobResult) -> None:
    trial.meet([listed(trial, size=0, lfs=0, blobId=0)])
    with trial.open() as analysis:
        assert trial.hub.count(method="HEAD", file=SHARDS[0]) == 0
        assert analysis.model.checkpoint.source.files()[SHARDS[0]].blob  # the tree knows its hash
        assert_equal(trial.heads(analysis), truth)
    trial.assert_nothing_leaked()


def test_no_list_at_all_is_made_up_for_by_the_tree(trial: Trial, truth: JobResult) -> None:
    trial.meet([no_siblings(trial)])
    with trial.open() as analysis:
        assert_equal(trial.heads(analysis), truth)


@pytest.mark.parametrize(
    "tree", [faults.Answer(404, {}, b"no", path=TREE, times=ALWAYS), faults.Answer(200, {}, b"[]", path=TREE)], ids=str
)
def test_without_a_tree_each_file_that_is_needed_is_asked_after(trial: Trial, truth: JobResult, tree: Fault) -> None:
    trial.meet([listed(trial, size=0, lfs=0, blobId=0), tree])
    with trial.open() as analysis:
        assert trial.hub.count(host="hub", method="HEAD", file=SHARDS[0]) == 1
        assert analysis.model.checkpoint.source.files()[SHARDS[0]].blob
        assert_equal(trial.heads(analysis), truth)
    trial.assert_nothing_leaked()


def test_a_mirror_that_tells_no_size_at_all_is_told_as_that(trial: Trial) -> None:
    tree = faults.Answer(404, {}, b"no", path=TREE, times=ALWAYS)
    moved = faults.Answer(302, {"Location": "/nowhere"}, method="HEAD", file="*", times=ALWAYS)
    nowhere = faults.Answer(200, {"Content-Length": "?"}, path="/nowhere", times=ALWAYS)
    trial.meet([listed(trial, size=0, lfs=0, blobId=0), tree, moved, nowhere])
    with pytest.raises(NetworkError) as raised:
        trial.open()
    assert_sentence(raised.value, ["127.0.0.1", "org/m"])


# ---- sent on to nowhere ----------------------------------------------------------------------------------------


NOWHERE: dict[str, tuple[str, str]] = {
    "a label too long": (f"http://{'x' * 70}.invalid/a", ""),
    "an empty label": ("http://a..b/a", ""),
    "half a bracket": ("http://[::1/a", "no http address"),
    "no port": ("http://localhost:99999/a", ""),
    "another scheme": ("gopher://localhost/a", "no http address"),
    "unknown": ("http://no-such-host.invalid/a", "no-such-host.invalid, but the name cannot be resolved"),
}


@pytest.mark.parametrize(("address", "words"), NOWHERE.values(), ids=NOWHERE)
@pytest.mark.parametrize("what", ["where it is", "config", "API"])
def test_readers_who_are_sent_on_to_nowhere_are_told(trial: Trial, what: str, address: str, words: str) -> None:
    which: Mapping[str, Any] = {
        "where it is": {"file": SHARDS[0], "host": "hub"},
        "config": {"file": CONFIG, "method": "GET"},
        "API": {"path": INFO},
    }[what]
    trial.meet([faults.Answer(302, {"Location": address}, **which, times=ALWAYS)])
    with pytest.raises(NetworkError) as raised, trial.open() as analysis:
        trial.heads(analysis)
    assert_sentence(raised.value, ["127.0.0.1", "sends readers", words])
    trial.assert_nothing_leaked(raised.value)


# ---- what the environment says ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
@pytest.mark.parametrize("value", ["soon", "", "1.5", "-1", "9" * 30, "1e3"])
def test_a_time_out_that_is_no_number_of_seconds_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(NetworkError) as raised:
        check_environment()
    assert_sentence(raised.value, [variable, value[:20] or "which is empty", "whole number of seconds", "unset it"])


@pytest.mark.parametrize("address", ["http://me:secret@hub:99999", "http://hub:abc", "http://[::1"])
def test_an_address_of_the_hub_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(NetworkError) as raised:
        check_environment()
    assert_sentence(raised.value, ["The Hub's address", "is no http address", "Correct HF_ENDPOINT"])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("model", ["org/m", "https://huggingface.co/org/m"])
def test_the_command_line_tells_it_too(run_svdtui: RunSvdtui, model: str) -> None:
    done = run_svdtui(model, "--csv", "-", env={"HF_HUB_ETAG_TIMEOUT": "soon"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("svdtui: HF_HUB_ETAG_TIMEOUT, soon, is no whole number of seconds")


def test_the_time_outs_of_the_environment_are_waited_for(
    trial: Trial, truth: JobResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "30")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "40")
    assert (answer_seconds(), silence_seconds()) == (30, 40)
    late = faults.Slow(4 * SILENCE)
    trial.meet([replace(late, path=INFO), replace(late, host="hub", file=SHARDS[0]), replace(late, host="storage")])
    with trial.open() as analysis:
        assert_equal(trial.heads(analysis), truth)
    assert [request.fault for request in trial.hub.requests].count("Slow") == 3
    assert not any("try 2" in text for text in trial.said)


def test_a_time_out_of_nothing_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0")
    assert answer_seconds() == silence_seconds() == 10


@pytest.mark.parametrize(
    ("variable", "kind", "words"),
    [
        ("SSL_CERT_FILE", "absent", "cannot be read: No such file"),
        ("SSL_CERT_FILE", "text", "holds no certificates"),
        ("SSL_CERT_FILE", "folder", ""),
        ("SSL_CERT_DIR", "absent", "is no folder"),
        ("SSL_CERT_DIR", "text", "is no folder"),
    ],
)
def test_certificates_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, kind: str, words: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv(variable, str(tmp_path / kind))
    with pytest.raises(NetworkError) as raised:
        check_connection()
    assert_sentence(raised.value, [variable, words, "unset it"])
    with pytest.raises(NetworkError, match=variable):
        open_model(HubName("org/m"), cache_dir=tmp_path)


def test_whose_certificates_are_looked_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tools read other variables; httpx does not."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert "name the file of it in SSL_CERT_FILE" in about_certificates()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert "REQUESTS_CA_BUNDLE, which is set, is not looked at" in about_certificates()
    monkeypatch.setenv("SSL_CERT_DIR", "/etc/ssl/certs")
    assert about_certificates().startswith("Check SSL_CERT_DIR")
