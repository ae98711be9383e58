"""A folder in which every module that anybody could want lies, and leaves its name behind when it is run."""

import sys
from pathlib import Path

_INSTALLED = (
    *("click", "dask", "distributed", "hf_xet", "httpx", "huggingface_hub", "mpi4py", "numba", "numpy", "orjson"),
    *("packaging", "pandas", "platformdirs", "plotext", "psutil", "rich", "safetensors", "scipy", "textual", "torch"),
    *("threadpoolctl", "tqdm", "typer", "typing_extensions", "yaml", "sitecustomize", "usercustomize"),
)


def poison(folder: Path, marks: Path) -> None:
    """Put the modules into a folder; each writes a line to `marks`."""
    source = folder / "poison.py"
    source.write_text(f"with open({str(marks)!r}, 'a') as marks: print(__name__, file=marks)\n")
    for name in {*sys.stdlib_module_names, *_INSTALLED}:
        (folder / f"{name}.py").hardlink_to(source)
    for package in ("svdtui", "svdtui/engine", "svdtui/tui"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").hardlink_to(source)
