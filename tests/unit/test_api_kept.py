"""services/api/kept.py and live/tally.py: what is kept, for how long, and what is counted."""

from __future__ import annotations

import asyncio

import pytest

from services.api.kept import Kept
from services.api.live.tally import Tally
from shared.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


class World:
    """A clock, and something to find."""

    def __init__(self) -> None:
        self.now = 100.0
        self.found = 0
        self.takes = 0.0
        self.fails = False
        self.go = asyncio.Event()
        self.go.set()

    def clock(self) -> float:
        return self.now

    async def find(self) -> int:
        await self.go.wait()
        self.now += self.takes
        if self.fails:
            raise StoreUnavailable("away")
        self.found += 1
        return self.found

    def kept(self) -> Kept[int]:
        return Kept(self.find, seconds=5, stale=30, clock=self.clock)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_who_ask_at_once_have_it_found_once() -> None:
    kept = World().kept()
    assert await asyncio.gather(*(kept.get() for _ in range(20))) == [1] * 20


async def test_what_is_old_is_given_at_once_while_it_is_found_anew() -> None:
    world = World()
    kept = world.kept()
    await kept.get()
    world.now += 4.9
    assert await kept.get() == 1
    world.now += 0.2
    world.go.clear()
    assert await kept.get() == 1  # without waiting
    world.go.set()
    await settled()
    assert (await kept.get(), world.found) == (2, 2)


async def test_what_is_stale_is_not_given_any_more() -> None:
    world = World()
    kept = world.kept()
    await kept.get()
    world.now += 36
    assert await kept.get() == 2


async def test_what_takes_long_is_found_seldom() -> None:
    world = World()
    world.takes = 2.0
    kept = world.kept()
    await kept.get()
    world.now += 39
    assert await kept.get() == 1
    await settled()
    assert world.found == 1
    world.now += 2
    await kept.get()
    await settled()
    assert world.found == 2


async def test_while_it_cannot_be_found_the_last_is_given_until_it_is_stale() -> None:
    world = World()
    kept = world.kept()
    await kept.get()
    world.fails = True
    world.now += 6
    assert await kept.get() == 1
    await settled()
    world.now += 30
    with pytest.raises(StoreUnavailable):
        await kept.get()
    world.fails = False
    assert await kept.get() == 2


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    world = World()
    world.go.clear()
    kept = world.kept()
    one, other = (asyncio.create_task(kept.get()) for _ in range(2))
    await settled()
    one.cancel()
    await settled()
    world.go.set()
    assert await other == 1


def test_rates_are_of_whole_seconds_and_of_no_longer_than_is_known() -> None:
    world = World()
    tally = Tally(clock=world.clock)
    assert tally.rate("stored", 10) == 0.0
    tally.begin()
    for _ in range(4):
        for _ in range(30):
            tally.count("stored")
        tally.count("failed")
        world.now += 1
    assert (tally.rate("stored", 10), tally.rate("failed", 10), tally.rate("stored", 60)) == (30.0, 1.0, 30.0)
    world.now += 6
    assert (tally.rate("stored", 10), tally.rate("stored", 60)) == (12.0, 12.0)
    world.now += 10
    assert (tally.rate("stored", 10), tally.rate("stored", 60)) == (0.0, 6.0)
    world.now += 100
    tally.count("stored")
    assert tally.rate("stored", 60) == 0.0
    assert len(tally._buckets) == 1
    tally.end()
    assert tally.rate("stored", 60) == 0.0
