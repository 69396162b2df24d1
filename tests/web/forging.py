"""Tokens that somebody made who should not have, and tokens that nobody should take."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from typing import Any

import jwt

from sagas.web.auth import Principal, Tokens

OTHER = "another secret of more than thirty-two characters"


class _At:
    """A clock that stands."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def genuine(secret: str, now: float) -> str:
    """What an issuer with this secret would make."""
    return Tokens(secret, _At(now)).issue(Principal("c1", "customer"))


def _part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _token(header: Any, claims: Any, key: str, digest: str = "sha256") -> str:
    said = f"{_part(header)}.{_part(claims)}"
    return f"{said}.{_part(hmac.digest(key.encode(), said.encode(), digest))}"


def forgeries(secret: str, now: float) -> dict[str, str]:
    """By name. ``secret`` is the real one: much must be refused although it is rightly signed."""
    good = genuine(secret, now)
    header = jwt.get_unverified_header(good)
    claims = jwt.decode(good, options={"verify_signature": False})
    head, body, signature = good.split(".")
    staff = {**claims, "role": "staff"}
    public = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\n-----END PUBLIC KEY-----\n"
    found = {
        # who chooses the algorithm
        "none": f"{_part({**header, 'alg': 'none'})}.{_part(staff)}.",
        "None in odd letters": f"{_part({**header, 'alg': 'nOnE'})}.{_part(staff)}.",
        "none with a signature": f"{_part({**header, 'alg': 'none'})}.{body}.{signature}",
        "HS384": _token({**header, "alg": "HS384"}, claims, secret, "sha384"),
        "HS512": _token({**header, "alg": "HS512"}, claims, secret, "sha512"),
        "RS256 said, HMAC made": _token({**header, "alg": "RS256"}, claims, secret),
        "HMAC under a public key": _token(header, staff, public),
        "RS256 under a public key": _token({**header, "alg": "RS256"}, staff, public),
        "no algorithm": _token({"typ": "JWT", "kid": header["kid"]}, claims, secret),
        # who chooses the key
        "another key": _token(header, claims, OTHER),
        "another key, by its own name": genuine(OTHER, now),
        "an unknown kid": _token({**header, "kid": "0123456789abcdef"}, claims, secret),
        "no kid": _token({"alg": "HS256", "typ": "JWT"}, claims, secret),
        "kid null": _token({**header, "kid": None}, claims, secret),
        "kid a list": _token({**header, "kid": [header["kid"]]}, claims, secret),
        "kid a number": _token({**header, "kid": 0}, claims, secret),
        "kid a path": _token({**header, "kid": "../../../../dev/null"}, staff, ""),
        "kid a query": _token({**header, "kid": "x' UNION SELECT 'k' -- "}, staff, "k"),
        "kid a command": _token({**header, "kid": "k|sleep 9"}, staff, "k"),
        "kid as the key": _token(header, staff, header["kid"]),
        "an empty key": _token(header, staff, ""),
        "a key of its own": _token({**header, "jwk": {"kty": "oct", "k": "aw"}}, staff, "k"),
        "a key elsewhere": _token({**header, "jku": "https://evil.example/k"}, claims, secret),
        "critical nonsense": _token({**header, "crit": ["exp"]}, claims, secret),
        # when, by whom, for whom
        "expired": _token(header, {**claims, "exp": now - 1}, secret),
        "from the future": _token(header, {**claims, "nbf": now + 60}, secret),
        "made in the future": _token(header, {**claims, "iat": now + 60}, secret),
        "for ever": _token(header, {**claims, "exp": math.inf}, secret),
        "until nobody knows": _token(header, {**claims, "exp": math.nan}, secret),
        "until a list": _token(header, {**claims, "exp": [now + 60]}, secret),
        "for others": _token(header, {**claims, "aud": "bank"}, secret),
        "for others too": _token(header, {**claims, "aud": ["sagas", "bank"]}, secret),
        "by others": _token(header, {**claims, "iss": "bank"}, secret),
        "by several": _token(header, {**claims, "iss": ["sagas"]}, secret),
        "nobody's": _token(header, {**claims, "sub": ""}, secret),
        # the same bytes, read otherwise
        "a swapped payload": f"{head}.{_part(staff)}.{signature}",
        "a swapped header": f"{_part({**header, 'typ': 'at+jwt'})}.{body}.{signature}",
        "claims twice": _token(
            header, json.dumps(claims).encode()[:-1] + b', "role": "staff"}', secret
        ),
        "an algorithm twice": _token(
            b'{"alg":"none",' + json.dumps(header).encode()[1:], claims, secret
        ),
        "a header that is a list": _token([header], claims, secret),
        "a header that is a text": _token("HS256", claims, secret),
        "a header that is nothing": _token(None, claims, secret),
        "a header of bad text": _token(b'{"alg":"\xff"}', claims, secret),
        "claims that are a list": _token(header, [claims], secret),
        "claims that are no JSON": _token(header, b"{role: staff}", secret),
        "claims without end": _token(header, b"[" * 2_900, secret),
        "another spelling": good[:-1] + _twin(good[-1]),
        "padded": good + "=",
        "something in between": f"{head}.{body}.!{signature}",
        "a part more": f"{good}.{signature}",
        # not all of it, and too much
        "without a signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "cut off": good[:-2],
        "a longer signature": good + "AA",
        "of sha-1": _token(header, claims, secret, "sha1"),
        "huge": _token(header, {**claims, "more": "x" * 5_000}, secret),
        "a bare hash": hashlib.sha256(secret.encode()).hexdigest(),
    }  # fmt: skip
    for name in ("exp", "nbf", "iat", "iss", "aud", "sub", "role"):
        without = {key: value for key, value in claims.items() if key != name}
        found[f"without {name}"] = _token(header, without, secret)
    return found


def _twin(character: str) -> str:
    """Another one that stands for the same bits at the end of 256."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) ^ 1]
