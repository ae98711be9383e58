"""How fast a job is read, as it is shown while it is."""

from collections import deque

from .model import Job

_WINDOW = 2.0
"""Seconds that the speed is of: what is shown is how it is now."""

_SILENCE = 1.0
"""Seconds without a byte that are no part of any speed: the network was silent, or the processor was busy."""


class Speed:
    """Of the running job, over the last seconds in which something came in."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._seen: deque[tuple[float, int]] = deque([(0.0, 0)])
        """Seconds since the job began, and the bytes that had come in."""
        self._speed = 0.0

    def of(self, job: Job, seconds: float, bytes_read: int, *, waits: bool) -> float:
        """Bytes per second of a job that has run for `seconds`; 0 while it `waits` and nothing comes in."""
        if job != self._job or seconds < self._seen[-1][0]:  # another one, or the same once more
            self._job, self._seen, self._speed = job, deque([(0.0, 0)]), 0.0
        when, before = self._seen[-1]
        is_silent = seconds - when > _SILENCE
        if bytes_read == before:
            return 0.0 if waits and is_silent else self._speed
        if is_silent:
            self._seen.clear()
        self._seen.append((seconds, bytes_read))
        while len(self._seen) > 2 and seconds - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        begin, already = self._seen[0]
        if len(self._seen) > 1:
            self._speed = (bytes_read - already) / max(seconds - begin, 1e-3)
        return self._speed
