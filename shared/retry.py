"""When to try again: a pure decision.

Transient failures are tried again after each of the configured delays in turn; a permanent one, and the one after the last delay, end it.
An origin that names a time (Retry-After, RFC 9110 section 10.2.3) is asked no earlier than that, up to the longest delay, and this spends no
attempt, a limited number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.errors import DownloadError

MAX_SNOOZES = 10
"""How often an origin may ask us to wait, for one image, before its answers count as failures."""

MIN_WAIT = 0.05
"""A message that expires at once is no delay; in seconds."""

JITTER = 0.2
"""Part of a delay by which it is shortened at random, so that what failed together doesn't come back together."""


class Again(msgspec.Struct, frozen=True):
    """Try again in `wait` seconds, by way of the delay queue of `delay` seconds (`wait` <= `delay`)."""

    wait: float
    delay: float
    snoozed: bool


def decide(error: DownloadError, *, attempt: int, snoozes: int, delays: Sequence[float], uniform: Callable[[], float]) -> Again | None:
    """What follows a failed attempt: another, or None when it is given up.

    `attempt` counts every try from 1, `snoozes` those of them that ended with the origin asking us to wait; `uniform` gives numbers in [0, 1).
    """
    if not isinstance(error, TransientError) or not delays:
        return None
    asked = min(max(error.retry_after or 0.0, 0.0), delays[-1])
    if asked and snoozes < MAX_SNOOZES:
        return Again(wait=asked, delay=_at_least(asked, delays), snoozed=True)
    if is_last(attempt=attempt, snoozes=snoozes, delays=delays):
        return None
    spent = attempt - snoozes
    delay = max(delays[spent - 1], _at_least(asked, delays))
    return Again(wait=max(asked, delay * (1 - JITTER * uniform())), delay=delay, snoozed=False)


def is_last(*, attempt: int, snoozes: int, delays: Sequence[float]) -> bool:
    """Whether no delay is left after this attempt."""
    return attempt - snoozes > len(delays)


def put_off(seconds: float, delays: Sequence[float]) -> tuple[float, float | None]:
    """The delay queue for what is to come back in that time, and the wait in it (None: all of its delay).

    The longest delay that isn't too long, and the rest by way of another: RabbitMQ lets messages expire at a queue's head
    alone, so that one with a short wait would stay behind those with longer ones. Only in the shortest queue, where little is lost by it, does one wait less.
    """
    shorter = [delay for delay in delays if delay <= seconds]
    return (shorter[-1], None) if shorter else (delays[0], max(seconds, MIN_WAIT))


def _at_least(seconds: float, delays: Sequence[float]) -> float:
    """The shortest of the delays that isn't shorter."""
    return next((delay for delay in delays if delay >= seconds), delays[-1])
