"""Bearer tokens (RFC 6750): JSON Web Tokens, HS256, made and checked by the ``Clock`` port."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import jwt
from aiohttp import web
from jwt.types import Options

from sagas.ports import Clock
from sagas.web.context import Principal, context_of
from sagas.web.problems import Problem, forbidden, unauthenticated

__all__ = ["Principal", "Tokens", "optional", "require"]

#: The one algorithm: a token does not choose how it is checked.
ALGORITHM = "HS256"
#: Between two machines' clocks: a token made a moment "from now" is no forgery.
SKEW_S = 5.0
MAX_TOKEN = 4_096
MAX_CACHED = 10_000

# PyJWT would compare times with the wall clock: here it checks the signature and the claims only.
_OPTIONS: Options = {
    "require": ["exp", "nbf", "iat", "iss", "aud", "sub", "role"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    not_before: float
    expires: float


class Tokens:
    """Issues and verifies access tokens of one issuer for one audience."""

    def __init__(
        self,
        secret: str,
        clock: Clock,
        ttl_s: int = 3_600,
        *,
        issuer: str = "sagas",
        audience: str = "sagas",
    ) -> None:
        self.ttl_s = ttl_s
        self._secret = secret
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        # A signature costs more than most of a request's other work, and callers come back.
        self._seen: OrderedDict[str, _Verified] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """A token that is good from now for ``ttl_s``."""
        now = int(self._clock.now())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.subject,
            "role": principal.role,
            "iat": now,
            "nbf": now,
            "exp": now + self.ttl_s,
        }
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> Principal:
        """Whose token this is. Raises 401 when it is forged, expired or not ours."""
        verified = self._seen.get(token)
        if verified is None:
            verified = self._decode(token)
            self._seen[token] = verified
            if len(self._seen) > MAX_CACHED:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(token)
        # On every use, cached or not: a signature stays right, a token does not.
        now = self._clock.now()
        if now >= verified.expires or now < verified.not_before - SKEW_S:
            raise _refused("The token has expired, or is not valid yet.")
        return verified.principal

    def authenticate(self, authorization: str) -> Principal:
        """Who sends this ``Authorization`` header."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise _refused("Authorization must be 'Bearer' and one token.")
        return self.verify(token)

    def _decode(self, token: str) -> _Verified:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                [ALGORITHM],
                options=_OPTIONS,
                issuer=self._issuer,
                audience=self._audience,
            )
            subject, role = claims["sub"], claims["role"]
            if not (isinstance(subject, str) and subject and isinstance(role, str)):
                raise ValueError("sub and role must be text")
            not_before, expires = float(claims["nbf"]), float(claims["exp"])
            if not (math.isfinite(not_before) and math.isfinite(expires)):
                raise ValueError("a token ends")
            return _Verified(Principal(subject, role), not_before, expires)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise _refused("The token is not valid.") from None


def optional(request: web.BaseRequest) -> Principal | None:
    """Who calls, or ``None`` for an anonymous caller."""
    return context_of(request).principal


def require(request: web.BaseRequest, role: str | None = None) -> Principal:
    """Who calls: 401 for an anonymous caller, 403 for one without ``role``."""
    principal = context_of(request).principal
    if principal is None:
        raise unauthenticated("Send an access token: 'Authorization: Bearer …'.")
    if role is not None and principal.role != role:
        raise forbidden()
    return principal


def _refused(detail: str) -> Problem:
    problem = unauthenticated(detail)
    problem.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return problem
