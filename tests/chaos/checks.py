"""What must hold after a chaos run, asked of the api."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx

from tests.chaos.clients import SETTLE_SECONDS, SETTLED

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.chaos.clients import Answered, Clients
    from tests.chaos.plan import Changing, Plan
    from tests.chaos.report import Report
    from tests.chaos.told import Outcome, Told

TOLD_SECONDS = 90.0
AT_ONCE = 8

Json = dict[str, Any]


class Checks:
    """Reads everything that the clients were promised. `images` has what the list has, by URL, once it is settled."""

    def __init__(self, base: str, plan: Plan, clients: Clients, told: Told, report: Report) -> None:
        self._base = base
        self._plan = plan
        self._clients = clients
        self._told = told
        self._report = report
        self._images: dict[str, Json] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def until_settled(self) -> None:
        """Waits until nothing is on its way any more; what is then is found by `check`."""
        async with self._client() as self._api:
            deadline = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    images = await self._list("/images?limit=500")
                    if images and all(found["status"] in SETTLED for found in images):
                        break
                await asyncio.sleep(1)

    async def check(self) -> None:
        """Notes whatever isn't as it should be."""
        async with self._client() as self._api:
            images = await self._list("/images?limit=500")
            self._images = {found["source_url"]: found for found in images}
            self._count(images)
            plan, clients = self._plan, self._clients
            on_pages = {url for page, found in plan.pages.items() if page in clients.accepted for url in found}
            due: dict[str, Coroutine[Any, Any, str | None]] = {
                url: self._image(url) for url in plan.expected if url in clients.accepted or url in on_pages
            }
            due |= {url: self._page(url) for url in plan.pages if url in clients.accepted}
            due |= {url: self._refreshed(url, changing) for url, changing in plan.changing.items() if url in clients.accepted}
            due |= {url: self._removed(url, changing) for url, changing in plan.removed.items() if url in clients.accepted}
            due |= {answered.location: self._batch(answered) for answered in clients.batches}
            due |= {url: _nobody_asked() for url in self._images if url not in due}
            await asyncio.gather(*(self._look(what, looked) for what, looked in due.items()))
            await self._check_told()

    async def _look(self, what: str, looked: Coroutine[Any, Any, str | None]) -> None:
        async with self._turn:
            problem = await looked
        if problem:
            self._report.lost += 1
            self._report.violations.append(f"{what} ({self._clients.accepted.get(what)}): {problem}")

    def _count(self, images: list[Json]) -> None:
        report, clients, plan = self._report, self._clients, self._plan
        report.accepted = len(clients.accepted)
        report.found = len(self._images.keys() - clients.accepted.keys())
        report.large, report.pages, report.batches = len(plan.large), len(plan.pages), len(clients.batches)
        report.not_modified = sum(changing.not_modified for changing in plan.changing.values())
        report.stored = sum(found["status"] == "stored" for found in images)
        report.failed = sum(found["status"] == "failed" for found in images)
        report.expanded = sum(found["status"] == "expanded" for found in images)
        report.duplicated = len(images) - len(self._images)

    async def _image(self, url: str) -> str | None:
        expected, found = self._plan.expected[url], self._images.get(url)
        if found and expected is None:
            return None if found["status"] == "failed" and found["error"]["reason"] == "http_status" else f"should have failed: {found}"
        return await self._stored(found, expected)

    async def _stored(self, found: Json | None, expected: str | None) -> str | None:
        if found is None:
            return "accepted, but not in the list"
        if found["status"] != "stored":
            return f"should have been stored, but is {found['status']}: {found['error']}, {found['attempts']}"
        if await self._sha256(found["stored_url"]) != expected:
            return "stored with other bytes"
        made = [(datetime.fromisoformat(attempt["at"]), attempt["took_ms"], attempt["reason"]) for attempt in found["attempts"]]
        # A message that was published twice can make two attempts in the same millisecond, but one attempt is told of once.
        in_order = [at for at, _, _ in made] == sorted(at for at, _, _ in made)
        return None if in_order and len(set(made)) == len(made) else f"attempts doubled or out of order in the history: {found['attempts']}"

    async def _page(self, url: str) -> str | None:
        page, due = self._images.get(url), sorted(self._plan.pages[url])
        if page is None or page["status"] != "expanded":
            return f"should be expanded: {page}"
        bound = await self._list(f"/images?page={page['id']}&limit=500")
        if sorted(found["source_url"] for found in bound) != due or page["page"]["found"] != len(due):
            return f"has other images: {page['page']}, {len(bound)} instead of {len(due)}"
        waiting = [found["source_url"] for found in bound if found["status"] not in SETTLED]
        return f"has images on their way: {waiting}" if waiting else None

    async def _refreshed(self, url: str, changing: Changing) -> str | None:
        """The latest bytes, and each former copy once."""
        found = self._images.get(url)
        problem = await self._stored(found, changing.present.sha256)
        if problem or not found:
            return problem
        versions = (await self._get(found["links"]["versions"]))["items"]
        former = [content.sha256 for content in changing.contents[: changing.turn]]
        if [version["sha256"] for version in reversed(versions)] != former:
            return f"has other versions: {versions}, instead of {former}"
        contents = [await self._sha256(version["content"]) for version in reversed(versions)]
        return None if contents == former else f"has versions with other bytes: {contents}, instead of {former}"

    async def _removed(self, url: str, changing: Changing) -> str | None:
        if url not in self._clients.gone:
            return await self._stored(self._images.get(url), changing.present.sha256)
        answer = await self._api.get(self._clients.accepted[url])
        gone = url not in self._images and answer.status_code == httpx.codes.NOT_FOUND
        return None if gone else f"was deleted, and is there: {answer.status_code}, {answer.text}"

    async def _batch(self, answered: Answered) -> str | None:
        """Complete, with right counts of its lines and its images."""
        deadline = time.monotonic() + 30
        while not (batch := await self._get(answered.location))["completed_at"]:
            if time.monotonic() > deadline:
                return f"was never completed: {batch}"
            await asyncio.sleep(0.5)
        plan, lines = answered.batch, answered.lines
        counts = [batch[name] for name in ("total", "accepted", "known", "repeated", "refused")]
        if counts != [len(lines), len(plan.fresh), len(answered.known), plan.repeated, plan.refused]:
            return f"counts other lines: {batch}"
        images = [*plan.fresh, *answered.known]
        failing = sum(self._plan.expected[url] is None for url in images)
        statuses = {status: count for status, count in batch["images"].items() if count}
        if statuses != {status: count for status, count in {"stored": len(images) - failing, "failed": failing}.items() if count}:
            return f"counts other images: {statuses}, {failing} of {len(images)} should have failed"
        bound = await self._list(f"/images?batch={batch['id']}&limit=500")
        return None if sorted(found["source_url"] for found in bound) == sorted(images) else f"has other images: {len(bound)}"

    async def _check_told(self) -> None:
        due = self._outcomes()
        self._report.awaited_calls = len(due)
        deadline = time.monotonic() + TOLD_SECONDS
        while (untold := due - self._told.outcomes) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        self._report.untold = len(untold)
        for outcome in sorted(untold, key=str):
            said = sorted((told for told in self._told.outcomes if told[0] == outcome[0]), key=str)
            self._report.violations.append(f"nobody was told of {outcome}, but of {said}")

    def _outcomes(self) -> set[Outcome]:
        """The final one of each image and batch whose submission asked for it."""
        asked = [self._images[url] for url in self._plan.called_back if url in self._images]
        images: set[Outcome] = {(found["id"], found["status"], found["sha256"]) for found in asked}
        return images | {(answered.location.rpartition("/")[2], "completed", None) for answered in self._clients.batches if answered.batch.callback}

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._base, trust_env=False, timeout=30)

    async def _get(self, address: str) -> Json:
        answer: Json = (await self._api.get(address)).raise_for_status().json()
        return answer

    async def _sha256(self, address: str) -> str:
        return hashlib.sha256((await self._api.get(address)).raise_for_status().content).hexdigest()

    async def _list(self, address: str | None) -> list[Json]:
        found: list[Json] = []
        while address:
            answer = await self._get(address)
            found += answer["items"]
            address = answer["next"]
        return found


async def _nobody_asked() -> str:
    return "is in the list, and nobody asked for it"
