"""Where svdtui keeps what it has worked out."""

from pathlib import Path

import platformdirs


def default_cache_dir() -> Path:
    """Where results are kept: `$XDG_CACHE_HOME/svdtui` or what the system uses for caches."""
    return platformdirs.user_cache_path("svdtui")
