"""A DNS server of the tests' own, on a port of loopback, whose answers change; and a lookup that asks it as a resolver would.

    async with Dns() as dns:
        dns.names["host.test"] = [["93.184.215.14"], ["127.0.0.1"]]   # one answer after the other, the last for ever
        dns.names["late.test"] = SILENCE
        … Downloader(settings, lookup=dns.lookup) …
        assert dns.asked["host.test"] == 1

Names that aren't there don't exist (RFC 1035, section 4.1.1: name error). Messages are UDP's, as section 4.1 has them.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections import Counter
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

SILENCE: Final = None
"""The answer that never comes."""

SERVER_FAILURE: Final[list[list[str]]] = []
"""The answer of a server that can't answer."""

_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _RECURSION = 0x8180, 0x0100
_SERVFAIL, _NXDOMAIN = 2, 3
_A, _AAAA = 1, 28


class Dns(asyncio.DatagramProtocol):
    """A server. `names` has for each name a list of answers, each a list of addresses; `asked` counts questions (A alone)."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]] | None] = {}
        self.asked: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.address: tuple[str, int] = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    async def lookup(self, host: str) -> Sequence[str]:
        """The addresses of a host by this server. Raises socket.gaierror, as getaddrinfo does."""
        return await lookup(host, self.address)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answers a question."""
        number, *_ = _HEADER.unpack_from(data)
        name, end = _name(data, _HEADER.size)
        (kind,) = struct.unpack_from(">H", data, end)
        question = data[_HEADER.size : end + 4]
        turn, self.asked[name] = self.asked[name], self.asked[name] + (kind == _A)
        code, records = 0, []
        if name not in self.names:
            code = _NXDOMAIN
        elif (answers := self.names[name]) is None:
            return
        elif not answers:
            code = _SERVFAIL
        else:
            # The question for IPv6 addresses comes second, and is about the same answer.
            turn -= kind == _AAAA
            addresses = map(ip_address, answers[min(turn, len(answers) - 1)])
            records = [address.packed for address in addresses if (_A if isinstance(address, IPv4Address) else _AAAA) == kind]
        head = _HEADER.pack(number, _RESPONSE | code, 1, len(records), 0, 0)
        # 0xc00c: the name is that of the question.
        rest = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(record)) + record for record in records)
        self._transport.sendto(head + question + rest, addr)


_numbers = itertools.count(1)


async def lookup(host: str, server: tuple[str, int]) -> list[str]:
    """What a stub resolver does: asks for IPv4 and then for IPv6 addresses, and waits for as long as it takes."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect(server)
        found = []
        for kind in (_A, _AAAA):
            labels = b"".join(bytes([len(label)]) + label for label in host.encode("ascii").split(b"."))
            question = labels + b"\0" + struct.pack(">HH", kind, 1)
            await loop.sock_sendall(udp, _HEADER.pack(next(_numbers) % 65536, _RECURSION, 1, 0, 0, 0) + question)
            found += _records(await loop.sock_recv(udp, 65535))
    return found


def _records(data: bytes) -> list[str]:
    _, flags, _, count, _, _ = _HEADER.unpack_from(data)
    if code := flags & 0xF:
        raise socket.gaierror(socket.EAI_NONAME if code == _NXDOMAIN else socket.EAI_AGAIN, "")
    _, at = _name(data, _HEADER.size)
    at += 4
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from(">H", data, at + 10)
        found.append(str(ip_address(data[at + 12 : at + 12 + length])))
        at += 12 + length
    return found


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return ".".join(labels), at + 1
