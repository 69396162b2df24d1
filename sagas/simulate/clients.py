"""Those who ask a simulated world for something: patient clients, each with one act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sagas.errors import CommandRefused, Duplicate, StoreUnavailable
from sagas.runner import Runner
from sagas.simulate.deployment import Deployment
from sagas.simulate.loop import WorldLoop
from sagas.simulate.process import Down, Life, Process
from sagas.simulate.schedule import Act
from sagas.simulate.truth import Refused, Truth
from sagas.simulate.watch import WORLD

__all__ = ["Clients"]

#: How long a client waits before it asks again.
AGAIN_S = 0.1


class Clients:
    """They ask again, with the same key, until somebody answers."""

    def __init__(
        self,
        deployment: Deployment,
        truth: Truth,
        loop: WorldLoop,
        note: Callable[..., None],
        died: Callable[[str, BaseException], None],
    ) -> None:
        self._deployment = deployment
        self._truth = truth
        self._loop = loop
        self._note = note
        self._died = died
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> bool:
        """Whether an act is still to come, or to be answered."""
        return not all(task.done() for task in self._tasks)

    def begin(self, begin: float, acts: Iterable[Act]) -> None:
        """Each act at its moment, counted from ``begin``; their places are their keys."""
        for place, act in enumerate(acts):
            work = self._act_at(begin + act.at, act, f"act-{place}")
            self._tasks.append(self._loop.create_task(work))

    async def _act_at(self, moment: float, act: Act, key: str) -> None:
        await self._loop.pause(moment - self._loop.now)
        try:
            await self.act(act, key)
        except Exception as error:  # the act itself is wrong: nobody could answer it
            what = f"{type(act.command).__name__} of {act.participant}'s {act.key}"
            self._died(f"the client who asks for {what}", error)

    async def act(self, act: Act, key: str | None = None) -> None:
        """Ask until there is an answer; a refusal is one."""
        command = type(act.command).__name__
        while True:
            process = self._one_of(act.participant)
            known = self._truth.is_known(act.participant, act.kind, act.key)
            self._note(WORLD, "asks", act.participant, command, act.key)
            try:
                await process.call(lambda life: _execute(life, act, key))
            except (Down, StoreUnavailable):
                await self._loop.pause(AGAIN_S)
                continue
            except (CommandRefused, Duplicate) as refused:
                self._note(act.participant, "refuses", command, str(refused))
                if isinstance(refused, CommandRefused):
                    self._truth.refuse(Refused(act, refused.code, known))
            return

    def _one_of(self, participant: str) -> Process:
        """Any instance that is up."""
        processes = self._deployment.processes.values()
        found = [each for each in processes if each.participant == participant]
        if not found:
            there = ", ".join(sorted({each.participant for each in processes}))
            raise ValueError(f"no participant {participant!r} runs in this world, but {there}")
        ready = [each for each in found if each.ready] or found
        return ready[0] if len(ready) == 1 else self._deployment.chance.choice(ready)

    async def end(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _execute(life: Life, act: Act, key: str | None) -> None:
    runner: Runner = life.parts[act.participant]
    kinds = {kind.name: kind for kind in runner.participant.kinds}
    if act.kind is not None and act.kind not in kinds:
        raise ValueError(f"{act.participant} keeps no {act.kind!r}, but {', '.join(kinds)}")
    kind = runner.participant.saga if act.kind is None else kinds[act.kind]
    await runner.execute(kind, act.key, act.command, id=key)
