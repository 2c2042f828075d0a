"""A real terminal for a command: what it shows there, and what is typed."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence

from tests.waiting import wait_until

ROWS, COLUMNS = 40, 160


def hear_interrupts() -> None:
    """Undo, in a new process, that a shell has its background jobs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command with a terminal for its input and output; ends with the ``with`` block."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._near, far = os.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command,
            env={**environment, "TERM": "xterm-256color"},
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
        os.close(far)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        os.close(self._near)

    @property
    def shown(self) -> str:
        """What the command has written so far, with its colours."""
        return bytes(self._shown).decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until the command has written a text."""
        wait_until(lambda: text in self.shown, lambda: f"{text!r} in {self.shown!r}", 20)

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._near, text.encode())

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(30)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._near, 65_536)
            except OSError:  # the other side is closed
                return
            if not some:
                return
            self._shown += some
