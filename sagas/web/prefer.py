"""``Prefer: wait=N`` (RFC 7240): how long a caller would like to wait for the outcome."""

from __future__ import annotations

import re
from typing import Any, Final

from multidict import CIMultiDictProxy

__all__ = ["MAX_WAIT_S", "PREFER", "preferred_wait_s"]

MAX_WAIT_S = 30

#: The header as an OpenAPI document describes it.
PREFER: Final[dict[str, dict[str, Any]]] = {
    "Prefer": {
        "description": "`wait=N`: answer when it is settled, or after N seconds (30 at most).",
        "schema": {"type": "string"},
        "example": "wait=5",
    }
}

_WAIT = re.compile(r'\s*wait\s*=\s*(?:"([0-9]+)"|([0-9]+))\s*(?:;.*)?', re.IGNORECASE)


def preferred_wait_s(headers: CIMultiDictProxy[str]) -> int | None:
    """Seconds, at most 30; ``None`` without the preference. Malformed is ignored, as the RFC asks.

    Answer with ``Preference-Applied: wait=N``.
    """
    for line in headers.getall("Prefer", ()):
        for preference in line.split(","):
            if found := _WAIT.fullmatch(preference):
                digits = (found[1] or found[2]).lstrip("0")
                # However many digits a number has, it is over 30 from the third on.
                return MAX_WAIT_S if len(digits) > 2 else min(int(digits or "0"), MAX_WAIT_S)
    return None
