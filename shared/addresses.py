"""Which IP addresses may be asked: everything that is globally reachable, and nothing else.

The tables follow IANA's special-purpose registries (RFC 6890 and its updates), every row of them, also those few that
are reachable but serve no images (AS112, AMT relays): such services are often run inside a network. IPv6 is read the
other way round: only 2000::/3 has been given out for use on the internet, so all else is refused without being named.

Python's `ipaddress.is_global` is no help: it says yes to multicast, to several forms that embed a private IPv4 address
and, depending on the release, to 6to4.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from shared.errors import UrlRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.urls import Url

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REFUSED_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network (RFC 791); Linux takes 0.0.0.0 for loopback
            "10.0.0.0/8",  # private use (RFC 1918)
            "100.64.0.0/10",  # shared address space of carriers (RFC 6598)
            "127.0.0.0/8",  # loopback (RFC 1122)
            "169.254.0.0/16",  # link local (RFC 3927)
            "172.16.0.0/12",  # private use (RFC 1918)
            "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.31.196.0/24",  # AS112 (RFC 7535)
            "192.52.193.0/24",  # AMT relays (RFC 7450)
            "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
            "192.168.0.0/16",  # private use (RFC 1918)
            "192.175.48.0/24",  # AS112 (RFC 7534)
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",  # documentation (RFC 5737)
            "203.0.113.0/24",  # documentation (RFC 5737)
            "224.0.0.0/4",  # multicast (RFC 5771)
            "240.0.0.0/4",  # reserved (RFC 1112), and the limited broadcast (RFC 8190)
        ),
    )
)

REACHABLE_IPV6 = IPv6Network("2000::/3")
REFUSED_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments (RFC 2928): Teredo, ORCHID, benchmarks and more
            "2001:db8::/32",  # documentation (RFC 3849)
            "2002::/16",  # 6to4 (RFC 3056)
            "2620:4f:8000::/48",  # AS112 (RFC 7534)
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)

# Where clouds hand secrets to whoever asks. Link local addresses are all taken for such, since each provider has others.
# No network that somebody allows opens these by the way: only an entry that is exactly the address does.
METADATA = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # nearly everybody: 169.254.169.254; containers on AWS: 169.254.170.2 and .23
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure's platform services, which is a public address by its number
            "192.0.0.192/32",  # Oracle
            "fe80::/10",  # OpenStack: fe80::a9fe:a9fe
            "fd00:ec2::/32",  # AWS: fd00:ec2::254, and ::23 for containers
            "fd20:ce::254/128",  # Google
            "fd00:c1::a9fe:a9fe/128",  # Oracle
            "fd00:42::42/128",  # Scaleway
        ),
    )
)

_IPV4_IN_LAST_BITS = (
    IPv6Network("::/96"),  # IPv4-compatible (RFC 4291, section 2.5.5.1)
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped (RFC 4291, section 2.5.5.2)
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def may_be_asked(address: Address, allow: Iterable[Network] = ()) -> bool:
    """Whether a connection to the address may be made. `allow` has the networks of BOWERBIRD_FETCH_ALLOW."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        # Each end that the packet may have must be allowed, and the way there as well.
        if not all(may_be_asked(end, allow) for end in embedded(address)):
            return False
    if any(address in network for network in METADATA):
        return any(network.prefixlen == network.max_prefixlen and address in network for network in allow)
    if any(address in network for network in allow):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_IPV4)
    return address in REACHABLE_IPV6 and not any(address in network for network in REFUSED_IPV6)


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Every IPv4 address at which a packet to this IPv6 address may end."""
    value = int(address)
    last = IPv4Address(value & 0xFFFF_FFFF)
    if value <= 1:  # :: and ::1 look like IPv4-compatible addresses, but are none (RFC 4291, section 2.5.5.1)
        return ()
    if any(address in network for network in _IPV4_IN_LAST_BITS) or value >> 32 & 0xFFFF_FFFF in _ISATAP:
        return (last,)
    if address in _TEREDO:
        return IPv4Address(value >> 64 & 0xFFFF_FFFF), IPv4Address(~value & 0xFFFF_FFFF)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(value >> 80 & 0xFFFF_FFFF),)
    if address in _LOCAL_NAT64:
        # The operator chooses the prefix's length, and RFC 6052, section 2.2 has a place for each: 48, 56, 64, 96.
        # Of the four readings those that begin with 0 are the prefix's own padding.
        readings = (
            (value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF,
            (value >> 64 & 0xFF) << 24 | value >> 32 & 0xFF_FFFF,
            value >> 24 & 0xFFFF_FFFF,
            value & 0xFFFF_FFFF,
        )
        return tuple(IPv4Address(reading) for reading in readings if reading >> 24) or (last,)
    return ()


def literal(host: str) -> Address | None:
    """The address that a canonical host (shared/urls.py) is, if it is one and not a name.

    `localhost` and what ends in it are names for loopback by RFC 6761, section 6.3, and count as 127.0.0.1.
    """
    if host.startswith("["):
        return IPv6Address(host[1:-1])
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    # By the URL Standard a host whose last label is a number is an IPv4 address, and its canonical form has four of them.
    return IPv4Address(host) if host[-1:].isdigit() and host.rpartition(".")[2].isdigit() else None


def check_literal(url: Url, allow: Iterable[Network] = ()) -> None:
    """Refuses at once, without DNS, a URL that names an address which may not be asked.

    Raises UrlRefused with the rule url-address. A name that resolves to such an address is the fetcher's to refuse,
    where it dials (services/fetcher/guard.py): an answer of DNS given now may be another one then.
    """
    address = literal(url.host)
    if address is not None and not may_be_asked(address, allow):
        raise UrlRefused("url-address", "The URL's host is an address that may not be asked: only public ones may.")
