"""What is advised when the way to the Hub is wrong: proxies, addresses and folders that a user has set."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from svdtui.engine import AccessError, EngineError, ModelNotFoundError, NetworkError, OfflineError
from svdtui.engine.proxy import check_proxies, proxy_of
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import write_checkpoint
from tests.hub_faults import ALWAYS
from tests.hub_trials import Trial, assert_sentence, make_impatient

PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
SECRET = "s3cret"


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """A user who is not logged in, and has no proxy."""
    make_impatient(monkeypatch)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with hub_trials.trial(tmp_path, token=None) as trial:
        trial.hub.add("org/m", write_checkpoint(tmp_path / "m", layers=1).folder, branches={"feat/x": "main"})
        yield trial


def at(trial: Trial, endpoint: str) -> Trial:
    return replace(trial, reader=replace(trial.reader, access=replace(trial.access, endpoint=endpoint)))


def refused(trial: Trial, name: str = "org/m") -> EngineError:
    huggingface_hub.close_session()  # its proxies are those of when it was opened
    with pytest.raises(EngineError) as raised:
        trial.open(name)
    assert SECRET not in str(raised.value)
    trial.assert_nothing_leaked(raised.value)
    return raised.value


# ---- proxies -----------------------------------------------------------------------------------------------------


class StrictProxy(BaseHTTPRequestHandler):
    """Lets nobody through without a login."""

    def do_GET(self) -> None:
        self.send_error(407)

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def strict_proxy() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), StrictProxy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_is_told_at_once(
    trial: Trial, strict_proxy: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:{SECRET}@{strict_proxy}")
    error = refused(at(trial, f"{scheme}://hub.invalid"))
    assert type(error) is NetworkError
    login = f"Put them into {scheme.upper()}_PROXY, as NAME:PASSWORD@ before its host"
    assert_sentence(error, [f"The proxy {strict_proxy} wants a name and a password (407)", login])
    assert not any("try 2" in text for text in trial.said)


def test_a_proxy_that_is_not_there_is_named(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", f"http://me:{SECRET}@127.0.0.1:9")
    error = refused(trial)
    assert_sentence(error, ["connection refused, through the proxy 127.0.0.1:9", "the proxy in all_proxy"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    huggingface_hub.close_session()
    trial.open().close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("foo://bar", ["HTTPS_PROXY, foo://bar, is not the address of a proxy", "http://HOST:PORT"]),
        (f"foo://me:{SECRET}@bar:80", ["HTTPS_PROXY, foo://bar:80, is not"]),
        ("http://", ["HTTPS_PROXY, http://, is not"]),
        ("http://bar:port", ["HTTPS_PROXY, http://, is not"]),
        ("http://[::1", ["HTTPS_PROXY, http://, is not"]),
        ("foo" * 1000 + "://bar", ["HTTPS_PROXY, foofoo", "is not the address"]),
    ],
)
def test_what_can_be_no_proxy_is_told_by_its_variable(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, address: str, words: list[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    error = refused(trial)
    assert_sentence(error, words)
    assert len(str(error)) < 300
    assert trial.hub.count() == 0


def test_a_socks_proxy_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", f"socks5://me:{SECRET}@bar:1080")
    monkeypatch.setattr("svdtui.engine.proxy.find_spec", lambda name: None)
    with pytest.raises(NetworkError) as raised:
        check_proxies()
    assert_sentence(raised.value, ["all_proxy names a SOCKS proxy, socks5://bar:1080", "pip install socksio"])
    monkeypatch.setattr("svdtui.engine.proxy.find_spec", lambda name: object())
    check_proxies()


@pytest.mark.parametrize("proxy", ["proxy.lab:3128", "http://proxy.lab:3128", f"https://me:{SECRET}@proxy.lab:3128/"])
def test_which_proxy_an_address_is_asked_through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://huggingface.co/org") == ""
    monkeypatch.setenv("https_proxy", proxy)
    check_proxies()
    assert proxy_of("https://huggingface.co/org") == "proxy.lab:3128"
    assert proxy_of("http://huggingface.co/org") == ""
    monkeypatch.setenv("no_proxy", "huggingface.co")
    assert proxy_of("https://huggingface.co/org") == ""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("https_proxy", "foo://bar")
    check_proxies()


# ---- addresses and folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 418, 451])
def test_an_answer_that_no_hub_gives_is_a_matter_of_its_address(trial: Trial, status: int) -> None:
    trial.meet([faults.Answer(status, path="/api/models/*", times=ALWAYS)])
    assert_sentence(refused(trial), [f"127.0.0.1 answers {status} when asked for org/m", "Check HF_ENDPOINT", "proxy"])


def test_an_endpoint_with_a_path_too_many(trial: Trial) -> None:
    assert_sentence(refused(at(trial, f"{trial.hub.endpoint}/wrong")), ["answers 404", "Check HF_ENDPOINT"])


def test_a_password_in_the_endpoint_that_is_refused_is_not_called_a_token(trial: Trial) -> None:
    error = refused(at(trial, trial.hub.endpoint.replace("//", f"//me:{SECRET}@")))
    assert type(error) is AccessError
    assert_sentence(error, ["does not accept the name and password in HF_ENDPOINT", "Correct them"])
    assert "token" not in str(error)


def test_a_home_that_is_no_folder_is_named(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "file" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    assert_sentence(refused(trial), ["stored token", "Not a directory", "Correct HF_HOME"])


# ---- revisions ---------------------------------------------------------------------------------------------------


def test_a_commit_that_is_cut_short_is_told_that_all_digits_are_needed(trial: Trial) -> None:
    commit = trial.reader.open().revision
    error = refused(trial, f"org/m@{commit[:7]}")
    assert type(error) is ModelNotFoundError
    assert_sentence(error, [f"no branch, tag or commit {commit[:7]}", "all of its 40 digits"])
    with pytest.raises(OfflineError, match="all of its 40 digits"):
        trial.reader.open(f"org/m@{commit[:7]}", offline=True)
    assert "digits" not in str(refused(trial, "org/m@v2"))


def test_a_branch_with_a_slash_in_an_address_is_told_how_it_is_written(trial: Trial) -> None:
    error = refused(trial, "https://huggingface.co/org/m/tree/feat/x")
    assert_sentence(error, ["no branch, tag or commit feat.", "If the branch is called feat/x, write org/m@feat/x"])
    assert trial.reader.open("org/m@feat/x").layers == (0,)
    assert trial.reader.open("https://huggingface.co/org/m/tree/feat%2Fx").layers == (0,)


def test_names_without_end_are_not_echoed_whole(trial: Trial) -> None:
    for name in (f"org/{'x' * 5000}", f"org/m@{'x' * 5000}"):
        assert len(str(refused(trial, name))) < 500


def test_a_hub_that_cannot_be_reached_does_not_promise_what_is_cached(trial: Trial) -> None:
    trial.hub.refuse()
    assert "--offline" not in str(refused(trial))
