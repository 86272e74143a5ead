"""The dominant colour of every image that Bowerbird stores: a service of one's own on the events. docs/events.md explains it line by line.

It needs FastStream, httpx and Pillow, and of Bowerbird nothing but its messages and its HTTP API.
"""

import asyncio
import io
import os
import sqlite3

import httpx
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from PIL import Image
from pydantic import BaseModel

BOWERBIRD = RabbitExchange("bowerbird", type=ExchangeType.TOPIC, durable=True, declare=False)  # theirs: we only look whether it is there
OURS = RabbitExchange("colours", type=ExchangeType.TOPIC, durable=True)
# Full queues drop their oldest messages, so that whoever publishes never waits for us.
WORK = RabbitQueue(
    "colours.image-stored", queue_type=QueueType.QUORUM, durable=True, routing_key="image-stored",
    arguments={"x-max-length": 100_000, "x-delivery-limit": 20, "x-dead-letter-exchange": "colours", "x-dead-letter-routing-key": "dead-letter"},
)  # fmt: skip
DEAD = RabbitQueue("colours.dead-letters", queue_type=QueueType.QUORUM, durable=True, arguments={"x-max-length": 10_000})

broker = RabbitBroker(os.environ.get("AMQP_URL", "amqp://127.0.0.1/"), default_channel=Channel(prefetch_count=8))
app = FastStream(broker)
http = httpx.AsyncClient(base_url=os.environ.get("BOWERBIRD_URL", "http://127.0.0.1:8000"), trust_env=False, timeout=30)
known = sqlite3.connect(os.environ.get("COLOURS", "colours.db"), isolation_level=None)
known.execute("CREATE TABLE IF NOT EXISTS colours (image TEXT PRIMARY KEY, revision INTEGER, colour TEXT)")
KEEP = "INSERT INTO colours VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET revision = excluded.revision, colour = excluded.colour WHERE revision < excluded.revision"


class ImageStored(BaseModel):
    """What is needed of the event. Whatever else it has, now or later, is ignored."""

    image: str
    revision: int


class ColourFound(ImageStored):
    """What we have to say, to whoever listens at our exchange."""

    colour: str


@app.on_startup
async def declare() -> None:
    """Our dead letters, before anything can be one."""
    await broker.connect()
    queue, exchange = await broker.declare_queue(DEAD), await broker.declare_exchange(OURS)
    await queue.bind(exchange, "dead-letter")


@broker.subscriber(WORK, BOWERBIRD, ack_policy=AckPolicy.REJECT_ON_ERROR)
async def on_image_stored(event: ImageStored, message: RabbitMessage) -> None:
    """A repetition finds its work done, and so does what comes after something newer. Two at once tell the same under one id."""
    if (message.raw_message.type, message.headers.get("v")) != ("image-stored", 1):
        raise ValueError(f"{message.raw_message.type} {message.headers.get('v')} is not what this was written for")
    done = known.execute("SELECT 1 FROM colours WHERE image = ? AND revision >= ?", (event.image, event.revision)).fetchone()
    if done or (picture := await thumbnail(event.image)) is None:
        return
    fact = ColourFound(image=event.image, revision=event.revision, colour=dominant(picture))
    await broker.publish(fact, "colour-found", OURS, message_id=f"colour-found.{fact.image}.{fact.revision}", headers={"v": 1}, persist=True)
    known.execute(KEEP, (fact.image, fact.revision, fact.colour))
    print(fact.image, fact.colour, flush=True)


async def thumbnail(image: str) -> bytes | None:
    """The image as it is by now, small and decoded with care; None if it is gone or can't be decoded. While the api is away, waits for it."""
    while True:
        try:
            answer = await http.get(f"/images/{image}/thumbnail", params={"w": 160})
        except httpx.TransportError:
            answer = httpx.Response(503)
        if answer.status_code not in {429, 503}:
            return None if answer.status_code in {404, 409, 422} else answer.raise_for_status().content
        await asyncio.sleep(2)


def dominant(picture: bytes) -> str:
    """The commonest of the eight colours that come nearest to the picture, as #rrggbb."""
    few = Image.open(io.BytesIO(picture), formats=["WEBP"]).convert("RGB").quantize(8)
    index = max(range(8), key=few.histogram().__getitem__)
    return "#" + bytes(few.getpalette() or ())[3 * index : 3 * index + 3].hex()


if __name__ == "__main__":
    asyncio.run(app.run())
