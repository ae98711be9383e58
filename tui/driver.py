"""The terminal's driver: Textual's, where its input thread may end, or where it loses the screen after ctrl+z."""

import os
import selectors
import signal
from contextlib import suppress
from types import FrameType

from textual.drivers.linux_driver import LinuxDriver

from .typed import Typed

BEAT = 0.1
"""Seconds after which a terminal that says nothing is thought to have finished."""

BLOCK = 4096

GONE = 128 + signal.SIGHUP
"""The exit status when the terminal is closed without a word."""


class Driver(LinuxDriver):
    """Reads whatever arrives, stops with the whole job, and comes back as it was.

    Textual's driver stops its own process only, so that a shell that waits for `make demo` never answers again, and it
    comes back to a blank screen (both: Textualize/textual#6298).
    """

    _is_away = False
    """Whether the terminal has been left to a shell."""

    # input ---------------------------------------------------------------------------------------

    def run_input_thread(self) -> None:
        """Read the terminal until the program leaves it, or it is gone."""
        typed = Typed()
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(BEAT):
                    if not (data := self._read()):
                        self._app.call_later(self._app.exit, GONE, GONE)
                        return
                    for event in typed.events(data):
                        self.process_message(event)
                for event in typed.waited():
                    self.process_message(event)

    def _read(self) -> bytes:
        """What the terminal has sent; nothing when its window has been closed."""
        with suppress(OSError):
            return os.read(self.fileno, BLOCK)
        return b""

    # ctrl+z --------------------------------------------------------------------------------------

    def suspend_application_mode(self) -> None:
        """Leave the terminal as a shell wants it."""
        super().suspend_application_mode()
        self._is_away = True

    def start_application_mode(self) -> None:
        """Take the terminal; in the background that is put off, and the program stops once more."""
        before = self._writer_thread
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer_thread is not before:
            self._is_away = False

    def suspend(self) -> bool:
        """Stop with all that the shell calls this job, until it is in the foreground again.

        Returns whether there was a shell to go back to. Where there is none, SIGTSTP stops nobody: that is the
        kernel's rule, and SIGSTOP instead of it would leave a terminal that nothing answers in.
        """
        self.suspend_application_mode()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        try:
            os.killpg(os.getpgrp(), signal.SIGTSTP)  # here it stops; then the handler of SIGCONT comes first
        finally:
            signal.signal(signal.SIGTSTP, handler)
        was_stopped = not self._is_away
        if self._is_away:
            self.resume_application_mode()
        return was_stopped

    def _sigtstp_application(self, *_: int | FrameType | None) -> None:
        """Somebody else asks for it: `kill -TSTP`."""
        if self._auto_restart and not self._is_away:
            self.suspend()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: int | FrameType | None) -> None:
        """The program goes on: after ctrl+z, or after a SIGSTOP of which it was not told."""
        if not self._auto_restart:
            return
        if not self._is_away:
            self.suspend_application_mode()
        self.resume_application_mode()
