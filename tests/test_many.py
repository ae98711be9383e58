"""Models with very many tensors, shards and layers: what work is done, counted and not timed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from svdtui.engine.checkpoint import Checkpoint, read_checkpoint
from svdtui.engine.local import open_local
from tests.checkpoints import write_checkpoint


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
