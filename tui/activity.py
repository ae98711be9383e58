"""The status line in words: what the session is doing, and how much is ready. Imported after the first frame."""

from svdtui.engine.model import job_name
from svdtui.engine.notes import notes_on
from svdtui.engine.session import Session
from svdtui.engine.text import plural

from .formats import done_of, megabytes
from .scanning import scan_words
from .widgets.painted import Span


def activity(session: Session) -> Span:
    """What is being computed; when nothing is, the last thing that the user should know."""
    progress = session.progress
    if session.trouble:
        return f"! {session.trouble}", "warn"
    if scan := session.scan_progress:
        waiting = f" · {progress.waiting}" if progress and progress.waiting else ""
        return f"◐ {scan_words(scan)}{waiting}", "busy"
    if progress is not None:
        parts = []
        if progress.bytes_total:  # a file's header may have to be read first
            parts.append(done_of(progress.bytes_read, progress.bytes_total))
            if progress.bytes_per_second > 0:
                parts.append(f"{megabytes(progress.bytes_per_second)}/s")
            parts.append(f"{progress.done}/{progress.total} spectra")
        if session.waiting:
            parts.append(f"{session.waiting} waiting")
        if progress.waiting:  # first: the end of the line is cut off where there is no room
            parts.insert(0, progress.waiting)
        return f"◐ {job_name(progress.job)}: " + (" · ".join(parts) or "starting …"), "busy"
    if session.notice:
        return f"! {session.notice}", "warn"
    for sentence in (session.model.heads_problem, session.model.notice, *notes_on(session.model)):
        if sentence:
            return f"! {sentence}", "warn"
    if session.waiting or (session.running and not session.device):
        return "◔ The compute process is starting …" if not session.device else f"◔ {session.waiting} waiting", "busy"
    if 0 < session.cached < len(session.model.layers):
        return f"s computes the other {plural(len(session.model.layers) - session.cached, 'layer')}.", "dim"
    return "", ""


def readiness(session: Session) -> str:
    """How much is ready: `cached 3/32 layers`, or `computed, not kept, …` where the cache cannot be written."""
    word = "cached" if session.keeps else "computed, not kept"
    return f"{word} {session.cached}/{len(session.model.layers)} layers"
