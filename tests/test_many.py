"""Models with very many tensors, shards and layers: what work is done, counted and not timed."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    Event,
    FiguresRead,
    Job,
    Model,
    Noticed,
    ScanEnded,
    ScanMoved,
    Session,
    State,
    StateChanged,
    StatesChanged,
    open_model,
)
from svdtui.engine.backlog import Backlog, jobs_of_scan
from svdtui.engine.checkpoint import Checkpoint, read_checkpoint
from svdtui.engine.local import open_local
from svdtui.engine.ready import Ready
from svdtui.engine.shelf import Shelf
from svdtui.engine.store import Store
from svdtui.tui.news import condensed
from svdtui.tui.widgets.outline import Outline
from tests.checkpoints import write_checkpoint, write_shards
from tests.terminal import Terminal


class Counted(Mapping[str, str]):
    """An index that counts how often one of its entries is looked at."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries
        self.looks = 0

    def __getitem__(self, name: str) -> str:
        self.looks += 1
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        for name in self._entries:
            self.looks += 1
            yield name

    def __len__(self) -> int:
        return len(self._entries)


def test_the_index_is_not_gone_through_for_each_shard(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=20, hidden=16, heads=2, vocab=8, intermediate=8, shards=40)
    read = read_checkpoint(open_local(made.folder))
    assert read.index
    index = Counted(read.index)
    learning = Checkpoint(read.source, dict(read.tensors), None, "", index, set(made.weight_map.values()))
    for shard in sorted(set(made.weight_map.values())):
        learning.read_header(shard)
    assert learning.tensors == read.tensors
    assert index.looks <= 4 * len(index)


class Asked:
    """A model that counts what is asked of it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        self.count += 1
        return getattr(self._model, name)


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Model]:
    """Models of 40 and of 400 layers."""
    folder = tmp_path_factory.mktemp("tall")
    return {layers: open_model(thin_checkpoint(folder / str(layers), layers)) for layers in (40, 400)}


def thin_checkpoint(folder: Path, layers: int) -> Path:
    """Attention of two heads of 4 × 8, and nothing else: a few hundred bytes a layer."""
    weight = torch.eye(8, dtype=torch.bfloat16)
    names = [f"model.layers.{layer}.self_attn.{matrix}_proj.weight" for layer in range(layers) for matrix in "qkvo"]
    folder.mkdir()
    write_shards(folder, {name: weight.clone() for name in names}, shards=1)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "num_attention_heads": 2}))
    return folder


def test_the_tree_asks_only_for_the_layers_in_sight(tall: dict[int, Model]) -> None:
    counts = []
    for layers, model in tall.items():
        asked = Asked(model)
        outline = Outline(asked)  # type: ignore[arg-type]
        at = outline.reveal(Address(layers // 2, 1, "q"))
        assert outline[at].address == Address(layers // 2, 1, "q")
        assert outline[outline.parent(outline.parent(at))].address == Address(layers // 2)
        assert outline[layers // 4].label == f"layer {layers // 4 - 1}"
        outline.close_others(Address(0))
        assert len(outline) == 1 + layers
        counts.append(asked.count)
    assert counts[1] == counts[0]


def test_an_outline_is_the_list_that_it_stands_for(tmp_path: Path) -> None:
    outline = Outline(open_model(write_checkpoint(tmp_path / "m", layers=4).folder))
    chance = random.Random(5)
    for _ in range(50):
        index = chance.randrange(len(outline))
        if chance.random() < 0.6:
            outline.expand(index)
        elif chance.random() < 0.8:
            outline.collapse(index)
        else:
            outline.close_others(outline[index].address)
        nodes = list(outline)
        assert len(nodes) == len(outline) == len({node.key for node in nodes})
        for at, node in enumerate(nodes):
            assert outline.find(*node.key) == at
            above = [i for i in range(at) if nodes[i].depth < node.depth]
            assert outline.parent(at) == (above[-1] if above else 0)


async def test_beginning_and_stopping_a_scan_are_told_once_and_what_is_ready_is_counted(
    tall: dict[int, Model], tmp_path: Path
) -> None:
    for layers, model in tall.items():
        events: list[Event] = []
        session = Session(model, cache_dir=tmp_path / "c", device="cpu", prefetch=False, on_event=events.append)
        assert session.scan() == layers
        begun = len(events)
        session.cancel()
        stopped = len(events)
        await session.close()
        if layers > 64:
            assert [type(event) for event in events[:begun]].count(StatesChanged) == 1
        assert begun <= 64 + 2
        assert stopped <= 2 * begun
        assert not session.scan_progress


def test_a_step_of_a_scan_looks_at_its_own_layer_only(tall: dict[int, Model]) -> None:
    counts = []
    for layers, model in tall.items():
        asked = Asked(model)
        scan = Backlog(asked, jobs_of_scan(model, whole=False))  # type: ignore[arg-type]
        asked.count = 0
        for _ in range(10):
            job = scan.take()
            assert job is not None
            scan.put_back(job)
            assert scan.take() == job
            scan.finish(job)
            assert scan.progress.seconds_left is not None
        assert scan.progress.total == layers
        ready = Ready(asked, lambda job: job.layer == 3)  # type: ignore[arg-type]
        for job in (Job(3, HEADS), Job(4, HEADS), Job(3, HEADS)):
            ready.look(job)
        assert ready.count == 1
        counts.append(asked.count)
    assert counts[1] == counts[0]


def test_many_results_that_the_disk_does_not_take_are_kept_and_written_later(
    tall: dict[int, Model], tmp_path: Path
) -> None:
    model = tall[40]
    store = Store(model, "gram64", tmp_path / "c")
    shelf = Shelf(store)
    with Analysis(model, device="cpu", cache_dir=tmp_path / "other") as analysis:
        found = [analysis.result(Job(layer, HEADS)) for layer in model.layers]
    for result in found:
        shelf.put(result, store.encode(result))
    assert all(shelf.result(result.job) is result for result in found)
    assert shelf.save_rest()
    assert store.present() == shelf.jobs == {result.job for result in found}


def test_three_thousand_layers_end_at_once(svdtui: list[str], tmp_path: Path) -> None:
    layers = 3000
    with Terminal([*svdtui, str(thin_checkpoint(tmp_path / "m", layers)), "--no-prefetch", "--at", "0.0"]) as terminal:
        terminal.wait_for("│ cpu")
        terminal.press("s")
        terminal.wait_for(f"/{layers} layers")
        terminal.press("]", "]", "q")
        assert terminal.wait_exit(timeout=10) == 0
        assert not terminal.processes()


def test_news_that_has_been_overtaken_is_left_out() -> None:
    def states(count: int, state: State) -> list[Event]:
        return [StateChanged(Job(layer, HEADS), state) for layer in range(count)]

    few = [*states(3, State.RUNNING), ScanMoved(), *states(2, State.CACHED), ScanMoved(), Noticed("a"), Noticed("b")]
    assert condensed(few) == [
        StateChanged(Job(2, HEADS), State.RUNNING),
        *states(2, State.CACHED),
        ScanMoved(),
        Noticed("a"),
        Noticed("b"),
    ]
    many = [*states(300, State.RUNNING), ScanMoved(), *states(300, State.CACHED), ScanEnded("over")]
    assert condensed(many) == [ScanMoved(), ScanEnded("over"), StatesChanged()]
    read = [FiguresRead(frozenset({Job(layer, HEADS)})) for layer in range(3)]
    assert condensed(read) == [FiguresRead(frozenset(Job(layer, HEADS) for layer in range(3)))]
