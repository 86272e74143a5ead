"""Who is told in a chaos run: notes what signed callbacks say, and now and then isn't at home."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import random

    from tests.chaos.report import Report
    from tests.receiver import Receiver

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
TURNED_AWAY = 0.1

Outcome = tuple[str, str, str | None]
"""An id, its status, and the bytes' sha256; of a batch the id, "completed" and None."""


class Told:
    """Answers for a receiver. `outcomes` are those that it has taken."""

    def __init__(self, receiver: Receiver, report: Report, chance: random.Random) -> None:
        self.outcomes: set[Outcome] = set()
        self._ids: set[str] = set()
        self._receiver = receiver
        self._report = report
        self._chance = chance
        receiver.answers = [self.answer]

    async def answer(self, _: web.Request) -> web.StreamResponse:
        """The latest call is the one that this answers: nothing else runs in between."""
        call = self._receiver.came[-1]
        self._report.calls += 1
        if not call.signed_with(SECRET):
            self._report.violations.append(f"a callback without our signature: {call.body!r}")
        if self._chance.random() < TURNED_AWAY:
            self._report.calls_turned_away += 1
            return web.Response(status=503)
        delivery = call.headers["webhook-id"]
        if delivery in self._ids:
            self._report.calls_repeated += 1
            return web.Response(status=204)
        self._ids.add(delivery)
        said = call.message["data"]
        self.outcomes.add((said["id"], said.get("status", "completed"), said.get("sha256")))
        return web.Response(status=204)
