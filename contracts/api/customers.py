"""Customers and their sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, StringConstraints

from contracts.api.base import ListQuery, Request, Resource
from contracts.values import Address, Email, Name, Password, Phone, Text, sensitive

__all__ = [
    "ChangeCustomer",
    "Customer",
    "CustomersQuery",
    "RefreshSession",
    "RegisterCustomer",
    "Session",
    "SignIn",
    "SignOut",
]

# Generous and unspecific: whatever is not a token of ours is refused by the lookup.
_RefreshToken = Annotated[Text, StringConstraints(min_length=1, max_length=1_000), sensitive()]


class RegisterCustomer(Request):
    """``POST /api/customers``."""

    name: Annotated[Name, sensitive()]
    email: Annotated[Email, sensitive()]
    password: Annotated[Password, sensitive()]
    phone: Annotated[Phone | None, sensitive()] = None
    address: Annotated[Address | None, sensitive()] = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class ChangeCustomer(Request):
    """``PATCH /api/customers/{id}``: what is absent stays; null clears ``phone`` or ``address``.

    An empty change is allowed and changes nothing, as in a merge patch (RFC 7396).
    """

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    # Defaults are never read, only ``changes``: they stand for "absent" without allowing null.
    name: Annotated[Name, sensitive()] = ""
    email: Annotated[Email, sensitive()] = ""
    phone: Annotated[Phone | None, sensitive()] = None
    address: Annotated[Address | None, sensitive()] = None

    @property
    def changes(self) -> dict[str, Any]:
        """The fields that were sent, with their values."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class CustomersQuery(ListQuery):
    """``GET /api/customers`` (staff)."""


class Customer(Resource):
    """A registered person; a deleted one keeps its id and loses what names a person."""

    customer_id: str
    name: Annotated[str, sensitive()]
    email: Annotated[str, sensitive()]
    phone: Annotated[str | None, sensitive()]
    address: Annotated[Address | None, sensitive()]
    role: Literal["customer", "staff"]


class SignIn(Request):
    """``POST /api/sessions``. Only bounded: a wrong e-mail is refused like a wrong password."""

    email: Annotated[Text, StringConstraints(min_length=1, max_length=254), sensitive()]
    password: Annotated[Text, StringConstraints(min_length=1, max_length=200), sensitive()]


class RefreshSession(Request):
    """``POST /api/sessions/refresh``: the token is used up and answered by a new one."""

    refresh_token: _RefreshToken


class SignOut(Request):
    """``DELETE /api/sessions``."""

    refresh_token: _RefreshToken


class Session(Resource):
    """What a signed-in client keeps; ``expires_in`` in seconds."""

    access_token: Annotated[str, sensitive()]
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    refresh_token: Annotated[str, sensitive()]
    customer_id: str
    role: Literal["customer", "staff"]
