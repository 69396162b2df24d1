"""Whose request it is: the address of the client, also behind proxies that are believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from multidict import CIMultiDictProxy

from gateway.values import Network

__all__ = ["client_address", "counted_as", "share_of"]

#: Behind more proxies than this nobody is.
MOST_HOPS = 32

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Some proxies add the port.
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+)(?::\d{1,5})?|([0-9A-Fa-f:.]+)")


def client_address(
    peer: str | None, headers: CIMultiDictProxy[str], trusted: Sequence[Network]
) -> str:
    """The address that a trusted proxy saw, else the peer's own: anybody can write the header.

    Each proxy adds on the right whom it was asked by. So read from there, through those that are
    trusted, to the first one that is not; what stands left of it may be made up.
    """
    if peer and not trusted and ":" not in peer:
        return peer  # the usual case needs no parsing
    client = _parse(peer or "")
    if client is None:
        return peer or "unknown"
    if trusted and _is_in(client, trusted):
        hops = ",".join(headers.getall("X-Forwarded-For", ())).split(",")
        for hop in reversed(hops[-MOST_HOPS:]):
            found = _parse(hop.strip())
            if found is None:
                break
            client = found
            if not _is_in(client, trusted):
                break
    return str(client)


def counted_as(trusted: Sequence[Network], peer: str) -> str:
    """The client that a connection of this peer counts for; ``""`` for a trusted proxy, whose
    connections are those of many."""
    found = _parse(peer)
    if found is None:
        return peer
    return "" if _is_in(found, trusted) else share_of(str(found))


def share_of(address: str) -> str:
    """What is counted as one client: an address, or the network of 2⁶⁴ that one IPv6 line has."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))


def _parse(text: str) -> _Address | None:
    node = _NODE.fullmatch(text)
    if node is None:
        return None
    try:
        address = ipaddress.ip_address(node[1] or node[2] or node[3])
    except ValueError:
        return None
    # An IPv4 client of a socket that speaks both: one client, one address.
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address.version == each.version and address in each for each in networks)
