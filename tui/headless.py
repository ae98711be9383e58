"""Files without a screen: CSV from the same rows and code as the screen's export, the findings, a LoRA plan."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    ExportError,
    Solver,
    View,
    candidates_csv,
    metrics_csv,
    open_model,
    printable,
    spectra_csv,
    write_text,
)
from svdtui.engine.model import job_name
from svdtui.engine.notes import notes_on
from svdtui.engine.outputs import CSV, PAGE, PLAN, Kind, Outputs
from svdtui.engine.selection import Selection
from svdtui.engine.text import plural

from .formats import size
from .stderr import WaitingLine, say
from .streams import abandon

if TYPE_CHECKING:
    from svdtui.engine.scan import ScanProgress
    from svdtui.engine.target import HubName

_MOST_PROBLEMS = 10
"""Sentences on matrices without figures; a broken model has thousands of them."""


@dataclass(frozen=True, slots=True)
class Files:
    """What is to be written where; `-` is stdout, None is not at all."""

    metrics: str | None = None
    spectra: str | None = None
    findings: str | None = None
    candidates: str | None = None
    lora_plan: str | None = None
    lora_budget: int = 0
    """The most parameters that the planned adapters may have together."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """The files asked for, and of what kind each is."""
        every = {
            **dict.fromkeys((self.metrics, self.spectra, self.candidates), CSV),
            self.findings: PAGE,
            self.lora_plan: PLAN,
        }
        return {name: kind for name, kind in every.items() if name is not None}


def write_files(
    target: "Path | HubName",
    selection: Selection,
    files: Files,
    *,
    solver: Solver,
    device: str,
    cache_dir: Path | None,
    offline: bool,
    stack: str | None = None,
    k: int,
    workers: int | None = None,
    dask: str | None = None,
) -> int:
    """Compute what is selected of a model and write files about it; findings, candidates and a plan are of all of it.

    Returns the exit status: 1 when some matrix could not be computed (its row is there, without figures), else 0;
    130 when the user stopped it, and then no file is written.

    Raises:
        EngineError: the model cannot be opened or read, a file cannot or must not be written, or the LoRA budget is
            too small.
    """
    logging.getLogger("svdtui").addHandler(logging.NullHandler())  # `say` says it, once
    if dask is not None:
        logging.disable()  # its client and its event loop write what goes wrong to stderr, with tracebacks
    outputs = Outputs(target if isinstance(target, Path) else None, cache_dir)
    for file, kind in files.kinds.items():
        if file != "-":
            outputs.check(Path(file), kind)
            _check_writable(Path(file))
    try:
        with WaitingLine() as line:
            model = open_model(target, offline=offline, cache_dir=cache_dir, stack=stack, watch=line.say)
        with Analysis(model, solver=solver, device=device, cache_dir=cache_dir, offline=offline, k=k) as analysis:
            analysis.cache_option = "--cache-dir"
            places = selection.places(model)
            _prepare(analysis, places)
            _compute(analysis, places, workers, dask)
            shown = analysis.view(places)
            for sentence in (analysis.notice, *notes_on(model), selection.lacking(model, places)):
                if sentence:
                    say(sentence)
            texts = [*_texts(files, analysis, shown)]
            if model.heads_problem and places[0].scope in {"model", "layer"}:
                say(f"{model.heads_problem} The rows are whole matrices.")
    except KeyboardInterrupt:
        say("Stopped; no file was written. What was computed is kept and will not be computed again.")
        return 130
    for file, text in texts:
        _write(file, text, files.kinds[file], outputs)
    problems = list(dict.fromkeys(row.problem for row in shown.rows if row.problem))
    for problem in problems[:_MOST_PROBLEMS]:
        say(problem)
    partly = {row.problem for row in shown.rows if row.problem and row.metrics is not None}
    more = problems[_MOST_PROBLEMS:]
    if empty := sum(problem not in partly for problem in more):
        rows = "its row is" if empty == 1 else "their rows are"
        say(f"{plural(empty, 'more matrix has', 'more matrices have')} no figures; {rows} empty.")
    if beyond := sum(problem in partly for problem in more):
        who = plural(beyond, "more matrix has", "more matrices have")
        say(f"{who} a norm beyond fp64, which is left out; the other figures stand.")
    if not shown.rows and files.metrics is None and files.spectra is None:
        say("No layer of these files has attention heads, which is what findings are about.")
    elif not shown.rows:
        names = (info.matrix for info in shown.model.matrices(Address(places[0].layer)))
        say(f"There are no attention heads there. --matrix names a whole matrix: {', '.join(names) or 'none'}.")
    return 1 if problems or not shown.rows else 0


def _texts(files: Files, analysis: Analysis, shown: View) -> Iterator[tuple[str, str]]:
    """Each file and what it is to hold."""
    tables = cache(analysis.tables)
    if files.metrics is not None:
        yield files.metrics, metrics_csv(shown)
    if files.spectra is not None:
        yield files.spectra, spectra_csv(shown)
    if files.findings is not None or files.candidates is not None:
        from svdtui.engine.evidence import gather
        from svdtui.engine.findings import find
        from svdtui.engine.findings_text import findings_markdown

        found = find(gather(analysis.model, tables, k=analysis.k))
        if files.findings is not None:
            yield files.findings, findings_markdown(found)
        if files.candidates is not None:
            yield files.candidates, candidates_csv(found.model, found.revision, found.candidates)
    if files.lora_plan is not None:
        from svdtui.engine.lora import lora_modules, lora_plan

        plan = lora_plan(lora_modules(analysis.model, tables), files.lora_budget)
        for sentence in plan.summary():
            say(sentence)
        yield files.lora_plan, plan.text()


def _prepare(analysis: Analysis, places: Sequence[Address]) -> None:
    """Read what is needed to know how much there is to read, and say it before the reading begins."""
    if analysis.model.notice:
        say(analysis.model.notice)
    with WaitingLine() as line:
        analysis.prepare(places, line.say)
    if analysis.model.is_remote and (total := analysis.remote_bytes(places)):
        found_out = "are not on this machine" if analysis.model.notice else "will be read from the Hub"
        say(f"{size(total)} {found_out}.")


def _compute(analysis: Analysis, places: Sequence[Address], workers: int | None, dask: str | None) -> None:
    """Compute what is missing, with a progress bar where someone is looking."""
    jobs = analysis.jobs(places)
    noun = "layers" if all(job.kind == HEADS for job in jobs) else "matrices"
    with tqdm(
        unit="B",
        unit_scale=True,
        desc=printable(analysis.model.name)[:40],
        file=sys.stderr,
        disable=sys.stderr is None or not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        trouble = ""

        def show(progress: "ScanProgress") -> None:
            nonlocal trouble
            if progress.trouble != trouble:
                trouble = progress.trouble
                with tqdm.external_write_mode(sys.stderr):
                    say(trouble or "Goes on.")
            is_first = bar.total is None
            if is_first:  # what is cached has not been read now: it does not count for the speed
                bar.total, bar.initial, bar.n = progress.bytes_total, progress.bytes_read, progress.bytes_read
            what = f"{progress.done}/{progress.total} {noun}" if len(jobs) > 1 else "".join(map(job_name, jobs))
            bar.set_postfix_str(" · ".join(filter(None, (what, printable(progress.waiting)))), refresh=is_first)
            bar.update(max(0, progress.bytes_read - bar.n))

        analysis.scan(places, workers=workers, dask=dask, on_progress=show)


def _check_writable(path: Path) -> None:
    """Refuse before hours of computing, not after."""
    hint = "Give a path in a folder that you may write to."
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ExportError(f"{path} is a folder.", "Give the name of a file in it.")
    if not target.parent.is_dir():
        raise ExportError(f"{path} cannot be written: there is no folder {target.parent}.", hint)
    needed = [target] if target.exists() else []
    if target.is_file() or not needed:
        needed.append(target.parent)  # the new file is written beside the old one and renamed
    for place in needed:
        if not os.access(place, os.W_OK):
            is_locked = os.statvfs(place).f_flag & os.ST_RDONLY
            why = "it is on a file system that is read-only" if is_locked else "permission denied"
            raise ExportError(f"{path} cannot be written: {why}.", hint)


def _write(file: str, text: str, kind: Kind, outputs: Outputs) -> None:
    if file != "-":
        write_text(Path(file), text, kind, outputs)
        return
    if sys.stdout is None:
        raise ExportError("stdout is closed.", "Redirect it to a file, or name a file.")
    try:
        sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the locale, as in a file
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a pipe's reader has seen enough
            raise ExportError(f"stdout cannot be written: {error.strerror or error}.", "Make room for it.") from error
