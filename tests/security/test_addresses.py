"""Addresses, cases 10 to 12: what may be asked, row by row, and that the pipeline knows it too."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.guard import AddressBlocked, Guard
from shared.addresses import may_be_asked
from shared.errors import Reason

if TYPE_CHECKING:
    from shared.addresses import Address, Network
    from tests.security.world import World

pytestmark = pytest.mark.anyio

# Written down from the registries once more, not taken from the code:
# https://www.iana.org/assignments/iana-ipv4-special-registry/ and …/iana-ipv6-special-registry/, multicast and reserved space besides.
IPV4 = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.0.0/29",
    "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
    "255.255.255.255/32", "224.0.0.0/4",
]  # fmt: skip
IPV6 = [
    "::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128",
    "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32",
    "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
ROWS: list[Network] = [*map(IPv4Network, IPV4), *map(IPv6Network, IPV6)]
GIVEN_OUT = IPv6Network("2000::/3")
PRIVATE = st.one_of([st.ip_addresses(v=4, network=network) for network in IPV4])


def dialled(address: Address) -> bool:
    """Whether the hook makes a socket for an address, by the default settings."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        Guard().socket((family, socket.SOCK_STREAM, 0, "", (str(address), 80))).close()
    except AddressBlocked:
        return False
    return True


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_case_10_a_row_of_the_registries_from_first_to_last(row: Network) -> None:
    for address in {row[0], row[-1], row[row.num_addresses // 2]}:
        assert not may_be_asked(address)
        assert not dialled(address)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_case_10_the_neighbours_outside_a_row(row: Network) -> None:
    kind = IPv4Address if row.version == 4 else IPv6Address
    for number in (int(row[0]) - 1, int(row[-1]) + 1):
        if 0 <= number < 2**row.max_prefixlen:
            address = kind(number)
            public = not any(address in other for other in ROWS) and (isinstance(address, IPv4Address) or address in GIVEN_OUT)
            assert may_be_asked(address) == public, address


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_case_10_a_row_of_the_registries_is_refused_by_the_pipeline(here: World, row: Network) -> None:
    if row == ip_address("127.0.0.0"):
        return
    for address in (row[0], row[-1]):
        host = f"[{address}]" if address.version == 6 else str(address)
        assert await here.refused_at_once(f"http://{host}:{here.port}/") == "url-address"
        await here.blocked_in_the_queue(f"http://{host}:{here.port}/")


def forms(private: IPv4Address) -> list[IPv6Address]:
    """The addresses of IPv6 that lead to one of IPv4, or may."""
    value = int(private)
    return [
        IPv6Address(0xFFFF << 32 | value),  # mapped
        IPv6Address(0xFFFF << 48 | value),  # translated
        IPv6Address(value),  # compatible
        IPv6Address(0x64FF9B << 96 | value),  # NAT64, the well-known prefix
        IPv6Address(0x64FF9B0001 << 80 | value),  # NAT64, a local one
        IPv6Address(0x2002 << 112 | value << 80),  # 6to4
        IPv6Address(0x2002 << 112 | value << 80 | 1),
        IPv6Address(0x2001 << 112 | 0x08080808 << 64 | value ^ 0xFFFFFFFF),  # Teredo: the client
        IPv6Address(0x2001 << 112 | value << 64 | 0x08080808 ^ 0xFFFFFFFF),  # Teredo: the server
        IPv6Address(0x2A00 << 112 | 0x5EFE << 32 | value),  # ISATAP
        IPv6Address(0x2A00 << 112 | 0x2005EFE << 32 | value),
    ]


@given(PRIVATE)
def test_case_11_ipv6_forms_of_private_addresses(private: IPv4Address) -> None:
    for form in forms(private):
        assert not may_be_asked(form), form
        assert not dialled(form), form


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1"])
async def test_case_11_ipv6_forms_of_private_addresses_are_refused_by_the_pipeline(here: World, private: str) -> None:
    for number, form in enumerate(forms(IPv4Address(private))):
        assert await here.refused_at_once(f"http://[{form}]:{here.port}/") == "url-address"
        await here.blocked_in_the_queue(f"http://[{form.exploded}]:{here.port}/")
        name = f"form-{number}.{private}.test"
        here.dns.names[name] = [[str(form)]]
        await here.fails(f"http://{name}:{here.port}/", Reason.BLOCKED, attempts=1)


METADATA = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "169.254.170.2", "169.254.170.23", "192.0.0.192", "fd20:ce::254"]


@pytest.mark.parametrize("text", METADATA)
async def test_case_12_the_metadata_addresses(here: World, text: str) -> None:
    host = f"[{text}]" if ":" in text else text
    for path in ("/latest/meta-data/", "/computeMetadata/v1/"):
        assert await here.refused_at_once(f"http://{host}{path}") == "url-address"
        await here.blocked_in_the_queue(f"http://{host}{path}")
    name = f"metadata-{METADATA.index(text)}.test"
    here.dns.names[name] = [[text]]
    await here.fails(f"http://{name}/latest/", Reason.BLOCKED, attempts=1)


@pytest.mark.parametrize("text", METADATA)
def test_case_12_no_network_that_is_allowed_opens_the_metadata_addresses_by_the_way(text: str) -> None:
    address = ip_address(text)
    everything: list[Network] = [
        IPv4Network("0.0.0.0/0"),
        IPv6Network("::/0"),
        IPv4Network("169.254.0.0/16"),
        IPv6Network("fd00::/8"),
        IPv4Network("100.64.0.0/10"),
    ]
    assert not may_be_asked(address, everything)
    for form in forms(address) if isinstance(address, IPv4Address) else []:
        assert not may_be_asked(form, everything)
