"""What the origin has in a chaos run, how it is asked for, and what must become of it: all of it from the seed."""

from __future__ import annotations

import hashlib
import random
import struct
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tests.origin import Origin, body, image, sequence, status

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from tests.origin import Behaviour, Request

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
WIDTH = 1024
"""Of large images, in pixels of three bytes: so many rows are 1.5 and 5 MiB."""
ROWS = range(512, 1700)


class Content(NamedTuple):
    """An image's bytes, made whenever they are asked for: of the large ones there are too many to hold."""

    make: Callable[[], bytes]
    sha256: str


class Changing:
    """A URL that gives other bytes at each turn; it says so by its ETag, and answers 304 to whoever has the present ones."""

    def __init__(self, contents: Sequence[Content]) -> None:
        self.contents = contents
        self.turn = 0
        self.not_modified = 0

    @property
    def present(self) -> Content:
        """What it gives now."""
        return self.contents[self.turn]

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Answers a request."""
        now = self.present
        etag = f'"{now.sha256[:16]}"'
        if request.headers.get("if-none-match") == etag:
            self.not_modified += 1
            await status(304, etag=etag)(request, writer)
        else:
            await body(now.make(), etag=etag)(request, writer)


class Batch(NamedTuple):
    """URLs to submit at once that nobody else submits, beside them lines of other kinds, so many."""

    key: str
    fresh: list[str]
    known: int
    repeated: int
    refused: int
    callback: bool


class Plan:
    """`expected` has the sha256 of what a URL gives for good, None if it fails; the URLs in `changing` and `removed` are not in it.

    Of `images` URLs that are submitted by themselves, 4 in 100 are pages, 3 are large, 4 change and are refreshed, 4 are deleted. Of the others, one in twenty is
    gone, one in ten fails once before it comes, and one in ten has the bytes of another. For each hundred there is a batch of further 20 to 100.
    """

    def __init__(self, origin: Origin, images: int, chance: random.Random) -> None:
        self._origin = origin
        self._chance = chance
        self._contents: list[Content] = []
        self._count = 0
        self.expected: dict[str, str | None] = {}
        self.changing = dict(self._changing(5) for _ in range(_share(images, 0.04)))
        self.removed = dict(self._changing(2) for _ in range(_share(images, 0.04)))
        self.large = self._large(_share(images, 0.03))
        pages = _share(images, 0.04)
        self.singles = [self._single() for _ in range(images - pages - len(self.large) - len(self.changing) - len(self.removed))]
        self.pages = dict(self._page() for _ in range(pages))
        on_pages = {url for found in self.pages.values() for url in found}
        # A POST of what a page was first to have is a 409, which notes no callback.
        own = [url for url in (*self.singles, *self.large, *self.changing) if url not in on_pages]
        self.called_back = {url for url in own if chance.random() < 0.15 or url in self.changing}
        self.batches = [self._batch(number) for number in range(_share(images, 0.01))]

    @property
    def submitted(self) -> int:
        """How many URLs are submitted, by themselves or in batches."""
        alone = (self.singles, self.large, self.pages, self.changing, self.removed)
        return sum(map(len, alone)) + sum(len(batch.fresh) for batch in self.batches)

    def _single(self) -> str:
        self._count += 1
        kind = self._chance.random()
        if kind < 0.05:
            return self._gone()
        if self._contents and kind < 0.15:
            content = self._chance.choice(self._contents)
        else:
            content = self._small()
            self._contents.append(content)
        behaviour = _gives(content)
        return self._publish(sequence(status(503), behaviour) if kind > 0.9 else behaviour, content)

    def _publish(self, behaviour: Behaviour, content: Content) -> str:
        self._count += 1
        url = self._origin.on(f"/{self._count}.img", behaviour)
        self.expected[url] = content.sha256
        return url

    def _gone(self) -> str:
        self._count += 1
        url = self._origin.on(f"/{self._count}.gone", status(404))
        self.expected[url] = None
        return url

    def _large(self, count: int) -> list[str]:
        contents = [_content(partial(bitmap, self._chance.randrange(2**32), self._chance.choice(ROWS))) for _ in range(count)]
        # One in five has the bytes of another, so that parts of it are to be given up.
        chosen = [self._chance.choice(contents) if self._chance.random() < 0.2 else content for content in contents]
        return [self._publish(_gives(content), content) for content in chosen]

    def _changing(self, turns: int) -> tuple[str, Changing]:
        self._count += 1
        grown = self._chance.random() < 0.25
        make = [partial(bitmap, self._chance.randrange(2**32), self._chance.choice(ROWS)) if grown else None for _ in range(turns)]
        changing = Changing([_content(one) if one else self._small() for one in make])
        return self._origin.on(f"/{self._count}.changing", changing), changing

    def _page(self) -> tuple[str, list[str]]:
        """An image that is gone, some that other pages have, one that is submitted too, and the rest its own."""
        chance = self._chance
        others = [url for url, sha256 in self.expected.items() if sha256]
        count = chance.randrange(5, 21)
        found = {self._gone(), *chance.sample(others, min(len(others), count // 4))}
        while len(found) < count:
            content = self._small()
            found.add(self._publish(_gives(content), content))
        images = sorted(found)
        chance.shuffle(images)
        self._count += 1
        html = "<!DOCTYPE html><title>Images</title>" + "".join(f'<p><img src="{url}" alt=""></p>' for url in images)
        return self._origin.on(f"/{self._count}.html", body(html.encode(), "text/html; charset=utf-8")), images

    def _batch(self, number: int) -> Batch:
        chance = self._chance
        fresh = [self._single() for _ in range(chance.randrange(17, 90))]
        key = f"batch {number} {chance.randrange(2**32)}"
        return Batch(key, fresh, chance.randrange(1, 6), chance.randrange(1, 4), chance.randrange(1, 3), chance.random() < 0.7)

    def _small(self) -> Content:
        self._count += 1
        size = self._chance.randrange(20, 300), self._chance.randrange(20, 300)
        return _content(partial(image, FORMATS[self._count % len(FORMATS)], size, self._count))


def bitmap(seed: int, rows: int) -> bytes:
    """A BMP of WIDTH times so many pixels of chance."""
    pixels = random.Random(seed).randbytes(WIDTH * rows * 3)
    return (
        struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, WIDTH, rows, 1, 24, 0, len(pixels), 0, 0, 0, 0)
        + pixels
    )


def _content(make: Callable[[], bytes]) -> Content:
    return Content(make, hashlib.sha256(make()).hexdigest())


def _gives(content: Content) -> Behaviour:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await body(content.make())(request, writer)

    return behave


def _share(images: int, share: float) -> int:
    return max(2, round(images * share))
