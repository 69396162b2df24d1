"""One world, from its start to its end: plays a schedule and checks what must hold."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sagas.envelope import Message
from sagas.errors import CommandRefused, StoreUnavailable
from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.ports import Outcome, Write
from sagas.runner import Duplicate, Runner
from sagas.simulate.broker import BrokerServer, Queue
from sagas.simulate.loop import run_world
from sagas.simulate.port import UnreliablePort
from sagas.simulate.process import Down, Life, Process, own_tasks
from sagas.simulate.schedule import Act, Schedule
from sagas.simulate.store import StoreServer
from sagas.simulate.strikes import Strikes
from sagas.simulate.trace import Entry, Trace
from sagas.simulate.truth import TRACKER, Truth
from sagas.simulate.world import World
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import SeededIds
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from sagas.tracker.plan import plan_of

__all__ = ["Result", "play"]

#: What holds always is checked after so many commits.
COMMITS_BETWEEN_CHECKS = 24
#: A world that writes so often goes round in circles.
MOST_COMMITS = 20_000
LOOK_EVERY_S = 0.5
#: How long nothing may happen before a world counts as over.
QUIET_S = 2.0
#: One process in so many runs as two instances.
TWO_INSTANCES = 6
#: The share of worlds that are built as the embedded default is.
ALONE = 0.4
WORLD = "world"


@dataclass(frozen=True, slots=True)
class Result:
    """``problems`` is empty when everything held. ``lasted_s`` is virtual time."""

    schedule: Schedule
    problems: tuple[str, ...]
    trace: Trace
    lasted_s: float
    #: How often each process reached each point, for sweeps.
    reached: dict[str, dict[str, int]]
    crashes: int

    @property
    def failed(self) -> bool:
        return bool(self.problems)


def play(world: World, schedule: Schedule, *, counts_steps: bool = False) -> Result:
    """Play a schedule. The same schedule on the same code gives the same result."""
    with _silence():
        return run_world(_play(world, schedule, counts_steps))


async def _play(world: World, schedule: Schedule, counts_steps: bool) -> Result:
    asyncio.get_running_loop().set_task_factory(own_tasks)  # type: ignore[arg-type]
    return await Simulation(world, schedule, counts_steps).play()


@contextmanager
def _silence() -> Iterator[None]:
    """A world full of faults logs thousands of warnings; the trace tells it better."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@cache
def _trackers(choreography: Choreography) -> tuple[Participant[Any], Participant[Any]]:
    plan = plan_of(choreography)
    return tracker_of(plan), dead_letters_of(plan.redaction)


class Simulation:
    """A world at work."""

    def __init__(self, world: World, schedule: Schedule, counts_steps: bool) -> None:
        self._world = world
        self._schedule = schedule
        self._loop = asyncio.get_running_loop()
        names = {each.saga_id: f"saga-{n}" for n, each in enumerate(schedule.scripts, 1)}
        self._trace = Trace([], names)
        self._problems: list[str] = []
        self._commits = 0
        self._tracking = _trackers(world.choreography)
        participants = [*world.participants, *self._tracking]
        self.truth = Truth(world.choreography, participants)
        self._database = MemoryDatabase()
        #: As embedded: one instance of each, whose store lives and dies with it.
        self._alone = self._chance("deployment").random() < ALONE
        self._resources = world.resources()
        queues = world.choreography.queues(*self._tracking)
        running = {each.name for each in participants}
        self._broker = BrokerServer(
            {name: topics for name, topics in queues.items() if name in running},
            self._chance("broker"),
            published=self._published,
            note=self._note,
        )
        self._stores = {
            name: StoreServer(
                name,
                self._database,
                self._chance(f"{name}'s store"),
                self._written,
                embedded=self._alone,
            )
            for name in (*(each.name for each in world.participants), TRACKER)
        }
        self._processes = self._make_processes(counts_steps)
        self._acting = 0

    def _chance(self, purpose: str) -> random.Random:
        return random.Random(f"{self._schedule.seed}: {purpose}")

    # ------------------------------------------------------------------------------- processes

    def _make_processes(self, counts_steps: bool) -> dict[str, Process]:
        chance = self._chance("processes")
        found: dict[str, Process] = {}
        for participant in self._stores:
            instances = 2 if chance.randrange(TWO_INSTANCES) == 0 and not self._alone else 1
            for number in range(instances):
                name = participant if number == 0 else f"{participant}-2"
                found[name] = Process(
                    name,
                    participant,
                    skew_s=chance.choice((0.0, chance.uniform(-0.5, 0.5))),
                    boot=self._boot,
                    note=self._note,
                    counts_steps=counts_steps,
                )
        return found

    async def _boot(self, life: Life) -> None:
        process = life.process
        store = self._stores[process.participant].connect(life)
        broker = self._broker.connect(life)
        ids = SeededIds(f"{self._schedule.seed}: {process.name} {life.number}", process.clock)
        prefetch = random.Random(f"{self._schedule.seed}: {process.name}").choice((512, 512, 4, 1))
        for participant in self._parts(process.participant):
            runner = Runner(
                participant,
                store=store,
                broker=broker,
                clock=process.clock,
                ids=ids,
                resources=lambda runner: self._resources_of(runner, life),
                prefetch=prefetch,
                alone=self._alone,
            )
            life.parts[participant.name] = runner
            runner.failed.add_done_callback(lambda failed: self._died(process, failed))
        try:
            for runner in life.parts.values():
                await runner.start()
        except StoreUnavailable:
            process.crash(for_s=0.5)  # it ends, and its supervisor starts it anew
            await asyncio.sleep(0)

    def _parts(self, name: str) -> Sequence[Any]:
        if name == TRACKER:
            return self._tracking
        return [each for each in self._world.participants if each.name == name]

    def _queues_of(self, process: Process) -> list[Queue]:
        return [self._broker.queues[each.name] for each in self._parts(process.participant)]

    def _resources_of(self, runner: Runner, life: Life) -> dict[type, object]:
        make = self._resources.get(runner.participant.name)
        found = {} if make is None else make(runner)
        return {wanted: UnreliablePort(inner, life) for wanted, inner in found.items()}

    def _died(self, process: Process, failed: asyncio.Future[None]) -> None:
        if not failed.cancelled() and (error := failed.exception()) is not None:
            self._problem(f"nothing_dies: a task of {process.name} died of {error!r}")

    # --------------------------------------------------------------------------------- hearing

    def _note(self, who: str, what: str, *details: object) -> None:
        self._trace.entries.append(Entry(self._loop.time(), who, what, details))

    def _problem(self, problem: str) -> None:
        for key, name in self._trace.names.items():
            problem = problem.replace(key, name)
        if problem not in self._problems:
            self._problems.append(problem)
            self._note(WORLD, "WRONG", problem)

    def _written(
        self, who: str, namespace: str, writes: Sequence[Write], outcomes: Sequence[Outcome]
    ) -> None:
        for write, fresh in self.truth.record(namespace, writes, outcomes):
            place, version = f"{write.collection}/", f"v{write.expected + 1}"
            self._note(who, "writes", place, write.key, version, *(each.type for each in fresh))
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is not Outcome.DONE:
                self._note(who, outcome.value, f"{write.collection}/", write.key)
        self._commits += 1
        if self._commits % COMMITS_BETWEEN_CHECKS == 0:
            self._check(always=True)
        if self._commits == MOST_COMMITS:
            self._problem(f"it_comes_to_rest: {MOST_COMMITS:,} commits, and no end")
            for process in self._processes.values():
                process.stop()

    def _published(self, message: Message) -> None:
        self._note(message.source.removeprefix("/"), "publishes", message.type, message.subject)
        if message.id not in self.truth.written:
            event = f"{message.type} of {message.subject}"
            self._problem(f"nothing_leaves_unwritten: {event} was published, but never written")

    def _check(self, *, always: bool) -> None:
        for each in self._world.all_invariants:
            if each.always or not always:
                for problem in each.problems(self.truth):
                    self._problem(problem)

    # --------------------------------------------------------------------------------- playing

    async def play(self) -> Result:
        strikes = Strikes(self._processes, self._stores, self._broker, self._queues_of, self._note)
        strikes.arm(self._schedule.faults)
        for process in self._processes.values():
            process.start()
        for act in self._world.prepare:
            await self._act(act)
        begin = self._loop.time()
        strikes.begin(self._schedule.faults)
        acts = [(act, n) for n, script in enumerate(self._schedule.scripts) for act in script.acts]
        self.truth.saga_ids = [script.saga_id for script in self._schedule.scripts]
        tasks = [
            self._loop.create_task(self._act_at(begin + act.at, act, f"{n}"))
            for n, (act, _) in enumerate(acts)
        ]
        await self._until_quiet(begin)
        for task in tasks:
            task.cancel()
        self._check(always=False)
        for process in self._processes.values():
            process.stop()
        return self._result()

    def _result(self) -> Result:
        return Result(
            self._schedule,
            tuple(self._problems),
            self._trace,
            self._loop.time(),
            {each.name: dict(each.reached) for each in self._processes.values()},
            sum(each.crashes for each in self._processes.values()),
        )

    async def _until_quiet(self, begin: float) -> None:
        """Until the faults are over, all sagas have ended and nothing has moved for a while."""
        over = begin + max((fault.ends for fault in self._schedule.faults), default=0.0)
        last = max((act.at for each in self._schedule.scripts for act in each.acts), default=0.0)
        give_up = max(over, begin + last) + self._world.bound_s
        quiet_since: float | None = None
        while self._loop.time() < give_up and not self._problems:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._loop.time()
            if now < over or self._acting or not self._is_quiet():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since >= QUIET_S:
                return

    def _is_quiet(self) -> bool:
        return (
            self._broker.quiet
            and all(process.ready for process in self._processes.values())
            and all(self.truth.ends(saga_id) for saga_id in self.truth.saga_ids)
            and not any(aggregate.retries for *_, aggregate in self.truth.everything())
            and all(server.settled for server in self._stores.values())
        )

    # ---------------------------------------------------------------------------------- acting

    async def _act_at(self, moment: float, act: Act, name: str) -> None:
        self._acting += 1
        await asyncio.sleep(max(moment - self._loop.time(), 0.0))
        await self._act(act, name)
        self._acting -= 1

    async def _act(self, act: Act, name: str | None = None) -> None:
        """As a patient client: asks again, with the same key, until somebody answers."""
        command = type(act.command).__name__
        while True:
            process = self._one_of(act.participant)
            self._note(WORLD, "asks", act.participant, command, act.key)
            try:
                await process.call(lambda life: self._execute(life, act, name))
            except (Down, StoreUnavailable):
                await asyncio.sleep(0.3)
                continue
            except (CommandRefused, Duplicate) as refused:
                self._note(act.participant, "refuses", command, str(refused))
            return

    def _one_of(self, participant: str) -> Process:
        """Whoever is up, the first instance first."""
        found = [each for each in self._processes.values() if each.participant == participant]
        return next((each for each in found if each.ready), found[0])

    async def _execute(self, life: Life, act: Act, name: str | None) -> None:
        runner: Runner = life.parts[act.participant]
        kinds = {kind.name: kind for kind in runner.participant.kinds}
        kind = runner.participant.saga if act.kind is None else kinds[act.kind]
        await runner.execute(kind, act.key, act.command, id=name and f"act-{name}")
