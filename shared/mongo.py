"""MongoDB: the one module that imports motor (docs/decisions/0003-motor.md)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import BulkWriteError, ConfigurationError, DocumentTooLarge, InvalidName, InvalidURI, OperationFailure, PyMongoError

from shared.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

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


# What MongoDB says of a document or of a command itself: repeated, it would say the same (its error_codes.yml). Everything else that
# it refuses (no space, a quota, a role taken away, a write block) is the server's state, which passes or is mended.
_OF_THE_DOCUMENT = frozenset({2, 9, 14, 40, 52, 54, 55, 56, 57, 59, 66, 72, 85, 86, 121, 10334, 11000, 17280, 17419, 17420})


@contextmanager
def unavailable() -> Iterator[None]:
    """Turns what the driver says when the database is away, can't acknowledge, or refuses in its present state, into StoreUnavailable.

    What the database says of the write itself (a duplicate key, a bad document) passes: it is the caller's to know.
    """
    try:
        yield
    except PyMongoError as error:
        if not _of_the_document(error):
            raise StoreUnavailable(
                f"MongoDB can't do it at the moment: {type(error).__name__} {getattr(error, 'code', None) or ''}".rstrip()
            ) from error
        raise


def _of_the_document(error: PyMongoError) -> bool:
    if isinstance(error, BulkWriteError):
        # A write that no majority has acknowledged isn't done, whatever else happened.
        return not error.details["writeConcernErrors"] and all(failed["code"] in _OF_THE_DOCUMENT for failed in error.details["writeErrors"])
    return isinstance(error, (InvalidName, DocumentTooLarge)) or (isinstance(error, OperationFailure) and error.code in _OF_THE_DOCUMENT)


def unhurried() -> AbstractContextManager[object]:
    """For building an index, which takes as long as the collection is large: no time limit within the block."""
    return pymongo.timeout(None)
