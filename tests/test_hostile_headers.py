"""Whatever bytes a checkpoint's files hold: opening it ends in a model that adds up or in one harmless sentence."""

import itertools
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from svdtui.engine import Address, EngineError, HeaderError, Model
from svdtui.engine.checkpoint import Checkpoint, TensorRef, read_checkpoint
from svdtui.engine.local import LocalSource
from svdtui.engine.naming import complete
from svdtui.engine.source import Advance, FileStat, Piece, Watch, no_watch
from tests.checkpoints import raw_safetensors, write_checkpoint

BYTES_OF = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
LONGEST_SENTENCE = 2500

hostile = settings(derandomize=True, deadline=None, max_examples=150)
"""The same examples every time: whoever runs the tests sees what everyone sees."""


class Watched:
    """A local source that lets nothing be read but the files it has listed."""

    is_lazy = False
    is_offline = True
    notice = ""

    def __init__(self, folder: Path) -> None:
        self.watch: Watch = no_watch
        self._inner = LocalSource(folder)
        self.name, self.revision = self._inner.name, self._inner.revision
        self.location, self.place = self._inner.location, self._inner.place

    def _listed(self, name: str) -> str:
        assert name in self._inner.files()
        return name

    def files(self) -> Mapping[str, FileStat]:
        return self._inner.files()

    def read(self, name: str, start: int, stop: int) -> bytes:
        return self._inner.read(self._listed(name), start, stop)

    def read_pieces(self, pieces: Sequence[Piece], advance: Advance) -> Iterator[int]:  # noqa: ARG002
        raise AssertionError("opening a model reads no tensor")

    def sample(self, name: str, start: int, stop: int, blocks: int = 1) -> str:
        return self._inner.sample(self._listed(name), start, stop, blocks)

    def has_changed(self, name: str) -> bool:
        return self._inner.has_changed(self._listed(name))

    def is_here(self, name: str) -> bool:
        return self._inner.is_here(self._listed(name))

    def header_file(self, name: str, header: bytes) -> AbstractContextManager[Path]:
        return self._inner.header_file(self._listed(name), header)

    def kept_header(self, name: str) -> bytes | None:  # noqa: ARG002
        return None

    def keep_header(self, name: str, header: bytes) -> None:
        self._inner.keep_header(name, header)


@contextmanager
def folder_of(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            Path(name, file).write_bytes(content)
        yield Path(name)


def opened(files: Mapping[str, bytes]) -> Model | None:
    """The model that these files make, looked at from end to end, or None when they are refused in a sentence."""
    with folder_of(files) as folder:
        try:
            checkpoint = read_checkpoint(Watched(folder))
            adds_up(checkpoint, {name: len(content) for name, content in files.items()})
            model = Model(checkpoint)
        except EngineError as error:
            harmless(str(error))
            return None
        look_around(model)
        return model


def harmless(sentence: str) -> None:
    assert sentence.isprintable()
    assert 0 < len(sentence) <= LONGEST_SENTENCE


def adds_up(checkpoint: Checkpoint, sizes: Mapping[str, int]) -> None:
    """Every tensor lies inside a file of the folder and is as long as its shape says."""
    taken: dict[str, list[TensorRef]] = {}
    for name, ref in checkpoint.tensors.items():
        assert name == ref.name
        if ref.is_absent:
            assert ref.nbytes == 0
            continue
        assert 8 <= ref.start <= ref.end <= sizes[ref.file]
        if ref.dtype in BYTES_OF:
            assert ref.nbytes == math.prod(ref.shape) * BYTES_OF[ref.dtype]
        taken.setdefault(ref.file, []).append(ref)
    for refs in taken.values():
        refs.sort(key=lambda ref: (ref.start, ref.end))
        assert all(before.end <= after.start for before, after in itertools.pairwise(refs))


def look_around(model: Model) -> None:
    """Visit what a screen would show, at both ends of the model."""
    for layer in {*model.layers[:3], *model.layers[-3:]}:
        heads = model.heads if model.has_heads(layer) else 0
        for parent in (Address(layer), *(Address(layer, head) for head in {*range(heads)[:3], *range(heads)[-3:]})):
            for info in model.matrices(parent):
                assert model.info(info.address) == info
                assert Address.parse(str(info.address)) == info.address
                if info.problem:
                    harmless(info.problem)
        for job in model.jobs(Address(layer)):
            for tensor in model.job_tensors(job):
                assert tensor.rows * tensor.cols * tensor.count == math.prod(tensor.ref.shape)
    assert complete(model, "") or not model.jobs(Address())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A checkpoint of two shards with nothing wrong, in 20 kB."""
    made = write_checkpoint(tmp_path_factory.mktemp("good"), hidden=8, intermediate=12, vocab=16, heads=2, kv_heads=1)
    parts = write_checkpoint(tmp_path_factory.mktemp("parts"), hidden=8, intermediate=12, vocab=16, heads=2, shards=2)
    return {
        "one": made.files[0].read_bytes(),
        "config.json": (made.folder / "config.json").read_bytes(),
        **{path.name: path.read_bytes() for path in parts.files},
        "model.safetensors.index.json": (parts.folder / "model.safetensors.index.json").read_bytes(),
    }


# ---- headers ---------------------------------------------------------------------------------------------------


@hostile
@given(st.binary(max_size=400))
@example((8).to_bytes(8, "little") + b"{}      ")
@example((2**64 - 1).to_bytes(8, "little"))
@example((2**63).to_bytes(8, "little") + b"{}")
@example((2).to_bytes(8, "little") + b"\xff\xfe")
def test_any_bytes(content: bytes) -> None:
    assert opened({"model.safetensors": content}) is None


changes = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4000), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), st.integers(0, 4000), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("cut"), st.integers(0, 4000), st.just(b"")),
        st.tuples(st.just("end"), st.integers(0, 9000), st.just(b"")),
        st.tuples(st.just("double"), st.integers(0, 4000), st.just(b"")),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, edits: Sequence[tuple[str, int, bytes]]) -> bytes:
    for kind, place, data in edits:
        at = place % (len(content) + 1)
        match kind:
            case "set":
                content = content[:at] + data + content[at + len(data) :]
            case "insert":
                content = content[:at] + data + content[at:]
            case "cut":
                content = content[:at] + content[at + 1 :]
            case "end":
                content = content[:at]
            case "double":
                content = content[:at] + content[at : at + 60] + content[at:]
    return content


@hostile
@given(edits=changes)
def test_a_good_file_with_damage(good: dict[str, bytes], edits: list[tuple[str, int, bytes]]) -> None:
    opened({"model.safetensors": changed(good["one"], edits), "config.json": good["config.json"]})


@hostile
@given(place=st.integers(8, 3000), digit=st.sampled_from(b"0123456789"))
def test_a_number_in_the_header_that_is_another(good: dict[str, bytes], place: int, digit: int) -> None:
    content = bytearray(good["one"])
    digits = [at for at in range(8, 3000) if chr(content[at]).isdigit()]
    content[digits[place % len(digits)]] = digit
    opened({"model.safetensors": bytes(content), "config.json": good["config.json"]})


numbers = st.one_of(st.integers(0, 70), st.sampled_from([-1, 2**31, 2**63, 2**64, 10**30, 1.5, None, True, "8"]))
names = st.one_of(
    st.text(max_size=12),
    st.builds(
        "{}layers.{}.{}".format,
        st.sampled_from(["", "model.", "\x1b[2J.", "[bold].", "=1+1.", "layers.3.", "a\nb.", "vision."]),
        st.sampled_from(["0", "1", "00", "01", "999999", "9999999", "-1", "\u0661"]),
        st.sampled_from(["self_attn.q_proj.weight", "self_attn.o_proj.weight", "mlp.up_proj.weight", "norm.weight"]),
    ),
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F64", "I8", "F8_E4M3", "U4", "f32", "", "X" * 5000, None]),
        "shape": st.one_of(st.lists(numbers, max_size=4), numbers),
        "data_offsets": st.one_of(st.lists(numbers, min_size=2, max_size=2), st.lists(numbers, max_size=3), numbers),
    }
)


@hostile
@given(
    header=st.dictionaries(names, st.one_of(entries, numbers), max_size=4),
    length=st.one_of(st.none(), st.integers(0, 2**64 - 1), st.integers(0, 300)),
    size=st.integers(0, 300),
)
def test_headers_that_claim_anything(header: dict[str, Any], length: int | None, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = raw_safetensors(Path(folder) / "made", header, bytes(size), header_length=length)
        opened({"model.safetensors": path.read_bytes()})


@st.composite
def consistent_headers(draw: st.DrawFn) -> bytes:
    """A file that the safetensors library accepts, of tensors with any names and shapes."""
    header, data = {}, 0
    for name in draw(st.lists(names, unique=True, min_size=1, max_size=5)):
        shape = draw(st.lists(st.integers(0, 6), max_size=3))
        dtype, width = draw(st.sampled_from([("F32", 4), ("BF16", 2), ("F64", 8), ("I8", 1), ("F8_E4M3", 1)]))
        end = data + math.prod(shape) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [data, end]}
        data = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


configs = st.fixed_dictionaries(
    {},
    optional={
        "hidden_size": st.sampled_from([1, 4, 6, "6", None]),
        "num_attention_heads": st.sampled_from([1, 2, 3, 10**9, 0]),
        "num_key_value_heads": st.sampled_from([1, 2, None]),
        "head_dim": st.sampled_from([1, 2, 3, -1]),
    },
)


def one_tensor(name: str, shape: list[int]) -> bytes:
    text = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


@hostile
@given(content=consistent_headers(), config=st.one_of(st.none(), configs))
@example(one_tensor("layers.0.self_attn.q_proj.weight", [1] * 100_000), None)
@example(one_tensor("x" * 100_000 + ".layers.0.self_attn.q_proj.weight", [4]), None)
def test_true_headers_of_strange_tensors(content: bytes, config: dict[str, Any] | None) -> None:
    extra = {} if config is None else {"config.json": json.dumps(config).encode()}
    opened({"model.safetensors": content} | extra)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":{"dtype":"' + b"F" * 10**6 + b'","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,' + b"9" * 5000 + b"]}}",
        b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}',
        b'{"__metadata__":{"a":1}}',
        b'{"__metadata__":[]}',
        b"null",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"",
    ],
    ids=lambda header: header[:20].decode(errors="replace"),
)
def test_a_header_made_to_hurt_is_a_sentence(header: bytes, tmp_path: Path) -> None:
    raw_safetensors(tmp_path / "model.safetensors", header, b"0000")
    with pytest.raises(HeaderError) as caught:
        read_checkpoint(LocalSource(tmp_path))
    harmless(str(caught.value))


# ---- the index and the config ----------------------------------------------------------------------------------

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
shards = st.one_of(
    st.sampled_from(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"]),
    st.sampled_from(["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "\x1b[31m.safetensors", "\0"]),
    anything,
)


@hostile
@given(overlaid=st.dictionaries(st.one_of(names, st.just("lm_head.weight")), shards, min_size=1, max_size=3))
@example({"a": "missing.safetensors", "b": ["unhashable"]})
def test_an_index_that_claims_anything(good: dict[str, bytes], overlaid: dict[str, Any]) -> None:
    index = json.loads(good["model.safetensors.index.json"])
    files = {name: good[name] for name in set(index["weight_map"].values())}
    index["weight_map"] |= overlaid
    opened(files | {"model.safetensors.index.json": json.dumps(index).encode()})


@hostile
@given(index=st.one_of(anything, st.builds(lambda inner: {"weight_map": inner}, anything)))
def test_an_index_of_any_form(good: dict[str, bytes], index: object) -> None:
    opened({"a.safetensors": good["one"], "model.safetensors.index.json": json.dumps(index).encode()})


@hostile
@given(edits=changes)
def test_an_index_with_damage(good: dict[str, bytes], edits: list[tuple[str, int, bytes]]) -> None:
    files = {name: content for name, content in good.items() if name.startswith("model-")}
    index = changed(good["model.safetensors.index.json"], edits)
    opened(files | {"model.safetensors.index.json": index, "config.json": good["config.json"]})


values = st.one_of(st.integers(-2, 20), st.sampled_from([10**9, 10**4000, 0.5, math.nan, "8", [], {}]), anything)


@hostile
@given(
    overlaid=st.fixed_dictionaries(
        {},
        optional={
            "hidden_size": values,
            "num_attention_heads": values,
            "num_key_value_heads": values,
            "head_dim": values,
            "model_type": st.one_of(st.sampled_from(["llama", "gemma", "qwen3", "gemma3_text"]), anything),
            "text_config": st.one_of(anything, configs),
        },
    )
)
@example({"num_attention_heads": 10**4000, "num_key_value_heads": 10**4000, "head_dim": 10**4000})
def test_a_config_that_claims_anything(good: dict[str, bytes], overlaid: dict[str, Any]) -> None:
    config = json.loads(good["config.json"]) | overlaid
    opened({"model.safetensors": good["one"], "config.json": json.dumps(config).encode()})


@hostile
@given(config=anything)
def test_a_config_of_any_form(good: dict[str, bytes], config: object) -> None:
    opened({"model.safetensors": good["one"], "config.json": json.dumps(config).encode()})


def test_the_good_checkpoint_is_good(good: dict[str, bytes]) -> None:
    model = opened({"model.safetensors": good["one"], "config.json": good["config.json"]})
    assert model is not None
    assert (model.layers, model.heads, model.kv_heads) == ((0, 1), 2, 1)
