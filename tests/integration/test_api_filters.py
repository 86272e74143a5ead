"""The filters of GET /images, each combination of them, against a list in Python; and what MongoDB does for them."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from services.api import filters
from shared import listing, urls
from shared.listing import Position
from shared.status import Status
from tests.api import Api, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from shared.mongo import Document

pytestmark = pytest.mark.anyio

IMAGES = 2000
SAME_TIME = 6
"""As many images, at most, are of one millisecond."""
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
PAGE, OTHER_PAGE = "p" * 26, "q" * 26
BATCH, OTHER_BATCH = "b" * 32, "c" * 32
GIVEN = {
    "status": "stored",
    "host": "a.example",
    "format": "png",
    "page": PAGE,
    "batch": BATCH,
    "added_after": "2026-01-31T12:00:00.100Z",
    "added_before": "2026-01-31T13:00:00.270+01:00",
}
COMBINATIONS = [dict(chosen) for size in range(len(GIVEN) + 1) for chosen in itertools.combinations(GIVEN.items(), size)]
HAS: dict[str, Callable[[Document], bool]] = {
    "status": lambda document: bool(document["status"] == "stored"),
    "host": lambda document: bool(document["host"] == "a.example"),
    "format": lambda document: document.get("format") == "png",
    "page": lambda document: PAGE in document.get("in", ()),
    "batch": lambda document: BATCH in document.get("in", ()),
    "added_after": lambda document: bool(document["added_at"] > START + timedelta(milliseconds=100)),
    "added_before": lambda document: bool(document["added_at"] < START + timedelta(milliseconds=270)),
}


def documents() -> list[Document]:
    """Of every kind, added at a few hundred times."""
    choose = random.Random(13)
    made = []
    for number in range(IMAGES):
        host = choose.choice(["a.example", "a.example", "b.example", "[::1]"])
        url = f"https://{host}/{number}"
        status = choose.choice(list(Status))
        at = START + timedelta(milliseconds=number // SAME_TIME)
        document: Document = {
            "_id": urls.image_id(url),
            "url": url,
            "host": host,
            "status": status,
            "revision": 1,
            "added_at": at,
            "requested_at": at,
        }
        if status == Status.STORED or choose.random() < 0.2:  # others hold a copy of before
            document["format"] = choose.choice(["png", "jpeg", "ico"])
        owners = [owner for owner in (PAGE, OTHER_PAGE, BATCH, OTHER_BATCH) if choose.random() < 0.3]
        if owners:
            document["in"] = choose.sample(owners, len(owners))
        made.append(document)
    return made


DOCUMENTS = documents()


def wanted(given: dict[str, str]) -> list[str]:
    """What the list should be."""
    found = [document for document in DOCUMENTS if all(HAS[name](document) for name in given)]
    return [document["_id"] for document in sorted(found, key=lambda document: (document["added_at"], document["_id"]), reverse=True)]


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await api.parts.catalog.create_indexes()
        await api.parts.catalog._images.insert_many(documents())
        yield api


def test_the_combinations_are_all_and_select_something() -> None:
    assert len(COMBINATIONS) == 2**7
    assert all(wanted(given) for given in COMBINATIONS)
    assert len({tuple(wanted(given)) for given in COMBINATIONS}) == 2**7


async def test_the_pages_of_every_combination_are_the_list(api: Api) -> None:
    for given in COMBINATIONS:
        seen, path = [], str(api.client.build_request("GET", "/images", params={**given, "limit": "7"}).url)
        while path:
            answer = await api.client.get(path)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            assert 1 <= len(found["items"]) <= 7
            seen += [image["id"] for image in found["items"]]
            path = found["next"]
        assert seen == wanted(given), given


@pytest.mark.parametrize(
    "given", [{"status": "failed", "host": "nowhere.example"}, {"page": BATCH[:26]}, {"batch": "0" * 32}, {"host": "A.EXAMPLE", "format": "bmp"}]
)
async def test_what_nothing_has_is_an_empty_list(api: Api, given: dict[str, str]) -> None:
    assert (await api.client.get("/images", params=given)).json() == {"items": [], "next": None}


async def test_a_host_is_found_however_it_is_written(api: Api) -> None:
    expected = (await api.client.get("/images", params={"host": "[::1]"})).json()["items"]
    assert len(expected) == 100
    assert (await api.client.get("/images", params={"host": "[0:0:0:0:0:0:0:1]"})).json()["items"] == expected


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("host=", "host"), ("host=a.example/", "host"), ("host[$ne]=x", "host[$ne]"), ("added_after=yesterday", "added_after"),
        ("added_before=2026-01-31T12:00:00+01:00", "added_before"), ("added_after=0000-01-01T00:00:00Z", "added_after"), ("format=svg", "format"),
        ("page=x", "page"), (f"batch={PAGE}", "batch"), (f"page={PAGE}&page={OTHER_PAGE}", "page"), ("staus=stored", "staus"), ("status=", "status"),
    ],
)  # fmt: skip
async def test_a_bad_filter_is_named(api: Api, query: str, name: str) -> None:
    answer = await api.client.get(f"/images?{query}")
    assert (answer.status_code, answer.json()["type"], answer.json()["errors"][0]["parameter"]) == (400, "/problems/bad-parameter", name)


def stages(plan: object) -> Iterator[dict[str, Any]]:
    """All the stages of a plan, wherever they are."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan
        for part in plan.values():
            yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


async def explained(api: Api, query: Document, index: str, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The stages of the plan for a page of the list, and how many keys it looks at."""
    images = api.parts.catalog._images
    find = {
        "find": images.name,
        "filter": query,
        "projection": {"in": 0, "versions": 0},
        "sort": dict(listing.NEWEST_FIRST),
        "limit": limit,
        "hint": index,
    }
    plan = await images.database.command({"explain": find, "verbosity": "executionStats"})
    return list(stages(plan["queryPlanner"]["winningPlan"])), plan["executionStats"]["totalKeysExamined"]


async def test_no_combination_scans_the_collection_or_sorts_in_memory_at_any_depth(api: Api) -> None:
    owned = sum(bool({PAGE, BATCH} & set(document.get("in", ()))) for document in DOCUMENTS)
    for given in COMBINATIONS:
        found, owners = wanted(given), {"page", "batch"} & given.keys()
        one_by_one = len(owners) == 2 or (owners and {"host", "format"} & given.keys())
        by_id = {document["_id"]: document for document in DOCUMENTS}
        positions = [None, *(Position(by_id[image]["added_at"], image) for image in (found[0], found[len(found) // 2], found[-1]))]
        for limit, position in itertools.product((2, 101), positions):
            query, index = listing.query(filters.read(given), position)
            plan, keys = await explained(api, query, index, limit)
            names = {stage["stage"] for stage in plan}
            assert "COLLSCAN" not in names, (given, position)
            assert "SORT" not in names, (given, position)
            assert {stage["indexName"] for stage in plan if stage["stage"] == "IXSCAN"} == {index}, (given, position)
            if one_by_one:
                assert keys <= owned + 2 * len(Status), (given, position)
            else:
                # In the index of each status: those before the first that counts, of its millisecond, and one to see that there is no more.
                assert keys <= limit + len(Status) * (SAME_TIME + 3), (given, position)


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ({}, "newest"), ({"added_before"}, "newest"), ({"status"}, "status"), ({"host"}, "host"), ({"host", "status"}, "host"), ({"format"}, "format"),
        ({"host", "format"}, "host_format"), ({"page"}, "in"), ({"batch", "host", "format", "status"}, "in"),
    ],
)  # fmt: skip
def test_each_combination_has_its_index(given: set[str], index: str) -> None:
    assert listing.query(filters.read({name: GIVEN[name] for name in given}))[1] == index
