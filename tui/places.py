"""What is remembered between runs: the last address in each model, and the theme.

One small JSON file in the user's state folder. It is a convenience, so nothing about it is ever an error: a file that
cannot be read counts as empty, and one that cannot be written is not.
"""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from svdtui.engine.cache_dir import default_state_dir
from svdtui.engine.private import make_private, sweep

MAX_PLACES = 200
"""Models whose last address is kept; the longest unused go first."""


class Places:
    """The file of remembered places. `path` is for tests; by default it lies in the user's state folder."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Where the file is."""
        if self._path is None:
            self._path = default_state_dir() / "places.json"
        return self._path

    def address(self, home: str) -> str | None:
        """The last address in the model whose home this is, as text, or None."""
        found = self._addresses(self._load()).get(home)
        return found if isinstance(found, str) else None

    def theme(self) -> str | None:
        """The theme chosen last, or None."""
        found = self._load().get("theme")
        return found if isinstance(found, str) else None

    def remember(self, home: str, address: str) -> None:
        """Keep `address` as the last one in the model whose home this is."""
        content = self._load()
        addresses = self._addresses(content)
        addresses.pop(home, None)
        addresses[home] = address
        self._save({**content, "addresses": dict(list(addresses.items())[-MAX_PLACES:])})

    def remember_theme(self, theme: str) -> None:
        """Keep `theme` as the one to start with."""
        self._save({**self._load(), "theme": theme})

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    @staticmethod
    def _addresses(content: dict[str, Any]) -> dict[str, Any]:
        addresses = content.get("addresses")
        return dict(addresses) if isinstance(addresses, dict) else {}

    def _save(self, content: dict[str, Any]) -> None:
        with suppress(OSError, ValueError):
            make_private(self.path.parent, self.path.parent)
            sweep(self.path.parent)
            handle, name = tempfile.mkstemp(prefix=".places-", dir=self.path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=1)
                Path(name).replace(self.path)
            except (OSError, ValueError):
                Path(name).unlink(missing_ok=True)
                raise
