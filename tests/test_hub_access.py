"""Who may read what on the Hub, what those are told who may not, and that no token or signed address gets anywhere."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import pytest
from huggingface_hub.utils.logging import get_verbosity, set_verbosity

from svdtui.engine import (
    HEADS,
    AccessError,
    Address,
    ChoiceError,
    EngineError,
    Job,
    ModelNotFoundError,
    NetworkError,
    Session,
    State,
)
from svdtui.engine.child import unexpected
from svdtui.engine.hub_errors import HubAccess, redacted, retry_of
from svdtui.engine.process import log_path
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_faults import ALWAYS, Fault
from tests.hub_trials import TOKEN, Trial, assert_sentence, has_secrets, make_impatient

NOBODY = "hf_nobodyNOBODYnobody0123456789"
"""A token that the Hub knows and that has no access to anything."""
MISSPELT = "hf_misspeltMISSPELT0123456789"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some models, and some that are none."""
    folders = tmp_path_factory.mktemp("models")
    write_checkpoint(folders / "m", layers=1)
    write_checkpoint(folders / "bare", layers=1, config=False)
    for name, files in {"bin": ["pytorch_model.bin"], "gguf": ["m.Q4.gguf", "m.Q8.gguf"], "none": []}.items():
        (folders / name).mkdir()
        for file in ["config.json", *files]:
            (folders / name / file).write_text("{}")
    return folders


@pytest.fixture
def trial(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    make_impatient(monkeypatch)
    with hub_trials.trial(tmp_path) as trial:
        hub = trial.hub
        hub.known_tokens.add(NOBODY)
        hub.add("org/public", folders / "m", branches={"v1": "main"})
        hub.add("org/gated", folders / "m", gated=True, tokens=[TOKEN])
        hub.add("org/bare", folders / "bare", gated=True, tokens=[TOKEN])
        hub.add("org/private", folders / "m", private=True, tokens=[TOKEN])
        for name in ("bin", "gguf", "none"):
            hub.add(f"org/{name}", folders / name)
        yield trial


def as_user(trial: Trial, token: str | None, endpoint: str | None = None) -> Trial:
    access = HubAccess(endpoint or trial.access.endpoint, token, trial.access.cache_dir)
    return replace(trial, reader=replace(trial.reader, access=access))


# ---- who may read what -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A name, a token, and what is said."""

    name: str
    token: str | None
    words: Sequence[str]
    """`PAGE` stands for the model's page."""
    error: type[EngineError] = AccessError


ASK = "Ask for access at PAGE "
LOG_IN = "`hf auth login`"
NEW_TOKEN = ["127.0.0.1 does not accept your token", LOG_IN, "HF_TOKEN"]
NOT_SEEN = ["no folder", "on 127.0.0.1", "Check the spelling"]

REFUSALS = {
    "gated, no token": Refusal("org/gated", None, ["org/gated is gated", ASK, LOG_IN, "HF_TOKEN"]),
    "gated, token without access": Refusal(
        "org/gated",
        NOBODY,
        ["org/gated is gated", "your token has no access", ASK, "fine-grained"],
    ),
    "gated, bad token": Refusal("org/gated", MISSPELT, NEW_TOKEN),
    "gated without config, no token": Refusal("org/bare", None, ["org/bare is gated", ASK, LOG_IN]),
    "gated without config, token without access": Refusal(
        "org/bare", NOBODY, ["org/bare is gated", "your token has no access", ASK]
    ),
    "gated, a branch": Refusal("org/gated@main", None, ["org/gated is gated", ASK, LOG_IN]),
    "private, no token": Refusal(
        "org/private", None, [*NOT_SEEN, "org/private", "without logging in", LOG_IN], ModelNotFoundError
    ),
    "private, token without access": Refusal(
        "org/private", NOBODY, [*NOT_SEEN, "that your token can see", "owner can give you access"], ModelNotFoundError
    ),
    "private, bad token": Refusal("org/private", MISSPELT, NEW_TOKEN),
    "missing, no token": Refusal(
        "org/missing", None, [*NOT_SEEN, "org/missing", "without logging in", LOG_IN], ModelNotFoundError
    ),
    "missing, token": Refusal(
        "org/missing", NOBODY, [*NOT_SEEN, "org/missing", "that your token can see"], ModelNotFoundError
    ),
    "public, bad token": Refusal("org/public", MISSPELT, [*NEW_TOKEN, "unset it"]),
    "public, token with an umlaut": Refusal("org/public", "hf_tökentökentöken", ["Your token", "no token has", LOG_IN]),
    "public, token on two lines": Refusal("org/public", "hf_tokentoken\nhf_", ["Your token", "no token has", LOG_IN]),
    "no such revision": Refusal(
        "org/public@v2", None, ["org/public has no branch, tag or commit v2", "See PAGE/tree/main "], ModelNotFoundError
    ),
    "no such commit": Refusal(
        f"org/public@{'a' * 40}",
        None,
        ["no branch, tag or commit aaa", "See PAGE/tree/main "],
        ModelNotFoundError,
    ),
    "a revision that leads elsewhere": Refusal(
        "org/public@../gated", None, ["no branch, tag or commit ../gated", "See PAGE"], ModelNotFoundError
    ),
    "a revision that cannot be one": Refusal("org/public@a\x1b[2J", None, [r"'a\x1b[2J'", "Check"], ChoiceError),
    "only .bin": Refusal(
        "org/bin",
        None,
        ["org/bin", "no .safetensors file. It holds .bin files", "pickled formats can run code"],
        ModelNotFoundError,
    ),
    "only .gguf": Refusal(
        "org/gguf", None, ["org/gguf", "It holds .gguf files", "GGUF files are made from"], ModelNotFoundError
    ),
    "no weights at all": Refusal("org/none", None, ["org/none", "no .safetensors file. Give"], ModelNotFoundError),
}
REFUSALS |= {
    f"invalid name {name}": Refusal(name, None, [name, "no folder", "no model can be called so"], ModelNotFoundError)
    for name in ("org/a..b", "org/a--b", "org/name.git", f"org/{'n' * 97}", "org/name.")
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_who_may_not_read_is_told_why_and_what_to_do(case: Refusal, trial: Trial) -> None:
    user = as_user(trial, case.token)
    with pytest.raises(EngineError) as raised:
        user.open(case.name)
    assert type(raised.value) is case.error
    page = f"{trial.hub.endpoint}/{case.name.partition('@')[0]}"
    assert_sentence(raised.value, [word.replace("PAGE", page) for word in case.words])
    user.assert_nothing_leaked(raised.value)
    assert trial.hub.count(host="storage") == 0


@pytest.mark.parametrize(
    ("name", "token"),
    [("org/public", None), ("org/public", NOBODY), ("org/gated", TOKEN), ("org/bare", TOKEN), ("org/private", TOKEN)],
)
def test_who_may_read_reads(trial: Trial, name: str, token: str | None) -> None:
    user = as_user(trial, token)
    with user.open(name) as analysis:
        assert all(row.spectrum is not None for row in analysis.view("0").rows)
    assert all(request.has_token == (token is not None) for request in trial.hub.requests if request.host == "hub")
    user.assert_nothing_leaked()


def test_access_that_is_taken_away_while_a_model_is_open(trial: Trial) -> None:
    with trial.open("org/gated") as analysis:
        trial.hub.signed_seconds = -1
        trial.meet([faults.Expired(host="storage")])
        trial.hub.site.repos["org/gated"].tokens = frozenset()
        with pytest.raises(AccessError) as raised:
            trial.heads(analysis)
    assert_sentence(raised.value, ["org/gated is gated", "token has no access", f"{trial.hub.endpoint}/org/gated "])
    trial.assert_nothing_leaked(raised.value)


@pytest.mark.parametrize("name", ["org/gguf", "org/none"])
def test_pickles_are_spoken_of_only_where_there_are_some(trial: Trial, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as raised:
        as_user(trial, None).open(name)
    assert "pickle" not in str(raised.value)


# ---- where the token goes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("https://hub.example/org/m", True),
        ("https://HUB.example:443/", True),
        ("http://hub.example/", False),
        ("https://hub.example:444/", False),
        ("https://cdn.hub.example/", False),
        ("https://hub.example.evil.example/", False),
        ("https://hub.example@evil.example/", False),
        ("https://huggingface.co/org/m", True),
        ("http://huggingface.co/org/m", False),
        ("https://huggingface.co.evil.example/", False),
        ("https://hf.co/org/m", True),
        ("https://cdn-lfs.huggingface.co/", False),
    ],
)
def test_the_token_goes_to_the_hub_and_to_nobody_else(address: str, is_trusted: bool) -> None:
    assert HubAccess("https://hub.example").is_trusted(address) == is_trusted


@pytest.mark.parametrize(
    "endpoint", ["huggingface.co", "http://", "http://[::1", "ftp://hub.example", "https://h:port"]
)
def test_a_hub_that_is_no_address(trial: Trial, endpoint: str) -> None:
    with pytest.raises(NetworkError) as raised:
        as_user(trial, TOKEN, endpoint).open("org/public")
    assert_sentence(raised.value, [endpoint.rstrip("/"), "no http address", "HF_ENDPOINT"])


def test_a_password_in_the_address_of_the_hub_is_not_told(trial: Trial) -> None:
    user = as_user(trial, NOBODY, trial.hub.endpoint.replace("//", "//me:s3cret@"))
    trial.meet([faults.Answer(403, {"X-Error-Code": "GatedRepo"}, host="hub", times=ALWAYS)])
    with pytest.raises(AccessError) as raised:
        user.open("org/gated")
    assert_sentence(raised.value, ["org/gated is gated", f"Ask for access at {trial.hub.endpoint}/org/gated "])
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTPError for url 'https://h/a?X-Amz-Signature=abc&Expires=1'", "HTTPError for url 'https://h/a?…'"),
        ("see https://h/a#token=abc, then go on", "see https://h/a?… then go on"),
        ("b'Bearer hf_abcdefgh'", "b'Bearer …"),
        (f"the token {TOKEN} is bad", "the token hf_… is bad"),
        ("proxy http://me:s3cret@proxy:80/", "proxy http://proxy:80/"),
        ("https://huggingface.co/org/m has hf_hub in it", "https://huggingface.co/org/m has hf_hub in it"),
    ],
)
def test_what_is_secret_is_taken_out_of_a_text(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_the_text_of_an_exception_is_not_passed_on() -> None:
    error = OSError("https://storage.example/a?X-Amz-Signature=abc")
    assert str(retry_of(error, HubAccess("http://localhost"))) == "the connection failed"


def test_a_crash_of_the_worker_is_told_without_what_is_secret(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(f"https://storage.example/a?X-Amz-Signature=abc for {TOKEN}")  # noqa: TRY301
    except ValueError as error:
        told = unexpected("0.heads", error)
    assert_sentence(told, ["0.heads failed with ValueError: https://storage.example/a?", "log"])
    log = capfd.readouterr().err
    assert "Traceback" in log
    assert not re.search("Signature=|hf_member", log + str(told))


# ---- what the programs write -----------------------------------------------------------------------------------


@pytest.fixture
def library_log() -> Iterator[StringIO]:
    """What the library's log says, which is asked to say everything."""
    said, before = StringIO(), get_verbosity()
    handler = logging.StreamHandler(said)
    logging.getLogger("huggingface_hub").addHandler(handler)
    set_verbosity(logging.DEBUG)
    yield said
    set_verbosity(before)
    logging.getLogger("huggingface_hub").removeHandler(handler)


def wait_for_the_librarys_voice() -> None:
    deadline = time.monotonic() + 3
    while get_verbosity() != logging.DEBUG and time.monotonic() < deadline:
        time.sleep(0.01)
    assert get_verbosity() == logging.DEBUG


def test_the_log_of_the_library_says_nothing_meanwhile_and_is_left_as_it_was(
    trial: Trial, library_log: StringIO
) -> None:
    with trial.open("org/gated") as analysis:
        trial.meet([faults.Drop(10, host="storage")])
        trial.heads(analysis)
    wait_for_the_librarys_voice()
    assert not library_log.getvalue()


def test_nor_does_it_say_anything_after_an_opening_that_was_given_up(trial: Trial, library_log: StringIO) -> None:
    def give_up(text: str) -> None:
        if text == "Reading config.json":
            raise KeyboardInterrupt

    trial.on_watch = give_up
    trial.meet([faults.Stall(file="config.json")])
    with pytest.raises(KeyboardInterrupt):
        trial.open("org/gated")
    wait_for_the_librarys_voice()
    assert trial.hub.count(file="config.json", method="HEAD") > 1  # the library went on by itself
    assert not library_log.getvalue()


CHATTY = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
SIGNED = "ftp://storage.invalid/a?X-Amz-Signature=abc&Expires=1"


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_nothing_kept(home: Path) -> None:
    """Neither results nor records, headers, logs or names of files have anything secret in them."""
    kept = files_below(home)
    assert kept
    for name, content in kept.items():
        assert not has_secrets(name)
        assert not re.search(f"{TOKEN}|{NOBODY}|X-Amz|Expires=|Bearer", content), name


@pytest.mark.parametrize(
    ("wrong", "environ", "code", "words"),
    [
        ([], CHATTY, 0, ""),
        ([faults.Gzip(host="storage", skip=1)], CHATTY, 1, "compressed"),
        ([faults.Answer(302, {"Location": SIGNED}, host="hub", file="*.safetensors")], {}, 1, "no http address"),
        ([], {"HF_TOKEN": NOBODY}, 1, "Ask for access"),
    ],
    ids=["all well", "while reading", "while opening", "no access"],
)
def test_what_the_command_line_says(
    trial: Trial,
    run_svdtui: RunSvdtui,
    home: Path,
    wrong: Sequence[Fault],
    environ: Mapping[str, str],
    code: int,
    words: str,
) -> None:
    trial.meet(wrong)
    done = run_svdtui("org/gated", "--csv", "-", env={**trial.hub.environ, "HF_TOKEN": TOKEN, **environ})
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert all(line.startswith("svdtui: ") for line in done.stderr.splitlines()), done.stderr
    assert not has_secrets(done.stderr.replace("HF_TOKEN", ""))
    assert not has_secrets(done.stdout)
    assert not trial.hub.leaks
    assert all(request.has_token for request in trial.hub.requests if request.host == "hub" and request.repo)
    assert_nothing_kept(home)


async def ended(session: Session, job: Job) -> None:
    async with asyncio.timeout(60):
        while session.state(job) in {State.WAITING, State.RUNNING}:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_what_the_worker_says_and_keeps(trial: Trial, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**trial.hub.environ, **CHATTY, "HF_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    log_path().parent.mkdir(parents=True)
    model = trial.reader.open("org/gated")
    trial.meet([faults.ServerError(503, host="storage"), faults.Gzip(host="storage")])
    session = Session(model, cache_dir=home / "results", device="cpu", prefetch=False)
    job = Job(0, HEADS)
    try:
        await session.start()
        session.want(Address(0))
        await ended(session, job)
        failure = session.failure(job)
        assert failure is not None
        assert failure.title == NetworkError.title
        assert "compressed" in failure.message
        session.again(Address(0))
        await ended(session, job)
        assert session.state(job) is State.CACHED
    finally:
        await session.close()
    log = log_path().read_text()
    assert not has_secrets(log), log
    assert not has_secrets(f"{failure.message} {failure.hint}")
    assert not trial.hub.leaks
    assert (home / "results").exists()
    assert_nothing_kept(home)
    assert os.environ["HF_TOKEN"] == TOKEN
