"""What a world runs on: its broker, stores and processes, as its seed has them built."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sagas.errors import StoreUnavailable
from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.runner import Runner
from sagas.simulate.broker import BrokerServer
from sagas.simulate.loop import WorldLoop
from sagas.simulate.network import Network
from sagas.simulate.port import LateCalls, UnreliablePort
from sagas.simulate.process import Life, Process
from sagas.simulate.queues import Queue
from sagas.simulate.schedule import STEP, Schedule
from sagas.simulate.store import StoreServer
from sagas.simulate.truth import TRACKER
from sagas.simulate.watch import Watch
from sagas.simulate.world import World
from sagas.testing.virtual import SeededIds
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from sagas.tracker.plan import plan_of

__all__ = ["Deployment", "trackers"]

#: One participant in so many runs as two instances.
TWO_INSTANCES = 4
#: The share of worlds that are built as the embedded default is.
ALONE = 0.5
#: Of the others, the share that keeps sent events, and for how long.
KEPT = 0.3
KEEP_SENT_S = 2.0
#: The share of worlds whose servers work in ticks.
EVEN = 0.6
#: What a store takes. A slow tracker lags behind, and has batches to write.
PACES_S = (0.002, 0.002, 0.002, 0.02)
TRACKER_PACES_S = (0.002, 0.05, 0.1)
PREFETCH = (512,) * 10 + (4, 1)


@cache
def trackers(choreography: Choreography) -> tuple[Participant[Any], Participant[Any]]:
    """The participants that listen beside the choreography's own, in one process."""
    plan = plan_of(choreography)
    return tracker_of(plan), dead_letters_of(plan.redaction)


@cache
def _queues(choreography: Choreography) -> dict[str, list[str]]:
    return choreography.queues(*trackers(choreography))


class Deployment:
    """``running`` are the participants that have a part in this world."""

    def __init__(
        self,
        world: World,
        schedule: Schedule,
        running: Sequence[Participant[Any]],
        loop: WorldLoop,
        watch: Watch,
        *,
        counted: bool,
    ) -> None:
        self._seed = schedule.seed
        self._loop = loop
        self._watch = watch
        self._chances = random.Random(f"{schedule.seed}: deployment")
        #: As embedded: one instance of each, whose store lives and dies with it.
        self._alone = self._chances.random() < ALONE
        kept = not self._alone and self._chances.random() < KEPT
        self._keep_sent_s = KEEP_SENT_S if kept else 0.0
        even = self._chances.random() < EVEN
        #: For whatever is decided while the world runs.
        self.chance = self._chance()
        self._network = Network(loop, self.chance, even=even)
        self._resources = world.resources()
        self._upkeep = world.upkeep
        self._late = LateCalls(self._network, watch.died)
        tracking = trackers(world.choreography)
        self._parts = {**{each.name: (each,) for each in running}, TRACKER: tracking}
        queues = _queues(world.choreography)
        self.broker = BrokerServer(
            {each.name: queues[each.name] for each in (*running, *tracking)},
            self._network,
            embedded=self._alone,
            published=watch.published,
            note=watch.note if watch.traced else None,
        )
        self.stores = {name: self._make_store(name) for name in self._parts}
        sweeps = any(fault.point == STEP for fault in schedule.faults)
        self.processes = dict(self._make_processes(counted, counted or sweeps))

    def _chance(self) -> random.Random:
        """A source of its own for a part, so that none disturbs the others."""
        return random.Random(self._chances.getrandbits(64))

    # -------------------------------------------------------------------------------- building

    def _make_store(self, name: str) -> StoreServer:
        return StoreServer(
            name,
            self._network,
            self._watch.written,
            pace_s=self._chances.choice(TRACKER_PACES_S if name == TRACKER else PACES_S),
            embedded=self._alone,
        )

    def _make_processes(
        self, counts_points: bool, counts_steps: bool
    ) -> Iterator[tuple[str, Process]]:
        chance = self._chance()
        for participant in self._parts:
            second = chance.randrange(TWO_INSTANCES) == 0 and not self._alone
            for name in (participant, f"{participant}-2") if second else (participant,):
                yield (
                    name,
                    Process(
                        name,
                        participant,
                        self._loop,
                        skew_s=chance.choice((0.0, chance.uniform(-0.5, 0.5))),
                        prefetch=chance.choice(PREFETCH),
                        boot=self._boot,
                        note=self._watch.note,
                        counts_points=counts_points,
                        counts_steps=counts_steps,
                    ),
                )

    async def _boot(self, life: Life) -> None:
        try:
            await self._begin(life)
        except Exception as error:  # a world's own mistake: a resource that is not there, say
            self._watch.died(f"the start of {life.process.name}", error)

    async def _begin(self, life: Life) -> None:
        process = life.process
        store = self.stores[process.participant].connect(life)
        broker = self.broker.connect(life)
        ids = SeededIds(f"{self._seed}: {process.name} {life.number}", process.clock)
        for participant in self._parts[process.participant]:
            runner = Runner(
                participant,
                store=store,
                broker=broker,
                clock=process.clock,
                ids=ids,
                resources=lambda runner: self._ports(runner, life),
                prefetch=process.prefetch,
                alone=self._alone,
                keep_sent_s=self._keep_sent_s,
            )
            life.parts[participant.name] = runner
            runner.failed.add_done_callback(lambda failed: self._died(process, failed))
        try:
            for runner in life.parts.values():
                await runner.start()
        except StoreUnavailable:
            process.crash(for_s=0.5)  # it ends, and its supervisor starts it anew
            await asyncio.sleep(0)
        if upkeep := self._upkeep.get(process.participant):
            work = asyncio.ensure_future(
                upkeep(life.parts[process.participant], process.clock, ids)
            )
            work.add_done_callback(lambda done: self._died(process, done))

    def _ports(self, runner: Runner, life: Life) -> dict[type, object]:
        make = self._resources.get(runner.participant.name)
        found = {} if make is None else make(runner)
        life.ports.update(found)
        return {
            wanted: UnreliablePort(wanted, inner, life, self._late)
            for wanted, inner in found.items()
        }

    def _died(self, process: Process, failed: asyncio.Future[None]) -> None:
        if not failed.cancelled() and (error := failed.exception()) is not None:
            self._watch.died(f"a task of {process.name}", error)

    # --------------------------------------------------------------------------------- looking

    def queues_of(self, process: Process) -> list[Queue]:
        return [self.broker.queues[each.name] for each in self._parts[process.participant]]

    @property
    def quiet(self) -> bool:
        """Whether every process is up, and nothing is on its way anywhere."""
        return (
            self.broker.quiet
            and all(process.ready for process in self.processes.values())
            and all(server.quiet for server in self.stores.values())
            and self._late.quiet
        )

    async def end(self) -> None:
        """Stop every process, and see its tasks end."""
        await self._late.end()
        for process in self.processes.values():
            process.stop()
        lives = [life for process in self.processes.values() for life in process.lives]
        while any(life.tasks for life in lives):
            await self._loop.pause(0.001)
