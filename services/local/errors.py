"""The one error of `bowerbird up` and of what it is made of."""

from __future__ import annotations

from shared.errors import BowerbirdError


class StartError(BowerbirdError):
    """Something can't be found, installed or started. The message is for people; its first line says what to do."""
