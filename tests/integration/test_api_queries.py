"""What the api asks of MongoDB, as MongoDB's profiler sees it: every query has its index, however many images there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.batches import Batches
from tests.api import id_of, running_api

if TYPE_CHECKING:
    from shared.catalog import Catalog
    from shared.mongo import Document, Mongo

pytestmark = pytest.mark.anyio

URL, PAGE = "https://example.org/cat.jpg", "https://example.org/gallery"
ON_PAGE = [f"https://example.org/{number}.jpg" for number in range(20)]
ID, PAGE_ID = id_of(URL), id_of(PAGE)
SMALL = {"leases"}
"""Collections of a handful of documents."""


async def profiled(mongo: Mongo) -> list[Document]:
    """What MongoDB has done since it was told to watch."""
    found = mongo["system.profile"].find({"op": {"$in": ["query", "command", "update", "remove", "getmore"]}, "planSummary": {"$exists": True}})
    return [entry for entry in await found.to_list(None) if entry["ns"].rpartition(".")[2] not in {*SMALL, "profile"}]


@pytest.mark.usefixtures("catalog", "blobs")
async def test_nothing_that_the_api_does_scans_a_collection_or_sorts_in_memory(mongo: Mongo, mongo_url: str, amqp_url: str) -> None:
    await Batches(mongo).create_indexes()
    async with running_api(mongo_url, amqp_url) as api:
        await api.parts.dead_letters.create_indexes()
        await mongo.database.command({"profile": 2})
        ask = api.client.request
        where = await api.store(URL, b"bytes")
        await ask("PUT", "/images", json={"url": URL})
        await api.fetched(ID, b"other bytes")
        await api.expand(PAGE, ON_PAGE)
        await ask("PUT", "/images", json={"url": PAGE})
        await api.scanned(PAGE_ID, ON_PAGE[5:])
        headers = {"idempotency-key": "key"}
        for _ in range(2):
            batch = (await ask("POST", "/batches", json={"urls": ON_PAGE}, headers=headers)).json()
        [version] = (await ask("GET", f"{where}/versions")).json()["items"]
        for path in (where, f"{where}/content", version["content"], f"/images/{PAGE_ID}", batch["links"]["self"], f"/images?url={PAGE}"):
            assert (await ask("GET", path)).status_code == 200
        for filters in (
            "",
            "status=queued",
            "host=example.org",
            "format=jpeg",
            f"page={PAGE_ID}",
            f"batch={batch['id']}",
            "host=example.org&format=jpeg",
        ):
            found = (await ask("GET", f"/images?limit=2&{filters}")).json()
            if found["next"]:
                await ask("GET", found["next"])
        await api.parts.catalog.waits(batch["id"])
        await ask("DELETE", f"{where}/versions/{version['sha256']}")
        await ask("DELETE", where)
        assert (await ask("DELETE", f"/images/{PAGE_ID}?images=true")).status_code == 204
        await mongo.database.command({"profile": 0})
    entries = await profiled(mongo)
    assert {entry["ns"].rpartition(".")[2] for entry in entries} >= {"images", "batches", "files", "chunks"}
    for entry in entries:
        assert "COLLSCAN" not in entry["planSummary"], entry
        assert not entry.get("hasSortStage"), entry


async def test_before_there_are_indexes_the_answers_are_right_already(mongo: Mongo, catalog: Catalog, mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url) as api:
        await catalog.create_indexes()
        await api.expand(PAGE, ON_PAGE)
        await mongo["images"].drop_indexes()
        assert (await api.client.get(f"/images/{PAGE_ID}")).json()["page"]["images"]["queued"] == len(ON_PAGE)
        assert len((await api.client.get("/images", params={"page": PAGE_ID, "status": "queued"})).json()["items"]) == len(ON_PAGE)
        assert await api.parts.catalog.waits(PAGE_ID)
        for _ in range(2):
            batch = (await api.client.post("/batches", json={"urls": [URL]}, headers={"idempotency-key": "key"})).json()
            assert (batch["accepted"], batch["items"][0]["outcome"]) == (1, "accepted")
