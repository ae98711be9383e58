"""Memory of several processes together."""

from collections.abc import Sequence

import psutil


class PeakMemory:
    """The highest sum seen so far; `sample` is to be called often."""

    def __init__(self) -> None:
        self.peak = 0
        self.samples = 0
        self.unit = "RSS"

    def sample(self, processes: Sequence[psutil.Process]) -> None:
        """Add up what the processes hold now: PSS, which counts a shared page once, or RSS where there is no PSS."""
        total = 0
        for process in processes:
            try:
                held = process.memory_full_info()
            except psutil.Error:  # gone meanwhile
                continue
            if hasattr(held, "pss"):
                self.unit = "PSS"
            total += getattr(held, "pss", held.rss)
        self.peak = max(self.peak, total)
        self.samples += 1
