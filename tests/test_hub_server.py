"""The test Hub behaves as the real one does: the real `huggingface_hub` is the judge."""

import gzip
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import parse_ratelimit_headers

from tests import hub_faults as faults
from tests.hub_faults import ALWAYS, Fault
from tests.hub_server import HubServer

WEIGHTS = bytes(range(256)) * 400  # 102 400 bytes
CONFIG = b'{"model_type": "llama"}\n'
NOTES = b"read me\n"
PULL_REQUEST = "refs/pr/1"


@dataclass(frozen=True)
class Got:
    """An answer as it came over the wire."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(address: str, method: str = "GET", **headers: str) -> Got:
    """One request on a connection of its own, following no redirect; `_` in a header's name stands for `-`."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"{url.path}?{url.query}" if url.query else url.path, headers=named)
        response = connection.getresponse()
        return Got(response.status, response.headers, response.read())
    finally:
        connection.close()


def signed(hub: HubServer, repo_id: str = "org/tiny", file: str = "model.safetensors") -> str:
    """The address in the storage that the Hub redirects to."""
    answer = ask(f"{hub.endpoint}/{repo_id}/resolve/main/{file}", "HEAD")
    assert answer.status == 302
    return str(answer.headers["Location"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "docs" / "more").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "docs" / "more" / "notes.txt").write_bytes(NOTES)
    return folder


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with a public model, a gated and a private one, and somebody who may read both."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)  # asks the real Hub otherwise
    with HubServer() as hub:
        hub.known_tokens.add("hf_nobody")
        hub.add("org/tiny", folder)
        hub.add("org/gated", folder, gated=True, tokens=["hf_member"])
        hub.add("org/private", folder, private=True, tokens=["hf_member"])
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


# ---- what huggingface_hub makes of it ----------------------------------------------------------------------------


def test_model_info_tells_commit_and_files(hub: HubServer, api: HfApi) -> None:
    info = api.model_info("org/tiny", files_metadata=True)
    assert info.sha == hub.site.repos["org/tiny"].branches["main"]
    assert (info.id, info.private, info.gated) == ("org/tiny", False, False)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert set(siblings) == {"model.safetensors", "config.json", "docs/more/notes.txt"}
    weights, config = siblings["model.safetensors"], siblings["config.json"]
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert config.lfs is None
    blob = b"blob %d\0" % len(CONFIG) + CONFIG
    assert config.blob_id == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def test_branches_commits_and_a_main_that_moves(hub: HubServer, api: HfApi, folder: Path, tmp_path: Path) -> None:
    first = api.model_info("org/tiny").sha
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes(b"{}")
    second = hub.add("org/tiny", other, branches={"v1": str(first), PULL_REQUEST: "main"})
    assert second != first
    revisions = {"main": second, "v1": first, PULL_REQUEST: second, str(first): first}
    assert {name: api.model_info("org/tiny", revision=name).sha for name in revisions} == revisions
    read = {
        name: Path(
            hf_hub_download("org/tiny", "config.json", revision=name, endpoint=hub.endpoint, cache_dir=tmp_path / "hf")
        ).read_bytes()
        for name in revisions
    }
    assert read == {"main": b"{}", "v1": CONFIG, PULL_REQUEST: b"{}", str(first): CONFIG}
    assert hub.add("org/tiny", folder) == first
    with pytest.raises(ValueError, match="no revision v9"):
        hub.add("org/tiny", folder, branches={"v2": "v9"})


@pytest.mark.parametrize("resolve_cache", [False, True])
def test_downloads_have_the_right_bytes(hub: HubServer, tmp_path: Path, resolve_cache: bool) -> None:
    hub.site.uses_resolve_cache = resolve_cache
    for name, data in (("model.safetensors", WEIGHTS), ("config.json", CONFIG)):
        path = hf_hub_download("org/tiny", name, endpoint=hub.endpoint, cache_dir=tmp_path / "hf")
        assert Path(path).read_bytes() == data
        assert hub.bytes_of(name) == len(data)
    assert hub.count(host="storage") == hub.count(host="storage", file="model.safetensors", method="GET") == 1


def test_a_program_finds_it_by_its_environment(hub: HubServer, tmp_path: Path) -> None:
    code = "import huggingface_hub as h; print(h.snapshot_download('org/tiny', cache_dir='hf'), end='')"
    environ = {**os.environ, **hub.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": "hf_nobody"}
    path = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    snapshot = tmp_path / path
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS
    assert (snapshot / "docs" / "more" / "notes.txt").read_bytes() == NOTES
    assert all(request.has_token for request in hub.requests if request.host == "hub" and request.repo)
    assert hub.count(host="storage") == 1
    assert not hub.leaks


def test_the_tree_is_listed_by_folder(api: HfApi) -> None:
    def listed(folder: str | None = None, *, recursive: bool = False) -> list[str]:
        return sorted(entry.path for entry in api.list_repo_tree("org/tiny", folder, recursive=recursive))

    assert listed() == ["config.json", "docs", "model.safetensors"]
    assert listed("docs") == ["docs/more"]
    assert listed("docs", recursive=True) == ["docs/more", "docs/more/notes.txt"]
    with pytest.raises(RemoteEntryNotFoundError):
        listed("nowhere")


def test_metadata_of_large_and_small_files(hub: HubServer) -> None:
    large = get_hf_file_metadata(hf_hub_url("org/tiny", "model.safetensors", endpoint=hub.endpoint))
    assert (large.size, large.etag) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert large.location.startswith(f"{hub.storage}/")
    assert large.xet_file_data is None
    small = get_hf_file_metadata(hf_hub_url("org/tiny", "config.json", endpoint=hub.endpoint))
    assert small.size == len(CONFIG)
    assert small.location.startswith(f"{hub.endpoint}/")
    assert small.commit_hash == large.commit_hash == hub.site.repos["org/tiny"].branches["main"]


@pytest.mark.parametrize(
    ("repo_id", "token", "error", "status"),
    [
        ("org/missing", False, RepositoryNotFoundError, 401),
        ("org/missing", "hf_nobody", RepositoryNotFoundError, 404),
        ("org/private", False, RepositoryNotFoundError, 401),
        ("org/private", "hf_nobody", RepositoryNotFoundError, 404),
        ("org/gated", False, GatedRepoError, 401),
        ("org/gated", "hf_nobody", GatedRepoError, 403),
        ("org/tiny", "hf_misspelt", HfHubHTTPError, 401),
        ("org/gated", "hf_misspelt", HfHubHTTPError, 401),
    ],
)
def test_who_may_not_read_is_told_so(
    hub: HubServer, repo_id: str, token: str | bool, error: type[HfHubHTTPError], status: int
) -> None:
    url = hf_hub_url(repo_id, "config.json", endpoint=hub.endpoint)
    with pytest.raises(HfHubHTTPError) as raised:
        get_hf_file_metadata(url, token=token)
    assert type(raised.value) is error
    assert raised.value.response.status_code == status
    if token == "hf_misspelt":
        assert raised.value.server_message == "Invalid credentials in Authorization header"

    api = HfApi(endpoint=hub.endpoint, token=token)
    if error is GatedRepoError:  # its page is public
        assert api.model_info(repo_id).gated == "manual"
        with pytest.raises(GatedRepoError):
            api.auth_check(repo_id)
    else:
        with pytest.raises(error) as raised:
            api.model_info(repo_id)
        assert raised.value.response.status_code == status


@pytest.mark.parametrize("repo_id", ["org/gated", "org/private", "org/tiny"])
def test_who_may_read_does(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token="hf_member")
    assert api.model_info(repo_id).id == repo_id
    api.auth_check(repo_id)
    path = api.hf_hub_download(repo_id, "model.safetensors", cache_dir=tmp_path / "hf")
    assert Path(path).read_bytes() == WEIGHTS
    assert not hub.leaks


def test_missing_revisions_and_files(hub: HubServer, api: HfApi) -> None:
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/tiny", revision="nosuch")
    with pytest.raises(RevisionNotFoundError):
        get_hf_file_metadata(hf_hub_url("org/tiny", "config.json", revision="0" * 40, endpoint=hub.endpoint))
    with pytest.raises(RemoteEntryNotFoundError) as raised:
        get_hf_file_metadata(hf_hub_url("org/tiny", "nosuch.json", endpoint=hub.endpoint))
    assert raised.value.response.headers["X-Repo-Commit"] == hub.site.repos["org/tiny"].branches["main"]


def test_a_renamed_model_is_found_by_its_old_name(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.rename("org/tiny", "other/small")
    assert api.model_info("org/tiny").id == "other/small"
    path = hf_hub_download("org/tiny", "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path / "hf")
    assert Path(path).read_bytes() == WEIGHTS


# ---- on the wire -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_ranges(hub: HubServer, file: str) -> None:
    data = WEIGHTS if file == "model.safetensors" else CONFIG
    address = signed(hub) if file == "model.safetensors" else f"{hub.endpoint}/org/tiny/resolve/main/{file}"
    size = len(data)
    ranges = {"0-3": (0, 4), "5-": (5, size), "-7": (size - 7, size), f"10-{2 * size}": (10, size)}
    for asked, (start, stop) in ranges.items():
        got = ask(address, Range=f"bytes={asked}")
        assert (got.status, got.body) == (206, data[start:stop])
        assert got.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert hub.requests[-1].range == (start, stop)
    assert ask(address, Range=f"bytes={size}-").status == 416
    whole = ask(address, "HEAD")
    assert (whole.status, whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == (200, str(size), "bytes")
    assert hub.bytes_of(file) == sum(stop - start for start, stop in ranges.values())
    hub.forget()
    assert hub.bytes_of(file) == 0


def test_conditions_on_the_entity_tag(hub: HubServer) -> None:
    address = signed(hub)
    tag = ask(address, "HEAD").headers["ETag"]
    assert ask(address, Range="bytes=0-9", If_Range=tag).status == 206
    assert ask(address, Range="bytes=0-9", If_Range='"another"').status == 200
    assert ask(address, Range="bytes=0-9", If_Match=tag).status == 206
    assert ask(address, Range="bytes=0-9", If_Match='"another"').status == 412


def test_urllib_is_redirected_to_the_storage(hub: HubServer) -> None:
    url = f"{hub.endpoint}/org/tiny/resolve/main/model.safetensors"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=100-199"})) as response:
        assert response.read() == WEIGHTS[100:200]
    assert [request.host for request in hub.requests] == ["hub", "storage"]
    assert [request.status for request in hub.requests] == [302, 206]
    assert hub.bytes_of("model.safetensors") == 100


def test_the_storage_wants_an_address_that_the_hub_signed_and_no_token(hub: HubServer) -> None:
    address = signed(hub)
    assert ask(address).status == 200
    assert ask(address[:-1] + ("0" if address[-1] != "0" else "1")).status == 403
    assert ask(address.partition("?")[0]).status == 403
    hub.signed_seconds = 0.05
    soon_expired = signed(hub)
    time.sleep(0.06)
    refused = ask(soon_expired)
    assert refused.status == 403
    assert b"<Message>Request has expired</Message>" in refused.body
    assert not hub.leaks
    assert ask(address, Authorization="Bearer hf_member").status == 400
    assert len(hub.leaks) == 1


def test_connections_are_kept(hub: HubServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc)
    ports = set()
    for _ in range(3):
        connection.request("GET", "/org/tiny/resolve/main/config.json")
        ports.add(connection.sock.getsockname()[1])
        assert connection.getresponse().read() == CONFIG
    connection.close()
    assert len(ports) == 1


def test_two_copies_of_a_file_are_told_apart_in_the_log(hub: HubServer) -> None:
    ask(signed(hub))
    assert hub.bytes_of("model.safetensors", repo="org/tiny") == len(WEIGHTS)
    assert hub.bytes_of("model.safetensors", repo="org/gated") == 0


def test_headers_of_the_rate_limit_come_with_every_answer(hub: HubServer) -> None:
    for path, resource in (("/api/models/org/tiny", "api"), ("/org/tiny/resolve/main/config.json", "resolvers")):
        info = parse_ratelimit_headers(dict(ask(hub.endpoint + path).headers))
        assert info is not None
        assert info.resource_type == resource
        assert info.remaining > 0


# ---- faults ------------------------------------------------------------------------------------------------------


def part(hub: HubServer, **headers: str) -> Got:
    """Bytes 1000 … 3000 of the weights."""
    return ask(signed(hub), Range="bytes=1000-2999", **headers)


def test_a_fault_strikes_as_often_as_it_says_and_the_next_follows(hub: HubServer) -> None:
    hub.faults += [
        faults.ServerError(500, host="storage", skip=1, times=2),
        faults.ServerError(503, file="*.safetensors", host="storage"),
        faults.ServerError(502, path="/api/models/*", times=ALWAYS),
    ]
    assert [part(hub).status for _ in range(5)] == [503, 500, 500, 206, 206]  # skipped by one, struck by the next
    assert [ask(f"{hub.endpoint}/api/models/org/tiny").status for _ in range(4)] == [502] * 4
    assert [request.fault for request in hub.requests[-4:]] == ["ServerError"] * 4


def test_a_fault_is_for_what_it_names(hub: HubServer) -> None:
    hub.faults.append(
        faults.ServerError(
            file="model-*", method="GET", host="storage", where=lambda request: request.range == (0, 10), times=ALWAYS
        )
    )
    address = signed(hub)
    assert ask(address, Range="bytes=0-9").status == 206
    hub.faults.append(faults.ServerError(method="GET", where=lambda request: request.range == (0, 10), times=ALWAYS))
    assert ask(address, Range="bytes=0-10").status == 206
    assert ask(address, "HEAD", Range="bytes=0-9").status == 206
    assert ask(address, Range="bytes=0-9").status == 503


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after_bytes", [0, 700])
def test_drop_after_some_bytes(hub: HubServer, after_bytes: int, reset: bool) -> None:
    hub.faults.append(faults.Drop(after_bytes, reset=reset, file="model.safetensors"))
    if reset:
        with pytest.raises(ConnectionResetError):
            part(hub)
    else:
        with pytest.raises(http.client.IncompleteRead) as raised:
            part(hub)
        assert raised.value.partial == WEIGHTS[1000 : 1000 + after_bytes]
    assert hub.bytes_of("model.safetensors") == after_bytes
    assert part(hub).body == WEIGHTS[1000:3000]


def test_drop_before_any_answer(hub: HubServer) -> None:
    hub.faults.append(faults.Drop(path="/api/models/*"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(f"{hub.endpoint}/api/models/org/tiny")
    assert hub.requests[-1].status == 0


def test_a_download_recovers_from_a_drop(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.append(faults.Drop(700, file="model.safetensors"))
    path = hf_hub_download("org/tiny", "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert [request.bytes_sent for request in hub.requests if request.host == "storage"] == [700, len(WEIGHTS)]


def test_stall_until_the_client_gives_up(hub: HubServer) -> None:
    hub.faults.append(faults.Stall(700, file="model.safetensors"))
    connection = http.client.HTTPConnection(urlsplit(hub.storage).netloc)
    connection.request("GET", signed(hub).removeprefix(hub.storage))
    response = connection.getresponse()
    assert response.read(700) == WEIGHTS[:700]
    connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        response.read(1)
    assert not hub.requests[-1].is_done
    response.close()
    connection.close()
    deadline = time.monotonic() + 5
    while not hub.requests[-1].is_done and time.monotonic() < deadline:
        time.sleep(0.01)
    assert hub.requests[-1].is_done
    assert hub.requests[-1].bytes_sent == 700


def test_stall_and_go_on(hub: HubServer) -> None:
    hub.faults += [faults.Stall(700, 0.3, host="storage"), faults.Slow(0.3, host="storage")]
    for _ in range(2):
        address, before = signed(hub), time.monotonic()
        assert ask(address).body == WEIGHTS
        assert time.monotonic() - before >= 0.3


@pytest.mark.parametrize(
    ("fault", "status", "content_range", "body"),
    [
        (faults.IgnoreRange(), 200, None, WEIGHTS),
        (faults.OtherRange(8), 206, "bytes 1008-3007/102400", WEIGHTS[1008:3008]),
        (faults.OtherRange(0, longer=-1), 206, "bytes 1000-2998/102400", WEIGHTS[1000:2999]),
        (faults.OtherRange(-5000), 206, "bytes 0-0/102400", WEIGHTS[:1]),
        (faults.OtherLength(4), 206, "bytes 1000-2999/102400", WEIGHTS[1000:3000] + bytes(4)),
        (faults.OtherLength(-4), 206, "bytes 1000-2999/102400", WEIGHTS[1000:2996]),
        (faults.OtherTotal(), 206, "bytes 1000-2999/102401", WEIGHTS[1000:3000]),
        (faults.Truncated(2000), 206, "bytes 1000-1999/2000", WEIGHTS[1000:2000]),
        (faults.Truncated(900), 416, "bytes */900", b""),
    ],
)
def test_wrong_parts(hub: HubServer, fault: Fault, status: int, content_range: str | None, body: bytes) -> None:
    hub.faults.append(fault)
    got = part(hub)
    assert (got.status, got.headers["Content-Range"], got.body) == (status, content_range, body)
    assert part(hub).body == WEIGHTS[1000:3000]


@pytest.mark.parametrize(("grown_by", "same_etag"), [(0, False), (50, False), (-50, False), (0, True)])
def test_a_file_that_changed(hub: HubServer, grown_by: int, same_etag: bool) -> None:
    before = part(hub)
    hub.faults.append(faults.Changed(grown_by, same_etag=same_etag))
    after = part(hub)
    assert after.headers["Content-Range"] == f"bytes 1000-2999/{len(WEIGHTS) + grown_by}"
    assert (after.headers["ETag"] == before.headers["ETag"]) == same_etag
    assert after.body == bytes(255 - byte for byte in before.body)


def test_gzip_in_spite_of_identity(hub: HubServer) -> None:
    hub.faults.append(faults.Gzip())
    got = part(hub, Accept_Encoding="identity")
    assert got.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(got.body) == WEIGHTS[1000:3000]


@pytest.mark.parametrize("told_in", ["ratelimit", "retry-after", "nothing"])
def test_too_many_requests(hub: HubServer, told_in: faults.ToldIn) -> None:
    hub.faults.append(faults.TooManyRequests(2, told_in))
    got = ask(f"{hub.endpoint}/org/tiny/resolve/main/config.json")
    info = parse_ratelimit_headers(dict(got.headers))
    assert got.status == 429
    assert (info and (info.remaining, info.reset_in_seconds)) == ((0, 2) if told_in == "ratelimit" else None)
    assert got.headers["Retry-After"] == ("2" if told_in == "retry-after" else None)


def test_captive_portal(hub: HubServer, api: HfApi) -> None:
    hub.faults.append(faults.CaptivePortal(times=ALWAYS))
    with pytest.raises(json.JSONDecodeError):
        api.model_info("org/tiny")
    assert ask(f"{hub.endpoint}/org/tiny/resolve/main/model.safetensors").status == 200


def test_an_address_that_has_expired_when_it_is_given(hub: HubServer) -> None:
    hub.faults += [faults.Expired(host="hub"), faults.Expired(host="storage")]
    assert b"Request has expired" in ask(signed(hub)).body
    assert b"Request has expired" in ask(signed(hub)).body
    assert ask(signed(hub)).body == WEIGHTS


def test_redirect_to_a_stranger_who_answers_and_remembers_the_token(hub: HubServer) -> None:
    url = f"{hub.endpoint}/org/tiny/resolve/main/model.safetensors"
    hub.faults.append(faults.Redirect(hub.stranger, file="model.safetensors", times=ALWAYS))
    got = ask(url, Authorization="Bearer hf_member")
    assert (got.status, got.headers["Location"]) == (302, url.replace(hub.endpoint, hub.stranger))
    assert ask(got.headers["Location"]).body == WEIGHTS
    assert not hub.leaks
    ask(got.headers["Location"], Authorization="Bearer hf_member")
    assert len(hub.leaks) == 1
    assert hub.count(host="stranger") == 2


def test_redirect_loop(hub: HubServer) -> None:
    url = f"{hub.endpoint}/org/tiny/resolve/main/model.safetensors"
    hub.faults.append(faults.RedirectLoop(host="hub"))
    assert ask(url).headers["Location"] == url
    with pytest.raises(urllib.error.HTTPError, match="infinite loop"):
        urllib.request.urlopen(url)


def test_refuse_ends_connections_and_accept_takes_them_again(hub: HubServer) -> None:
    address = signed(hub)
    connection = http.client.HTTPConnection(urlsplit(hub.storage).netloc)
    connection.request("GET", "/")
    assert connection.getresponse().read()
    hub.refuse("storage")
    with pytest.raises(ConnectionRefusedError):
        ask(address)
    assert connection.sock.recv(1) == b""
    connection.close()
    assert ask(f"{hub.endpoint}/org/tiny/resolve/main/config.json").status == 200
    hub.accept("storage")
    assert ask(address).body == WEIGHTS
    hub.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(hub.endpoint)
    hub.refuse()
    hub.accept()
    assert ask(address).body == WEIGHTS


# ---- the server itself -------------------------------------------------------------------------------------------


def test_bandwidth_is_shared_by_all_connections(hub: HubServer) -> None:
    address = signed(hub)
    hub.bandwidth = 1_000_000
    readers = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
    before = time.monotonic()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert time.monotonic() - before >= 4 * len(WEIGHTS) / 1_000_000 - 0.05
    assert hub.bytes_of("model.safetensors") == 4 * len(WEIGHTS)


def test_latency_is_paid_by_every_answer(hub: HubServer) -> None:
    hub.latency = 0.1
    before = time.monotonic()
    ask(signed(hub))
    assert time.monotonic() - before >= 0.2


def test_closing_is_quick_with_a_stalled_connection(folder: Path) -> None:
    with HubServer(bandwidth=10_000) as hub:
        hub.add("org/tiny", folder)
        hub.faults.append(faults.Stall(0, path="/api/models/*"))
        connections = []
        for address in (f"{hub.endpoint}/api/models/org/tiny", signed(hub)):
            url = urlsplit(address)
            connection = http.client.HTTPConnection(url.netloc)
            connection.request("GET", f"{url.path}?{url.query}")
            connection.getresponse()
            connections.append(connection)
        before = time.monotonic()
    assert time.monotonic() - before < 1
    assert all(request.is_done for request in hub.requests)
    for connection in connections:
        connection.close()


def test_what_goes_wrong_in_the_server_is_not_hidden() -> None:
    hub = HubServer()
    hub.faults.append(Fault())
    with pytest.raises(http.client.RemoteDisconnected):
        ask(hub.endpoint)
    with pytest.raises(NotImplementedError), hub:
        pass


def test_as_a_program(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.hub_server", str(folder), "org/tiny", "--latency", "0.01"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        endpoint = json.loads(program.stdout.readline())["endpoint"]

        def control(path: str) -> dict[str, object]:
            answer: dict[str, object] = json.loads(ask(endpoint + path).body)
            return answer

        with urllib.request.urlopen(f"{endpoint}/org/tiny/resolve/main/model.safetensors") as response:
            assert response.read() == WEIGHTS
        stats = control("/stats?reset")
        assert stats["files"] == {
            "hub": {"model.safetensors": {"requests": 1, "bytes": 0}},
            "storage": {"model.safetensors": {"requests": 1, "bytes": len(WEIGHTS)}},
            "stranger": {},
        }
        assert control("/stats")["leaks"] == []
        assert control("/bandwidth?value=1000000") == {"bandwidth": 1e6, "latency": 0.01}
        assert control("/bandwidth?value=") == {"bandwidth": None, "latency": 0.01}
        assert control("/latency?value=0") == {"bandwidth": None, "latency": 0}
        program.stdin.close()
        assert program.wait(5) == 0
