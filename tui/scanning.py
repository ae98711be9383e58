"""The scan in words, and the keys that begin it. Imported after the first frame, with the session."""

from dataclasses import dataclass

from svdtui.engine.backlog import BacklogProgress, scan_bytes
from svdtui.engine.session import Session
from svdtui.engine.text import plural

from .formats import duration, megabytes, size

_BAR = 12
"""Cells of the progress bar."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to the key, and whether it must be pressed once more."""

    sentence: str
    asks: bool = False


def begin_scan(session: Session, *, whole: bool, confirmed: bool) -> Answer:
    """Begin a scan; where weights come over a network, say how many bytes first."""
    jobs = session.to_scan(whole=whole)
    if not jobs:
        return Answer("Everything is computed already." if whole else "All layers are computed already.")
    key = "S" if whole else "s"
    if session.model.is_remote and not confirmed:
        count, exact = scan_bytes(session.model, jobs)
        if count:
            about = "" if exact else "About "
            return Answer(f"{about}{size(count)} will be read from the Hub: {key} once more begins.", asks=True)
        if not exact:
            return Answer(f"How much will be read from the Hub is not known yet: {key} once more begins.", asks=True)
    count = session.scan(whole=whole)
    progress = session.scan_progress
    is_layers = progress is not None and progress.heads_only  # not where a larger scan goes on
    what = ("layer",) if is_layers else ("layer or whole matrix", "layers and whole matrices")
    return Answer(f"Computing {plural(count, *what)}; esc stops, and what is done is kept.")


def scan_words(progress: BacklogProgress) -> str:
    """`▰▰▰▱▱▱ 12/32 layers · 812 MB/s · 0:42 left`."""
    closed = progress.done + progress.failed
    filled = _BAR * closed // max(1, progress.total)
    words = [f"{'▰' * filled}{'▱' * (_BAR - filled)} {closed}/{progress.total} {_what(progress)}"]
    if progress.is_unasked:
        words.append("began by itself")
    if progress.failed:
        words.append(f"{progress.failed} failed")
    if progress.bytes_per_second > 0 and not progress.is_unasked:
        words.append(f"{megabytes(progress.bytes_per_second)}/s")
    if progress.seconds_left is not None:
        words.append(f"{duration(progress.seconds_left)} left")
    return " · ".join(words)


def stopped_words(progress: BacklogProgress) -> str:
    """What is said when a scan was stopped."""
    closed = progress.done + progress.failed
    key = "s" if progress.heads_only else "S"
    return f"Stopped the scan at {closed} of {progress.total} {_what(progress)}; {key} goes on."


def _what(progress: BacklogProgress) -> str:
    return "layers" if progress.heads_only else "layers and matrices"
