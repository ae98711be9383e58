"""From what a user typed to a model."""

from pathlib import Path

from .checkpoint import read_checkpoint
from .local import open_local
from .model import Model


def open_model(path: str | Path) -> Model:
    """Open a model folder or a `.safetensors` file. Reads headers and config only, no weights.

    Raises:
        EngineError: there is no such model, or it cannot be used; the message says what to do.
    """
    return Model(read_checkpoint(open_local(Path(path))))


def demo_path() -> Path:
    """The folder of the demo model that comes with the package."""
    return Path(__file__).parent / "demo"
