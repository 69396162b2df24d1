"""The rules of customers and their sessions: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from contracts.values import Address

__all__ = ["SESSION_S", "Customer", "Role", "Session", "anonymised", "changed", "rotated"]

Role = Literal["customer", "staff"]

#: How long a refresh token is good; each refresh issues a new one.
SESSION_S = 30 * 24 * 3_600.0


class Customer(BaseModel):
    """``version`` counts edits. A deleted customer keeps nothing but the id and the role."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    customer_id: str
    name: str
    email: str
    phone: str | None = None
    address: Address | None = None
    role: Role
    #: Argon2, parameters and salt included; empty once deleted.
    password_hash: str
    version: int = 1
    deleted: bool = False


class Session(BaseModel):
    """One sign-in: a family of refresh tokens, of which only the latest is good.

    ``digest`` is the SHA-256 of its secret; ``former`` that of the one before, which the
    operation ``rotated_by`` used up.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    customer_id: str
    digest: str
    expires: float
    former: str = ""
    rotated_by: str = ""


def changed(customer: Customer, changes: Mapping[str, Any]) -> Customer:
    """With ``changes`` applied; a change that changes nothing is no edit."""
    result = customer.model_copy(update=dict(changes))
    if result == customer:
        return customer
    return result.model_copy(update={"version": customer.version + 1})


def anonymised(customer: Customer) -> Customer:
    """Nothing that names a person is left; the id stays, because orders refer to it."""
    return Customer(
        customer_id=customer.customer_id,
        name="Deleted customer",
        # Still shaped like an address; RFC 2606 sees to it that it never is anybody's.
        email=f"{customer.customer_id}@deleted.invalid",
        role=customer.role,
        password_hash="",
        version=customer.version + 1,
        deleted=True,
    )


def rotated(
    session: Session, presented: str, successor: str, operation_id: str, now: float
) -> Session | None:
    """The session with the ``successor`` of the ``presented`` digest; ``None`` ends it.

    It ends when it has expired, and when a token is used a second time: then a thief and the
    owner both have it, and nobody can tell them apart (RFC 9700, section 4.14.2). A repeat of
    the very operation that used the token up is neither.
    """
    if now >= session.expires:
        return None
    if compare_digest(presented, session.digest):
        return Session(
            customer_id=session.customer_id,
            digest=successor,
            expires=now + SESSION_S,
            former=presented,
            rotated_by=operation_id,
        )
    repeats = operation_id == session.rotated_by and compare_digest(presented, session.former)
    return session if repeats else None
