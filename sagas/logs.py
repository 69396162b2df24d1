"""What a process of ours logs: warnings to standard error, a line for each request to standard
output. For those the loop never waits, whether anybody reads them or not.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from typing import Final

__all__ = ["REQUESTS", "Unhurried", "set_up_logging"]

#: The logger of requests. It says nothing until somebody listens.
REQUESTS: Final = "sagas.requests"

#: Lines that wait to be written; with more than that, new ones are left out, and counted.
MOST_WAITING: Final = 10_000
#: What comes within so many seconds is written together: waking the writer costs more than a line.
TOGETHER_S: Final = 0.05
LAST_WORDS_S: Final = 1.0


def set_up_logging(*, requests: bool) -> None:
    """Once, at the start of a process. ``requests``: whether each has its line."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logger = logging.getLogger(REQUESTS)
    logger.propagate = False
    if requests:
        handler = Unhurried(1)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


class Unhurried(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own.

    A reader that has stopped (a full pipe, a paused terminal) holds up that thread and nothing
    else; a full disk or a broken pipe loses lines, and is no reason to refuse a request.
    """

    def __init__(self, descriptor: int, *, most: int = MOST_WAITING) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most = most
        self._waiting: list[str] = []
        self._left_out = 0
        self._is_idle = False
        #: Something could not be written.
        self.is_broken = False
        self._changed = threading.Condition()
        # A daemon: one that is held up must not hold up the end of the process.
        threading.Thread(target=self._write_forever, name="request log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        self.add(self.format(record))

    def add(self, line: str) -> None:
        """Have it written soon. Any thread may call it."""
        with self._changed:
            if len(self._waiting) >= self._most:
                self._left_out += 1
                return
            if not self._waiting:
                self._changed.notify_all()
            self._waiting.append(line)

    def flush(self) -> None:
        """Wait until everything is written, for a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_idle and not self._waiting, LAST_WORDS_S)

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._is_idle = True
                    self._changed.notify_all()
                    self._changed.wait()
                self._is_idle = False
            time.sleep(TOGETHER_S)
            with self._changed:
                lines, self._waiting = self._waiting, []
                left_out, self._left_out = self._left_out, 0
            if left_out:
                lines.append(f"({left_out} lines are left out: this was not read in time)")
            try:
                self._write("".join(f"{line}\n" for line in lines).encode(errors="replace"))
            except OSError:
                self.is_broken = True

    def _write(self, data: bytes) -> None:
        # Not by `print`, whose lock would be held while the process ends.
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # whoever shares it has made it so
                select.select([], [self._descriptor], [])
