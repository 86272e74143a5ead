"""Waiting in tests: by asking again until a deadline, never by sleeping and hoping."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Answer = TypeVar("Answer")


async def until(ask: Callable[[], Awaitable[Answer]], *, seconds: float = 20.0, every: float = 0.02) -> Answer:
    """The first true answer. Raises AssertionError with the last one when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s; the last answer was {answer!r}")
        await asyncio.sleep(every)
