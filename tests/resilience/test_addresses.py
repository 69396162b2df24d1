"""Whose address a request is counted under: nobody gains a second bucket by writing a header."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.addresses import client_address, share_of

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
WE = "203.0.113.9"


def headers(*lines):
    return CIMultiDictProxy(CIMultiDict([("X-Forwarded-For", line) for line in lines]))


def forgeries(count):
    """Lists of lines: addresses of all kinds and spellings, nonsense, and what proxies write."""
    chance = random.Random(0)
    odd = [
        *("", " ", ",", "unknown", "_hidden", "127.0.0.1", "::1", "10.0.0.1", "localhost", "0"),
        *("1.2.3.4:80", "[2001:db8::1]:443", "[::1]", "::ffff:10.0.0.1", "1.2.3", "01.2.3.4"),
        *("for=1.2.3.4", '"1.2.3.4"', "1.2.3.4;", "999.1.1.1", "1" * 500, "ä", "fe80::1%eth0"),
    ]

    def hop():
        return chance.choice(
            (
                lambda: chance.choice(odd),
                lambda: str(IPv4Address(chance.getrandbits(32))),
                lambda: str(IPv6Address(chance.getrandbits(128))),
                lambda: f"::ffff:{IPv4Address(chance.getrandbits(32))}",
                lambda: f"10.{chance.randrange(256)}.0.{chance.randrange(256)}",
            )
        )()

    for _ in range(count):
        yield [
            chance.choice((", ", ",", " ,")).join(hop() for _ in range(chance.randrange(1, 6)))
            for _ in range(chance.randrange(1, 4))
        ]


def test_ten_thousand_forged_headers_are_one_client():
    found = {share_of(client_address(WE, headers(*lines), ())) for lines in forgeries(10_000)}
    assert found == {WE}


def test_a_proxy_that_is_not_on_the_list_is_a_client():
    found = {share_of(client_address(WE, headers(*lines), PROXIES)) for lines in forgeries(10_000)}
    assert found == {WE}


@pytest.mark.parametrize("written", [WE, f"{WE}:4711", f"::ffff:{WE}", f" {WE} "])
def test_behind_a_trusted_proxy_only_what_it_wrote_itself_counts(written):
    for lines in forgeries(2_500):
        for sent in ([*lines, written], [*lines[:-1], f"{lines[-1]}, {written}"]):
            assert client_address("10.0.0.1", headers(*sent), PROXIES) == WE
            chain = [*sent, "10.1.2.3", "fd00::7"]
            assert client_address("10.0.0.1", headers(*chain), PROXIES) == WE


def test_a_proxy_that_says_nothing_or_nonsense_answers_for_itself():
    for lines in ((), ("",), ("unknown",), (f"{WE}, unknown",), (f"{WE}, ,",)):
        assert client_address("10.0.0.1", headers(*lines), PROXIES) == "10.0.0.1"


def test_an_endless_chain_is_not_followed():
    lines = ["10.0.0.2"] * 10_000
    assert client_address("10.0.0.1", headers(WE, *lines), PROXIES) == "10.0.0.2"


def test_one_line_of_ipv6_is_one_client_whatever_address_it_takes():
    chance = random.Random(0)
    mine = int(IPv6Address("2001:db8:1:2::"))
    found = {
        share_of(client_address(str(IPv6Address(mine | chance.getrandbits(64))), headers(), ()))
        for _ in range(10_000)
    }
    assert found == {"2001:db8:1:2::/64"}
    assert share_of("2001:db8:1:3::1") == "2001:db8:1:3::/64"
    assert share_of("fe80::1%eth0") == "fe80::/64"


def test_ipv4_is_the_same_client_over_either_kind_of_socket():
    assert client_address(f"::ffff:{WE}", headers(), ()) == WE
    assert client_address("::ffff:10.0.0.1", headers(WE), PROXIES) == WE


def test_a_client_without_an_address_is_one_too():
    assert share_of(client_address(None, headers(), ())) == "unknown"
    assert share_of(client_address("", headers(), PROXIES)) == "unknown"
