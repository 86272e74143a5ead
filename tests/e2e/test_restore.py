"""A backup in the order that docs/operations.md gives, taken while work goes on, and what a restore of it comes to."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pymongo
import pytest

from services.storer.housekeeping import Housekeeping
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.mongo import Mongo
from tests.e2e.conftest import running
from tests.origin import Origin, body, image, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.settings import Settings
    from tests.servers import Servers

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

FIRST = ("images", "dead_letters", "thumbnails", "batches", "deliveries")
FILES = ("fs.files", "fs.chunks")
AT_ONCE = timedelta(seconds=-1)


@pytest.fixture
def here(mongo_url: str) -> Iterator[Any]:
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        yield client.get_database()


async def test_an_older_backup_and_what_becomes_of_everything(settings: Settings, running_servers: Servers, here: Any) -> None:
    settings = dataclasses.replace(settings, retry_delays=(3600.0,))
    backup: dict[str, list[dict[str, Any]]] = {}

    def back_up(names: tuple[str, ...]) -> None:
        backup.update({name: list(here[name].find()) for name in names})

    async with Origin("127.77.0.1") as origin:
        pictures = {name: image("PNG", (40 + number, 30), seed=number) for number, name in enumerate(("kept", "deleted", "meanwhile", "late"))}
        urls = {name: origin.on(f"/{name}", body(picture)) for name, picture in pictures.items()}
        delayed_url = origin.on("/delayed", status(503))
        async with running(settings) as pipeline:
            where = {name: await pipeline.post(urls[name]) for name in ("kept", "deleted")}
            delayed = await pipeline.post(delayed_url)
            for location in where.values():
                assert (await pipeline.settled(location))["status"] == "stored"

            async def is_delayed() -> bool:
                return bool((await pipeline.client.get(delayed)).json()["status"] == "delayed")

            await until(is_delayed)
            back_up(FIRST)
            # Between the two halves of the backup.
            await pipeline.settled(await pipeline.post(urls["meanwhile"]))
            assert (await pipeline.client.delete(where["deleted"])).status_code == 204
            back_up(FILES)
            await pipeline.settled(await pipeline.post(urls["late"]))
        assert len(backup["fs.files"]) == 3

        here.client.drop_database(here.name)
        for name, documents in backup.items():
            if documents:
                here[name].insert_many(documents)
        with running_servers.vhost(f"{here.name}-new") as empty:
            async with running(dataclasses.replace(settings, amqp_url=empty)) as pipeline:
                # As they were at the backup: readable, the deleted one back, the later ones unknown.
                for name in ("kept", "deleted"):
                    assert await pipeline.content(where[name]) == pictures[name]
                for name in ("meanwhile", "late"):
                    assert (await pipeline.client.get("/images", params={"url": urls[name]})).status_code == 404
                # On its way at the backup, with no message in this RabbitMQ.
                assert (await pipeline.client.get(delayed)).json()["status"] == "delayed"
                origin.on("/delayed", body(pictures["late"]))
                assert (await pipeline.client.post("/requeue", json={"status": "delayed"})).json()["requeued"] == 1
                assert (await pipeline.settled(delayed))["status"] == "stored"
                # Of the one between the halves there was a file, and no document.
                assert here["fs.files"].count_documents({}) == 4
                mongo = Mongo(settings.require("mongo_url"), timeout=10)
                housekeeping = Housekeeping(mongo, DeadLetters(mongo, Blobs(mongo)), unreferenced_for=AT_ONCE)
                while any((await housekeeping.sweep()).values()):
                    pass
                mongo.close()
                assert here["fs.files"].count_documents({}) == 3
                assert here["fs.chunks"].count_documents({}) == 3
                assert await pipeline.content(where["kept"]) == pictures["kept"]
                # What was lost is submitted again.
                assert (await pipeline.settled(await pipeline.post(urls["late"])))["status"] == "stored"


async def test_a_document_without_its_file_is_mended_by_asking_again(settings: Settings, here: Any) -> None:
    async with Origin("127.77.0.1") as origin, running(settings) as pipeline:
        picture = image("PNG")
        url = origin.on("/a", body(picture))
        where = await pipeline.post(url)
        assert (await pipeline.settled(where))["status"] == "stored"
        for name in FILES:
            here[name].delete_many({})
        assert (await pipeline.client.get(f"{where}/content")).status_code == 500
        assert (await pipeline.client.put("/images", json={"url": url})).status_code == 202
        assert (await pipeline.settled(where))["status"] == "stored"
        assert await pipeline.content(where) == picture
