"""The Hub's library says nothing of its own, neither amid the screen nor before our sentences."""

import threading
import warnings
from logging import CRITICAL, getLogger

_HTTP_LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2")


class _SilentLibrary:
    """While anybody is in such a block the library's log says nothing, nor does that of the HTTP library below it.

    They name signed addresses, and write amid the screen; so do warnings, as of a disk that is nearly full.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._verbosity = 0
        self._levels: dict[str, int] = {}
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        from huggingface_hub.utils import logging

        with self._lock:
            if not self._inside:
                self._verbosity = logging.get_verbosity()
                logging.set_verbosity(logging.CRITICAL)
                for name in _HTTP_LOGGERS:
                    logger = getLogger(name)
                    self._levels[name] = logger.level
                    logger.setLevel(CRITICAL)
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module="huggingface_hub")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        from huggingface_hub.utils import logging

        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._warnings.__exit__(None, None, None)
                logging.set_verbosity(self._verbosity)
                for name, level in self._levels.items():
                    getLogger(name).setLevel(level)


silent_library = _SilentLibrary()
