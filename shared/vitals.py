"""How MongoDB is: what it does and how long that takes, what it has room for, what the collections take, and how far its members are behind.

No exporter is needed for it. Most of this takes the role clusterMonitor where users have roles; without it there is nothing to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from pymongo.errors import OperationFailure

from shared import batches, catalog, dead_letters, deliveries
from shared.errors import StoreUnavailable
from shared.mongo import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.mongo import Document, Mongo

COLLECTIONS = (catalog.COLLECTION, "fs.files", "fs.chunks", batches.COLLECTION, deliveries.COLLECTION, dead_letters.COLLECTION)
MICROSECONDS = 1e-6
_CACHE = {"used": "bytes currently in the cache", "dirty": "tracked dirty bytes in the cache", "limit": "maximum bytes configured"}
_LEFT_OUT = dict.fromkeys(("locks", "metrics", "tcmalloc", "transactions"), 0)
_PRIMARY, _SECONDARY = 1, 2
_NO_REPLICATION = 76


class Took(msgspec.Struct, frozen=True):
    """Operations of a kind since the server started, and the seconds that they took."""

    operations: int
    seconds: float


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server that is written to. `oplog_seconds` is how long another may be away and still catch up by itself; 0 where there is none."""

    connections: Mapping[str, int]
    operations: Mapping[str, int]
    took: Mapping[str, Took]
    cache_bytes: Mapping[str, int]
    oplog_seconds: float


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """The replica set: how many members take part, how many don't, and how far the last of those that do is behind. A server alone is one."""

    healthy: int
    unhealthy: int
    lag_seconds: float


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """A collection: its documents, and bytes as they are, on disk, and of its indexes."""

    documents: int
    content: int
    disk: int
    indexes: int


class Vitals:
    """Asks; every answer takes a few milliseconds. Each raises StoreUnavailable, also when the user may not ask."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def server(self) -> Server:
        """What it does."""
        with unavailable():
            found = await self._mongo.client.admin.command({"serverStatus": 1, "oplog": 1, **_LEFT_OUT})
        oplog, cache = found.get("oplog", {}), found.get("wiredTiger", {}).get("cache", {})
        ends = [oplog[name].time for name in ("earliestOptime", "latestOptime") if name in oplog]
        return Server(
            connections={name: found["connections"][name] for name in ("current", "available")},
            operations=dict(found["opcounters"]),
            took={kind: Took(each["ops"], each["latency"] * MICROSECONDS) for kind, each in found.get("opLatencies", {}).items()},
            cache_bytes={name: int(cache[key]) for name, key in _CACHE.items() if key in cache},
            oplog_seconds=float(max(ends) - min(ends)) if ends else 0.0,
        )

    async def members(self) -> Members:
        """Who takes part."""
        with unavailable():
            try:
                found = await self._mongo.client.admin.command("replSetGetStatus")
            except OperationFailure as error:
                if error.code == _NO_REPLICATION:
                    return Members(healthy=1, unhealthy=0, lag_seconds=0.0)
                raise
        return members(found["members"])

    async def sizes(self) -> dict[str, Sizes]:
        """What each collection takes; of those that are there."""
        return {name: await self._size(name) for name in COLLECTIONS}

    async def _size(self, collection: str) -> Sizes:
        with unavailable():
            found = await self._mongo.database.command("collStats", collection)
        documents, content, disk, indexes = (int(found.get(name, 0)) for name in ("count", "size", "storageSize", "totalIndexSize"))
        return Sizes(documents=documents, content=content, disk=disk, indexes=indexes)


def members(found: list[Document]) -> Members:
    """From replSetGetStatus. Raises StoreUnavailable while there is no primary, behind which one could be."""
    healthy = [member for member in found if member["health"] and member["state"] in {_PRIMARY, _SECONDARY}]
    primary = next((member["optimeDate"] for member in healthy if member["state"] == _PRIMARY), None)
    if primary is None:
        raise StoreUnavailable("MongoDB has no primary at the moment.")
    lags = [(primary - member["optimeDate"]).total_seconds() for member in healthy]
    return Members(healthy=len(healthy), unhealthy=len(found) - len(healthy), lag_seconds=max(0.0, *lags))
