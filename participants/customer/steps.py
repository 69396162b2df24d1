"""Customer's reactions: commands on customers and on their sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Never

from contracts.api import customers as api
from contracts.events.customer import CustomerDeleted
from participants.customer.domain import SESSION_S, Customer, Session, anonymised, changed, rotated
from participants.editing import STALE, Versions, is_stale
from sagas import Command, CommandRefused, Context, Decision, Participant, Query, Refusal, Runner
from sagas.ports import Scalar

__all__ = [
    "ChangeCustomer",
    "DeleteCustomer",
    "EndSession",
    "OpenSession",
    "RegisterCustomer",
    "RotateSession",
    "customer",
    "sessions",
]

#: How many sessions of a deleted customer are ended by one commit.
PAGE = 100


def _fields(state: Customer) -> Mapping[str, Scalar]:
    # Without its e-mail a deleted customer's address is free for a new registration.
    return {"email": None if state.deleted else state.email, "deleted": state.deleted}


customer = Participant(
    "customer",
    state=Customer,
    key=lambda event: str(event.customer_id),
    dedupe="none",
    collection="customers",
    fields=_fields,
    names=("email", "deleted"),
    indexes=(("present", "deleted"),),
    unique=("email",),
)

#: Keyed by what the family of its refresh tokens is called here. One that has ended has no state.
sessions = customer.aggregate(
    "sessions",
    Session,
    key=lambda event: str(event.session),
    fields=lambda session: {"customer_id": session.customer_id},
    names=("customer_id",),
    indexes=(("customer_id",),),
)


# ------------------------------------------------------------------------------------- customers


class RegisterCustomer(Command):
    """Its id is that of the operation: a repeat finds the customer that it made."""

    origin: ClassVar[str] = "POST /api/customers"
    new: Customer


class ChangeCustomer(Command):
    """``expected`` are the versions that ``If-Match`` allows."""

    origin: ClassVar[str] = "PATCH /api/customers/{id}"
    content: api.ChangeCustomer
    expected: Versions


class DeleteCustomer(Command):
    """``expected`` as for ``ChangeCustomer``."""

    origin: ClassVar[str] = "DELETE /api/customers/{id}"
    expected: Versions


@customer.command(RegisterCustomer)
def register_customer(
    command: RegisterCustomer, existing: Customer | None
) -> Decision[Customer, Never]:
    return Decision(existing or command.new)


@customer.command(ChangeCustomer)
def change_customer(
    command: ChangeCustomer, existing: Customer | None
) -> Decision[Customer, Never] | Refusal:
    if existing is None or existing.deleted:
        return _unknown()
    if is_stale(command.expected, existing.version):
        return STALE
    return Decision(changed(existing, command.content.changes))


@customer.command(DeleteCustomer, emits=[CustomerDeleted])
def delete_customer(
    command: DeleteCustomer, existing: Customer | None
) -> Decision[Customer, CustomerDeleted] | Refusal:
    if existing is None:
        return _unknown()
    if existing.deleted:
        return Decision(existing)
    if is_stale(command.expected, existing.version):
        return STALE
    forgotten = CustomerDeleted(customer_id=existing.customer_id)
    return Decision(anonymised(existing), forgotten, timers={"end_sessions": 0.0})


@customer.timer("end_sessions")
async def end_sessions(deleted: Customer, runner: Runner) -> Decision[Customer, Never]:
    """A page at a time, by stored timer: a crash in between goes on where it was.

    Nobody waits for this: a refresh asks for the customer, and there is none any more.
    """
    query = Query(where={"customer_id": deleted.customer_id}, limit=PAGE)
    found = await runner.find(sessions, query)
    await asyncio.gather(*(_end(runner, record.key) for record, _ in found))
    return Decision(deleted, timers={"end_sessions": 0.0} if len(found) == PAGE else None)


async def _end(runner: Runner, family: str) -> None:
    with suppress(CommandRefused):  # it ended by itself meanwhile
        await runner.execute(sessions, family, EndSession())


def _unknown() -> Refusal:
    return Refusal("not_found", "There is no such customer.")


# -------------------------------------------------------------------------------------- sessions


class OpenSession(Command):
    origin: ClassVar[str] = "POST /api/sessions"
    customer_id: str
    digest: str


class RotateSession(Command):
    """``presented`` and ``successor`` are digests of secrets."""

    origin: ClassVar[str] = "POST /api/sessions/refresh"
    presented: str
    successor: str
    operation_id: str


class EndSession(Command):
    origin: ClassVar[str] = "DELETE /api/sessions"


@sessions.command(OpenSession)
def open_session(command: OpenSession, ctx: Context) -> Decision[Session, Never]:
    expires = ctx.now + SESSION_S
    return Decision(
        Session(customer_id=command.customer_id, digest=command.digest, expires=expires)
    )


@sessions.command(RotateSession)
def rotate_session(
    command: RotateSession, session: Session | None, ctx: Context
) -> Decision[Session | None, Never] | Refusal:
    if session is None:
        return _no_session()  # a refusal writes nothing: made-up tokens must not fill the store
    return Decision(
        rotated(session, command.presented, command.successor, command.operation_id, ctx.now)
    )


@sessions.command(EndSession)
def end_session(session: Session | None) -> Decision[Session | None, Never] | Refusal:
    return _no_session() if session is None else Decision(None)


def _no_session() -> Refusal:
    return Refusal("no_session", "There is no such session.")
