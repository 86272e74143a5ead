"""Who asks: the address that a rate limit counts by."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.settings import Network

MOST_HOPS = 20
_REMEMBERED = 4096


class Clients:
    """Believes X-Forwarded-For only as far as the proxies that the setting names have written it."""

    def __init__(self, proxies: Sequence[Network] = ()) -> None:
        self._any = bool(proxies)
        self._is_proxy = functools.lru_cache(_REMEMBERED)(lambda text: _within(text, proxies))

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """The peer, or who it spoke for: the last address, from the right, that isn't a trusted proxy's. An IPv6 address counts as its /64."""
        if forwarded_for is not None and self._any:
            hops = forwarded_for.decode("latin-1").split(",")[-MOST_HOPS:]
            while hops and self._is_proxy(peer):
                hop = _address_of(hops.pop().strip())
                if hop is None:  # what a proxy of ours wouldn't write
                    break
                peer = hop
        return _counted_as(peer)


def _within(text: str, networks: Sequence[Network]) -> bool:
    address = _parsed(text)
    return address is not None and any(address in network for network in networks)


def _address_of(hop: str) -> str | None:
    """A hop's address; some proxies write its port too."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    return hop if _parsed(hop) else None


@functools.lru_cache(_REMEMBERED)
def _counted_as(text: str) -> str:
    address = _parsed(text)
    if isinstance(address, ipaddress.IPv6Address):
        # Whoever has one IPv6 address has at least the 2^64 beside it.
        return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address) if address else text


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
