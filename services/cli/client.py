"""The HTTP API as the commands see it, a method for each call."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode, urlsplit

from services.cli.errors import Refused
from services.cli.link import Json, Link  # noqa: TC001  (Typer resolves annotations at run time)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import httpx

    from services.cli.patience import Patience

Waiting = Literal["queued", "delayed", "failed"]
Status = Literal["queued", "delayed", "stored", "failed", "expanded"]

PAGE = 500
IMAGE_ID = re.compile(r"[a-z2-7]{26}")
BATCH_ID = re.compile(r"[0-9a-f]{32}")
_LETTER_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Api:
    """A client of one api."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.shown = link.shown
        """Its address, without a password that may be in it."""

    def close(self) -> None:
        """Closes its connections."""
        self._link.close()

    def patient(self, patience: Patience) -> Api:
        """The same api, asked again when it doesn't answer."""
        return Api(self._link.patient(patience))

    # Images and pages

    def images(self, query: Mapping[str, str]) -> Iterator[Json]:
        """Images, newest first, a page at a time: those that fit the query, which has the names of the API's parameters."""
        return self._pages("/images", {"limit": str(PAGE), **query})

    def find(self, name: str) -> Json:
        """The image or page with this id, address or URL, whole."""
        return self.image(self.id_of(name))

    def id_of(self, name: str) -> str:
        """The id of an image or page that is named by its id, its address at this api, or the URL that it came from."""
        address = re.fullmatch(r"(?:/images/)?([a-z2-7]{26})(?:/content)?", name.removeprefix(self.shown.rstrip("/")))
        if address:
            return address[1]
        if "://" not in name:
            raise Refused("This is neither an image's id, as `bowerbird ls` shows it, nor a URL, which would begin with http:// or https://.")
        found = self._link.ask("GET", f"/images?{urlencode({'url': name})}")
        # For a page's URL the list of its images is answered, which doesn't say what the page's own id is: it follows from the URL.
        return id_in(found.get("id")) or _derived(name)

    def image(self, image: str) -> Json:
        """The image or page with an id."""
        if not IMAGE_ID.fullmatch(image):
            raise Refused("No image has an id like this.")
        return self._link.ask("GET", f"/images/{image}")

    def content(self, image: str) -> AbstractContextManager[tuple[httpx.Headers, Iterator[bytes]]]:
        """The bytes of an image as they come, and the headers before them."""
        return self._link.stream(f"/images/{image}/content")

    def refresh(self, url: str) -> Json:
        """Has a URL downloaded again; its image."""
        return self._link.ask("PUT", "/images", json={"url": url})

    def remove(self, image: str, *, images: bool = False) -> None:
        """Deletes an image or page; with `images`, a page's images too."""
        self._link.ask("DELETE", f"/images/{image}{'?images=true' if images else ''}")

    # Batches

    def submit(self, given: Sequence[str], key: str) -> Json:
        """Submits URLs; the batch, with what became of each. To repeat it with the same key is safe."""
        # A lone surrogate is no text: the api refuses that line, and only that one.
        lines = "".join(json.dumps(url, ensure_ascii=False) + "\n" for url in given).encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        return self._link.ask("POST", "/batches", content=lines, headers=headers)

    def batch(self, batch: str) -> Json:
        """How far a batch has come."""
        if not BATCH_ID.fullmatch(batch):
            raise Refused("No batch has an id like this.")
        return self._link.ask("GET", f"/batches/{batch}")

    # What runs it

    def stats(self) -> Json:
        """Counts and queues."""
        return self._link.ask("GET", "/stats")

    def dead_letters(self) -> Iterator[Json]:
        """All dead letters, newest first, a page at a time."""
        return self._pages("/dead-letters", {"limit": str(PAGE)})

    def dead_letter(self, letter: str) -> Json:
        """A dead letter with the beginning of its body."""
        return self._link.ask("GET", _letter(letter))

    def replay(self, letter: str) -> Json:
        """Sends it to its queue again; which one that is."""
        return self._link.ask("POST", f"{_letter(letter)}/replay")

    def delete(self, letter: str) -> None:
        """Forgets it."""
        self._link.ask("DELETE", _letter(letter))

    def requeue(self, status: Waiting) -> Iterator[int]:
        """Has all images with a status downloaded afresh: how many, a call at a time."""
        request: Json = {"status": status}
        more = True
        while more:
            answer = self._link.ask("POST", "/requeue", json=request)
            yield int(answer.get("requeued", 0))
            # Those that were requeued may have the same status still, or again.
            request["before"], more = answer.get("before"), bool(answer.get("more"))

    def _pages(self, path: str, parameters: Mapping[str, str]) -> Iterator[Json]:
        query = urlencode(parameters)
        while query:
            page = self._link.ask("GET", f"{path}?{query}")
            items, following = page.get("items"), page.get("next")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self._link.stranger("a list without items")
            yield from items
            # Only its query: `next` may name the api as others reach it, and the key goes nowhere but to --url.
            query = urlsplit(following).query if isinstance(following, str) else ""


def _derived(url: str) -> str:
    from shared import urls  # noqa: PLC0415  (slow to import, and seldom needed)

    return urls.image_id(urls.parse(url).href)


def id_in(address: object) -> str | None:
    """The id at the end of an image's address."""
    last = str(address).rpartition("/")[2]
    return last if IMAGE_ID.fullmatch(last) else None


def _letter(letter: str) -> str:
    if not _LETTER_ID.fullmatch(letter):
        raise Refused("No dead letter has an id like this.")
    return f"/dead-letters/{letter}"
