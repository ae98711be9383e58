"""Findings worked out in a process of their own: scipy takes a second of the processor, which a screen cannot spare.

It reads a pickled `Evidence` from stdin and writes pickled `Findings`, or a pickled `EngineError`, to stdout; before
that, a line's end every second.
Both ends are this program; nothing that comes from a file is unpickled.
"""

import asyncio
import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Callable

from .child import unexpected
from .errors import EngineError, WorkerError
from .evidence import Evidence
from .findings import Findings
from .isolation import command, environment
from .process import how_it_ended, log_path, open_log
from .pulse import BEAT, Pulse, watched

_BEAT = b"\n"
"""No pickle begins with it."""


async def find_aside(evidence: Evidence, tell: Callable[[str], None] = lambda trouble: None) -> Findings:
    """`findings.find` in another process; when the wait is cancelled, it is ended.

    `tell` is told again and again why nothing comes of it at present, as a sentence, or that nothing is wrong: "".

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
        answer = await _answer(process, pickle.dumps(evidence), tell)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(_let_go(process))  # also where the screen ends meanwhile
        raise
    try:
        found: Findings | EngineError = pickle.loads(answer)
    except (pickle.UnpicklingError, EOFError) as error:
        how = how_it_ended(process.returncode or 0)
        raise WorkerError(f"The process that works out the findings {how}.", f"See {log_path()}.") from error
    if isinstance(found, EngineError):
        raise found
    return found


async def _let_go(process: asyncio.subprocess.Process) -> None:
    """See a killed process end, and read what it had written: as long as a pipe is full, asyncio keeps it open."""
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    while await process.stdout.read(2**20):
        pass
    await process.wait()


async def _answer(process: asyncio.subprocess.Process, question: bytes, tell: Callable[[str], None]) -> bytes:
    pulse = Pulse()
    silence = (
        f"Nobody tests the statements: kill -CONT {process.pid}, or esc and f to begin again. The process that does "
        "so does not answer; it may have been stopped."
    )

    async def ask() -> None:
        assert process.stdin
        with contextlib.suppress(ConnectionError):  # it has ended, and how is told below
            process.stdin.write(question)
            await process.stdin.drain()
        process.stdin.close()

    async def listen() -> bytes:
        assert process.stdout
        heard = bytearray()
        while data := await process.stdout.read(2**16):
            pulse.heard()
            heard += data
        await process.wait()
        return bytes(heard).lstrip(_BEAT)

    async with watched(pulse, lambda is_silent: tell(silence if is_silent else "")):
        _, answer = await asyncio.gather(ask(), listen())
    return answer


def _beat(descriptor: int, is_done: threading.Event) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(descriptor, _BEAT)
        while not is_done.wait(BEAT):
            os.write(descriptor, _BEAT)


def main() -> None:
    """Answer one question, with findings or with why there are none."""
    with contextlib.suppress(OSError):
        os.nice(10)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    is_done = threading.Event()
    beating = threading.Thread(target=_beat, args=(answers.fileno(), is_done), daemon=True)
    beating.start()
    found: Findings | EngineError
    try:
        from .findings import find

        found = find(pickle.load(sys.stdin.buffer))
    except EngineError as error:
        found = error
    except Exception as error:
        found = unexpected("Working out the findings", error)
    is_done.set()
    beating.join()
    with answers:
        pickle.dump(found, answers)


if __name__ == "__main__":
    main()
