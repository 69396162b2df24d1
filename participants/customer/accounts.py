"""The routes of customers."""

from __future__ import annotations

from aiohttp import web

from contracts.api import customers as api
from contracts.api.base import Page
from participants.customer.domain import Customer
from participants.customer.passwords import Passwords
from participants.customer.sessions import find_by_email
from participants.customer.steps import (
    ChangeCustomer,
    DeleteCustomer,
    RegisterCustomer,
    customer,
)
from participants.editing import Versions, edit
from participants.service import STAFF_ONLY, ServiceContext, execute, is_staff, list_page
from sagas import Duplicate
from sagas.web.auth import require
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import etag_of, not_modified
from sagas.web.idempotency import ANY_ANSWER
from sagas.web.operations import ANYBODY, Operation
from sagas.web.problems import Problem, conflict, not_found

__all__ = ["CustomerRoutes"]

ONE = "/api/customers/{customer_id}"
ME = {"customer_id": "me"}
ADDRESS = {
    "line1": "1 Main St",
    "city": "Springfield",
    "postal_code": "12345",
    "country": "US",
}


class CustomerRoutes:
    """Another's id is unknown here (404), except to staff. ``me`` is the caller.

    Of a deleted customer only staff still see the anonymised record, by its id; lists leave it out.
    """

    def __init__(self, context: ServiceContext, passwords: Passwords) -> None:
        self._runner = context.runner
        self._passwords = passwords

    @Operation(
        "POST",
        "/api/customers",
        "Register",
        {201: api.Customer},
        who=ANYBODY,
        body=api.RegisterCustomer,
        once=True,
        # What names a person, or is secret, is not for keeping.
        forget=ANY_ANSWER,
        refuses={409: ("email_taken",), 503: ("overloaded",)},
        examples={
            "short": {
                "name": "Ada Moore",
                "email": "ada@example.com",
                "password": "correct horse battery",
            },
            "whole": {
                "name": "Ben Moore",
                "email": "ben@example.com",
                "password": "correct horse battery",
                "phone": "+1 555 0100",
                "address": ADDRESS,
            },
        },
    )
    async def register(self, request: web.Request) -> web.Response:
        content = await read_json(request, api.RegisterCustomer)
        # Asked before the work of hashing, which is for nothing when it is taken.
        existing = await find_by_email(self._runner, content.email)
        if existing is not None and existing.customer_id != operation_id(request):
            raise _email_taken()
        new = Customer(
            customer_id=operation_id(request),
            name=content.name,
            email=content.email,
            phone=content.phone,
            address=content.address,
            role="customer",
            password_hash=await self._passwords.hash(content.password),
        )
        command = RegisterCustomer(new=new)
        try:
            reply = await execute(request, self._runner, customer.saga, new.customer_id, command)
        except Duplicate:
            raise _email_taken() from None
        return _answer(reply.state, 201)

    @Operation(
        "GET",
        "/api/customers",
        "Look through the customers, newest first",
        {200: Page[api.Customer]},
        who=STAFF_ONLY,
        query=api.CustomersQuery,
        sample={"limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        asked = read_query(request, api.CustomersQuery)
        found = await list_page(
            self._runner,
            customer.saga,
            _resource,
            limit=asked.limit,
            cursor=asked.cursor,
            where={"deleted": False},
        )
        return json_response(found)

    @Operation("GET", ONE, "Read a customer", {200: api.Customer}, places=ME, tagged=True)
    async def get(self, request: web.Request) -> web.Response:
        found = await self._visible(request)
        return not_modified(request, found.version) or _answer(found)

    @Operation(
        "PATCH",
        ONE,
        "Change what is sent; null clears the phone or the address",
        {200: api.Customer},
        body=api.ChangeCustomer,
        if_match="optional",
        refuses={409: ("email_taken",)},
        places=ME,
        examples={
            "moved": {"address": {**ADDRESS, "line1": "2 Main St"}},
            "no phone": {"phone": None},
        },
    )
    async def change(self, request: web.Request) -> web.Response:
        whose = _whose(request)
        content = await read_json(request, api.ChangeCustomer)

        def changing(expected: Versions) -> ChangeCustomer:
            return ChangeCustomer(content=content, expected=expected)

        try:
            return _answer(await edit(request, self._runner, customer.saga, whose, changing))
        except Duplicate:
            raise _email_taken() from None

    @Operation(
        "DELETE",
        ONE,
        "Be forgotten: what names the person is removed, in orders too; the orders remain",
        {204: None},
        if_match="optional",
        places=ME,
    )
    async def delete(self, request: web.Request) -> web.Response:
        found = await self._stored(request)
        if not found.deleted:
            await edit(
                *(request, self._runner, customer.saga, found.customer_id),
                lambda expected: DeleteCustomer(expected=expected),
            )
        # Else the repeat of a DELETE whose answer was lost.
        return web.Response(status=204)

    async def _visible(self, request: web.Request) -> Customer:
        found = await self._stored(request)
        if found.deleted and not is_staff(require(request)):
            raise _unknown()
        return found

    async def _stored(self, request: web.Request) -> Customer:
        found = await self._runner.get(customer.saga, _whose(request))
        if not isinstance(found, Customer):
            raise _unknown()
        return found


def _whose(request: web.Request) -> str:
    """The id that the path means, if the caller may know of it."""
    principal = require(request)
    named = request.match_info["customer_id"]
    if named in ("me", principal.subject):
        return principal.subject
    if not is_staff(principal):
        raise _unknown()
    return named


def _resource(state: Customer) -> api.Customer:
    return api.Customer(
        customer_id=state.customer_id,
        name=state.name,
        email=state.email,
        phone=state.phone,
        address=state.address,
        role=state.role,
    )


def _answer(state: Customer, status: int = 200) -> web.Response:
    headers = {"ETag": etag_of(state.version)}
    if status == 201:
        headers["Location"] = f"/api/customers/{state.customer_id}"
    return json_response(_resource(state), status, headers)


def _unknown() -> Problem:
    return not_found("There is no such customer.")


def _email_taken() -> Problem:
    return conflict("email_taken", "Another customer has this e-mail address.")
