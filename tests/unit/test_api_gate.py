"""Hosts, origins, keys, client addresses and rates: the decisions of the gate, without a server."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.access.clients import Clients
from services.api.access.keys import READ, WRITE, Keys
from services.api.access.origins import Origins
from services.api.access.rates import Rates
from services.api.http.problems import Problem
from shared.errors import SettingsError
from shared.settings import Settings

SECRET = "correct-horse-battery"
OURS = Origins(Settings(public_url="https://pictures.example/api"), only_ours=True)


def status_of_host(host: bytes | None, origins: Origins = OURS, version: str = "1.1") -> int:
    try:
        origins.check_host(host, version)
    except Problem as problem:
        return problem.kind.status
    return 200


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1", b"127.255.3.4:80", b"[::1]:8000", b"pictures.example", b"pictures.example:1"]
)
def test_on_loopback_without_keys_its_own_names_are_answered_to(host: bytes) -> None:
    assert status_of_host(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example", b"evil.example:8000", b"localhost.evil.example", b"127.0.0.1.nip.io", b"10.0.0.1", b"0.0.0.0", b"[::]", b"[::ffff:10.0.0.1]",
        b"evil-localhost", b"2130706433", b"0x7f.1", b"localhost.", b"1", b"\xff",
    ],
)  # fmt: skip
def test_on_loopback_without_keys_other_names_are_not(host: bytes) -> None:
    assert status_of_host(host) == 421


@pytest.mark.parametrize(
    "host", [b"", b":80", b"a b", b"a,b", b"user@localhost", b"localhost/x", b"localhost:80:80", b"localhost:x", b"[::1", b"x" * 300]
)
@pytest.mark.parametrize("only_ours", [False, True])
def test_what_is_no_host_is_a_bad_request(host: bytes, only_ours: bool) -> None:  # noqa: FBT001
    assert status_of_host(host, Origins(Settings(), only_ours=only_ours)) == 400


def test_a_host_is_needed_but_not_by_http_1_0() -> None:
    assert status_of_host(None) == 400
    assert status_of_host(None, version="1.0") == 200


def test_with_keys_or_beyond_loopback_any_host_will_do() -> None:
    assert status_of_host(b"evil.example", Origins(Settings(), only_ours=False)) == 200


def test_a_public_url_that_is_none_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="BOWERBIRD_PUBLIC_URL"):
        Origins(Settings(public_url="http://"), only_ours=True)


@pytest.mark.parametrize(
    ("origin", "site", "allowed"),
    [
        (None, None, True),
        (None, b"same-origin", True),
        (None, b"none", True),
        (b"http://127.0.0.1:8000", b"same-origin", True),
        (b"https://pictures.example", None, True),
        (None, b"cross-site", False),
        (None, b"same-site", False),
        (b"http://127.0.0.1:8000", b"cross-site", False),
        (b"http://127.0.0.1:3000", None, False),
        (b"https://evil.example", None, False),
        (b"https://evil.example", b"same-origin", False),
        (b"https://pictures.example.evil.example", None, False),
        (b"null", None, False),
        (b"", None, False),
    ],
)
def test_only_pages_of_its_own_origin_may_write(origin: bytes | None, site: bytes | None, allowed: bool) -> None:  # noqa: FBT001
    if allowed:
        OURS.check_origin(origin, site, b"127.0.0.1:8000")
    else:
        with pytest.raises(Problem) as caught:
            OURS.check_origin(origin, site, b"127.0.0.1:8000")
        assert (caught.value.kind.status, caught.value.kind.name) == (403, "cross-origin")


def test_a_key_has_the_scopes_that_it_is_given_with() -> None:
    keys = Keys((SECRET, "r" * 16 + ":read", "w" * 16 + ":write"))
    found = [keys.find(b"Bearer " + secret.encode()) for secret in (SECRET, "r" * 16, "w" * 16)]
    assert [key.scopes for key in found if key] == [{READ, WRITE}, {READ}, {WRITE}]


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_the_scheme_is_read_without_regard_to_case(scheme: bytes) -> None:
    assert Keys((SECRET,)).find(scheme + SECRET.encode())


@given(st.binary(max_size=60))
def test_nothing_else_is_a_key(given: bytes) -> None:
    keys = Keys((SECRET, "r" * 16 + ":read"))
    assert keys.find(b"Bearer " + given) is None
    assert keys.find(given) is None
    assert keys.find(b"Basic " + SECRET.encode()) is None
    assert keys.find(b"Bearer " + b"r" * 16 + b":read") is None


def test_a_key_has_a_name_for_logs_that_says_nothing_of_it() -> None:
    [key] = Keys((SECRET,))
    assert len(key.name) == 8
    assert SECRET not in repr(key)


PROXIES = Clients((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"6.6.6.6, 198.51.100.1, 10.0.0.2,10.0.0.3", "198.51.100.1"),
        ("10.0.0.1", b"198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", b"[2001:db8::7]:4711", "2001:db8::/64"),
        ("::ffff:10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("fd00::1", b"2001:db8::7", "2001:db8::/64"),
        ("10.0.0.1", b"evil", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.1, evil", "10.0.0.1"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"10.0.0.2", "10.0.0.2"),
        ("", b"198.51.100.1", ""),
    ],
)
def test_a_client_is_who_a_trusted_proxy_says(peer: str, forwarded: bytes | None, client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


@given(st.binary(max_size=300))
def test_nobody_else_is_believed(forwarded: bytes) -> None:
    assert Clients().client("10.0.0.1", forwarded) == "10.0.0.1"
    assert PROXIES.client("203.0.113.9", forwarded) == "203.0.113.9"
    assert PROXIES.client("10.0.0.1", forwarded)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1", True),
    ],
)
def test_ipv6_is_counted_by_its_network(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert (Clients().client(one, None) == Clients().client(other, None)) is same


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    rates = Rates(2, 3, clock=clock)
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 0]
    assert rates.wait("a") == pytest.approx(0.5)
    assert rates.wait("a") == pytest.approx(0.5), "a refusal costs nothing"
    assert rates.wait("b") == 0, "everybody has their own"
    clock.now += 0.5
    assert rates.wait("a") == 0
    assert rates.wait("a") == pytest.approx(0.5)
    clock.now += 3600
    assert [rates.wait("a") > 0 for _ in range(4)] == [False, False, False, True]


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_never_more_than_the_burst_and_the_rate_let_through(rate: int, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = Rates(rate, burst, clock=clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        wait = rates.wait("a")
        passed += not wait
        assert wait <= 1 / rate + 1e-6
        if wait:
            clock.now += wait + 1e-6
            assert rates.wait("a") == 0
            passed += 1
    assert passed <= burst + rate * (clock.now - Clock.now) + 1e-3


def test_memory_is_bounded_and_who_asks_often_is_not_forgotten() -> None:
    clock = Clock()
    rates = Rates(1, 1, clients=1000, clock=clock)
    rates.wait("busy")
    for number in range(100_000):
        assert rates.wait(f"other {number}") == 0
        if number % 100 == 0:
            assert rates.wait("busy") > 0
    assert len(rates._young) + len(rates._old) <= 1001


def test_a_look_costs_microseconds() -> None:
    rates = Rates(1e9, 10**9)
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(2000):
            rates.wait("a")
        best = min(best, (time.perf_counter() - start) / 2000)
    assert best < 5e-6, best
