"""What a file is that is no safetensors file, by its first bytes: a name can say anything."""

LONGEST_START = 512
"""Bytes of a file's beginning that tell what it is."""

_MAGIC = (
    (b"GGUF", "a GGUF file"),
    (b"ggjt", "a GGML file"),
    (b"tjgg", "a GGML file"),
    (b"lmgg", "a GGML file"),
    (b"PK\x03\x04", "a zip archive, as PyTorch's pickled weights are"),
    (b"PK\x05\x06", "an empty zip archive"),
    *((b"\x80" + bytes([protocol]), "a pickle, as PyTorch's older weights are") for protocol in range(2, 6)),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer"),
)

_ONNX_FIRST = range(1, 32)
"""Versions of ONNX's format: a model begins with its version and its producer's name."""


def kind_of(start: bytes) -> str:
    """What a file is that begins so, such as `a GGUF file`; empty for what is not known."""
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    if start[:1] == b"\x08" and start[1:2] and start[1] in _ONNX_FIRST and start[2:3] in {b"\x12", b"\x1a", b"\x3a"}:
        return "an ONNX file"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page"
    if text.startswith(b"<?xml"):
        return "an XML document, as servers send for an error"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    return ""


def advice_on(kind: str) -> str:
    """What to do about a file that is of this kind where weights should be."""
    if "LFS pointer" in kind:
        return "Run `git lfs pull` in the folder."
    if "GGUF" in kind or "GGML" in kind:
        return "Give the model with safetensors weights that it was made from; its page often names it."
    if "pickle" in kind:
        return "Give a model with safetensors weights; pickled formats can run code and are never opened."
    if "web page" in kind or "XML" in kind or "JSON" in kind:
        return "Download the file again: what answered was not the file."
    return "Give a model with safetensors weights."
