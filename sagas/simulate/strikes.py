"""Faults at work: each begins at its moment, and is over after its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sagas.simulate.deployment import Deployment
from sagas.simulate.loop import WorldLoop
from sagas.simulate.process import Process
from sagas.simulate.schedule import SECOND, Fault, FaultKind

__all__ = ["Strikes"]

#: Faults that are counted up while they last: several of a kind may overlap.
_OF_PROCESS = {FaultKind.PORTS_DOWN: "ports_down", FaultKind.PORTS_LATE: "ports_late"}
_OF_STORE = {FaultKind.STORE_OUTAGE: "away", FaultKind.SLOW_STORE: "slow"}
_OF_QUEUES = {FaultKind.DUPLICATES: "duplicating", FaultKind.DELAYS: "delaying"}


class Strikes:
    """Knows what each kind of fault is done to."""

    def __init__(self, deployment: Deployment, loop: WorldLoop, note: Callable[..., None]) -> None:
        self._deployment = deployment
        self._loop = loop
        self._note = note

    def arm(self, faults: Iterable[Fault]) -> None:
        """Before anybody starts: those that wait for a process to reach a point."""
        for fault in faults:
            if fault.at_a_point and (process := self._process(fault)) is not None:
                process.waiting_faults.setdefault((fault.point, fault.nth), fault)

    def begin(self, faults: Iterable[Fault]) -> None:
        """Their times count from now."""
        for fault in faults:
            if not fault.at_a_point:
                self._loop.after(fault.at, self._strike, fault)

    def _process(self, fault: Fault) -> Process | None:
        """Whom it concerns: the first instance where there is no second; in some worlds nobody."""
        processes = self._deployment.processes
        return processes.get(fault.process) or processes.get(fault.process.removesuffix(SECOND))

    def _strike(self, fault: Fault) -> None:
        kind, loop = fault.kind, self._loop
        if kind is FaultKind.BROKER_OUTAGE:
            self._note(fault.process, kind.value, f"for {fault.for_s:.2f} s")
            broker = self._deployment.broker
            broker.go_away()
            loop.after(fault.for_s, broker.come_back)
            return
        process = self._process(fault)
        if process is None:
            return
        process.note(kind.value, f"for {fault.for_s:.2f} s")
        if kind is FaultKind.CRASH:
            process.crash(fault.for_s)
        elif kind is FaultKind.STALL:
            process.stall(fault.for_s)
        elif kind is FaultKind.CLOCK_JUMP:
            process.clock.skew_s += fault.for_s
        else:
            for place, name in self._switches(kind, process):
                _switch(place, name, 1)
                loop.after(fault.for_s, _switch, place, name, -1)

    def _switches(self, kind: FaultKind, process: Process) -> Iterator[tuple[Any, str]]:
        if kind in _OF_PROCESS:
            yield process, _OF_PROCESS[kind]
        elif kind in _OF_STORE:
            yield self._deployment.stores[process.participant], _OF_STORE[kind]
        else:
            for queue in self._deployment.queues_of(process):
                yield queue, _OF_QUEUES[kind]


def _switch(place: Any, name: str, by: int) -> None:
    setattr(place, name, getattr(place, name) + by)
