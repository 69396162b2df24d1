"""Refresh tokens: "<family>.<secret>", of which the store keeps only digests.

Whoever presents a family has held one of its tokens, or could not know it: so a second use of a
token, and signing out, may end the whole family, whichever of its tokens it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

__all__ = ["RefreshToken"]

_TOKEN = re.compile(r"([0-9a-zA-Z-]{1,64})\.([0-9A-Za-z_-]{43})")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """``family`` is 128 bits in hexadecimal, the same in all tokens of a session; ``secret`` is 256
    bits in URL-safe base64, another one in each."""

    family: str
    secret: str

    @classmethod
    def first(cls) -> RefreshToken:
        """Of a new family."""
        return cls(secrets.token_hex(16), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> RefreshToken | None:
        """``None`` for what is none of ours."""
        found = _TOKEN.fullmatch(text)
        return None if found is None else cls(found[1], found[2])

    def successor(self, operation_id: str) -> RefreshToken:
        """What the operation that uses this token up answers.

        Derived rather than drawn: if the process dies between the write and the answer, the
        repeat finds the same token again, although only its digest was stored. It takes both the
        old secret (the client's) and the operation's id (ours) to know it.
        """
        key, message = self.secret.encode(), operation_id.encode()
        derived = hmac.digest(key, message, "sha256")
        secret = base64.urlsafe_b64encode(derived).rstrip(b"=").decode()
        return RefreshToken(self.family, secret)

    @property
    def session(self) -> str:
        """What the session is called in the store. Who reads that there, or in a log, cannot end
        the session: the way back to the family is as long as guessing it."""
        return hashlib.sha256(self.family.encode()).hexdigest()[:32]

    @property
    def digest(self) -> str:
        # A plain hash is enough here: 256 random bits cannot be guessed, unlike a password.
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.family}.{self.secret}"

    def __repr__(self) -> str:
        return f"<RefreshToken of {self.session}>"  # nothing of it: this may reach a log
