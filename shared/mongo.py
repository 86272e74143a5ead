"""MongoDB: the one module that imports motor (docs/decisions/0003-motor.md)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import BulkWriteError, ConfigurationError, ConnectionFailure, InvalidURI, PyMongoError, WriteConcernError, WTimeoutError

from shared.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

Document = dict[str, Any]
DEFAULT_DATABASE = "bowerbird"


class Mongo:
    """A client and the database named in its URL. Belongs to the event loop that runs when it is made.

    `timeout` bounds each operation, in seconds, the choice of a server and retries included. Every write is
    acknowledged by a majority, from its journal: an acknowledged write can't be rolled back.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        milliseconds = int(timeout * 1000)
        try:
            self.client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                url,
                w="majority",
                journal=True,
                tz_aware=True,
                appname="bowerbird",
                timeoutMS=milliseconds,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
            )
            self.database: AsyncIOMotorDatabase[Document] = self.client.get_default_database(DEFAULT_DATABASE)
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise SettingsError([f"BOWERBIRD_MONGO_URL can't be used: {error}"]) from None

    def __getitem__(self, name: str) -> AsyncIOMotorCollection[Document]:
        """A collection."""
        return self.database[name]

    async def ping(self) -> None:
        """Raises StoreUnavailable unless a server answers that can be written to."""
        with unavailable():
            hello = await self.client.admin.command("hello")
        if not hello.get("isWritablePrimary") and hello.get("msg") != "isdbgrid":
            raise StoreUnavailable("MongoDB has no primary at the moment.")

    def close(self) -> None:
        """Closes all connections."""
        self.client.close()


@contextmanager
def unavailable() -> Iterator[None]:
    """Turns what the driver says when the database is away, or can't acknowledge, into StoreUnavailable.

    What the database says of the write itself (a duplicate key, a bad document) passes: it is the caller's to know.
    """
    try:
        yield
    except PyMongoError as error:
        # ConnectionFailure covers no server found, lost connections, and a primary that stepped down.
        if isinstance(error, (ConnectionFailure, WriteConcernError, WTimeoutError)) or error.timeout or _concern_failed(error):
            raise StoreUnavailable(f"MongoDB doesn't answer: {type(error).__name__}") from error
        raise


def _concern_failed(error: PyMongoError) -> bool:
    """A bulk write of which no majority has acknowledged what was written."""
    return isinstance(error, BulkWriteError) and bool(error.details["writeConcernErrors"])
