"""However large a file says that it is, a process takes less than a gigabyte for it, or refuses it in a sentence.

Files are sparse or tiny: what is large is what they declare, or what they become.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from svdtui.engine import Analysis, DeviceError, Job, cpu, open_model, whole
from svdtui.engine.accelerator import Accelerator
from svdtui.engine.checkpoint import HEADER_CAP
from svdtui.engine.choices import SOLVERS, Solver
from svdtui.engine.json_weight import HEAVIEST, weight
from svdtui.engine.memory import TensorReader
from svdtui.engine.shards import JSON_CAP
from tests.checkpoints import raw_safetensors, write_checkpoint
from tests.peak_memory import LIMIT, peak_of

COMPUTE = """
import sys
from svdtui.engine import Analysis, EngineError, cpu, whole
for module, name in ((cpu, "_AT_ONCE"), (whole, "_RAW_BYTES"), (whole, "_BLOCK_BYTES")):
    setattr(module, name, getattr(module, name) // 4)  # a quarter of the file, of the memory and of the time
try:
    with Analysis(sys.argv[1], device="cpu", cache_dir=None) as analysis:
        for row in analysis.view(sys.argv[2]).rows:
            print(row.info.address, "spectrum" if row.spectrum is not None else row.problem)
except EngineError as error:
    print(type(error).__name__, error)
"""


def sparse(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> Path:
    """A file of tensors of zeros that takes no room on the disk."""
    header: dict[str, Any] = {}
    stop = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=object)) * {"BF16": 2, "F32": 4, "F64": 8}[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [stop, stop + size]}
        stop += size
    raw_safetensors(path, header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + stop)
    return path


# ---- what tensors declare --------------------------------------------------------------------------------------


def test_a_whole_matrix_that_is_long_takes_no_more_memory_than_its_short_side_needs(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    sparse(tmp_path / "model.safetensors", {name: (1, 2**26)}, "F32")
    peak, printed = peak_of(COMPUTE, tmp_path / "model.safetensors", "0.q_proj")
    assert "spectrum" in printed
    assert peak < LIMIT / 4


def test_a_whole_matrix_that_needs_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    sparse(tmp_path / "model.safetensors", {name: (2**19, 2**19)})
    peak, printed = peak_of(COMPUTE, tmp_path / "model.safetensors", "0.q_proj")
    assert "4,398.0 GB of memory" in printed
    assert "are free" in printed
    assert peak < LIMIT


def test_rows_that_are_too_long_for_a_device_are_refused_there(tmp_path: Path) -> None:
    """A CPU stands in for the device."""
    name = "model.layers.0.self_attn.q_proj.weight"
    model = open_model(sparse(tmp_path / "model.safetensors", {name: (1, 2**33)}))
    (tensor,) = model.job_tensors(Job(0, "q_proj"))
    with pytest.raises(DeviceError, match=r"rows of 17,179,869,184 bytes.*Use --device cpu"):
        Accelerator("gram64", "cpu").solve_whole(tensor, TensorReader(model.checkpoint.source))


def test_a_layer_that_is_large_is_not_in_memory_as_a_whole(tmp_path: Path) -> None:
    hidden, head_dim, heads = 2**15, 64, 8
    q, o = (heads * head_dim, hidden), (hidden, heads * head_dim)
    shapes = {f"model.layers.0.self_attn.{m}_proj.weight": o if m == "o" else q for m in "qkvo"}
    sparse(tmp_path / "model.safetensors", shapes, "F32")
    config = {"model_type": "llama", "hidden_size": hidden, "num_attention_heads": heads, "head_dim": head_dim}
    (tmp_path / "config.json").write_text(json.dumps(config))
    peak, printed = peak_of(COMPUTE, tmp_path, "0")
    assert printed.count("spectrum") == 4 * heads
    assert peak < LIMIT / 4


def test_a_head_that_is_larger_than_any_models_is_refused(tmp_path: Path) -> None:
    shapes = {f"model.layers.0.self_attn.{m}_proj.weight": (2**28, 1) if m == "o" else (1, 2**28) for m in "qkvo"}
    sparse(tmp_path / "model.safetensors", shapes)
    config = {"model_type": "llama", "hidden_size": 2**28, "num_attention_heads": 1, "head_dim": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    peak, printed = peak_of(COMPUTE, tmp_path, "0")
    assert "268,435,456 weights in each head" in printed
    assert peak < LIMIT


def test_parts_have_the_spectra_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1, heads=4, kv_heads=2, intermediate=300)
    places = ("0", "0.down_proj", "0.k_proj")

    def spectra(solver: Solver) -> dict[str, bytes]:
        with Analysis(made.folder, device="cpu", cache_dir=None, solver=solver) as analysis:
            rows = [row for place in places for row in analysis.view(place).rows]
        return {str(row.info.address): row.spectrum.tobytes() for row in rows if row.spectrum is not None}

    monkeypatch.setattr(whole, "_BLOCK_BYTES", 8 * 64 * 40)
    at_once = {solver: spectra(solver) for solver in SOLVERS}
    monkeypatch.setattr(cpu, "_AT_ONCE", 5000)
    monkeypatch.setattr(cpu, "_LARGE_SLICE", 100)
    monkeypatch.setattr(whole, "_RAW_BYTES", 2 * 64 * 100)
    assert {solver: spectra(solver) for solver in at_once} == at_once
    assert all(len(found) == 18 for found in at_once.values())


# ---- what texts become -----------------------------------------------------------------------------------------

WEIGH = """
import re, sys
from svdtui.engine.json_weight import parsed, weight
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
def entries(text):
    return "{" + ",".join(text % number for number in range(2 * 10**6 // len(text))) + "}"
def items(text):
    return "[" + ",".join([text] * (2 * 10**6 // (len(text) + 1))) + "]"
texts = [items(each) for each in ("{}", '{"a":0}', "[]", "[0]", "[[[]]]", "1.5", "1234")]
texts += [items(each) for each in ('"é"', '"ā"', '"😀"', '{"aa":"bb"}')]
texts += [entries(each) for each in ('"%x":"zz"', '"%x😀":"z"', '"%x":{"dtype":"F32","shape":[1,1]}')]
kept = []
for text in texts:
    data = text.encode()
    before = resident()
    kept = [parsed(data)]
    print(resident() - before, weight(data), text[:12])
    kept = []
"""


def test_the_memory_that_a_json_text_becomes_is_known_before() -> None:
    _, printed = peak_of(WEIGH)
    lines = [line.split()[:2] for line in printed.splitlines()]
    assert len(lines) == 14
    for real, estimated in lines:
        assert int(real) <= int(estimated) + 10**6


LONG, LONG_HEADER = 14 * 10**6, 24 * 10**6
"""Bytes that the caps let pass."""


def many_dicts(size: int) -> bytes:
    return b'{"a":[' + b"{}," * (size // 3) + b"{}]}"


def many_strings(size: int) -> bytes:
    return b'{"__metadata__":{' + b",".join(b'"%x":""' % number for number in range(size // 12)) + b"}}"


def deep(size: int) -> bytes:
    return b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6)


OPEN = """
import sys
from svdtui.engine import EngineError, open_model
try:
    print(open_model(sys.argv[1]).name)
except EngineError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("config.json", many_dicts, "ConfigError"),
        ("model.safetensors.index.json", many_dicts, "ConfigError"),
        ("config.json", deep, "ConfigError"),
        ("model.safetensors", many_strings, "HeaderError"),
    ],
    ids=["config", "index", "deep config", "header"],
)
def test_a_text_that_would_fill_the_memory_is_refused(
    tmp_path: Path, file: str, text: Callable[[int], bytes], expected: str
) -> None:
    write_checkpoint(tmp_path, layers=1, shards=2 if "index" in file else 1)
    assert LONG < LONG_HEADER < HEADER_CAP < JSON_CAP
    if file.endswith(".safetensors"):
        raw_safetensors(tmp_path / file, text(LONG_HEADER))
    else:
        (tmp_path / file).write_bytes(text(LONG))
    peak, printed = peak_of(OPEN, tmp_path)
    assert printed.startswith(expected)
    assert "MB of memory" in printed
    assert peak < LIMIT / 2


def test_the_largest_published_index_is_far_from_refused() -> None:
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight_packed"
        for layer in range(61)
        for expert in range(384)
    ]
    index = {
        "weight_map": {f"{name}.{part}": "model-00001-of-000062.safetensors" for name in names for part in range(9)}
    }
    data = json.dumps(index).encode()
    assert len(data) > 20e6
    assert weight(data) < HEAVIEST / 2
