"""Where svdtui keeps what it has worked out, and what it remembers."""

from pathlib import Path

import platformdirs


def default_cache_dir() -> Path:
    """Where results are kept: `$XDG_CACHE_HOME/svdtui` or what the system uses for caches."""
    return platformdirs.user_cache_path("svdtui")


def default_state_dir() -> Path:
    """Where logs are, and what is remembered between runs: `$XDG_STATE_HOME/svdtui` or what the system uses."""
    return platformdirs.user_state_path("svdtui", appauthor=False)
