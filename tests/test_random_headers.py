"""2,000 checkpoints whose headers have been changed by chance: each ends in figures that are true, or in a sentence.

What is changed is a good checkpoint: names, dtypes, shapes and offsets, the header's bytes, its length, the data behind
it, now and then the index or the config. A case is its number: `CASES` and `mutated(n)` make it again.
"""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open

from svdtui.engine import Address, Analysis, EngineError, HeaderError, Model
from svdtui.engine.checkpoint import read_checkpoint
from svdtui.engine.local import LocalSource
from tests.checkpoints import write_checkpoint
from tests.test_hostile_headers import Watched, adds_up, folder_of, harmless, look_around

CASES = 2_000
PER_TEST = 100

Files = dict[str, bytes]
Header = list[tuple[str, Any]]
"""In order, and with a name twice where it is."""

NUMBERS: list[Any] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    16,
    -1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    0.5,
    8.0,
    None,
    True,
    "8",
    [],
    {},
]
DTYPES = ["F32", "F64", "BF16", "F16", "I8", "U8", "BOOL", "F8_E4M3", "F4", "I64", "f32", "", "FLOAT", None, 3]
PARTS = [
    "model",
    "layers",
    "0",
    "1",
    "2",
    "00",
    "-1",
    "999999",
    "self_attn",
    "mlp",
    "q_proj",
    "k_proj",
    "weight",
    "bias",
]
PARTS += ["", "vision_tower", "language_model", "_orig_mod", "\x1b[2J", "[red]", "=1+1", "\u202e", "\ud800", "ä" * 300]
SPLICED = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\0", b"\xff", b"1", b"-", b"e9", b"null", b"\\u0000"]


def split(content: bytes) -> tuple[Header, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length], object_pairs_hook=list), content[8 + length :]


def joined(header: Header, data: bytes, length: int | None = None) -> bytes:
    def text(value: Any) -> str:
        if isinstance(value, list) and value and all(isinstance(each, tuple) for each in value):
            return "{" + ",".join(f"{json.dumps(key)}:{text(inner)}" for key, inner in value) + "}"
        return json.dumps(value)

    written = text(header).encode() if header else b"{}"
    return struct.pack("<Q", len(written) if length is None else length) + written + data


def changed_entry(chance: random.Random, header: Header) -> None:
    """One field of one tensor is another."""
    place = chance.randrange(len(header))
    name, fields = header[place]
    known = dict(fields) if isinstance(fields, list) and all(isinstance(each, tuple) for each in fields) else {}
    match chance.choice(["dtype", "shape", "shape", "data_offsets", "data_offsets", "lost", "new", "other"]):
        case "dtype":
            known["dtype"] = chance.choice(DTYPES)
        case "shape" | "data_offsets" as field:
            numbers = list(known.get(field, [])) if isinstance(known.get(field), list) else []
            for _ in range(chance.choice([1, 1, 2])):
                match chance.choice(["set", "set", "nudge", "swap", "append", "pop", "none"]):
                    case "set" if numbers:
                        numbers[chance.randrange(len(numbers))] = chance.choice(NUMBERS)
                    case "nudge" if numbers and isinstance(numbers[0], int):
                        numbers[0] += chance.choice([-8, -4, -1, 1, 4, 8])
                    case "swap":
                        numbers.reverse()
                    case "append":
                        numbers.append(chance.choice(NUMBERS))
                    case "pop" if numbers:
                        numbers.pop()
                    case _:
                        numbers = chance.choice([[], [1] * 40, [0, 0], [8, 8, 1]])
            known[field] = numbers
        case "lost" if known:
            known.pop(chance.choice(list(known)))
        case "new":
            known[chance.choice(["strides", "", "dtype2"])] = chance.choice(NUMBERS)
        case _:
            header[place] = (name, chance.choice(NUMBERS))
            return
    header[place] = (name, list(known.items()))


def changed_names(chance: random.Random, header: Header) -> None:
    """A tensor has another name, or two have the same, or one is there no more, or says what another says."""
    place, other = chance.randrange(len(header)), chance.randrange(len(header))
    name, fields = header[place]
    parts = name.split(".")
    match chance.choice(["part", "part", "more", "less", "same", "twice", "lost", "stolen", "metadata"]):
        case "part":
            parts[chance.randrange(len(parts))] = chance.choice(PARTS)
        case "more":
            parts.insert(chance.randrange(len(parts) + 1), chance.choice(PARTS))
        case "less":
            parts.pop(chance.randrange(len(parts)))
        case "same":
            parts = header[other][0].split(".")
        case "twice":
            header.insert(other, (name, fields))
        case "lost" if len(header) > 1:
            header.pop(place)
            return
        case "stolen":
            fields = header[other][1]
        case _:
            header.insert(0, ("__metadata__", chance.choice([[("a", "b")], [("a", 1)], "x", [], 3])))
            return
    header[place] = (".".join(parts), fields)


ALIKE = [("F32", "I32", "U32"), ("F64", "I64", "U64"), ("BF16", "F16", "I16", "U16")]
"""Dtypes of the same width."""


def changed_gently(chance: random.Random, header: Header) -> None:
    """The same bytes are something else: another dtype, rows for columns, more or fewer dimensions, another's place."""
    tensors = [place for place, (name, _) in enumerate(header) if name != "__metadata__"]
    place, other = chance.choice(tensors), chance.choice(tensors)
    name, fields = header[place]
    known = dict(fields)
    shape = list(known["shape"])
    match chance.choice(["dtype", "turned", "flat", "more", "halved", "traded", "named"]):
        case "dtype":
            known["dtype"] = chance.choice(next(alike for alike in ALIKE if known["dtype"] in alike))
        case "turned":
            shape.reverse()
        case "flat":
            shape = [int(np.prod(shape))]
        case "more":
            shape.insert(chance.randrange(len(shape) + 1), 1)
        case "halved" if len(shape) == 2:
            shape = [shape[0] * 2, shape[1] // 2]
        case "traded":
            header[place], header[other] = (name, header[other][1]), (header[other][0], fields)
            return
        case _:
            layer = chance.choice([0, 1, 2, 500])
            name = f"model.layers.{layer}.self_attn.{chance.choice('qkvo')}_proj.weight"
    header[place] = (name, list((known | {"shape": shape}).items()))


def changed_bytes(chance: random.Random, content: bytes) -> bytes:
    """Bytes of the length, the header or what follows are others, more or fewer."""
    (length,) = struct.unpack("<Q", content[:8])
    at = chance.choice([chance.randrange(8), *[chance.randrange(8, 8 + min(length, len(content)) + 9)] * 4])
    at = min(at, len(content) - 1)
    match chance.choice(["flip", "set", "splice", "cut", "double", "end", "longer", "length"]):
        case "flip":
            return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        case "set":
            return content[:at] + chance.choice(SPLICED) + content[at + 1 :]
        case "splice":
            return content[:at] + chance.choice(SPLICED) + content[at:]
        case "cut":
            return content[:at] + content[at + chance.randrange(1, 40) :]
        case "double":
            return content[:at] + content[at : at + chance.randrange(1, 200)] + content[at:]
        case "end":
            return content[: chance.randrange(len(content))]
        case "longer":
            return content + bytes(chance.choice([1, 8, 4096]))
        case _:
            claimed = chance.choice([0, 1, 7, length - 1, length + 1, len(content), 2**32, 2**63, 2**64 - 1])
            return struct.pack("<Q", claimed % 2**64) + content[8:]


def changed_json(chance: random.Random, text: bytes) -> bytes:
    """A value of the config, or of the index, is another."""
    whole = json.loads(text)
    inner = whole.get("weight_map", whole)
    key = chance.choice(list(inner))
    match chance.choice(["set", "set", "lost", "spliced"]):
        case "set":
            files = ["../x.safetensors", "model-00009-of-00009.safetensors", "a.bin", "./a.safetensors"]
            inner[key] = chance.choice([*NUMBERS, *files])
        case "lost":
            del inner[key]
        case _:
            at = chance.randrange(len(text))
            return text[:at] + chance.choice(SPLICED) + text[at:]
    return json.dumps(whole).encode()


def mutated(case: int, good: list[Files]) -> Files:
    """The files of a case."""
    chance = random.Random(case)
    files = dict(chance.choice(good))
    name = chance.choice([each for each in files if each.endswith(".safetensors")])
    kind = chance.random()
    texts = [each for each in files if each.endswith(".json")]
    if texts and kind < 0.1:
        text = chance.choice(texts)
        files[text] = changed_json(chance, files[text])
        return files
    if kind < 0.35:
        header, data = split(files[name])
        for _ in range(chance.choice([1, 1, 2, 3])):
            changed_gently(chance, header)
        files[name] = joined(header, data)
        return files
    if kind < 0.8:
        header, data = split(files[name])
        change: Callable[[random.Random, Header], None]
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            change = chance.choice([changed_entry, changed_entry, changed_names])
            change(chance, header)
        files[name] = joined(header, data)
    if kind >= 0.7:
        for _ in range(chance.choice([1, 1, 2, 4])):
            if len(files[name]) > 8:
                files[name] = changed_bytes(chance, files[name])
    return files


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    """Checkpoints with nothing wrong: one file and two shards, of all dtypes, grouped heads or not, with a config or
    without."""
    made = [
        write_checkpoint(
            tmp_path_factory.mktemp(f"good{number}"),
            layers=1 + number % 2,
            hidden=8,
            intermediate=12,
            vocab=16,
            heads=2,
            kv_heads=1 + number % 2,
            dtype=dtype,
            shards=shards,
            config=number != 2,
            tied=number == 3,
        )
        for number, (dtype, shards) in enumerate(
            [(torch.bfloat16, 1), (torch.float32, 2), (torch.float64, 1), (torch.float16, 2), (torch.float32, 1)]
        )
    ]
    return [{path.name: path.read_bytes() for path in sorted(each.folder.iterdir())} for each in made]


def library_takes(path: Path) -> bool:
    """Whether the safetensors library opens a file."""
    try:
        with safe_open(path, "np"):
            return True
    except (SafetensorError, OSError):
        return False


def figures_are_true(folder: Path, model: Model, cache: Path) -> None:
    """What is shown of the first layer is the SVD of what the library reads, or has a sentence in its place."""
    with Analysis(model, device="cpu", cache_dir=cache) as analysis:
        layer = model.layers[0]
        try:
            rows = analysis.view(Address(layer)).rows
        except EngineError as error:
            harmless(str(error))
            return
    for row in rows:
        if row.problem:
            harmless(row.problem)
            continue
        assert row.spectrum is not None
        file = model.checkpoint.tensors[row.info.tensor].file
        with safe_open(folder / file, "pt") as opened:
            weight = opened.get_tensor(row.info.tensor).double().numpy()
        address = row.info.address
        if address.head is not None:
            width = model.head_dim
            start = row.info.index * width
            is_o = row.info.matrix == "o"
            weight = weight[:, start : start + width] if is_o else weight[start : start + width]
        assert weight.shape == (row.info.rows, row.info.cols)
        truth = np.linalg.svd(weight, compute_uv=False)
        assert row.spectrum == pytest.approx(truth, rel=1e-7, abs=1e-12 * float(truth[0]))


def judge(files: Files, cache: Path) -> str:
    """What becomes of a case: `opened`, or the kind of the error."""
    with folder_of(files) as folder:
        try:
            checkpoint = read_checkpoint(Watched(folder))
            adds_up(checkpoint, {name: len(content) for name, content in files.items()})
            model = Model(checkpoint)
        except HeaderError as error:
            harmless(str(error))
            assert not all(library_takes(folder / name) for name in files if name.endswith(".safetensors"))
            return "HeaderError"
        except EngineError as error:
            harmless(str(error))
            return type(error).__name__
        used = {ref.file for ref in checkpoint.tensors.values()}
        assert all(library_takes(folder / name) for name in used)
        look_around(model)
        figures_are_true(folder, Model(read_checkpoint(LocalSource(folder))), cache)
        return "opened"


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
def test_a_changed_checkpoint_is_true_or_a_sentence(first: int, good: list[Files], tmp_path: Path) -> None:
    ends: dict[str, int] = {}
    for case in range(first, first + PER_TEST):
        try:
            end = judge(mutated(case, good), tmp_path)
        except BaseException as error:
            error.add_note(f"case {case}")
            raise
        ends[end] = ends.get(end, 0) + 1
    assert ends["opened"] >= 20  # the changes are small enough that many a checkpoint still opens,
    assert ends["HeaderError"] >= 20  # and large enough that many do not


def test_without_changes_the_checkpoints_open_and_their_figures_are_true(good: list[Files], tmp_path: Path) -> None:
    for files in good:
        assert judge(files, tmp_path) == "opened"


def test_a_case_is_the_same_whenever_it_is_made(good: list[Files]) -> None:
    for case in range(40):
        assert mutated(case, good) == mutated(case, good)
