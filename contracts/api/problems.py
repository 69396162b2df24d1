"""Errors as RFC 9457 problem details."""

from __future__ import annotations

from contracts.api.base import Resource

__all__ = ["ProblemDetails", "ProblemError"]


class ProblemError(Resource):
    """One fault of a request: ``pointer`` (RFC 6901) into its body, or the query ``parameter``."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class ProblemDetails(Resource):
    """``application/problem+json``. Programs decide by ``code``, people read ``detail``."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[ProblemError] | None = None
