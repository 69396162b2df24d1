"""The carrier's signature: over the time and the body, fresh, and compared in constant time."""

from __future__ import annotations

import hmac

import pytest

from participants.shipping import webhook
from participants.shipping.webhook import TOLERANCE_S, is_signed, sign

SECRET, BODY, NOW = "a secret of the carrier and of shipping", b'{"event_id": "e"}', 1_900_000_000
GOOD = sign(BODY, SECRET, NOW)
DIGEST = GOOD.partition("v1=")[2]


@pytest.mark.parametrize("age_s", [0, 1, 299, 300, -300])
def test_a_report_of_the_last_five_minutes_is_taken(age_s: int) -> None:
    assert is_signed(sign(BODY, SECRET, NOW - age_s), BODY, SECRET, NOW)


@pytest.mark.parametrize("age_s", [301, -301, 3_600, NOW])
def test_one_that_was_seen_on_its_way_cannot_be_sent_again_later(age_s: int) -> None:
    assert not is_signed(sign(BODY, SECRET, NOW - age_s), BODY, SECRET, NOW)
    assert not is_signed(GOOD, BODY, SECRET, NOW + TOLERANCE_S + 1)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        DIGEST,
        f"v1={DIGEST}",
        f"t={NOW}",
        f"t={NOW},v1=",
        f"t={NOW + 1},v1={DIGEST}",
        f"t={NOW},v1={DIGEST[:-1]}",
        f"t={NOW},v1={DIGEST}0",
        f"t={NOW},v1={DIGEST.upper()}",
        f"t={NOW},v0={DIGEST}",
        f"v1={DIGEST},t={NOW}",
        f"t={NOW},v1={'0' * 64},v1={DIGEST}",
        f"t=-{NOW},v1={DIGEST}",
        f"t={NOW}.0,v1={DIGEST}",
        f"t= {NOW},v1={DIGEST}",
        f"t={NOW},v1={DIGEST}\n",
        f"t={'9' * 5_000},v1={DIGEST}",
        sign(BODY, "another secret", NOW),
        sign(BODY, "", NOW),
        sign(BODY + b" ", SECRET, NOW),
        sign(b"", SECRET, NOW),
    ],
)
def test_whatever_else_is_no_signature(header: str | None) -> None:
    assert not is_signed(header, BODY, SECRET, NOW)


def test_time_and_body_cannot_trade_digits() -> None:
    """``1.23…`` and ``12.3…`` are two messages: the point is signed too."""
    assert not is_signed(f"t=19,v1={sign(b'x', SECRET, 1)[-64:]}", b"9.x", SECRET, 19)


def test_how_much_of_a_guess_is_right_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def watched(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(webhook, "compare_digest", watched)
    for guess in ("0" * 64, DIGEST[:32] + "0" * 32, DIGEST):
        is_signed(f"t={NOW},v1={guess}", BODY, SECRET, NOW)
    assert compared == [(64, 64)] * 3
