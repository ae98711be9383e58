"""A model on the Hub beside the same model in a folder: requests, bytes, time and memory, over loopback.

The Hub is the tests' own, in a process of its own. Its server takes CPU time from the computation on the same machine:
each layer's share is told.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from svdtui.engine import Address, Model, open_model
from svdtui.engine.text import plural
from svdtui.engine.transfer import PART

from .hub_process import NAME, Asked, HubProcess
from .llama_shaped import LAYER_BYTES
from .report import Row, megabytes, seconds, spread
from .scan import on_screen
from .start import Start, fresh_start
from .timing import REST
from .warm_session import WarmSession

LAYERS = 8
"""In four shards."""

_SPEEDS = {"100 Mbit/s": 12.5e6, "1 Gbit/s": 125e6}
"""Bytes per second."""

_OVERHEAD = 100e6
"""Bytes that the network's libraries and buffers may take, in all processes."""


def hub_rows(folder: Path, rounds: int) -> Iterator[Row]:
    """All figures of a model of `LAYERS` layers."""
    with HubProcess(folder) as hub:
        yield from asyncio.run(_request_rows(hub))
        yield asyncio.run(_time_row(hub, open_model(folder), rounds))
        yield from asyncio.run(_stream_rows(hub))
        yield from _start_rows(hub, folder, rounds)
        yield _memory_row(hub, folder)


async def _request_rows(hub: HubProcess) -> list[Row]:
    """What one user costs the Hub, from nothing on: opening, a head, and two more layers."""
    with hub.home() as home:
        hub.asked()
        model = hub.open(home)
        async with WarmSession(model, home / "results") as session:
            opening = hub.asked()
            await session.show(Address(0, 0, "q"))
            head = hub.asked()
            await session.show(Address(0))
            rest = hub.asked()
            await session.show(Address(1))
            same_shard = hub.asked()
            await session.show(Address(2))
            other_shard = hub.asked()
    shards = plural(len({ref.file for ref in model.checkpoint.tensors.values()}), "shard")
    what = {0: head, 1: same_shard, 2: other_shard}
    ratio = max(asked.weight_bytes / _tensor_bytes(model, layer) for layer, asked in what.items())
    return [
        _asked_row(
            f"opening a model of {shards} on the Hub",
            opening,
            "the list of files, config and index, no weights; one request is the library's own, once a day",
        ),
        _asked_row(
            "the first head's Q, from the Hub",
            head,
            "a head is shown by reading its layer's attention: the shard's address, its header, and ranges of at most "
            f"{PART / 2**20:.0f} MiB",
        ),
        _no_request_row("its layer, and that layer's other heads, then", "no request", rest, rest.requests),
        _no_request_row("a layer in the same shard", "no request to the Hub's host", same_shard, same_shard.to_hub),
        _asked_row("a layer in another shard", other_shard, "as the first"),
        Row(
            "bytes read for a layer from the Hub",
            "≤ 1.01 × its tensors",
            f"{ratio:.4f} ×",
            f"{max(asked.weight_bytes for asked in what.values()):,} bytes beside {_tensor_bytes(model, 0):,}, the "
            "shard's header included; the most of the three layers",
            ratio <= 1.01,
        ),
    ]


def _tensor_bytes(model: Model, layer: int) -> int:
    return sum(tensor.ref.nbytes for tensor in model.head_tensors(layer))


def _asked_row(what: str, asked: Asked, detail: str) -> Row:
    return Row(what, "–", _told(asked), f"{_hosts(asked)}; {detail}", None)


def _no_request_row(what: str, target: str, asked: Asked, unwanted: int) -> Row:
    return Row(what, target, _told(asked), _hosts(asked), unwanted == 0)


def _told(asked: Asked) -> str:
    nbytes = megabytes(asked.nbytes) if asked.nbytes >= 1e6 else f"{asked.nbytes:,} bytes"
    return f"{plural(asked.requests, 'request')}, {nbytes}"


def _hosts(asked: Asked) -> str:
    return f"{asked.to_hub} to the Hub's host, {asked.to_storage} to its storage"


@dataclass
class _Spent:
    """Seconds of each layer, and what they cost."""

    wall: list[float]
    worker: float = 0
    """CPU time of the worker."""
    server: float = 0
    """CPU time of the Hub."""

    def per_layer(self, total: float) -> str:
        """A sum, for one layer."""
        return seconds(total / len(self.wall))


async def _time_row(hub: HubProcess, local: Model, rounds: int) -> Row:
    """All layers through a warm worker, from the disk and from the Hub in turns."""
    spent = {"disk": _Spent([]), "Hub": _Spent([])}
    with hub.home() as home:
        remote = hub.open(home)
        async with (
            WarmSession(local, home / "local") as from_disk,
            WarmSession(remote, home / "results") as from_hub,
        ):
            sessions = {"disk": from_disk, "Hub": from_hub}
            for session in sessions.values():
                for layer in local.layers:  # headers, addresses, memory
                    await session.again(Address(layer))
            for _ in range(rounds):
                for place, session in sessions.items():
                    await asyncio.sleep(REST)
                    worker, server = session.worker_seconds(), hub.cpu_seconds()
                    spent[place].wall += [await session.again(Address(layer)) for layer in local.layers]
                    spent[place].worker += session.worker_seconds() - worker
                    spent[place].server += hub.cpu_seconds() - server
    disk, network = spent["disk"], spent["Hub"]
    ratio = median(network.wall) / median(disk.wall)
    detail = (
        f"{seconds(median(network.wall))} beside {seconds(median(disk.wall))} from disk (fastest "
        f"{seconds(min(network.wall))} beside {seconds(min(disk.wall))}), read + spectra by a warm worker, "
        f"{len(network.wall)} layers each; CPU of the worker {network.per_layer(network.worker)} beside "
        f"{disk.per_layer(disk.worker)}, and of the Hub {network.per_layer(network.server)} on the same cores"
    )
    return Row("a layer from a Hub on loopback", "≤ 1.5 × from disk", f"{ratio:.2f} ×", detail, ratio <= 1.5)


async def _stream_rows(hub: HubProcess) -> list[Row]:
    """A layer that is selected while the program is running, at a network's speed: from the key to the result."""
    rows = []
    with hub.home() as home:
        model = hub.open(home)
        async with WarmSession(model, home / "results") as session:
            await session.again(Address(0))
            for number, (speed, bandwidth) in enumerate(_SPEEDS.items()):
                hub.limit(bandwidth)
                taken, limit = await session.show(Address(2 * number + 2)), LAYER_BYTES / bandwidth
                hub.limit(None)
                most = 1.15 * limit + 0.5
                rows.append(
                    Row(
                        f"another layer from a Hub at {speed}, the program running",
                        f"≤ 1.15 × {seconds(limit)} + 0.5 s",
                        seconds(taken),
                        f"address, header, {megabytes(LAYER_BYTES)} and spectra; the bytes alone take {seconds(limit)}",
                        taken <= most,
                    )
                )
    return rows


def _start_rows(hub: HubProcess, folder: Path, starts: int) -> Iterator[Row]:
    """Starts with empty caches until spectra are on the screen, at a network's speed and from the disk."""
    taken: dict[str, list[Start]] = {speed: [] for speed in ("disk", *_SPEEDS)}
    for _ in range(starts):
        taken["disk"].append(fresh_start(folder))
        for speed, bandwidth in _SPEEDS.items():
            hub.limit(bandwidth)
            taken[speed].append(fresh_start(NAME, hub.environ))
        hub.limit(None)
    for speed, bandwidth in _SPEEDS.items():
        limit = LAYER_BYTES / bandwidth
        most = 1.15 * limit + 0.5
        for what, place in (("first spectrum", "spectrum"), ("the whole of its layer", "layer")):
            times, local = ([getattr(each, place) for each in taken[key]] for key in (speed, "disk"))
            yield Row(
                f"{what} on screen, Hub at {speed}",
                f"≤ 1.15 × {seconds(limit)} + 0.5 s",
                seconds(median(times)),
                f"median of starts with empty caches; {spread(times)}; {megabytes(LAYER_BYTES)}, its layer, take at "
                f"least {seconds(limit)}, and the same start from disk {seconds(median(local))}",
                median(times) <= most,
            )


def _memory_row(hub: HubProcess, folder: Path) -> Row:
    """The peak of all processes, without the Hub's, while a user goes through all layers."""
    layers = open_model(folder).layers
    local = on_screen(folder, layers)
    remote = on_screen(NAME, layers, hub.environ)
    more = remote.peak - local.peak
    return Row(
        f"peak memory of all processes, {plural(len(layers), 'layer')} from the Hub",
        f"≤ from disk + {megabytes(_OVERHEAD)}",
        f"+ {megabytes(more)}",
        f"{megabytes(remote.peak)} beside {megabytes(local.peak)}; {remote.unit} of screen + worker",
        more <= _OVERHEAD,
    )
