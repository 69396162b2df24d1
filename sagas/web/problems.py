"""Errors as RFC 9457 problem details, and the one place where exceptions become answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from sagas.errors import BrokerUnavailable, CommandRefused, StoreUnavailable
from sagas.web.context import CONTEXT

__all__ = [
    "PROBLEM_TYPE",
    "Problem",
    "conflict",
    "forbidden",
    "malformed",
    "not_found",
    "overloaded",
    "parameter_error",
    "pointer",
    "pointer_error",
    "problem_of",
    "problem_response",
    "too_large",
    "unauthenticated",
    "unavailable",
    "unprocessable",
    "unsupported_media_type",
    "validation_failed",
]

PROBLEM_TYPE = "application/problem+json"
#: A hostile body can be wrong in thousands of places; nobody reads beyond these.
MAX_ERRORS = 50

log = logging.getLogger(__name__)


class Problem(Exception):
    """An answer other than success. Raise it anywhere below a route.

    ``code`` is a stable word for programs, ``detail`` a sentence for people that never quotes a
    driver. ``errors`` name the faulty places of a request (``pointer_error``,
    ``parameter_error``). ``close`` ends the connection after the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.close = close

    def body(self, instance: str, request_id: str) -> bytes:
        """The problem as JSON, for the request at path ``instance``."""
        members: dict[str, Any] = {
            "type": f"urn:problem-type:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            members["errors"] = self.errors[:MAX_ERRORS]
        return orjson.dumps(members)


def problem_response(
    problem: Problem, request: web.BaseRequest, cls: type[web.Response] = web.Response
) -> web.Response:
    """The answer to this request."""
    context = request.get(CONTEXT)
    request_id = context.request_id if context is not None else ""
    response = cls(
        status=problem.status,
        body=problem.body(request.rel_url.raw_path, request_id),
        headers={**problem.headers, "Content-Type": PROBLEM_TYPE},
    )
    if problem.close:
        response.force_close()
    return response


# ------------------------------------------------------------------------------- the usual ones


def malformed(detail: str) -> Problem:
    """400: this is no JSON, or no HTTP, that anybody could read."""
    return Problem(400, "malformed_request", detail)


def unauthenticated(detail: str) -> Problem:
    """401: nobody knows who is calling."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def forbidden(detail: str = "Your role does not allow this.") -> Problem:
    """403: the caller is known and may not."""
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "There is nothing here.") -> Problem:
    """404: it does not exist, or not for this caller."""
    return Problem(404, "not_found", detail)


def conflict(code: str, detail: str) -> Problem:
    """409: not in the state that things are in."""
    return Problem(409, code, detail)


def too_large(limit_bytes: int) -> Problem:
    """413. Closes: what is left of the body is not worth reading."""
    detail = f"The body is larger than {limit_bytes} bytes."
    return Problem(413, "body_too_large", detail, close=True)


def unsupported_media_type(detail: str) -> Problem:
    """415."""
    return Problem(415, "unsupported_media_type", detail, headers={"Accept": "application/json"})


def unprocessable(code: str, detail: str) -> Problem:
    """422: well formed and understood, but it cannot be done."""
    return Problem(422, code, detail)


def unavailable(detail: str = "This service cannot do its work just now.") -> Problem:
    """503: try again."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": "1"})


def overloaded(detail: str, retry_after_s: int = 1) -> Problem:
    """503: too much at once. Unlike ``unavailable`` it is nobody's fault: the gateway's breaker
    takes no verdict from it."""
    return Problem(503, "overloaded", detail, headers={"Retry-After": str(retry_after_s)})


# ----------------------------------------------------------------------------------- validation


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901: ``("lines", 0, "a/b")`` is ``/lines/0/a~1b``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def pointer_error(path: Sequence[str | int], detail: str) -> dict[str, str]:
    """A fault at a place of the body."""
    return {"pointer": pointer(path), "detail": detail}


def parameter_error(name: str, detail: str) -> dict[str, str]:
    """A fault of a query parameter."""
    return {"parameter": name, "detail": detail}


def validation_failed(
    *errors: Mapping[str, str], detail: str = "The request is not valid; see errors."
) -> Problem:
    """422: each fault with its place."""
    return Problem(422, "validation_failed", detail, errors=errors)


def invalid_body(error: ValidationError) -> Problem:
    """The 422 for a body that does not fit its model."""
    return validation_failed(*(pointer_error(path, said) for path, said in _faults(error)))


def invalid_query(error: ValidationError) -> Problem:
    """The 422 for a query string that does not fit its model."""
    return validation_failed(
        *(parameter_error(str(path[0]) if path else "", said) for path, said in _faults(error))
    )


def _faults(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        (fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in faults[:MAX_ERRORS]
    ]


# ---------------------------------------------------------------------------------- exceptions

#: What aiohttp raises by itself, in our words. Everything else keeps its HTTP phrase.
_HTTP = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This resource does not know this method; see Allow."),
    413: ("body_too_large", "The body is too large."),
    417: ("expectation_failed", "Only Expect: 100-continue is understood."),
}


def problem_of(
    error: Exception, statuses: Mapping[str, int] | None = None, request_id: str = ""
) -> Problem:
    """The answer for whatever a handler raised; what is unexpected is logged here, with its stack.

    ``statuses`` maps codes of ``CommandRefused`` to statuses; the others are 409.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, CommandRefused):
        return Problem((statuses or {}).get(error.code, 409), error.code, error.detail)
    if isinstance(error, StoreUnavailable | BrokerUnavailable):
        log.warning("request %s answered 503: %s", request_id, error)
        return unavailable()
    if isinstance(error, web.HTTPException):
        return _from_http(error)
    log.error("request %s answered 500", request_id, exc_info=error)
    return Problem(500, "internal_error", "Something went wrong here; it has been logged.")


def _from_http(error: web.HTTPException) -> Problem:
    phrase = HTTPStatus(error.status).phrase
    code, detail = _HTTP.get(error.status, (phrase.lower().replace(" ", "_"), f"{phrase}."))
    kept = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
    return Problem(error.status, code, detail, headers=kept, close=error.status == 413)
