"""The carrier's signature on its reports: HMAC-SHA256 over the time and the body."""

from __future__ import annotations

import hashlib
import hmac
import re
from hmac import compare_digest

__all__ = ["TOLERANCE_S", "is_signed", "sign"]

#: A report may be this much older or newer than now: an old one that was seen on its way cannot be
#: sent again later.
TOLERANCE_S = 300.0

_HEADER = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


def sign(body: bytes, secret: str, at: int) -> str:
    """The ``Carrier-Signature`` header of a report sent at ``at`` (seconds since the epoch)."""
    return f"t={at},v1={_digest(body, secret, str(at))}"


def is_signed(header: str | None, body: bytes, secret: str, now: float) -> bool:
    """Whether the header is the carrier's own, and fresh."""
    found = _HEADER.fullmatch(header or "")
    if found is None or abs(now - int(found[1])) > TOLERANCE_S:
        return False
    # Compared in constant time: how much of a guess is right must not show.
    return compare_digest(found[2], _digest(body, secret, found[1]))


def _digest(body: bytes, secret: str, at: str) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
