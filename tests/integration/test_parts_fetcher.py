"""An image beyond one chunk goes through the fetcher in parts, and the fetcher's memory doesn't grow with it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import struct
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aio_pika
import pytest

from shared import events, topology, urls
from shared.broker import Publisher
from shared.events import PART_BYTES, DownloadRequested, ImageFetched, ImagePart, ImageUnchanged
from tests.origin import Origin, body, image, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.events import Event

pytestmark = pytest.mark.anyio

WIDTH, HEIGHT = 5120, 4095
"""In three colours a little less than 60 MiB, so that 60 parts hold the file."""

MEMORY = 150 * 1024**2
DELAYS = (0.1, 0.2)
ROOT = Path(__file__).parents[2]


def tiff(*, directory_at_end: bool) -> bytes:
    """A TIFF of 60 MiB: one uncompressed strip, and its directory before or behind it."""
    pixels = random.Random(6).randbytes(WIDTH * HEIGHT * 3)
    tags = [(256, 4, 1, WIDTH), (257, 4, 1, HEIGHT), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3), (278, 4, 1, HEIGHT), (279, 4, 1, len(pixels))]
    length = 2 + 12 * (len(tags) + 2) + 4 + 6
    directory = 8 + len(pixels) if directory_at_end else 8
    strip = 8 if directory_at_end else 8 + length
    entries = sorted([*tags, (258, 3, 3, directory + length - 6), (273, 4, 1, strip)])
    packed = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    packed += struct.pack("<HHH", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", directory) + (pixels + packed if directory_at_end else packed + pixels)


class Fetcher(NamedTuple):
    """A process, and what it publishes."""

    process: asyncio.subprocess.Process
    publisher: Publisher
    origin: Origin
    channel: aio_pika.abc.AbstractChannel

    async def request(self, path: str, *, etag: str | None = None) -> None:
        """Has it fetch what the origin has there."""
        url = self.origin.url(path)
        image_id = urls.image_id(urls.parse(url).href)
        await self.publisher.publish(DownloadRequested(image=image_id, revision=1, url=url, requested_at=datetime.now(UTC), etag=etag))

    async def next_of(self, queue: topology.Queue) -> Event:
        """The next event in a queue."""
        declared = await self.channel.get_queue(queue.name)
        message = await until(lambda: declared.get(no_ack=True, fail=False), seconds=60)
        assert message
        return events.decode(
            events.Envelope(message.type, dict(message.headers), message.body, message.content_type, message.message_id, message.correlation_id)
        )

    async def next_image(self) -> tuple[ImageFetched, dict[int, ImagePart]]:
        """The next image, with the parts that lie before it by then."""
        fetched = await self.next_of(topology.IMAGE_FETCHED)
        assert isinstance(fetched, ImageFetched)
        parts: dict[int, ImagePart] = {}
        for _ in range(fetched.parts):
            part = await self.next_of(topology.IMAGE_PART)
            assert isinstance(part, ImagePart)
            assert part.file == fetched.file
            parts[part.number] = part
        return fetched, parts

    @property
    def peak(self) -> int:
        """The most memory that it has held, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.fixture
async def fetcher(amqp_url: str, tmp_path: Path) -> AsyncIterator[Fetcher]:
    """`bowerbird fetcher` as it is started anywhere, with the settings' defaults."""
    async with _running(amqp_url, tmp_path) as found:
        yield found
        assert found.process.returncode is None, "the fetcher died"
        assert not list(tmp_path.iterdir())  # noqa: ASYNC240


@asynccontextmanager
async def _running(amqp_url: str, folder: Path) -> AsyncIterator[Fetcher]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")} | {
        "BOWERBIRD_AMQP_URL": amqp_url,
        "BOWERBIRD_FETCH_ALLOW": "127.77.0.0/16",
        "BOWERBIRD_RETRY_DELAYS": ",".join(f"{delay:g}s" for delay in DELAYS),
        "BOWERBIRD_LOG_LEVEL": "warning",
        "TMPDIR": str(folder),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services", "fetcher", cwd=ROOT, env=environment)
    try:
        async with Publisher(amqp_url, delays=DELAYS) as publisher, await aio_pika.connect(amqp_url) as connection, Origin("127.77.0.1") as origin:
            await publisher.wait()
            yield Fetcher(process, publisher, origin, await connection.channel())
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("directory_at_end", [False, True])
async def test_a_tiff_of_60_mib_goes_through_in_60_parts_within_150_mib(fetcher: Fetcher, directory_at_end: bool) -> None:  # noqa: FBT001
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    content = tiff(directory_at_end=directory_at_end)
    fetcher.origin.on("/large.tiff", body(content, "image/tiff"))
    await fetcher.request("/large.tiff")
    fetched, parts = await fetcher.next_image()
    assert (fetched.parts, fetched.size, fetched.body, fetched.format) == (60, len(content), b"", "tiff")
    assert (fetched.width, fetched.height) == (WIDTH, HEIGHT)
    assert sorted(parts) == list(range(60))
    assert {len(parts[number].body) for number in range(59)} == {PART_BYTES}
    together = hashlib.sha256(b"".join(parts[number].body for number in range(60))).hexdigest()
    assert together == fetched.sha256 == hashlib.sha256(content).hexdigest()
    assert fetcher.peak < MEMORY, f"{fetcher.peak:,} bytes"


async def test_memory_does_not_grow_with_the_number_of_large_images(fetcher: Fetcher) -> None:
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    large = body(tiff(directory_at_end=True), "image/tiff")
    for number in range(8):
        fetcher.origin.on(f"/{number}.tiff", large)
        await fetcher.request(f"/{number}.tiff")
    for _ in range(8):
        await fetcher.next_of(topology.IMAGE_FETCHED)
    assert fetcher.peak < MEMORY, f"{fetcher.peak:,} bytes"


async def test_an_image_of_one_chunk_is_one_message_and_one_byte_more_is_two_parts(fetcher: Fetcher) -> None:
    picture = image("PNG")
    for size in (PART_BYTES, PART_BYTES + 1):
        fetcher.origin.on(f"/{size}", body(picture + b"\0" * (size - len(picture)), "image/png"))
        await fetcher.request(f"/{size}")
        fetched, parts = await fetcher.next_image()
        assert fetched.length == size
        assert (len(fetched.body), [len(parts[number].body) for number in sorted(parts)]) == (
            (size, []) if size == PART_BYTES else (0, [PART_BYTES, 1])
        )


async def test_an_image_that_has_not_changed_is_not_sent_again(fetcher: Fetcher) -> None:
    fetcher.origin.on("/same", status(304, last_modified="Mon, 01 Jan 2024 00:00:00 GMT"))
    await fetcher.request("/same", etag='"x"')
    found = await fetcher.next_of(topology.IMAGE_UNCHANGED)
    assert isinstance(found, ImageUnchanged)
    assert (found.etag, found.last_modified) == ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT")
    assert fetcher.origin.requests[0].headers["if-none-match"] == '"x"'
