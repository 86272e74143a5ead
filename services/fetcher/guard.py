"""The hook where sockets are made: the address that is checked is the address that is dialled.

Two places, both passed by every connection of the session, redirects and retries included:

1. `GuardedResolver` resolves a name once for each connection, with a time limit, and refuses the whole answer if one of
   its addresses may not be asked: a host with one foot inside is no public host.
2. `Guard.socket` gets each address from the connector right before it connects, after every cache and for literal
   addresses too. No check elsewhere is needed for safety; those elsewhere are for a faster or better answer.

A connection kept alive was checked when it was made, and cannot change its other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.addresses import embedded, literal, may_be_asked
from shared.errors import PermanentError, Reason, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohappyeyeballs.types import AddrInfoType

    from shared.addresses import Address, Network
    from shared.settings import Settings
    from shared.urls import Url

DNS_TIMEOUT = 5.0
LOOKUPS = 64
"""Lookups under way at once, unless told otherwise. Each holds a thread until the system's resolver gives up, which may be later than DNS_TIMEOUT."""

LOOKUPS_FOR_EACH = 2
"""The same for each download that may be under way: so it finds one free also when the one before it in its place gave up waiting."""

MAX_ADDRESSES = 8
"""Of an answer, so many are dialled at most: nobody should make us knock on a hundred doors."""

DNS_CACHE_SECONDS = 10
# The same words for every refusal: whoever sent the URL learns nothing about what is behind the name.
_BLOCKED = "The host's address is not one that may be asked: only public ones may."
_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class AddressBlocked(OSError):
    """An address that may not be dialled. An OSError, since aiohappyeyeballs keeps no other when it tries several."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, _BLOCKED)


def blocked() -> PermanentError:
    """The error that a caller sees for each refused address."""
    return PermanentError(Reason.BLOCKED, _BLOCKED)


class Lookup(Protocol):
    """Resolves a name to the text of its addresses. Raises socket.gaierror as getaddrinfo does."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """The addresses, best first."""
        ...


class Guard:
    """Decides for one set of allowed and denied networks, of which the denied win, and makes the sockets of a connector."""

    def __init__(self, allow: Sequence[Network] = (), deny: Sequence[Network] = ()) -> None:
        self._allow = allow
        self._deny = deny

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The guard that the settings ask for: one reading of them for images, pages and callbacks."""
        return cls(settings.fetch_allow, settings.fetch_deny)

    def permits(self, address: str) -> bool:
        """Whether an address, as text, may be dialled. What is no address may not."""
        try:
            return self._may_be_asked(ip_address(address))
        except ValueError:
            return False

    def _may_be_asked(self, address: Address) -> bool:
        ends = (address, *embedded(address)) if isinstance(address, IPv6Address) else (address,)
        return not any(end in network for end in ends for network in self._deny) and may_be_asked(address, self._allow)

    def check(self, url: Url) -> None:
        """Refuses a literal address before anything is done for it. Raises PermanentError (blocked)."""
        address = literal(url.host)
        if address is not None and not self._may_be_asked(address):
            raise blocked()
        # A name without a dot is looked up in this machine's own search domains: it is inside by its nature.
        if address is None and "." not in url.host and not self._allow:
            raise blocked()

    def socket(self, info: AddrInfoType) -> socket.socket:
        """The connector's socket_factory. Raises AddressBlocked before there is a socket."""
        family, kind, protocol, _, address = info
        if family not in {socket.AF_INET, socket.AF_INET6} or not self.permits(str(address[0])):
            raise AddressBlocked
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """A resolver for aiohttp's connector, which checks whole answers.

    Raises PermanentError (blocked; dns if the name does not exist, which DNS servers say with authority) or
    TransientError (dns: no answer within the time limit, or a server that failed).
    """

    def __init__(self, guard: Guard, lookup: Lookup, *, timeout: float = DNS_TIMEOUT) -> None:
        self._guard = guard
        self._lookup = lookup
        self._timeout = timeout

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a host; see the class for its errors."""
        try:
            async with asyncio.timeout(self._timeout):
                addresses = await self._lookup(host)
        except TimeoutError:
            raise TransientError(Reason.DNS, "The host's name was not resolved in time.") from None
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_HOST:
                raise PermanentError(Reason.DNS, "The host's name does not exist.") from None
            raise TransientError(Reason.DNS, "The host's name could not be resolved.") from None
        if not all(self._guard.permits(address) for address in addresses):
            raise blocked()
        results = [_result(host, port, address) for address in dict.fromkeys(addresses)]
        chosen = [result for result in results if family in {socket.AF_UNSPEC, result["family"]}]
        if not chosen:
            raise PermanentError(Reason.DNS, "The host's name has no address.")
        return chosen[:MAX_ADDRESSES]

    async def close(self) -> None:
        """Nothing to close: threads that still wait for the system's resolver don't keep the process."""


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": flags}


class SystemLookup:
    """The system's resolver (files, DNS, whatever nsswitch.conf says), in threads of its own.

    Not in the event loop's executor, nor libuv's four threads: names that never answer, which anybody can post, would
    hold all of them. Daemon threads, since the system's resolver can't be interrupted and an exit must not wait for it.
    """

    def __init__(self, limit: int = LOOKUPS) -> None:
        self._free = asyncio.Semaphore(limit)

    async def __call__(self, host: str) -> Sequence[str]:
        """Addresses in the system's order of preference. Raises socket.gaierror."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str], error: Exception | None) -> None:
            self._free.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(addresses)
            else:
                answer.set_exception(error)

        def look_up() -> None:
            addresses, failure = [], None
            try:
                # As bytes: for text Python applies an IDNA of its own, older than the URL parser's.
                found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
                addresses = [str(info[4][0]) for info in found]
            except Exception as error:  # noqa: BLE001  (carried over to the event loop, whatever it is)
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(settle, addresses, failure)

        threading.Thread(target=look_up, name="dns", daemon=True).start()
        return await answer


def connector(guard: Guard, lookup: Lookup | None = None, *, lookups: int = LOOKUPS, dns_timeout: float = DNS_TIMEOUT) -> aiohttp.TCPConnector:
    """A connector all of whose connections the guard has seen. How many there are is the caller's to limit.

    Without a `lookup` it asks the system's resolver, with so many `lookups` at once.
    """
    return aiohttp.TCPConnector(
        limit=0,
        # Long enough for the next image of a page; short, since each idle one is a file descriptor.
        keepalive_timeout=5,
        # A cache of checked answers, of 1,000 hosts at most; what it gives is checked again when it is dialled.
        ttl_dns_cache=DNS_CACHE_SECONDS,
        resolver=GuardedResolver(guard, lookup or SystemLookup(lookups), timeout=dns_timeout),
        socket_factory=guard.socket,
    )
