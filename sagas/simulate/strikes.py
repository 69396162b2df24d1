"""Faults at work: each begins at its moment, and is over after its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sagas.simulate.broker import BrokerServer, Queue
from sagas.simulate.process import Process
from sagas.simulate.schedule import Fault, FaultKind
from sagas.simulate.store import StoreServer

__all__ = ["Strikes"]


class Strikes:
    """Knows what each kind of fault is done to."""

    def __init__(
        self,
        processes: Mapping[str, Process],
        stores: Mapping[str, StoreServer],
        broker: BrokerServer,
        queues_of: Callable[[Process], list[Queue]],
        note: Callable[..., None],
    ) -> None:
        self._processes = processes
        self._stores = stores
        self._broker = broker
        self._queues_of = queues_of
        self._note = note

    def arm(self, faults: Iterable[Fault]) -> None:
        """Before anybody starts: those that wait for a process to reach a point."""
        for fault in faults:
            process = self._processes.get(fault.process)
            if fault.at_a_point and process is not None:
                process.waiting_faults.setdefault((fault.point, fault.nth), fault)

    def begin(self, faults: Iterable[Fault]) -> None:
        """Their times count from now."""
        loop = asyncio.get_running_loop()
        for fault in faults:
            if not fault.at_a_point:
                loop.call_later(fault.at, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        self._note(fault.process, fault.kind.value, f"for {fault.for_s:.2f} s")
        kind, loop = fault.kind, asyncio.get_running_loop()
        if kind is FaultKind.BROKER_OUTAGE:
            self._broker.go_away()
            loop.call_later(fault.for_s, self._broker.come_back)
            return
        process = self._processes[fault.process]
        if kind is FaultKind.CRASH:
            process.crash(fault.for_s)
        elif kind is FaultKind.STALL:
            process.stalled_until = max(process.stalled_until, loop.time() + fault.for_s)
        elif kind is FaultKind.CLOCK_JUMP:
            process.clock.skew_s += fault.for_s
        else:
            for place, name in self._switches(fault, process):
                _switch(place, name, 1)
                loop.call_later(fault.for_s, _switch, place, name, -1)

    def _switches(self, fault: Fault, process: Process) -> Iterator[tuple[Any, str]]:
        """What is counted up while the fault lasts: several of a kind may overlap."""
        if fault.kind is FaultKind.PORTS_DOWN:
            yield process, "ports_down"
        elif fault.kind in (FaultKind.STORE_OUTAGE, FaultKind.SLOW_STORE):
            away = fault.kind is FaultKind.STORE_OUTAGE
            yield self._stores[process.participant], "away" if away else "slow"
        else:
            word = "duplicating" if fault.kind is FaultKind.DUPLICATES else "delaying"
            for queue in self._queues_of(process):
                yield queue, word


def _switch(place: Any, name: str, by: int) -> None:
    setattr(place, name, getattr(place, name) + by)
