"""Processes that are kept running: what they print under their name, a new life when they end."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sagas.ports import Clock

__all__ = ["HOPELESS", "Patience", "Program", "Supervisor"]

#: The exit code of a program that can never start as it is told to: a wrong setting.
HOPELESS = 2
LONGEST_LINE = 64 * 1024
LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. ``stage``: the lower ones are stopped first."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """A supervisor's times. Pauses before a restart double from ``first_s`` to ``longest_s`` and
    begin anew after a life of ``settled_s``; each stage of a stop takes at most ``grace_s``.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    settled_s: float = 60.0
    grace_s: float = 15.0


class Supervisor:
    """Runs programs until it is told to stop, or one of them says that it never can.

    Each is in a session of its own: Ctrl-C reaches only the supervisor, which ends them in order.
    When the supervisor itself is killed, they are told to stop too (on Linux).
    """

    def __init__(
        self, say: Callable[[str], None], clock: Clock, patience: Patience | None = None
    ) -> None:
        self._say = say
        self._clock = clock
        self._patience = patience or Patience()
        self._hurry = asyncio.Event()
        self._orderly = True
        self._width = 0

    def hurry(self) -> None:
        """Wait for nobody any more: what still runs is killed."""
        self._hurry.set()

    async def run(self, programs: Sequence[Program], stop: asyncio.Event) -> int:
        """Start all and keep them running until ``stop`` is set, then end them stage by stage.

        The exit code: 0 when all ended by themselves after being told to, 1 when one had to be
        killed or failed in it, 2 when one can never start.
        """
        self._width = max(len(program.name) for program in programs)
        kept = {asyncio.create_task(self._keep(program)): program for program in programs}
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, *kept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            for stage in sorted({program.stage for program in programs}):
                ending = [task for task, program in kept.items() if program.stage == stage]
                for task in ending:
                    task.cancel()
                await asyncio.wait(ending)
        ended = [task for task in kept if not task.cancelled()]
        for task in ended:
            task.result()  # a fault of the supervisor's own
        if ended:
            return HOPELESS
        return 0 if self._orderly else 1

    async def _keep(self, program: Program) -> None:
        """Run it again and again; returns when that is no use."""
        loop = asyncio.get_running_loop()
        pause_s = self._patience.first_s
        while True:
            begun = loop.time()
            code = await self._live(program)
            if code == HOPELESS:
                self._tell(program.name, "cannot start: everything stops")
                return
            if loop.time() - begun >= self._patience.settled_s:
                pause_s = self._patience.first_s
            self._tell(program.name, f"ended {_how(code)}; starts again in {pause_s:g} s")
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, self._patience.longest_s)

    async def _live(self, program: Program) -> int:
        """One life, from start to end. Cancelling it ends the process in good order."""
        process = await asyncio.create_subprocess_exec(
            *program.command,
            env=dict(program.environment),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
        )
        printing = asyncio.create_task(self._print(program.name, process))
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(program, process)
            raise
        finally:
            # Its own children may hold the pipe open longer than it lives.
            await asyncio.wait({printing}, timeout=LAST_WORDS_S)
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)

    async def _end(self, program: Program, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.create_task(process.wait())
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait(
            {ended, hurry},
            timeout=self._patience.grace_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hurry.cancel()
        if not ended.done():
            self._tell(program.name, "does not stop and is killed")
            with suppress(ProcessLookupError):
                process.kill()
        code = await ended
        # Told before it could listen: it has not begun anything yet.
        if code not in (0, -signal.SIGTERM):
            self._orderly = False
            self._tell(program.name, f"ended {_how(code)}")

    async def _print(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        begun = b""
        while piece := await process.stdout.read(LONGEST_LINE):
            *lines, begun = (begun + piece).split(b"\n")
            if len(begun) >= LONGEST_LINE:
                lines, begun = [*lines, begun], b""
            for line in lines:
                self._tell(name, line.decode(errors="replace"))
        if begun:
            self._tell(name, begun.decode(errors="replace"))

    def _tell(self, name: str, line: str) -> None:
        try:
            self._say(f"{name:<{self._width}} | {line}")
        except OSError:
            # Nobody can be told: the disk is full, or whoever read is gone. What the programs print
            # is taken all the same, or they would stand still with full pipes; the exit code tells.
            self._orderly = False


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"


_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may be looked up any more.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _stop_with_parent() -> None:
    # Nobody else could tell a process whose supervisor was killed; it would keep its port.
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
