"""Findings worked out in a process of their own: scipy takes a second of the processor, which a screen cannot spare.

It reads a pickled `Evidence` from stdin and writes pickled `Findings`, or a pickled `EngineError`, to stdout.
Both ends are this program; nothing that comes from a file is unpickled.
"""

import asyncio
import contextlib
import os
import pickle
import sys

from .child import unexpected
from .errors import EngineError, WorkerError
from .evidence import Evidence
from .findings import Findings
from .isolation import command, environment
from .process import how_it_ended, log_path, open_log


async def find_aside(evidence: Evidence) -> Findings:
    """`findings.find` in another process; when the wait is cancelled, it is ended.

    Raises:
        WorkerError: it could not be started, or did not come to an end.
        EngineError: there are none.
    """
    try:
        with open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *command(__name__),
                env=environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise WorkerError(
            f"The findings cannot be worked out: {error.strerror or error}.", "Close other programs and try again."
        ) from error
    try:
        answer, _ = await process.communicate(pickle.dumps(evidence))
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    try:
        found: Findings | EngineError = pickle.loads(answer)
    except (pickle.UnpicklingError, EOFError) as error:
        how = how_it_ended(process.returncode or 0)
        raise WorkerError(f"The process that works out the findings {how}.", f"See {log_path()}.") from error
    if isinstance(found, EngineError):
        raise found
    return found


def main() -> None:
    """Answer one question, with findings or with why there are none."""
    with contextlib.suppress(OSError):
        os.nice(10)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    found: Findings | EngineError
    try:
        from .findings import find

        found = find(pickle.load(sys.stdin.buffer))
    except EngineError as error:
        found = error
    except Exception as error:
        found = unexpected("Working out the findings", error)
    with answers:
        pickle.dump(found, answers)


if __name__ == "__main__":
    main()
