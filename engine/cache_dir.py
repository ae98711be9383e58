"""Where svdtui keeps what it has worked out, and what it remembers."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

NOWHERE = Path(os.devnull) / "no home" / "svdtui"
"""The folder of a user who has none: nothing can be written there."""


def default_cache_dir() -> Path:
    """Where results are kept: `$XDG_CACHE_HOME/svdtui` or what the system uses for caches."""
    return _of_user(platformdirs.user_cache_path)


def default_state_dir() -> Path:
    """Where logs are, and what is remembered between runs: `$XDG_STATE_HOME/svdtui` or what the system uses."""
    return _of_user(platformdirs.user_state_path)


def _of_user(folder: Callable[..., Path]) -> Path:
    """A folder of the user's; `NOWHERE` for one without a home, as a container's user may be."""
    try:
        found = folder("svdtui", appauthor=False)
    except RuntimeError:
        return NOWHERE
    return found if found.is_absolute() else NOWHERE
