"""URLs, cases 1 to 9: refused when they are submitted, and once more by the fetcher, without a question to DNS or a connection."""

from __future__ import annotations

import string
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import urls
from shared.addresses import REFUSED_IPV4, check_literal
from shared.errors import UrlRefused
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.world import World

pytestmark = pytest.mark.anyio


async def never_asked(here: World, rule: str, *texts: str) -> None:
    """Each of these is refused by a rule at submission, and ends blocked when it comes from the queue."""
    for text in texts:
        assert await here.refused_at_once(text) == rule, text
        await here.blocked_in_the_queue(text)


@pytest.mark.parametrize(
    "text",
    ["file:///etc/passwd", "file://{canary}/x", "ftp://{canary}/x", "gopher://{canary}/_x", "data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)",
     "FILE:///etc/passwd", "blob:http://{canary}/x", "view-source:http://{canary}/", "jar:http://{canary}!/", "dict://{canary}/", "unix:/run/docker.sock",
     "ws://{canary}/", "httpx://{canary}/", "http+unix://%2Frun%2Fdocker.sock/", "ldap://{canary}/"],
)  # fmt: skip
async def test_case_01_a_scheme_other_than_http_and_https(here: World, text: str) -> None:
    await never_asked(here, "url-scheme", text.format(canary=f"127.0.0.1:{here.port}"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "LOCALHOST", "a.localhost", "[::]", "127.255.255.254", "[0:0:0:0:0:0:0:1]"]
)
async def test_case_02_this_machine(here: World, host: str) -> None:
    await never_asked(here, "url-address", f"http://{host}:{here.port}/", f"https://{host}:{here.port}/x.png")


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "0X7F.0.0.1", "017700000001", "127.0.1", "0x7f.0x0.0x0.0x1", "00000177.0.0.1",
     "127.0.0.1.", "１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:FFFF:127.0.0.1]", "①②⑦.0.0.1"],
)  # fmt: skip
async def test_case_03_another_spelling_of_this_machine(here: World, host: str) -> None:
    url = f"http://{host}:{here.port}/"
    assert await here.refused_at_once(url) in {"url-address", "url-host", "url-syntax"}
    await here.blocked_in_the_queue(url)


@pytest.mark.parametrize("userinfo", ["user:password", "user", ":password", "127.77.0.1:80", "user%3Apassword", "a:b:c", "a@b"])
async def test_case_04_user_name_and_password(here: World, userinfo: str) -> None:
    await never_asked(here, "url-credentials", f"http://{userinfo}@127.77.0.1:{here.port}/", f"http://{userinfo}@127.0.0.1:{here.port}/")
    assert not here.origin.hits["/"]


@pytest.mark.parametrize("port", [1, 22, 25, 79, 81, 444, 3306, 5432, 5672, 6379, 7999, 9000, 9200, 11211, 15672, 27017, 65535])
async def test_case_05_a_port_that_is_not_allowed(here: World, port: int) -> None:
    await never_asked(here, "url-port", f"http://127.77.0.1:{port}/", f"https://host.test:{port}/", f"http://127.0.0.1:{port}/")


def test_case_05_the_ports_that_are_allowed_are_a_setting_with_this_default() -> None:
    ports = Settings().fetch_ports
    assert {port for port in range(65536) if ports.__contains__(port)} == {80, 443, *range(8000, 9000)}


@pytest.mark.parametrize("port", ["+80", "-1", "0x50", "８０", "80.0", "65616", "99999999999", "８０８０"])
async def test_case_05_a_port_that_is_no_number(here: World, port: str) -> None:
    url = f"http://127.0.0.1:{port}/"
    assert await here.refused_at_once(url) in {"url-syntax", "url-port"}
    await here.blocked_in_the_queue(url)


@pytest.mark.parametrize(
    "text", ["http:///x", "http:x", "", "//x", "http://", "http:/x", "https:///127.0.0.1/", "x", "/x", "http", "://x", "http:\\\\x", "?", "http://?"]
)
async def test_case_06_what_is_no_absolute_url(here: World, text: str) -> None:
    assert await here.refused_at_once(text) in {"url-syntax", "url-scheme"}
    await here.blocked_in_the_queue(text)


@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\t", "\0", " ", "\x7f", "\x0b", "\u2028", "\x85", "\u00a0"])
async def test_case_07_a_control_character_or_a_space(here: World, character: str) -> None:
    host = f"127.77.0.1:{here.port}"
    for text in (
        f"http://{host}/a{character}Host: 127.0.0.1",
        f"http://{host}{character}/",
        f"{character}http://{host}/",
        f"ht{character}tp://{host}/",
    ):
        if character == "\u00a0" and "a\u00a0H" in text:
            continue  # has no meaning within a path but itself
        assert await here.refused_at_once(text) in {"url-characters", "url-syntax"}, text
        await here.blocked_in_the_queue(text)
    assert not here.origin.hits["/a"]


async def test_case_08_longer_than_2048_bytes(here: World) -> None:
    base = f"http://127.77.0.1:{here.port}/"
    for text in (base + "x" * (2049 - len(base)), base + "ä" * 1100, base + "ä" * 900, base + "x" * 60_000, "http://" + "a" * 3000 + "/"):
        await never_asked(here, "url-too-long", text)
    answer = await here.client.post("/images", json={"url": base + "y" * (2048 - len(base))})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "host", ["host.test.", "127.77.0.1.", "host.test..", "host..test", ".host.test", "localhost.", "127.0.0.1.", "host.test%2e", "host.test。"]
)
async def test_case_09_a_dot_at_the_end_of_the_host_or_an_empty_label(here: World, host: str) -> None:
    url = f"http://{host}:{here.port}/"
    assert await here.refused_at_once(url) in {"url-host", "url-address"}, url
    await here.blocked_in_the_queue(url)


# Any spelling of a denied address is refused

_FULL_WIDTH = str.maketrans(string.digits, "０１２３４５６７８９")


DENIED = st.one_of([st.integers(int(network[0]), int(network[-1])).map(IPv4Address) for network in REFUSED_IPV4])


@st.composite
def spelled(draw: st.DrawFn) -> tuple[IPv4Address, str]:
    """An address that may not be asked, and one of the ways to write it in a URL."""
    address = draw(DENIED)
    value, parts = int(address), draw(st.integers(1, 4))
    # The last part of so many takes all the bytes that are left (URL Standard, "IPv4 parser").
    numbers = [value >> 8 * (3 - at) & 0xFF for at in range(parts - 1)] + [value & (1 << 8 * (5 - parts)) - 1]
    bases: list[Callable[[int], str]] = [
        str,
        hex,
        lambda n: f"0X{n:X}",
        lambda n: f"0{n:o}",
        lambda n: f"0x{n:012x}",
        lambda n: f"{n:#07o}".replace("o", "0"),
    ]
    written = [draw(st.sampled_from(bases))(number) for number in numbers]
    if draw(st.booleans()):
        written = [text.translate(_FULL_WIDTH) for text in written]
    elif draw(st.booleans()):
        written = ["".join(f"%{ord(character):02x}" if draw(st.booleans()) else character for character in text) for text in written]
    return address, draw(st.sampled_from([".", "。", "．", "｡", "%2e", "%2E"])).join(written)


@given(
    spelled(), st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(["", ":80", ":0080", ":8080"]), st.sampled_from(["/", "\\", "?", "#", ""])
)
def test_any_spelling_of_a_denied_address_is_refused(found: tuple[IPv4Address, str], scheme: str, port: str, end: str) -> None:
    address, text = found
    with pytest.raises(UrlRefused) as caught:
        check_literal(urls.parse(f"{scheme}://{text}{port}{end}"))
    assert caught.value.rule == "url-address", (address, text)


@given(DENIED, st.data())
def test_any_spelling_of_a_denied_address_within_ipv6_is_refused(address: IPv4Address, data: st.DataObject) -> None:
    value = int(address)
    form = data.draw(
        st.sampled_from(
            [
                0xFFFF << 32 | value,
                value,
                0xFFFF << 48 | value,
                0x64FF9B << 96 | value,
                0x2002 << 112 | value << 80,
                0x2A00 << 112 | 0x5EFE << 32 | value,
            ]
        )
    )
    written = IPv6Address(form)
    dotted = (
        f"{IPv6Address(form >> 32 << 32)}".removesuffix("0") + str(address) if str(IPv6Address(form >> 32 << 32)).endswith("::") else str(written)
    )
    text = data.draw(st.sampled_from([str(written), str(written).upper(), written.exploded, written.exploded.upper(), dotted]))
    with pytest.raises(UrlRefused) as caught:
        check_literal(urls.parse(f"http://[{text}]/"))
    assert caught.value.rule == "url-address", text
