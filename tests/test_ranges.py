"""Byte ranges: how they are divided, and what is asked of the Hub and written into memory, over real sockets."""

import importlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.utils._http import default_client_factory
from hypothesis import given
from hypothesis import strategies as st

from svdtui.engine import NetworkError
from svdtui.engine import transfer as transfer_module
from svdtui.engine.hub_errors import HubAccess, back_off
from svdtui.engine.ranges import TRIES, RangeReader, RemoteFile
from svdtui.engine.source import Piece, no_watch
from svdtui.engine.transfer import GAP, PART, Transfer, plan
from tests import hub_faults as faults
from tests.hub_reader import reading
from tests.hub_server import HubServer
from tests.hub_trials import TOKEN, Unwanted, end, is_working, make_impatient, raiser

FILES = {
    "a.safetensors": bytes(range(256)) * 1200,
    "b.safetensors": bytes(reversed(range(256))) * 900,
    "c.txt": b"a small file, which the Hub itself serves\n" * 20,
}
LONG = "long.safetensors"
LONG_SIZE = 2 * PART + 12_345


# ---- how they are divided -------------------------------------------------------------------------------------

spans = st.tuples(st.sampled_from("ab"), st.integers(0, 400), st.integers(0, 120))


def covered(parts: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, set[int]]:
    return {file: {byte for start, stop in each for byte in range(start, stop)} for file, each in parts.items()}


@given(st.lists(spans, max_size=12), st.integers(1, 150), st.integers(0, 60))
def test_every_byte_of_every_piece_is_in_exactly_one_part(
    wanted: list[tuple[str, int, int]], part: int, gap: int
) -> None:
    content = {file: bytes((i * 7 + ord(file)) % 256 for i in range(600)) for file in "ab"}
    buffers = [bytearray(length) for _, _, length in wanted]
    pieces = [
        Piece(file, start, memoryview(buffer), is_urgent=bool(number % 2))
        for number, ((file, start, _), buffer) in enumerate(zip(wanted, buffers, strict=True))
    ]
    written = [0] * len(pieces)
    for each in plan(pieces, part, gap):
        assert each.targets
        for target in each.targets:
            assert len(target.memory) == target.stop - target.start
            assert 0 <= target.start < target.stop <= each.stop - each.start
            target.memory[:] = content[each.file][each.start + target.start : each.start + target.stop]
            written[target.piece] += len(target.memory)
    assert buffers == [content[file][start : start + length] for file, start, length in wanted]
    assert written == [length for _, _, length in wanted]


@given(st.lists(spans, max_size=12), st.integers(1, 150), st.integers(0, 60))
def test_parts_are_short_and_disjoint_and_read_little_that_nobody_wants(
    wanted: list[tuple[str, int, int]], part: int, gap: int
) -> None:
    pieces = [Piece(file, start, memoryview(bytearray(length))) for file, start, length in wanted]
    parts = plan(pieces, part, gap)
    assert all(0 < each.stop - each.start <= part for each in parts)
    read = covered({file: [(each.start, each.stop) for each in parts if each.file == file] for file in "ab"})
    assert sum(map(len, read.values())) == sum(each.stop - each.start for each in parts)
    asked = covered({file: [(piece.start, piece.stop) for piece in pieces if piece.file == file] for file in "ab"})
    for file in "ab":
        holes = sorted(read[file] - asked[file])
        lengths = [len(list(run)) for _, run in groupby(enumerate(holes), lambda at: at[1] - at[0])]
        assert max(lengths, default=0) <= gap
        assert sum(lengths) <= gap * sum(piece.file == file for piece in pieces)


def test_parts_of_a_long_run_are_equally_long() -> None:
    (piece,) = pieces = [Piece("a", 100, memoryview(bytearray(2 * PART + 3)))]
    lengths = [each.stop - each.start for each in plan(pieces)]
    assert len(lengths) == 3
    assert sum(lengths) == len(piece.buffer)
    assert max(lengths) - min(lengths) <= 2


# ---- how they come together -----------------------------------------------------------------------------------


def test_a_piece_is_complete_with_its_last_byte_not_with_its_request() -> None:
    first, second = pieces = [Piece("a", start, memoryview(bytearray(100))) for start in (0, 100)]
    transfer = Transfer(pieces)
    part = transfer.next_part()
    assert part
    assert part.stop - part.start == 200
    results = transfer.results(lambda count: None, no_watch)
    transfer.put(part, 0, b"x" * 120)
    assert next(results) == 0
    assert bytes(first.buffer) == b"x" * 100
    transfer.put(part, 120, b"y" * 80)
    assert next(results) == 1
    assert bytes(second.buffer) == b"x" * 20 + b"y" * 80


def test_what_is_wanted_first_is_asked_for_first() -> None:
    pieces = [Piece("a", start, memoryview(bytearray(PART))) for start in (2 * PART, 0, PART)]
    assert [part.start for part in plan(pieces)] == [2 * PART, 0, PART]


def test_what_is_urgent_is_asked_for_by_itself() -> None:
    """Else its first byte might come behind megabytes that nobody waits for."""
    spans = {0: (0, 100, False), 1: (200, 300, False), 2: (100, 200, True), 3: (300, 400, True)}
    pieces = [Piece("a", start, memoryview(bytearray(stop - start)), urgent) for start, stop, urgent in spans.values()]
    pieces = [pieces[number] for number in (2, 3, 0, 1)]
    assert [(part.start, part.stop) for part in plan(pieces, gap=0)] == [(100, 200), (300, 400), (0, 100), (200, 300)]
    assert [(part.start, part.stop) for part in plan(pieces, gap=100)] == [(100, 400), (0, 300)]


def test_another_connection_helps_where_little_comes_in() -> None:
    assert Transfer([Piece("a", 0, memoryview(bytearray(2 * PART)))]).has_room()


def test_another_connection_is_not_needed_where_much_comes_in() -> None:
    transfer = Transfer([Piece("a", 0, memoryview(bytearray(16 * PART)))])
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(transfer.has_room()))
    for _ in range(15):
        part = transfer.next_part()
        assert part
        transfer.put(part, 0, bytes(PART))  # all 120 MB: enough for 0.4 s
    other.start()
    time.sleep(0.1)
    assert other.is_alive()  # it waits whether it is needed after all
    assert transfer.next_part()
    other.join()
    assert answers == [False]  # nothing is left to do


# ---- what is asked of the Hub ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    lines = b"".join(b"%07d\n" % number for number in range(2**18))  # 2 MiB
    (folder / LONG).write_bytes((lines * (LONG_SIZE // len(lines) + 1))[:LONG_SIZE])
    return folder


@pytest.fixture
def access(folder: Path, tmp_path: Path) -> Iterator[tuple[HubServer, HubAccess]]:
    """A Hub with a model that only one token may read, and the token."""
    with reading(tmp_path) as reader:
        reader.hub.add("org/model", folder, private=True, tokens=[TOKEN])
        yield reader.hub, replace(reader.access, token=TOKEN)
        end(reader.hub)


@pytest.fixture
def hub(access: tuple[HubServer, HubAccess]) -> HubServer:
    return access[0]


@pytest.fixture
def reader(hub: HubServer, access: tuple[HubServer, HubAccess]) -> RangeReader:
    (commit,) = hub.site.repos["org/model"].commits
    files = {name: RemoteFile(len(content)) for name, content in FILES.items()} | {LONG: RemoteFile(LONG_SIZE)}
    return RangeReader(access[1], "org/model", commit, files)


def pieces_of(*wanted: tuple[str, int, int]) -> list[Piece]:
    return [Piece(file, start, memoryview(bytearray(stop - start))) for file, start, stop in wanted]


def read_all(reader: RangeReader, pieces: Sequence[Piece]) -> list[int]:
    return list(reader.read_pieces(pieces, lambda count: None, no_watch))


def test_the_bytes_are_those_of_the_files(hub: HubServer, reader: RangeReader) -> None:
    wanted = [
        ("a.safetensors", 100_000, 200_001),
        ("b.safetensors", 0, 1),
        ("a.safetensors", 5, 5),  # empty
        ("a.safetensors", 99_000, 100_500),  # overlaps the first
        ("c.txt", 3, 77),
        ("b.safetensors", 899 * 256, 900 * 256),
        ("a.safetensors", 100_000, 200_001),  # once more
    ]
    pieces, arrived, threads = pieces_of(*wanted), [], set()

    def advance(count: int) -> None:
        arrived.append(count)
        threads.add(threading.get_ident())

    numbers = []
    for number in reader.read_pieces(pieces, advance, lambda text: threads.add(threading.get_ident())):
        file, start, stop = wanted[number]
        assert pieces[number].buffer == FILES[file][start:stop]
        numbers.append(number)
    assert sorted(numbers) == list(range(len(wanted)))
    assert sum(arrived) == sum(stop - start for _, start, stop in wanted)
    assert threads == {threading.get_ident()}
    assert read_all(reader, []) == []
    assert not hub.leaks


def test_a_run_longer_than_a_request_is_read_in_parts(hub: HubServer, reader: RangeReader, folder: Path) -> None:
    assert reader.read(LONG, 0, LONG_SIZE, no_watch) == (folder / LONG).read_bytes()
    spans = sorted(request.range or (0, 0) for request in hub.requests if request.host == "storage")
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert max(stop - start for start, stop in spans) <= PART
    assert len(spans) == 3


def test_neighbours_are_read_by_one_request(hub: HubServer, reader: RangeReader) -> None:
    gaps = [0, 1, GAP, GAP + 1]
    pieces, start = [], 10
    for gap in gaps:
        pieces += pieces_of(("a.safetensors", start, start + 100))
        start += 100 + gap
    pieces += pieces_of(("a.safetensors", start, start + 100))
    read_all(reader, pieces)
    ranges = sorted(request.range or (0, 0) for request in hub.requests if request.host == "storage")
    assert ranges == [(10, 411 + GAP), (start, start + 100)]
    assert hub.bytes_of("a.safetensors") == 5 * 100 + 1 + GAP


def test_the_hub_is_asked_once_where_a_file_is(hub: HubServer, reader: RangeReader) -> None:
    for _ in range(3):
        read_all(
            reader, pieces_of(("a.safetensors", 0, 10), ("b.safetensors", 0, 10), ("a.safetensors", 250_000, 250_010))
        )
    asked = [(request.method, request.file) for request in hub.requests if request.host == "hub"]
    assert sorted(asked) == [("HEAD", "a.safetensors"), ("HEAD", "b.safetensors")]
    assert hub.count(host="storage", method="GET") == hub.count(host="storage") == 9


def test_who_is_sent_what(hub: HubServer, reader: RangeReader) -> None:
    read_all(reader, pieces_of(*((file, 0, 200) for file in FILES)))
    assert {request.headers["accept-encoding"] for request in hub.requests} == {"identity"}
    assert {(request.host, request.has_token) for request in hub.requests} == {("hub", True), ("storage", False)}
    assert hub.count(host="hub", file="c.txt", method="GET") == 1
    assert {request.headers["user-agent"].split("/")[0] for request in hub.requests if request.host == "hub"} == {
        "svdtui"
    }
    assert not hub.leaks


def test_a_redirect_within_the_hub_is_followed_with_the_token(hub: HubServer, reader: RangeReader) -> None:
    hub.site.uses_resolve_cache = True
    assert reader.read("c.txt", 1, 50, no_watch) == FILES["c.txt"][1:50]
    assert all(request.has_token for request in hub.requests)


def test_four_connections_and_no_more(hub: HubServer, reader: RangeReader) -> None:
    reader.read(LONG, 0, 1, no_watch)
    hub.forget()
    hub.latency = 0.2
    read_all(reader, pieces_of(*((LONG, start, start + 1) for start in range(0, 24 * GAP, 2 * GAP))))
    when = sorted(request.when for request in hub.requests)
    assert len(when) == 12
    # Each takes 0.2 s, so five that begin within less than that would be five at once.
    assert min(fifth - first for first, fifth in zip(when, when[4:], strict=False)) >= 0.2
    assert when[3] - when[0] < 0.2


def test_other_files_do_not_wait_for_one_that_the_hub_is_silent_about(hub: HubServer, reader: RangeReader) -> None:
    hub.faults.append(faults.Stall(host="hub", file="a.safetensors", times=faults.ALWAYS))
    with pytest.raises(Unwanted):
        reader.read("a.safetensors", 0, 10, raiser(at=0.1))
    before = time.monotonic()
    assert reader.read("b.safetensors", 0, 10, raiser(at=5)) == FILES["b.safetensors"][:10]
    assert time.monotonic() - before < 2  # and not the ten seconds of the silence


def test_an_address_that_has_expired_is_asked_for_again(
    hub: HubServer, reader: RangeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_impatient(monkeypatch)
    hub.signed_seconds = 0.2
    reader.read("a.safetensors", 0, 10, no_watch)
    time.sleep(0.21)
    assert reader.read("a.safetensors", 10, 20, no_watch) == FILES["a.safetensors"][10:20]
    assert hub.count(host="hub") == 2
    assert [request.status for request in hub.requests if request.host == "storage"] == [206, 403, 206]


def test_a_connection_is_waited_for_as_long_as_a_laptop_takes_to_find_another_network() -> None:
    assert sum(map(back_off, range(1, TRIES))) == 30


def test_which_try_it_is_is_said_while_it_brings_nothing(
    hub: HubServer, reader: RangeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_impatient(monkeypatch)
    monkeypatch.setattr(transfer_module, "_QUIET", 0.1)
    hub.faults.append(faults.Stall(1000, host="storage", times=2))
    said: list[str] = []
    reader.read("a.safetensors", 0, 100_000, said.append)
    silences = list(dict.fromkeys(text for text in said if text.startswith("no data")))
    assert silences == ["no data for 0 s", "no data for 0 s, try 2 of 5"]
    waits = list(dict.fromkeys(text for text in said if text.startswith("waiting")))
    assert [text.split(" (")[0] for text in waits] == [f"waiting for the network, try {n} of 5" for n in (2, 3)]


# ---- when it is no longer wanted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        faults.Stall(host="hub", times=faults.ALWAYS),
        faults.Stall(host="storage", times=faults.ALWAYS),
        faults.Stall(0, host="storage", times=faults.ALWAYS),
        faults.Stall(1000, host="storage", times=faults.ALWAYS),
        faults.TooManyRequests(100, host="storage", times=faults.ALWAYS),
        faults.ServerError(host="hub", times=faults.ALWAYS),
    ],
    ids=["hub-silent", "storage-silent", "headers-only", "some-bytes", "told-to-wait", "between-tries"],
)
def test_it_ends_at_once_whatever_the_server_does(hub: HubServer, reader: RangeReader, fault: faults.Fault) -> None:
    hub.faults.append(fault)
    took = []
    for _ in range(3):  # a machine that is busy may be late once
        wished_at = time.monotonic() + 0.1
        with pytest.raises(Unwanted):
            reader.read("a.safetensors", 0, 100_000, raiser(at=0.1))
        took.append(time.monotonic() - wished_at)
    assert min(took) < 0.1


def test_threads_that_wait_end_with_it(hub: HubServer, reader: RangeReader) -> None:
    hub.faults.append(faults.TooManyRequests(100, host="storage", times=faults.ALWAYS))
    with pytest.raises(Unwanted):
        reader.read("a.safetensors", 0, 100_000, raiser(at=0.1))
    deadline = time.monotonic() + 2
    while is_working() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_working()


@pytest.mark.parametrize("by", ["watch", "advance", "close"])
def test_nothing_is_written_or_sent_after_it_ended(hub: HubServer, reader: RangeReader, by: str) -> None:
    hub.bandwidth = 5e6
    (piece,) = pieces = pieces_of((LONG, 0, LONG_SIZE))
    pieces += pieces_of(("a.safetensors", 0, 10))
    arrived = 0

    def advance(count: int) -> None:
        nonlocal arrived
        arrived += count
        if by == "advance" and arrived > 300_000:
            raise Unwanted

    def watch(_: str) -> None:
        if by == "watch" and arrived > 300_000:
            raise Unwanted

    reading = reader.read_pieces(pieces, advance, watch)
    if by == "close":
        assert next(reading) == 1
        time.sleep(0.1)
        reading.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(Unwanted):
            list(reading)
    at_the_end = bytes(piece.buffer)
    deadline = time.monotonic() + 2
    while not all(request.is_done for request in hub.requests) and time.monotonic() < deadline:
        time.sleep(0.01)
    sent = hub.bytes_of(LONG)
    assert all(request.is_done for request in hub.requests)
    time.sleep(0.2)
    assert hub.bytes_of(LONG) == sent < LONG_SIZE / 2
    assert any(at_the_end)
    assert bytes(piece.buffer) == at_the_end
    assert hub.count(host="storage", file=LONG) == 3


def test_after_an_end_it_can_be_read_again(hub: HubServer, reader: RangeReader) -> None:
    hub.faults.append(faults.Stall(1000, host="storage"))
    with pytest.raises(Unwanted):
        reader.read("a.safetensors", 0, 100_000, raiser(at=0.2))
    assert reader.read("a.safetensors", 0, 100_000, raiser(at=5)) == FILES["a.safetensors"][:100_000]


# ---- hosts that no test can be: a Hub with encryption ---------------------------------------------------------


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[tuple[str, bool]]]]:
    """Makes the network answer with redirects, and lists which address was asked, and whether with a token."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    http: Any = importlib.import_module(type(huggingface_hub.get_session()).__module__.partition(".")[0])

    def answer_with(redirects: Mapping[str, str]) -> list[tuple[str, bool]]:
        asked: list[tuple[str, bool]] = []

        def answer(request: Any) -> Any:
            asked.append((f"{request.url.scheme}://{request.url.host}", "authorization" in request.headers))
            target = redirects.get(asked[-1][0])
            if target is not None:
                return http.Response(302, headers={"Location": target})
            if request.method == "HEAD":
                return http.Response(200)
            return http.Response(206, headers={"Content-Range": "bytes 0-3/4"}, content=iter([b"data"]))

        huggingface_hub.set_client_factory(lambda: http.Client(transport=http.MockTransport(answer)))
        return asked

    yield answer_with
    huggingface_hub.set_client_factory(default_client_factory)


def far_reader(endpoint: str = "https://hub.example") -> RangeReader:
    return RangeReader(HubAccess(endpoint, TOKEN), "org/model", "c" * 40, {"a.safetensors": RemoteFile(4)})


def test_from_encryption_nobody_is_led_to_none(far_away: Callable[..., list[tuple[str, bool]]]) -> None:
    asked = far_away({"https://hub.example": "http://storage.example/a?signature=abc"})
    with pytest.raises(NetworkError, match=r"hub\.example .*without encryption.* use another network") as raised:
        far_reader().read("a.safetensors", 0, 4, no_watch)
    assert "signature" not in str(raised.value)
    assert asked == [("https://hub.example", True)]


def test_a_mirror_may_lead_to_the_hub_and_the_hub_to_its_storage(
    far_away: Callable[..., list[tuple[str, bool]]],
) -> None:
    asked = far_away(
        {"https://mirror.example": "https://huggingface.co/x", "https://huggingface.co": "https://storage.example/y"}
    )
    assert far_reader("https://mirror.example").read("a.safetensors", 0, 4, no_watch) == b"data"
    assert asked == [
        ("https://mirror.example", True),
        ("https://huggingface.co", True),
        ("https://storage.example", False),
    ]


@pytest.mark.parametrize(
    "address",
    ["http://[half/a", "https://storage.example:99999/a", "ftp://storage.example/a", "https://storage.example/\x01"],
)
def test_a_redirect_to_no_address_is_told_without_it(
    far_away: Callable[..., list[tuple[str, bool]]], address: str
) -> None:
    asked = far_away({"https://hub.example": f"{address}?signature=abc"})
    with pytest.raises(NetworkError, match=r"a\.safetensors of org/model .*\. Check") as raised:
        far_reader().read("a.safetensors", 0, 4, no_watch)
    assert "signature" not in str(raised.value)
    assert set(asked) == {("https://hub.example", True)}
