"""From what a user typed to a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import read_checkpoint
from .errors import ChoiceError, NetworkError
from .local import open_local
from .model import Model
from .source import Source, Watch, no_watch
from .target import HubName, find_target
from .text import plural

if TYPE_CHECKING:
    from .hub_errors import HubAccess


def open_model(
    model: str | Path | HubName,
    *,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
    stack: str | None = None,
    watch: Watch = no_watch,
    access: "HubAccess | None" = None,
) -> Model:
    """Open a model folder, a `.safetensors` file, or a model on the Hugging Face Hub. Reads no weights.

    Args:
        model: a path, `ORG/NAME`, `ORG/NAME@REVISION`, the address of a model's page, or what `find_target` returned.
        revision: a branch, tag or commit, for a model on the Hub.
        offline: ask nothing of the network.
        cache_dir: where lists of files and headers of Hub models are kept, with the results.
        stack: which of several stacks of layers is shown, by its name; None for the language model's.
        watch: called at least every 0.05 s while the network is waited for; what it raises ends the opening.
        access: another Hub, token or Hub cache than the user's environment says.

    Raises:
        EngineError: there is no such model, or it cannot be used; the message says what to do.
    """
    if not isinstance(model, str | Path | HubName):
        raise ChoiceError(
            f"A model is named by a text or a path, not by a {type(model).__name__}.",
            "Give a model folder, a .safetensors file or ORG/NAME.",
        )
    target = find_target(str(model), revision) if isinstance(model, str) or revision is not None else model
    return Model(read_checkpoint(_source(target, offline, cache_dir, watch, access)), stack)


def reopened(described: Mapping[str, Any], cache_dir: Path | None = None, stack: str | None = None) -> Model:
    """The model on the Hub that another process has opened, from what its source said of itself.

    Raises:
        EngineError: it cannot be used; what it needs may be gone from the local Hub cache.
    """
    from .cache_dir import default_cache_dir
    from .hub import HubSource

    return Model(read_checkpoint(HubSource.restored(described, cache_dir or default_cache_dir())), stack)


def _source(
    target: Path | HubName, offline: bool, cache_dir: Path | None, watch: Watch, access: "HubAccess | None"
) -> Source:
    if isinstance(target, Path):
        return open_local(target)
    from .cache_dir import default_cache_dir
    from .hub_opening import open_hub

    try:
        return open_hub(target, offline=offline, root=cache_dir or default_cache_dir(), watch=watch, access=access)
    except NetworkError as error:
        if Path(target.repo_id).exists():
            raise
        raise NetworkError(error.message, f"{error.hint} No folder here is called {target.repo_id}.".strip()) from error


def download(name: HubName, *, cache_dir: Path | None = None, access: "HubAccess | None" = None) -> str:
    """Fetch a model's weights, config and index into the local Hub cache, with the progress bars of every Hub tool.

    Returns:
        A sentence on the files that could not be compared with a hash, or empty text.

    Raises:
        ReadError: a file is not what the Hub says it is; it has been taken out of the local Hub cache.
        EngineError: the model cannot be opened, or the download failed; what was fetched is kept.
    """
    from .hub import HubSource
    from .hub_environment import check_environment
    from .hub_opening import download_files

    check_environment()
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise ChoiceError("A download needs the network, and HF_HUB_OFFLINE is set.", "Unset it, or do not download.")
    checkpoint = open_model(name, cache_dir=cache_dir, access=access).checkpoint
    source = checkpoint.source
    assert isinstance(source, HubSource)
    files = {ref.file for ref in checkpoint.tensors.values()}
    unknown = download_files(HubName(source.name, source.revision), sorted(files), source.known, access)
    if not unknown:
        return ""
    others = f" and of {plural(len(unknown) - 1, 'other file')}" if len(unknown) > 1 else ""
    return f"No hash of {unknown[0]}{others} is known here, as a mirror may leave them out: only sizes were compared."


def demo_path() -> Path:
    """The folder of the demo model that comes with the package."""
    return Path(__file__).parent / "demo"
