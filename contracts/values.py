"""Values that travel: money, addresses, names of things. Strict and frozen; a bad one cannot exist.

Strict: ``true``, ``"2"`` and ``1.5`` are no integers. Text is taken as it came, never trimmed, and
refused when it has control characters. Every integer fits in 64 bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from contracts.countries import COUNTRY_CODES

__all__ = [
    "MAX_MONEY",
    "MAX_QUANTITY",
    "MAX_STOCK",
    "Address",
    "Category",
    "Country",
    "Currency",
    "Delta",
    "Description",
    "Email",
    "Identifier",
    "InSchema",
    "Money",
    "MoneyAmount",
    "Name",
    "Password",
    "PaymentToken",
    "Phone",
    "PostalCode",
    "Quantity",
    "Reason",
    "Sku",
    "Text",
    "Time",
    "Value",
    "sensitive",
]

#: Far above any order, far below 2**63: sums of thousands of such amounts still fit.
MAX_MONEY = 10**12
MAX_QUANTITY = 1_000
MAX_STOCK = 10**9

# C0 with newline and NUL, DEL, C1, and lone surrogates, which no UTF-8 can carry.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CURRENCY = r"^[A-Z]{3}$"
_SKU = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_TOKEN = r"^[\x21-\x7e]+$"
# The HTML standard's rule for <input type=email>, with at least one dot in the domain.
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
)
# What a schema says of the same rules: a reader of it shall not be refused for what it allows.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")


def sensitive() -> Any:
    """Marks a field as secret or personal: views, logs, journal and listings redact it.

    Stands in the field's own annotation: ``address: Annotated[Address | None, sensitive()]``.
    """
    return Field(json_schema_extra={"sensitive": True})


class Value(BaseModel):
    """Base of what is validated: exact types, no unknown field, no change afterwards, and what is
    wrong is never quoted: it may be a password, and errors are logged."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, eq=False)
class InSchema:
    """What a validator in Python checks, said in the JSON schema too."""

    said: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self.said}


# ----------------------------------------------------------------------------------------- text


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _not_blank(text: str) -> str:
    if not text or text.isspace():
        raise ValueError("must not be blank")
    return text


#: Any text without control characters; narrow it by length where it is used.
_ANY = (AfterValidator(_printable), InSchema({"pattern": _PRINTABLE}))
Text = Annotated[str, *_ANY]

# Lengths come first in each: pydantic checks in this order and words its complaint accordingly.
_LINE = (
    AfterValidator(_printable),
    AfterValidator(_not_blank),
    InSchema({"pattern": _ONE_LINE}),
)

Name = Annotated[str, StringConstraints(min_length=1, max_length=200), *_LINE]
Category = Annotated[str, StringConstraints(min_length=1, max_length=100), *_LINE]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), *_LINE]
Phone = Annotated[str, StringConstraints(min_length=1, max_length=50), *_LINE]
PostalCode = Annotated[str, StringConstraints(min_length=1, max_length=20), *_LINE]
Description = Annotated[str, StringConstraints(max_length=5_000), *_ANY]
Password = Annotated[str, StringConstraints(min_length=10, max_length=200), *_ANY]
#: An id as a client names it: opaque, printable ASCII.
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_TOKEN)]
PaymentToken = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_TOKEN)]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_SKU)]


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address such as someone@example.com")
    return text.lower()


#: Lower-cased, because uniqueness must not depend on how somebody typed it.
Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(_email),
    WithJsonSchema(
        {
            "type": "string",
            "format": "email",
            "maxLength": 254,
            "pattern": f"^{_EMAIL.pattern}$",
        }
    ),
]


def _country(code: str) -> str:
    if code not in COUNTRY_CODES:
        raise ValueError("must be an ISO 3166-1 alpha-2 code such as US")
    return code


Country = Annotated[
    str,
    AfterValidator(_country),
    InSchema({"enum": sorted(COUNTRY_CODES), "description": "ISO 3166-1 alpha-2"}),
]

# -------------------------------------------------------------------------------------- numbers

MoneyAmount = Annotated[int, Field(ge=0, le=MAX_MONEY)]
Currency = Annotated[str, StringConstraints(pattern=_CURRENCY)]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]


def _not_zero(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0")
    return number


#: A change of stock: up or down, never nothing.
Delta = Annotated[
    int,
    Field(ge=-MAX_STOCK, le=MAX_STOCK),
    AfterValidator(_not_zero),
    InSchema({"not": {"const": 0}}),
]


def _instant(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("must have an offset from UTC")
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time such as 2030-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
        # Stored as seconds since the epoch: one that does not come back from there is none.
        return datetime.fromtimestamp(moment.timestamp(), UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be a time that exists") from None


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


#: A moment, written as RFC 3339 with any offset, kept in UTC.
Time = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(_rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

# ----------------------------------------------------------------------------------- composites


class Money(Value):
    """Minor units of one currency; never a float."""

    amount: MoneyAmount
    currency: Currency


class Address(Value):
    """Where a parcel goes. Personal: mark every field of this type as ``sensitive()``."""

    line1: Annotated[Name, sensitive()]
    city: Annotated[Name, sensitive()]
    postal_code: Annotated[PostalCode, sensitive()]
    country: Annotated[Country, sensitive()]
