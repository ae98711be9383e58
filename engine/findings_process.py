"""Findings worked out in a process of their own: scipy takes a second of the processor, which a screen cannot spare.

It reads a pickled `Evidence` from stdin and writes pickled `Findings` to stdout.
Both ends are this program; nothing that comes from a file is unpickled.
"""

import asyncio
import contextlib
import os
import pickle
import sys

from .errors import WorkerError
from .evidence import Evidence
from .findings import Findings
from .isolation import command, environment
from .process import open_log


async def find_aside(evidence: Evidence) -> Findings:
    """`findings.find` in another process; when the wait is cancelled, it is ended.

    Raises:
        WorkerError: it could not be started, or did not come to an end.
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
    if process.returncode:
        raise WorkerError(
            f"Working out the findings ended with status {process.returncode}.", "The log has the details."
        )
    found: Findings = pickle.loads(answer)
    return found


def main() -> None:
    """Answer one question."""
    from .findings import find

    with contextlib.suppress(OSError):
        os.nice(10)
    evidence = pickle.load(sys.stdin.buffer)
    pickle.dump(find(evidence), sys.stdout.buffer)


if __name__ == "__main__":
    main()
