"""Bearer tokens (RFC 6750): JSON Web Tokens, HS256, made and checked by the ``Clock`` port.

Strict where the standards leave a choice (RFC 8725): a token is refused for whatever ours never
have, however right its signature is.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

#: Three parts, the last of 256 bits. PyJWT would skip what is no base64 in them.
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")

# PyJWT would compare times with the wall clock: here it checks the signature and the claims only.
_OPTIONS: Options = {
    "require": ["exp", "nbf", "iat", "iss", "aud", "sub", "role"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "strict_aud": True,
}


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    not_before: float
    expires: float


class Tokens:
    """Issues and verifies access tokens of one issuer for one audience.

    ``secret`` signs; it and the ``others`` verify. Each token names its key (``kid``), and one that
    names none of these is refused: so a secret can be replaced without anybody signing in again.
    """

    def __init__(
        self,
        secret: str,
        clock: Clock,
        ttl_s: int = 3_600,
        *,
        others: Sequence[str] = (),
        issuer: str = "sagas",
        audience: str = "sagas",
    ) -> None:
        self.ttl_s = ttl_s
        self._secret = secret
        self._header = {"kid": _key_id(secret)}
        self._keys = {_key_id(each): each for each in (secret, *others)}
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
        return jwt.encode(claims, self._secret, ALGORITHM, self._header)

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

    def authenticate(self, authorization: str, *more: str) -> Principal:
        """Who sends this ``Authorization`` header. Of several, who knows which one the next reads:
        they are refused."""
        if more:
            raise _refused("Send one Authorization header.")
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise _refused("Authorization must be 'Bearer' and one token.")
        return self.verify(token)

    def _decode(self, token: str) -> _Verified:
        try:
            claims = jwt.decode(
                token,
                self._keys[_kid(token)],
                [ALGORITHM],
                options=_OPTIONS,
                issuer=self._issuer,
                audience=self._audience,
            )
            subject, role = claims["sub"], claims["role"]
            if not (isinstance(subject, str) and subject and isinstance(role, str)):
                raise ValueError("sub and role must be text")
            begins = max(float(claims["nbf"]), float(claims["iat"]))
            not_before, expires = begins, float(claims["exp"])
            if not (math.isfinite(not_before) and math.isfinite(expires)):
                raise ValueError("a token ends")
            return _Verified(Principal(subject, role), not_before, expires)
        except (jwt.PyJWTError, LookupError, ValueError, TypeError, OverflowError, RecursionError):
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


def _key_id(secret: str) -> str:
    # Derived, so that nobody has to name keys; one way, so that it tells nothing of the secret.
    return hmac.digest(secret.encode(), b"key id", "sha256").hex()[:16]


def _kid(token: str) -> str:
    """The key that a token names, if it has a form that nobody can read otherwise."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise ValueError("no token")
    header, _ = (
        json.loads(_decoded(part), object_pairs_hook=_unique) for part in found.groups()[:2]
    )
    if not isinstance(header, dict) or header.keys() != {"alg", "typ", "kid"}:
        raise ValueError("no header of ours")
    return str(header["kid"])


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refused(detail: str) -> Problem:
    problem = unauthenticated(detail)
    problem.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return problem
