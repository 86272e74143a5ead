"""What a chaos run must not leave behind, in the queues and in the database."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx

from services.storer.housekeeping import Housekeeping
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.mongo import Mongo

if TYPE_CHECKING:
    from tests.chaos.report import Report
    from tests.chaos.world import World

EMPTY_SECONDS = 60.0
"""The longest delay before another attempt, and then some: who was told may have to be noted yet."""


async def check_queues(made: World, report: Report) -> None:
    """Every queue is empty in the end."""
    management = made.rabbitmq.management_url.replace("http://", "http://guest:guest@")
    deadline = time.monotonic() + EMPTY_SECONDS
    async with httpx.AsyncClient(base_url=management, trust_env=False, timeout=30) as client:
        while True:
            queues = (await client.get("api/queues/%2F")).raise_for_status().json()
            left = {queue["name"]: queue.get("messages", 0) for queue in queues if queue.get("messages", 0)}
            # The management API's numbers are a few seconds old.
            if not left or time.monotonic() > deadline:
                break
            await asyncio.sleep(1)
    report.violations += [f"{count} messages left in {name}" for name, count in left.items()]


async def check_database(made: World, report: Report) -> None:
    """Every file has its bytes and is referred to, once housekeeping was there, and the same bytes are there once."""
    at_once = timedelta(seconds=-1)
    mongo = Mongo(made.mongo_url, timeout=30)
    try:
        dead_letters = DeadLetters(mongo, Blobs(mongo))
        sweeping = Housekeeping(mongo, dead_letters, unreferenced_for=at_once, orphaned_for=at_once)
        for _ in range(3):  # one of them ends a round that a storer had begun
            await sweeping.sweep()
        dead = await mongo["dead_letters"].count_documents({})
        files = {file["_id"]: file async for file in mongo["fs.files"].find({})}
        measured = mongo["fs.chunks"].aggregate([{"$group": {"_id": "$files_id", "size": {"$sum": {"$binarySize": "$data"}}}}])
        sizes = {file["_id"]: file["size"] async for file in measured}
        referred = set(await mongo["images"].distinct("file") + await mongo["images"].distinct("versions.file")) - {None}
    finally:
        mongo.close()
    hashes = [file["metadata"].get("sha256") for file in files.values()]
    report.duplicated += len(hashes) - len(set(hashes))
    checks = {
        "dead letters": dead,
        "files with chunks of another size": sum(file["length"] != sizes.get(name, file["length"]) for name, file in files.items()),
        "chunks without a file after housekeeping": len(sizes.keys() - files.keys()),
        "files without chunks": len(files.keys() - sizes.keys()),
        "files without a reference after housekeeping": len(files.keys() - referred),
        "references to no file": len(referred - files.keys()),
    }
    report.violations += [f"{count} {what}" for what, count in checks.items() if count]
