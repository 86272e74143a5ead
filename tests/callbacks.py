"""Callbacks for tests: a fetcher, a storer and an api on real servers, with whom callbacks are asked for as the storer's handlers do."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from services.fetcher.callbacks import Callbacks as Caller
from services.fetcher.main import fetcher
from services.storer.callbacks import Callbacks
from services.storer.main import storer
from shared import events, urls
from shared.broker import Publisher
from shared.deliveries import Deliveries
from shared.errors import Reason
from shared.mongo import Mongo
from shared.settings import Ports, Settings, load
from shared.status import now
from tests.api import running_api
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.broker import Publication
    from tests.api import Api

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs="
KEYS = load({"BOWERBIRD_WEBHOOK_SECRET": f"{SECRET},{OLD_SECRET}"}).webhook_secret
DELAYS = (0.3, 0.6)
ATTEMPT_SECONDS = 1.0
PICTURE = "http://pictures.example/cat.jpg"
IMAGE = urls.image_id(PICTURE)


def settings_for(amqp_url: str, mongo_url: str) -> Settings:
    """127.77.0.0/16 is allowed; 127.0.0.1, where canaries are, is not."""
    return Settings(
        amqp_url=amqp_url, mongo_url=mongo_url, fetch_allow=(ip_network("127.77.0.0/16"),), fetch_ports=Ports([range(1, 65536)]),
        retry_delays=DELAYS, grace=1.0, webhook_secret=KEYS, public_url="https://pictures.example",
    )  # fmt: skip


class World:
    """A fetcher, a storer and an api; callbacks are asked for as the storer's handlers do."""

    def __init__(self, api: Api, callbacks: Callbacks, publisher: Publisher, mongo: Mongo) -> None:
        self.api = api
        self.callbacks = callbacks
        self.publisher = publisher
        self.documents = mongo["deliveries"]

    async def tell(self, url: str, event: events.ImageStored | events.ImageFailed | None = None) -> str:
        """Has somebody told of an image; the id of the delivery."""
        publications = await self.callbacks.for_image(event or stored(), url, PICTURE)
        await self.publish(publications)
        return publications[0].event.delivery  # type: ignore[attr-defined, no-any-return]

    async def publish(self, publications: list[Publication]) -> None:
        for publication in publications:
            await self.publisher.publish(*publication)

    async def settled(self, delivery: str, status: str, *, seconds: float = 20.0) -> dict[str, Any]:
        """The delivery as the api has it, once it has a status."""

        async def ask() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.api.client.get(f"/deliveries/{delivery}")).raise_for_status().json()
            return found if found["status"] == status else None

        found = await until(ask, seconds=seconds)
        assert found
        return found

    async def replay(self, delivery: str) -> dict[str, Any]:
        answer = await self.api.client.post(f"/deliveries/{delivery}/replay")
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"].endswith(f"/deliveries/{delivery}")
        replayed: dict[str, Any] = answer.json()
        return replayed


@asynccontextmanager
async def running(settings: Settings, *, caller: Callable[[Settings], Caller] | None = None) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(storer(settings))
        await stack.enter_async_context(fetcher(settings, caller=caller or partial(Caller, attempt_seconds=ATTEMPT_SECONDS)))
        given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings) if field.name != "port"}
        api = await stack.enter_async_context(running_api(given.pop("mongo_url"), given.pop("amqp_url"), **given))
        mongo = Mongo(settings.require("mongo_url"), timeout=10)
        stack.callback(mongo.close)
        publisher = await stack.enter_async_context(Publisher(settings.require("amqp_url"), delays=settings.retry_delays))
        await publisher.wait()

        async def connected() -> bool:
            return api.parts.publisher.connected

        await until(connected)
        yield World(api, Callbacks(Deliveries(mongo), settings.public_url or ""), publisher, mongo)


def stored(picture: str = IMAGE, revision: int = 1) -> events.ImageStored:
    return events.ImageStored(
        image=picture, revision=revision, url=PICTURE, stored_at=now(), format="jpeg", content_type="image/jpeg", width=3, height=2, size=5,
        sha256="ab" * 32,
    )  # fmt: skip


def failed() -> events.ImageFailed:
    return events.ImageFailed(image=IMAGE, revision=1, reason=Reason.DNS, detail="The host's name does not exist.", failed_at=now())
