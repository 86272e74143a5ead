"""shared/dead_letters.py on a real MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from shared import events
from shared.dead_letters import DeadLetters, envelope_of, read

if TYPE_CHECKING:
    from shared.blobs import Blobs
    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio


def message(body: bytes = b'{"x":1}', **headers: object) -> events.Envelope:
    died = {
        "x-first-death-queue": "fetcher.download-requested.in-5s", "x-first-death-reason": "expired",
        "x-death": [
            {"queue": "fetcher.download-requested", "reason": "rejected", "count": 1},
            {"queue": "fetcher.download-requested.in-5s", "reason": "expired", "count": 1},
        ],
    }  # fmt: skip
    return events.Envelope("download-requested", {"v": 1, **died, **headers}, body, events.JSON, "m1", "c1")


@pytest.fixture
async def dead_letters(mongo: Mongo, blobs: Blobs) -> DeadLetters:
    dead_letters = DeadLetters(mongo, blobs)
    await dead_letters.create_indexes()
    return dead_letters


async def test_a_dead_letter_says_where_and_why_it_died(dead_letters: DeadLetters) -> None:
    await dead_letters.keep(read(message()))
    [letter] = await dead_letters.page(limit=10, after=None)
    assert letter.queue == "fetcher.download-requested"
    assert letter.reason == "rejected"
    assert letter.detail.startswith("It is no event: download-requested v1: ")
    assert await dead_letters.get(letter.id) == letter
    assert await dead_letters.body(letter, 4) == b'{"x"'


async def test_it_can_be_sent_again_as_it_was_without_what_the_broker_added(dead_letters: DeadLetters) -> None:
    await dead_letters.keep(read(message()))
    [letter] = await dead_letters.page(limit=10, after=None)
    assert envelope_of(letter, await dead_letters.body(letter)) == message()._replace(headers={"v": 1})


async def test_delivered_twice_it_is_listed_once(dead_letters: DeadLetters) -> None:
    for body in (b"a", b"a", b"b"):
        await dead_letters.keep(read(message(body)))
    assert len(await dead_letters.page(limit=10, after=None)) == 2


@pytest.mark.parametrize(
    ("piece", "times"), [(b"", 1), (b"\xff\x00", 1), (b"x", 20_000_000)], ids=["empty", "binary", "larger than a document may be"]
)
async def test_any_body_is_kept(dead_letters: DeadLetters, piece: bytes, times: int) -> None:
    body = piece * times
    await dead_letters.keep(read(message(body)))
    [letter] = await dead_letters.page(limit=10, after=None)
    assert await dead_letters.body(letter) == body


async def test_what_a_message_says_never_becomes_a_field_or_an_operator(dead_letters: DeadLetters) -> None:
    hostile = events.Envelope(
        None, {"$set": 1, "nan": float("nan"), "a.b": {"$gt": ""}, "\x00": b"\xff", "x-death": [{"queue": {"$ne": 1}}]}, b"", None, None, None
    )
    await dead_letters.keep(read(hostile))
    [letter] = await dead_letters.page(limit=10, after=None)
    assert letter.reason == "unknown"
    assert msgspec.json.decode(letter.headers)["$set"] == 1


async def test_they_are_listed_newest_first_a_page_at_a_time_and_can_be_deleted(dead_letters: DeadLetters) -> None:
    for number in range(5):
        await dead_letters.keep(read(message(str(number).encode())))
    first = await dead_letters.page(limit=3, after=None)
    rest = await dead_letters.page(limit=3, after=(first[-1].died_at, first[-1].id))
    assert len({letter.id for letter in first + rest}) == 5
    assert [letter.died_at for letter in first + rest] == sorted((letter.died_at for letter in first + rest), reverse=True)
    assert await dead_letters.delete(first[0])
    assert not await dead_letters.delete(first[0])
    assert await dead_letters.get(first[0].id) is None


async def test_one_that_died_again_since_it_was_read_is_not_deleted(dead_letters: DeadLetters) -> None:
    await dead_letters.keep(read(message()))
    [letter] = await dead_letters.page(limit=10, after=None)
    await dead_letters.keep(read(message()))
    assert not await dead_letters.delete(letter)
    assert await dead_letters.get(letter.id) is not None
