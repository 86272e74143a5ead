"""services/fetcher/hosts.py: who may be asked now."""

from __future__ import annotations

import asyncio

import pytest

from services.fetcher.hosts import BREAKER_FAILURES, BREAKER_SECONDS, LONGEST_SECONDS, REMEMBERED_HOSTS, Host, Hosts, PutOff
from shared.errors import PermanentError, Reason, TransientError

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(clock: Clock) -> Host:
    return Host(2, clock, lambda _, high: high)


async def download(host: Host, clock: Clock, seconds: float, error: BaseException | None = None, *, last: bool = False) -> None:
    async with host.turn(last=last):
        clock.now += seconds
        if error:
            raise error


async def fail(host: Host, clock: Clock, times: int, reason: Reason = Reason.CONNECT) -> None:
    for _ in range(times):
        with pytest.raises(TransientError, match="refused"):
            await download(host, clock, 0, TransientError(reason, "refused"))


async def test_no_more_than_the_limit_are_under_way_and_a_turn_that_is_near_is_waited_for(host: Host, clock: Clock) -> None:
    await download(host, clock, 0.1)
    under_way, most = 0, 0

    async def one() -> None:
        nonlocal under_way, most
        async with host.turn(last=False):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(one() for _ in range(10)))
    assert most == 2


async def test_a_turn_that_is_far_is_put_off_for_about_as_long_as_it_would_take(host: Host, clock: Clock) -> None:
    await download(host, clock, 10)
    async with host.turn(last=False), host.turn(last=False):
        waits = []
        for _ in range(6):
            with pytest.raises(PutOff) as caught:
                await download(host, clock, 0)
            waits.append(caught.value.seconds)
    assert waits == [5, 10, 15, 20, 25, 30]


async def test_a_host_that_has_not_answered_yet_is_judged_by_how_long_it_has_taken(host: Host, clock: Clock) -> None:
    async with host.turn(last=False), host.turn(last=False):
        clock.now += 10
        with pytest.raises(PutOff) as caught:
            await download(host, clock, 0)
        assert caught.value.seconds == 5


async def test_a_turn_that_seemed_near_and_does_not_come_is_given_up(host: Host, clock: Clock) -> None:
    async with host.turn(last=False), host.turn(last=False):
        with pytest.raises(PutOff):
            await asyncio.wait_for(download(host, clock, 0), 5)
    await download(host, clock, 0)
    assert host.idle is False
    clock.now += 60
    assert host.idle


async def test_each_turn_is_promised_once_and_none_is_promised_too_far_ahead(host: Host, clock: Clock) -> None:
    await download(host, clock, 10)
    waits = []
    async with host.turn(last=False), host.turn(last=False):
        for _ in range(40):
            with pytest.raises(PutOff) as caught:
                await download(host, clock, 0)
            waits.append(caught.value.seconds)
        promised = int(LONGEST_SECONDS / 5)
        assert waits == [5.0 * number for number in range(1, promised + 1)] + [LONGEST_SECONDS] * (40 - promised)
        clock.now += LONGEST_SECONDS
        with pytest.raises(PutOff) as caught:
            await download(host, clock, 0)
        assert caught.value.seconds <= 70


async def test_one_that_comes_when_there_is_room_is_taken_whatever_was_promised(host: Host, clock: Clock) -> None:
    await download(host, clock, 10)
    async with host.turn(last=False):
        async with host.turn(last=False):
            with pytest.raises(PutOff):
                await download(host, clock, 0)
        await download(host, clock, 0)


async def test_a_host_that_does_not_answer_is_not_asked_for_a_while(host: Host, clock: Clock) -> None:
    await fail(host, clock, BREAKER_FAILURES)
    with pytest.raises(TransientError, match="Not asked"):
        await download(host, clock, 0)


async def test_after_a_while_one_probes_and_the_others_still_are_not_asked(host: Host, clock: Clock) -> None:
    await fail(host, clock, BREAKER_FAILURES)
    clock.now += BREAKER_SECONDS
    async with host.turn(last=False):
        with pytest.raises(TransientError, match="Not asked"):
            await download(host, clock, 0)
    await download(host, clock, 0)


async def test_a_probe_that_fails_keeps_the_breaker_open(host: Host, clock: Clock) -> None:
    await fail(host, clock, BREAKER_FAILURES)
    clock.now += BREAKER_SECONDS
    await fail(host, clock, 1)
    with pytest.raises(TransientError, match="Not asked"):
        await download(host, clock, 0)


async def test_the_last_attempt_is_made_in_any_case(host: Host, clock: Clock) -> None:
    await fail(host, clock, BREAKER_FAILURES)
    await download(host, clock, 0, last=True)


@pytest.mark.parametrize(
    "answer", [None, PermanentError(Reason.HTTP_STATUS, "404"), TransientError(Reason.HTTP_STATUS, "503")], ids=["an image", "404", "503"]
)
async def test_any_answer_closes_the_breaker(host: Host, clock: Clock, answer: Exception | None) -> None:
    await fail(host, clock, BREAKER_FAILURES - 1)
    await asyncio.gather(download(host, clock, 0, answer), return_exceptions=True)
    await fail(host, clock, BREAKER_FAILURES - 1)
    await download(host, clock, 0)


async def test_a_download_that_is_cancelled_says_nothing_of_the_host(host: Host, clock: Clock) -> None:
    await fail(host, clock, BREAKER_FAILURES - 1)
    with pytest.raises(asyncio.CancelledError):
        await download(host, clock, 0, asyncio.CancelledError())
    await fail(host, clock, 1)
    with pytest.raises(TransientError, match="Not asked"):
        await download(host, clock, 0)


async def test_hosts_that_are_idle_are_forgotten_in_time(clock: Clock) -> None:
    hosts = Hosts(2, clock=clock)
    await fail(hosts["bad"], clock, BREAKER_FAILURES)
    bad = hosts["bad"]
    for number in range(REMEMBERED_HOSTS + 10):
        hosts[str(number)]
    assert len(hosts._hosts) <= REMEMBERED_HOSTS
    assert hosts["bad"] is bad
