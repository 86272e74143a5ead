"""What can go wrong for the client, each as sentences for a person: what happened, and what to do next.

Failure              the command ends with exit code 1
├── Refused          the api understood, and wouldn't: the same request gives the same answer
│   └── Unknown      because there is no such thing
├── Unavailable      the api doesn't answer just now: the same request may be answered later (`pause`, in seconds, if it said when)
└── Damaged          bytes that aren't those that they should be
"""

from __future__ import annotations


class Failure(Exception):
    """The command failed. Its text may quote what came from elsewhere, so it is shown through `output.visible`."""


class Refused(Failure):
    """The api answered with a problem that concerns only what was named in this one request."""


class Unknown(Refused):
    """What was named isn't there."""


class Unavailable(Failure):
    """The api can't be reached, is overloaded, or lacks a server that it needs: `fact`, and what a person could do."""

    def __init__(self, fact: str, hint: str, *, pause: float | None = None) -> None:
        super().__init__(f"{fact} {hint}")
        self.fact = fact
        self.pause = pause


class Damaged(Failure):
    """A download was cut short, or altered on its way."""
