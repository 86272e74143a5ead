"""What can go wrong for the client, each as sentences for a person: what happened, and what to do next.

Failure              the command ends with exit code 1
└── Refused          the api understood, and wouldn't: the same request gives the same answer
"""

from __future__ import annotations


class Failure(Exception):
    """The command failed. Its text may quote what came from elsewhere, so it is shown through `output.visible`."""


class Refused(Failure):
    """The api answered with a problem that concerns only what was named in this one request."""
