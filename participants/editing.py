"""Edits of one document, each decided on a version that its ``If-Match`` allows.

The condition travels with the command and is decided in the same write. Nobody looks first and then
hopes that nothing came in between, so however many edit at once, nobody loses by bad luck: an edit
is done, or its condition does not hold any more (412).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from participants.service import execute
from sagas import CommandRefused, Kind, Refusal, Runner
from sagas.web.etag import Versions, if_match, stale_version

__all__ = ["STALE", "Versions", "edit", "is_stale"]

STALE: Final = Refusal("stale_version", "It has changed since you read it; read it again.")


def is_stale(expected: Versions, version: int) -> bool:
    """Whether an edit that expects one of these must not be done on this one."""
    return expected is not None and version not in expected


async def edit(
    request: web.Request,
    runner: Runner,
    kind: Kind[Any],
    key: str,
    command: Callable[[Versions], BaseModel],
    *,
    required: bool = False,
) -> Any:
    """The state after ``command`` of the versions that the request allows.

    The command refuses the others with ``STALE``. Raises 412 with the tag that holds now; 428 when
    ``If-Match`` is ``required`` and absent; whatever else ``execute`` raises.
    """
    expected = if_match(request, required=required)
    try:
        return (await execute(request, runner, kind, key, command(expected))).state
    except CommandRefused as refused:
        if refused.code != STALE.code:
            raise
        stored = await runner.get(kind, key)
        # What nobody has touched yet, such as a cart, has version 0.
        raise stale_version(0 if stored is None else stored.version) from None
