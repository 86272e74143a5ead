"""The clients of a chaos run: they do as clients should, again after a 503 or a broken connection, until they are answered."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.chaos.plan import Batch, Plan
    from tests.chaos.report import Report

SUBMITTERS = 8
BURST = 5
LOADED = 0.75
"""Of the time during which things break: so that faults meet work, and the last ones meet stragglers."""
SETTLED = {"stored", "failed", "expanded"}
SETTLE_SECONDS = 240.0
READS_A_SECOND = 10


class Answered(NamedTuple):
    """A batch that was accepted: its address, and for how many lines of each kind it was."""

    batch: Batch
    location: str
    known: list[str]
    lines: list[str]


class Clients:
    """All of them. `accepted` has the address of each URL that was accepted, `gone` the URLs that were deleted for good."""

    def __init__(self, base: str, plan: Plan, report: Report, *, seconds: float, callback: str) -> None:
        self._base = base
        self._plan = plan
        self._report = report
        self._seconds = LOADED * seconds
        self._callback = callback
        self._readers: list[asyncio.Task[None]] = []
        self.accepted: dict[str, str] = {}
        self.gone: set[str] = set()
        self.batches: list[Answered] = []

    def open(self) -> httpx.AsyncClient:
        """A client of the api."""
        return httpx.AsyncClient(base_url=self._base, trust_env=False, timeout=10)

    async def run(self) -> None:
        """Returns when everything is accepted, and nobody has anything more to ask."""
        self._until = time.monotonic() + self._seconds
        plan, seed = self._plan, self._report.seed
        singles = [*plan.singles, *plan.large, *plan.pages]
        random.Random(seed).shuffle(singles)
        pause = self._seconds * SUBMITTERS / len(singles)
        async with asyncio.TaskGroup() as group:
            for start in range(SUBMITTERS):
                group.create_task(self._submit_all(singles[start::SUBMITTERS], pause, random.Random(f"{seed} {start}")))
            for url in plan.changing:
                group.create_task(self._refresh(url, random.Random(f"{seed} {url}")))
            for url in plan.removed:
                group.create_task(self._remove(url, random.Random(f"{seed} {url}")))
            for batch in plan.batches:
                group.create_task(self._submit_batch(batch, random.Random(f"{seed} {batch.key}")))

    async def leave(self) -> None:
        """Ends those who read along."""
        for reader in self._readers:
            reader.cancel()
        for outcome in await asyncio.gather(*self._readers, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _submit_all(self, urls: list[str], pause: float, chance: random.Random) -> None:
        async with self.open() as client:
            # In bursts at times of their own, so that faults meet requests under way.
            await asyncio.sleep(BURST * pause * chance.random())
            for start in range(0, len(urls), BURST):
                for url in urls[start : start + BURST]:
                    await self._submit(client, url)
                await asyncio.sleep(BURST * pause * chance.uniform(0, 2))

    async def _submit(self, client: httpx.AsyncClient, url: str) -> None:
        submission = {"url": url} | ({"callback_url": self._callback} if url in self._plan.called_back else {})
        answer = await self._insist(client, "POST", "/images", good={202, 409}, json=submission)
        # 409: the one whose answer got lost, or a page has it.
        self.accepted[url] = answer.headers["location"] if answer.status_code == httpx.codes.ACCEPTED else answer.json()["image"]

    async def _refresh(self, url: str, chance: random.Random) -> None:
        """Has it downloaded again and again, mostly after its bytes have changed."""
        changing = self._plan.changing[url]
        async with self.open() as client:
            await asyncio.sleep(self._seconds * chance.uniform(0, 0.5))
            await self._submit(client, url)
            await self._settled(client, url)
            self._readers.append(asyncio.create_task(self._read_along(url, random.Random(f"{self._report.seed} {url} read"))))
            while True:
                await asyncio.sleep(self._seconds * chance.uniform(0.05, 0.25))
                if time.monotonic() > self._until:
                    break
                if chance.random() < 0.75 and changing.turn + 1 < len(changing.contents):
                    changing.turn += 1
                # Only now, when none is under way: a PUT that finds one is content with that, and with the bytes that it had already.
                await self._insist(client, "PUT", "/images", good={202}, json={"url": url})
                self._report.refreshes += 1
                await self._settled(client, url)

    async def _settled(self, client: httpx.AsyncClient, url: str) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            answer = await self._insist(client, "GET", self.accepted[url], good={200})
            if answer.json()["status"] in SETTLED:
                return
            await asyncio.sleep(0.3)

    async def _read_along(self, url: str, chance: random.Random) -> None:
        """What has been stored is readable from then on, whatever happens: one of the bytes that the origin gave, whole."""
        report, changing = self._report, self._plan.changing[url]
        known = {content.sha256 for content in changing.contents}
        async with self.open() as client:
            while True:
                await asyncio.sleep(chance.uniform(0, 2) * len(self._plan.changing) / READS_A_SECOND)
                report.reads += 1
                try:
                    answer = await client.get(f"{self.accepted[url]}/content")
                except httpx.TransportError as error:
                    report.reads_refused[type(error).__name__] += 1
                    continue
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    report.reads_refused["503"] += 1
                elif answer.status_code != httpx.codes.OK or hashlib.sha256(answer.content).hexdigest() not in known:
                    report.unreadable += 1
                    report.violations.append(f"{url} ({self.accepted[url]}) was unreadable: {answer.status_code}, {answer.content[:200]!r}")

    async def _remove(self, url: str, chance: random.Random) -> None:
        """Submits, deletes at any moment of its life, and perhaps submits again, when the origin has other bytes."""
        async with self.open() as client:
            await asyncio.sleep(self._seconds * chance.uniform(0, 0.6))
            await self._submit(client, url)
            await asyncio.sleep(chance.choice((0.0, 1.0, self._seconds / 3)) * chance.random())
            await self._insist(client, "DELETE", self.accepted[url], good={204, 404})
            self._report.deleted += 1
            if chance.random() < 0.5:
                self.gone.add(url)
                return
            await asyncio.sleep(chance.choice((0.0, 1.0, self._seconds / 4)) * chance.random())
            self._plan.removed[url].turn += 1
            await self._submit(client, url)
            self._report.submitted_again += 1

    async def _submit_batch(self, batch: Batch, chance: random.Random) -> None:
        async with self.open() as client:
            await asyncio.sleep(self._seconds * chance.uniform(0.05, 0.95))
            candidates = sorted(self.accepted.keys() & {*self._plan.singles, *self._plan.large})
            known = chance.sample(candidates, min(batch.known, len(candidates)))
            lines = [*batch.fresh, *known]
            lines += [*chance.sample(lines, batch.repeated), *(f"ftp://nobody.example/{number}" for number in range(batch.refused))]
            chance.shuffle(lines)
            request: dict[str, Any] = {"urls": lines} | ({"callback_url": self._callback} if batch.callback else {})
            # Once answered, now and then once more all the same: the same batch, with the same story.
            for _ in range(chance.choice((1, 1, 2))):
                answer = await self._insist(client, "POST", "/batches", good={202}, json=request, headers={"Idempotency-Key": batch.key})
                answered = Answered(batch, answer.headers["location"], known, lines)
                self._check_lines(answered, answer.json()["items"])
            self.batches.append(answered)

    def _check_lines(self, answered: Answered, items: list[dict[str, Any]]) -> None:
        """Each line accounted for, in its place, as what it is."""
        fresh, known, seen = set(answered.batch.fresh), set(answered.known), set[str]()
        due = []
        for line in answered.lines:
            outcome = "repeated" if line in seen else "accepted" if line in fresh else "known" if line in known else "refused"
            due.append((line, outcome))
            seen.add(line)
        found = [(item["url"], item["outcome"]) for item in items]
        if found != due:
            different = [pair for pair in zip(due, found, strict=False) if pair[0] != pair[1]]
            self._report.violations.append(f"{answered.location} accounts for other lines: {len(found)} of {len(due)}, {different[:3]}")
        self.accepted |= {item["url"]: item["image"] for item in items if item["outcome"] == "accepted"}

    async def _insist(self, client: httpx.AsyncClient, method: str, address: str, *, good: Collection[int], **more: Any) -> httpx.Response:
        """The answer, once it isn't a 503 or a broken connection. Another one ends the run."""
        refused = self._report.refused
        while True:
            self._report.requests += 1
            try:
                answer = await client.request(method, address, **more)
            except httpx.TransportError as error:
                refused[type(error).__name__] += 1
            else:
                if answer.status_code in good:
                    return answer
                refused[str(answer.status_code)] += 1
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise AssertionError(f"{method} {address} answered {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(0.2)
