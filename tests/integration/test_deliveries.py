"""Deliveries of callbacks on real servers: recorded once, settled in any order, listed and replayed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from services.storer.callbacks import Callbacks
from shared import events
from shared.deliveries import Deliveries, Kind, delivery_id
from shared.errors import Reason
from shared.mongo import Mongo
from shared.status import now
from tests.api import running_api
from tests.callbacks import IMAGE, World, running, settings_for, stored
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

pytestmark = pytest.mark.anyio

ONE = delivery_id(IMAGE, 1, Kind.IMAGE_STORED)


@pytest.fixture
def settings(amqp_url: str, mongo_url: str) -> Settings:
    return settings_for(amqp_url, mongo_url)


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with running(settings) as world:
        yield world


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def recorded(mongo: Mongo) -> Deliveries:
    """With ONE in it, of which nothing else is known."""
    deliveries = Deliveries(mongo)
    await deliveries.create_indexes()
    await Callbacks(deliveries, "").for_image(stored(), "http://127.77.0.9:1/told")
    return deliveries


# Repetitions


async def test_a_repeated_step_makes_no_second_delivery_and_keeps_the_id(world: World, receiver: Receiver) -> None:
    events_of_one = [replace(stored(), stored_at=now()) for _ in range(50)]
    publications = await asyncio.gather(*(world.callbacks.for_image(event, receiver.url) for event in events_of_one))
    ids = {publication.event.delivery for of_one in publications for publication in of_one}  # type: ignore[attr-defined]
    payloads = {publication.event.payload for of_one in publications for publication in of_one}  # type: ignore[attr-defined]
    assert (len(ids), len(payloads), await world.documents.count_documents({})) == (1, 1, 1)
    await world.publish(publications[0])
    await world.settled(ids.pop(), "delivered")
    assert await world.callbacks.for_image(stored(), receiver.url) == [], "what was tried is not sent again"
    assert len(receiver.came) == 1


async def test_two_processes_at_once_make_one_delivery(world: World, receiver: Receiver, mongo_url: str) -> None:
    clients = [Mongo(mongo_url, timeout=10) for _ in range(8)]
    try:
        for revision in range(20):
            several = (Callbacks(Deliveries(client), "").for_image(stored(revision=revision), receiver.url) for client in clients)
            await asyncio.gather(*several)
        assert await world.documents.count_documents({}) == 20
    finally:
        for client in clients:
            client.close()


async def test_a_crash_before_the_publish_is_made_good_by_the_repetition(world: World, receiver: Receiver) -> None:
    assert await world.callbacks.for_image(stored(), receiver.url)  # and the process dies here
    assert not receiver.came
    delivery = await world.tell(receiver.url)
    await world.settled(delivery, "delivered")
    assert {call.headers["webhook-id"] for call in receiver.came} == {delivery}


def attempted(**more: Any) -> events.CallbackAttempted:
    fields = {"delivery": ONE, "attempted_at": now(), "took_ms": 1, **more}
    return events.CallbackAttempted(image=IMAGE, revision=1, **fields)


BAD: dict[str, Any] = {"reason": Reason.TIMEOUT, "detail": "x"}
LATER: dict[str, Any] = {**BAD, "next_attempt_at": now()}


@pytest.mark.parametrize("backwards", [False, True])
async def test_outcomes_count_once_and_in_whatever_order_they_come(recorded: Deliveries, backwards: bool) -> None:  # noqa: FBT001
    # The third attempt was repeated after a crash, and had better luck than the first time.
    several = [{"attempt": 1, **LATER}, {"attempt": 2, **LATER}, {"attempt": 3, **BAD}, {"attempt": 3}, {"attempt": 4, **LATER}]
    outcomes = [attempted(**{"attempted_at": now() + timedelta(seconds=number), **more}) for number, more in enumerate(several)]
    for outcome in 2 * (outcomes[::-1] if backwards else outcomes):
        await recorded.attempted(outcome)
    found = await recorded.get(ONE)
    assert found
    assert (found.status, found.next_attempt_at) == ("delivered", None)
    assert [attempt.number for attempt in found.attempts] == [1, 2, 3, 3, 4]


async def test_a_delay_that_comes_late_takes_the_next_attempt_no_further_back(recorded: Deliveries) -> None:
    at = now()
    for number in (2, 1):
        await recorded.attempted(attempted(attempt=number, **{**BAD, "next_attempt_at": at + timedelta(hours=number)}))
    found = await recorded.get(ONE)
    assert found
    assert (found.status, found.attempt, found.next_attempt_at) == ("pending", 2, at + timedelta(hours=2))


async def test_a_late_outcome_from_before_a_replay_changes_no_state(recorded: Deliveries) -> None:
    delivery = await recorded.get(ONE)
    assert delivery
    await recorded.attempted(attempted(attempt=3, **BAD))
    replayed = await recorded.replayed(delivery.request(replay=1))
    assert replayed
    assert (replayed.status, replayed.replay) == ("pending", 1)
    await recorded.attempted(attempted(attempt=3, **BAD))
    await recorded.attempted(attempted(attempt=3))
    found = await recorded.get(ONE)
    assert found
    assert (found.status, found.replay, found.attempt, found.delivered_at) == ("pending", 1, 0, None)


async def test_the_outcome_of_a_replay_may_come_before_the_note_of_it(recorded: Deliveries) -> None:
    delivery = await recorded.get(ONE)
    assert delivery
    await recorded.attempted(attempted(attempt=1, replay=1))
    replayed = await recorded.replayed(delivery.request(replay=1))
    assert replayed
    assert (replayed.status, replayed.replay) == ("delivered", 1)


async def test_attempts_that_are_kept_are_bounded(recorded: Deliveries) -> None:
    for number in range(1, 121):
        await recorded.attempted(attempted(attempt=number, attempted_at=now() + timedelta(seconds=number), **LATER))
    found = await recorded.get(ONE)
    assert found
    assert (len(found.attempts), found.attempts[-1].number) == (100, 120)


# The api


async def test_a_replay_has_all_attempts_again_under_the_same_id(world: World, receiver: Receiver) -> None:
    receiver.answers = [500]
    delivery = await world.tell(receiver.url)
    await world.settled(delivery, "failed")
    receiver.answers = [500, 200]
    assert (await world.replay(delivery))["status"] in {"pending", "delivered"}
    found = await world.settled(delivery, "delivered")
    assert [(attempt["replay"], attempt["number"]) for attempt in found["attempts"]] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    assert {call.headers["webhook-id"] for call in receiver.came} == {delivery}
    await world.replay(delivery)
    assert len(await receiver.calls(6)) == 6, "one that was delivered can be sent again as well"


async def test_they_are_listed_newest_first_a_page_at_a_time(world: World) -> None:
    submitted = (await world.api.client.post("/images", json={"url": "http://127.77.0.9:1/a.jpg"})).json()["id"]
    path = f"/images/{submitted}/deliveries"
    assert (await world.api.client.get(path)).json() == {"items": [], "next": None}
    wanted: list[str] = []
    for revision in range(5):
        [publication] = await world.callbacks.for_image(stored(submitted, revision), "http://127.77.0.9:1/told")
        wanted.append(publication.event.delivery)  # type: ignore[attr-defined]
    await world.callbacks.for_batch(submitted, {}, 0, "http://127.77.0.9:1/told", now())
    found: list[dict[str, Any]] = []
    address: str | None = f"{path}?limit=2"
    while address:
        answer = await world.api.client.get(address.removeprefix("https://pictures.example"))
        page = answer.json()
        assert ("link" in answer.headers) == (page["next"] is not None)
        found += page["items"]
        address = page["next"]
    assert sorted(item["id"] for item in found) == sorted(wanted)
    assert found == sorted(found, key=lambda item: (item["created_at"], item["id"]), reverse=True)
    refused = await world.api.client.get(f"{path}?limit=0")
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/images/{'a' * 26}/deliveries"), ("GET", "/images/x/deliveries"), ("GET", "/batches/$gt/deliveries"), ("GET", "/deliveries/msg_x"),
        ("GET", f"/deliveries/msg_{'a' * 26}"), ("POST", f"/deliveries/msg_{'a' * 26}/replay"), ("POST", "/deliveries/$gt/replay"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_a_problem(world: World, method: str, path: str) -> None:
    answer = await world.api.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_replay_while_the_broker_is_away_is_refused_and_changes_nothing(recorded: Deliveries, mongo_url: str) -> None:
    before = await recorded.get(ONE)
    async with running_api(mongo_url, "amqp://127.0.0.1:1/") as api:
        answer = await api.client.post(f"/deliveries/{ONE}/replay")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert await recorded.get(ONE) == before
