"""Leases: one process at a time does something, and another takes over when it dies. Time is the server's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from shared.errors import StoreUnavailable
from shared.mongo import unavailable

if TYPE_CHECKING:
    from shared.mongo import Document, Mongo

COLLECTION = "leases"
LEASE_SECONDS = 10.0


class Lease:
    """A lease called `name`, for `holder`, which must be unique to the process.

    It bounds work, it doesn't exclude: a process that hangs for longer than `seconds` may wake up beside the next holder, so what
    is done under a lease must bear being done twice.
    """

    def __init__(self, mongo: Mongo, name: str, *, holder: str, seconds: float = LEASE_SECONDS) -> None:
        self._leases = mongo[COLLECTION]
        self._name = name
        self._holder = holder
        self._milliseconds = int(seconds * 1000)

    async def hold(self) -> bool:
        """Takes the lease if it is free or run out, renews it if it is ours; whether it is ours now. Raises StoreUnavailable."""
        free = {"$or": [{"$eq": ["$holder", {"$literal": self._holder}]}, {"$lt": ["$until", "$$NOW"]}]}  # missing is less than any time
        take: Document = {
            "holder": {"$cond": [free, {"$literal": self._holder}, "$holder"]},
            "until": {"$cond": [free, {"$add": ["$$NOW", self._milliseconds]}, "$until"]},
        }
        try:
            with unavailable():
                lease = await self._leases.find_one_and_update(
                    {"_id": self._name}, [{"$set": take}], upsert=True, return_document=ReturnDocument.AFTER
                )
        except DuplicateKeyError:  # somebody else made the document at the same moment
            return False
        return bool(lease and lease["holder"] == self._holder)

    async def release(self) -> None:
        """Gives the lease back if it is ours, so that nobody has to wait for its end."""
        try:
            with unavailable():
                await self._leases.delete_one({"_id": self._name, "holder": self._holder})
        except StoreUnavailable:
            return  # it will run out
