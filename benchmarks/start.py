"""From the shell to the first frame, and to a spectrum."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .program import Program
from .report import Row, seconds, spread

_CURVE = re.compile("[\u2801-\u28ff]{3}")
"""Braille dots: only curves are drawn with them."""

_FIGURES = re.compile(r"128×4096.*top-10|top-10.*128×4096", re.DOTALL)
"""The table beside the curves."""

_LAYER = re.compile(r"layer 0\s+●")
"""Its line in the tree, once all of it is there."""

_IMPORT = "import time; t = time.perf_counter(); import svdtui.tui.app; print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the program."""

    first_byte: float
    first_frame: float
    spectrum: float
    """A curve and its figures."""
    layer: float
    """All heads of its layer."""


def start_rows(folder: Path, starts: int) -> Iterator[Row]:
    """Cached and fresh starts in turns, on the first head of the checkpoint."""
    cached: list[Start] = []
    fresh: list[Start] = []
    imports: list[float] = []
    with tempfile.TemporaryDirectory() as warm:
        start(folder, Path(warm))
        for _ in range(starts):
            fresh.append(fresh_start(folder))
            cached.append(start(folder, Path(warm)))
            imports.append(_seconds_to_import())
    frames = [each.first_frame for each in (*cached, *fresh)]
    yield _row("first frame", 0.5, frames, "from exec to header and tree in a 160 × 45 pty")
    yield _row("cached spectrum on screen", 0.8, [each.spectrum for each in cached], "curve and figures of head 0.0")
    detail = "with an empty result cache: a layer read and solved"
    yield _row("first fresh spectrum on screen", 3, [each.spectrum for each in fresh], detail)
    first_bytes = [each.first_byte for each in (*cached, *fresh)]
    detail = f"importing `svdtui.tui.app` in a new Python takes {seconds(median(imports))} (median of {starts})"
    yield Row("first byte", "–", seconds(median(first_bytes)), detail, None)


def _row(what: str, most: float, values: list[float], detail: str) -> Row:
    middle = median(values)
    detail = f"median of starts; {spread(values)}; {detail}"
    return Row(what, f"≤ {most:g} s", seconds(middle), detail, middle <= most)


def fresh_start(model: str | Path, environ: Mapping[str, str] | None = None) -> Start:
    """A start with empty caches."""
    with tempfile.TemporaryDirectory() as home:
        return start(model, Path(home), environ)


def start(model: str | Path, home: Path, environ: Mapping[str, str] | None = None) -> Start:
    """One start, until layer 0 is there; then quit."""
    with Program([model, "--at", "0.0"], home, environ) as program:
        first_byte = program.wait_for(lambda text: program.size)
        first_frame = program.wait_for(lambda text: "svdtui" in text and "layer 0" in text)
        spectrum = program.wait_for(lambda text: _CURVE.search(text) and _FIGURES.search(text))
        layer = program.wait_for(_LAYER.search)
        program.settle()
        program.quit()
    return Start(first_byte, first_frame, spectrum, layer)


def _seconds_to_import() -> float:
    """What a new interpreter says that importing the screen takes."""
    said = subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True)
    return float(said.stdout)
