"""The demo's logins, put in place once."""

from __future__ import annotations

import logging

from participants.customer.domain import Customer
from participants.customer.passwords import Passwords
from participants.customer.sessions import find_by_email
from participants.customer.steps import RegisterCustomer, customer
from participants.demo import DEMO_ACCOUNTS, DemoAccount
from participants.service import ServiceContext
from sagas import Duplicate
from sagas.web.health import Degraded

__all__ = ["seed", "seed_with", "seeded"]

log = logging.getLogger(__name__)


async def seed(context: ServiceContext) -> None:
    await seed_with(context, Passwords())


async def seed_with(context: ServiceContext, passwords: Passwords) -> None:
    """Register the demo accounts that never were; a deleted one stays deleted."""
    if context.settings.seed != "demo":
        return
    for account in DEMO_ACCOUNTS:
        if await context.runner.get(customer.saga, account.customer_id) is None:
            await _register(context, account, await passwords.hash(account.password))


async def _register(context: ServiceContext, account: DemoAccount, password_hash: str) -> None:
    new = Customer(
        customer_id=account.customer_id,
        name=account.name,
        email=account.email,
        role=account.role,
        password_hash=password_hash,
    )
    try:
        # Two seeds at once: the document's id is fixed, so the second finds it and changes nothing.
        await context.runner.execute(customer.saga, new.customer_id, RegisterCustomer(new=new))
    except Duplicate:
        log.warning("the demo %s's address belongs to another customer already", account.role)


async def seeded(context: ServiceContext) -> None:
    """Each demo account exists, or existed."""
    if context.settings.seed != "demo":
        return
    for account in DEMO_ACCOUNTS:
        known = await context.runner.get(customer.saga, account.customer_id)
        if known is None and await find_by_email(context.runner, account.email) is None:
            raise Degraded(f"the demo {account.role} is not registered yet")
