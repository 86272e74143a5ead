"""No address that is not public is dialled, however it is written, resolved or redirected to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.download import Downloader
from services.fetcher.guard import AddressBlocked, Guard, GuardedResolver, SystemLookup
from services.fetcher.limits import Limits
from shared import urls
from shared.addresses import METADATA, REFUSED_IPV4, REFUSED_IPV6, check_literal, embedded, literal, may_be_asked
from shared.errors import DownloadError, PermanentError, Reason, TransientError, UrlRefused
from shared.settings import Settings
from tests.origin import Origin, body, image, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from shared.addresses import Address, Network

ALLOWED = (ip_network("127.77.0.0/16"),)
SETTINGS = Settings(fetch_allow=ALLOWED)
LIMITS = Limits()
OUTSIDE_2000 = [
    IPv6Network(text) for text in ("::/3", "4000::/2", "8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "5f00::/16")
]
private_ipv4 = st.one_of([st.ip_addresses(v=4, network=str(network)) for network in REFUSED_IPV4])


class Dns:
    """Answers from a table; a list of lists is one answer after the other. Counts its questions."""

    def __init__(self, **names: Sequence[str] | Exception) -> None:
        self.names = {name.replace("_", "."): answer for name, answer in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.names[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextlib.asynccontextmanager
async def canaries() -> AsyncGenerator[list[Origin]]:
    """Listeners on addresses that must never be reached, all on one port."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Origin("127.0.0.1"))
        found = [first]
        with contextlib.suppress(OSError):  # a machine without IPv6
            found.append(await stack.enter_async_context(Origin("::1", first.port)))
        yield found


def neighbours(network: Network) -> list[Address]:
    ends = (int(network[0]) - 1, int(network[-1]) + 1)
    kind = IPv4Address if network.version == 4 else IPv6Address
    return [kind(end) for end in ends if 0 <= end < 2**network.max_prefixlen]


@pytest.mark.parametrize("network", [*REFUSED_IPV4, *REFUSED_IPV6, *OUTSIDE_2000, *METADATA], ids=str)
def test_10_every_row_of_the_registries_is_refused_from_first_to_last(network: Network) -> None:
    assert not may_be_asked(network[0])
    assert not may_be_asked(network[-1])


@pytest.mark.parametrize("network", [*REFUSED_IPV4, *REFUSED_IPV6], ids=str)
def test_10_the_neighbours_outside_a_row_are_allowed_unless_another_row_has_them(network: Network) -> None:
    for address in neighbours(network):
        public = address in IPv6Network("2000::/3") if isinstance(address, IPv6Address) else True
        rows: tuple[Network, ...] = (*REFUSED_IPV4, *REFUSED_IPV6)
        other = any(address in row for row in rows)
        assert may_be_asked(address) == (public and not other)


@given(private_ipv4)
def test_11_every_embedding_of_a_private_address_is_refused_even_if_its_own_network_is_allowed(address: IPv4Address) -> None:
    value = int(address)
    forms = {
        "::ffff:0:0/96": IPv6Address(0xFFFF << 32 | value),
        "::/96": IPv6Address(value),
        "::ffff:0:0:0/96": IPv6Address(0xFFFF << 48 | value),
        "64:ff9b::/96": IPv6Address(0x64FF9B << 96 | value),
        "64:ff9b:1::/48": IPv6Address(0x64FF9B0001 << 80 | value),
        "2002::/16": IPv6Address(0x2002 << 112 | value << 80),
        "2001::/32": IPv6Address(0x2001 << 112 | 0x08080808 << 64 | value ^ 0xFFFFFFFF),
        "2a00::/16": IPv6Address(0x2A00 << 112 | 0x5EFE << 32 | value),
    }
    for network, form in forms.items():
        assert not may_be_asked(form), form
        if value > 1:
            assert not may_be_asked(form, [ip_network(network)]), form


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_outside_what_was_given_out_is_allowed(address: IPv6Address) -> None:
    assert not may_be_asked(address) or address in IPv6Network("2000::/3")


def test_the_places_of_ipv4_in_a_local_nat64_prefix_follow_rfc_6052() -> None:
    for text in ("64:ff9b:1:a00:0:100::", "64:ff9b:1:a:0:1::", "64:ff9b:1:0:a:0:100:0", "64:ff9b:1::a00:1"):
        assert IPv4Address("10.0.0.1") in embedded(IPv6Address(text)), text


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "169.254.170.2", "fe80::a9fe:a9fe"])
def test_12_metadata_addresses_are_opened_by_nothing_but_their_own_entry(text: str) -> None:
    address = ip_address(text)
    everything: list[Network] = [IPv4Network("0.0.0.0/0"), IPv6Network("::/0"), IPv4Network("169.254.0.0/16"), IPv6Network("fd00:ec2::/32")]
    assert not may_be_asked(address)
    assert not may_be_asked(address, everything)
    assert may_be_asked(address, [ip_network(text)])


def test_an_allowed_network_is_allowed_and_its_neighbours_are_not() -> None:
    assert may_be_asked(ip_address("127.77.255.255"), ALLOWED)
    assert not may_be_asked(ip_address("127.78.0.0"), ALLOWED)
    assert may_be_asked(ip_address("::1"), [ip_network("::1/128")])
    assert may_be_asked(ip_address("64:ff9b::808:808"), [ip_network("64:ff9b::/96")])


def test_a_scoped_address_is_refused() -> None:
    assert not may_be_asked(ip_address("2a00::1%eth0"))


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::1]/", "http://0.0.0.0/",
     "http://localhost/", "http://a.localhost/", "http://[::ffff:127.0.0.1]/", "http://１２７.0.0.1/", "http://169.254.169.254/"],
)  # fmt: skip
def test_3_a_literal_address_is_refused_at_submission_however_it_is_spelled(text: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        check_literal(urls.parse(text))
    assert caught.value.rule == "url-address"


@given(st.ip_addresses())
def test_a_literal_is_read_as_the_address_that_it_is(address: Address) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    assert literal(urls.parse(f"http://{host}/").host) == address


def test_names_are_no_literals() -> None:
    check_literal(urls.parse("http://example.com/"))
    check_literal(urls.parse("http://1.2.3.4.example/"))


@given(private_ipv4)
def test_no_socket_is_made_for_a_private_address(address: IPv4Address) -> None:
    with pytest.raises(AddressBlocked):
        Guard().socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (str(address), 80)))


def test_no_socket_is_made_for_another_kind_of_address() -> None:
    with pytest.raises(AddressBlocked):
        Guard().socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80)))


async def failure(url: str, dns: Dns | None = None, limits: Limits = LIMITS) -> DownloadError:
    async with Downloader(SETTINGS, lookup=dns or Dns(), limits=limits) as downloader:
        with pytest.raises(DownloadError) as caught:
            await downloader.download(urls.parse(url))
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_2_a_literal_private_address_is_not_dialled(host: str) -> None:
    async with canaries() as listeners:
        error = await failure(f"http://{host}:{listeners[0].port}/")
        assert (type(error), error.reason) == (PermanentError, Reason.BLOCKED)
        assert not any(canary.connections for canary in listeners)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [["127.0.0.1"], ["127.77.0.1", "127.0.0.1"], ["::1", "127.77.0.1"], ["93.184.215.14", "10.0.0.1"]])
async def test_14_and_16_an_answer_with_a_private_address_is_refused_as_a_whole(answer: list[str]) -> None:
    async with canaries() as listeners:
        error = await failure(f"http://host.test:{listeners[0].port}/", Dns(host_test=answer))
        assert (type(error), error.reason) == (PermanentError, Reason.BLOCKED)
        assert not any(part in error.detail for part in (*answer, "host.test"))
        assert not any(canary.connections for canary in listeners)


@pytest.mark.anyio
async def test_13_the_address_dialled_is_the_one_checked_when_the_answer_changes() -> None:
    async with canaries() as listeners, Origin("127.77.0.2", listeners[0].port) as origin:
        origin.on("/a", body(image()))
        dns = Dns(host_test=["127.77.0.2"])
        guard = Guard(ALLOWED)
        resolver = GuardedResolver(guard, dns)
        assert [result["host"] for result in await resolver.resolve("host.test", 80)] == ["127.77.0.2"]
        dns.names["host.test"] = ["127.0.0.1"]
        with pytest.raises(PermanentError):
            await resolver.resolve("host.test", 80)
        async with Downloader(SETTINGS, lookup=dns) as downloader:
            dns.names["host.test"] = ["127.77.0.2"]
            await downloader.download(urls.parse(origin.url("/a", "host.test")))
            dns.names["host.test"] = ["127.0.0.1"]
            await downloader.download(urls.parse(origin.url("/a", "host.test")))
        assert origin.hits["/a"] == 2
        assert not any(canary.connections for canary in listeners)


@pytest.mark.anyio
async def test_the_socket_is_refused_even_if_the_resolver_was_fooled() -> None:
    """Several addresses take another way through aiohappyeyeballs than one does."""

    class Fooled(Guard):
        def permits(self, address: str) -> bool:
            return not self.at_socket or super().permits(address)

        at_socket = False

        def socket(self, info):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.at_socket = True
            try:
                return super().socket(info)
            finally:
                self.at_socket = False

    for answer in (["127.0.0.1"], ["127.0.0.1", "::1"], ["::1", "127.0.0.1", "127.0.0.2"]):
        async with canaries() as listeners:
            downloader = Downloader(SETTINGS, lookup=Dns(host_test=answer))
            downloader._guard = Fooled(ALLOWED)
            async with downloader:
                with pytest.raises(PermanentError) as caught:
                    await downloader.download(urls.parse(f"http://host.test:{listeners[0].port}/"))
            assert caught.value.reason == Reason.BLOCKED
            assert not any(canary.connections for canary in listeners)


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["127.0.0.1", "[::1]", "2130706433", "host.test", "localhost"])
async def test_17_a_redirect_to_a_private_address_is_not_followed(target: str) -> None:
    async with canaries() as listeners, Origin("127.77.0.1") as origin:
        url = origin.on("/", redirect(f"http://{target}:{listeners[0].port}/"))
        error = await failure(url, Dns(host_test=["127.0.0.1"]))
        assert (type(error), error.reason) == (PermanentError, Reason.BLOCKED)
        assert not any(canary.connections for canary in listeners)


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.77.0.1/", "gopher://x/", "http://127.77.0.1:22/", "http://u:p@127.77.0.1/"])
async def test_18_a_redirect_outside_the_rules_is_not_followed(target: str) -> None:
    async with Origin("127.77.0.1") as origin:
        assert (await failure(origin.on("/", redirect(target)))).reason == Reason.BLOCKED


@pytest.mark.anyio
async def test_5_a_port_that_is_not_allowed_is_refused_again_by_the_fetcher() -> None:
    assert (await failure("http://127.77.0.1:22/")).reason == Reason.BLOCKED


@pytest.mark.anyio
async def test_a_name_without_a_dot_is_looked_up_only_where_private_networks_are_allowed() -> None:
    dns = Dns()
    async with Downloader(Settings(), lookup=dns) as downloader:
        with pytest.raises(PermanentError) as caught:
            await downloader.download(urls.parse("http://intranet/"))
    assert caught.value.reason == Reason.BLOCKED
    assert not dns.asked


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "kind"),
    [(socket.gaierror(socket.EAI_NONAME, ""), PermanentError), (socket.gaierror(socket.EAI_AGAIN, ""), TransientError), ([], PermanentError)],
)
async def test_15_a_name_that_does_not_resolve_has_its_reason(answer: Exception | list[str], kind: type[DownloadError]) -> None:
    error = await failure("http://host.test/", Dns(host_test=answer))
    assert (type(error), error.reason) == (kind, Reason.DNS)


@pytest.mark.anyio
async def test_15_a_dns_server_that_is_silent_is_given_up() -> None:
    class Silent(Dns):
        async def __call__(self, host: str) -> Sequence[str]:
            await asyncio.Event().wait()
            return [host]

    error = await failure("http://host.test/", Silent(), Limits(dns=0.01))
    assert (type(error), error.reason) == (TransientError, Reason.DNS)


@pytest.mark.anyio
async def test_an_answer_of_many_addresses_is_cut() -> None:
    resolver = GuardedResolver(Guard(), Dns(host_test=[f"93.184.215.{n}" for n in range(100)]))
    assert len(await resolver.resolve("host.test")) == 8


@pytest.mark.anyio
async def test_the_systems_resolver_answers_and_refuses_without_the_network() -> None:
    lookup = SystemLookup()
    assert await lookup("127.0.0.1") == ["127.0.0.1"]
    with pytest.raises(socket.gaierror):
        await lookup("x" * 64 + ".invalid")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1", "2606:2800::1", "127.77.0.1"]
)
def test_a_denied_network_is_not_asked_whatever_else_allows_it(address: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    denied = (ip_network("93.184.215.0/24"), ip_network("2606:2800::/32"), ip_network("127.77.0.1/32"))
    assert Guard(everything).permits(address)
    assert not Guard(everything, denied).permits(address)
    assert Guard(everything, denied).permits("93.184.216.14")


@pytest.mark.anyio
async def test_a_denied_address_is_refused_by_its_number_its_name_and_after_a_redirect() -> None:
    settings = Settings(fetch_allow=ALLOWED, fetch_deny=(ip_network("127.77.0.2/32"),))
    async with Origin("127.77.0.1") as origin, Origin("127.77.0.2", origin.port) as denied:
        urls_ = [denied.url("/"), denied.url("/", "denied.test"), origin.on("/", redirect(denied.url("/")))]
        async with Downloader(settings, lookup=Dns(denied_test=["127.77.0.2"])) as downloader:
            for url in urls_:
                with pytest.raises(PermanentError) as caught:
                    await downloader.download(urls.parse(url))
                assert caught.value.reason == Reason.BLOCKED
        assert not denied.connections
